"""Levels on films: tables, maps, the corrector, a training on drawn films, and its evaluation."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from spineseg import registry
from spineseg.cli import app
from spineseg.cli_train import trainer
from spineseg.errors import InputError, WeightsError
from spineseg.evaluation.film_levels import compare, evaluate_films, score_film, summary
from spineseg.io.film_tables import FilmTruth, find_film_truths
from spineseg.io.films import Film, read_film
from spineseg.methods import film_labels
from spineseg.methods.film_checks import Turn
from spineseg.methods.film_labels import Settings, Trained, predict
from spineseg.methods.film_picture import Picture, canvas_scale, prepare
from spineseg.methods.film_result import FilmLevels
from spineseg.networks.film_labels import FilmLabelNetwork, Labelled, ResidualCorrector
from spineseg.progress import Progress
from spineseg.training.film_data import centres_of
from spineseg.training.film_label_losses import image_loss, label_loss, targets
from spineseg.training.film_label_plans import PLANS, Plan
from spineseg.training.film_labels import (
    FilmLabelTraining,
    LabelBatches,
    fit,
    in_order,
    label_cases,
)
from spineseg.weights import load_card
from tinyfilm import LEVELS, drawn_film, film_folder
from typer.testing import CliRunner

TINY = Plan(
    canvas=(128, 64), filters=(8, 16, 16, 16, 16), stride=2, hidden=32, films=2, rate=5e-3
)  # fmt: skip
NAMES = tuple(f"T{n}" for n in range(1, 13)) + tuple(f"L{n}" for n in range(1, 6))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_folder(tmp_path_factory.mktemp("films"), 6)


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of a moment."""
    output = tmp_path_factory.mktemp("out")
    plan = replace(TINY, metal=0.3, wrong=0.3)
    options = {"output": output, "hours": 2 / 3600, "fold": 0, "plan": plan, "view": "ap"}
    fit(films, options, Progress())
    return output


def test_the_papers_constants_are_its_own() -> None:
    paper = PLANS["paper"]
    assert (paper.rate, paper.decay, paper.steady, paper.stride) == (1e-4, 0.0, True, 1)
    assert sorted(paper.turns_deg) == [-5, -2, 0, 2, 5]
    assert (paper.image_weight, paper.place_weight, paper.background) == (1, 1, 0)
    assert paper.rough_weight == 0
    assert not paper.heights
    assert all(n % (2 ** (len(paper.filters) - 1)) == 0 for n in paper.canvas)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_maps_and_places_have_their_sizes(stride: int) -> None:
    network = FilmLabelNetwork(24, (8, 16, 16), stride, hidden=16)
    found = network(torch.randn(2, 1, 64, 32))
    assert tuple(found.heat.shape) == (2, 25, 64 // stride, 32 // stride)
    assert found.places.shape == found.rough.shape == (2, 24, 2)
    assert torch.equal(found.places, found.rough)  # nothing is corrected before it has learned


def test_the_soft_argmax_is_finer_than_a_cell_and_all_learns_from_the_places() -> None:
    cells = torch.tensor([[[10.3, 20.6], [18.0, 40.2]]])
    network = FilmLabelNetwork(2, (8, 8, 8), hidden=8, blocks=2)
    maps = targets(cells, (64, 32), replace(TINY, spread=2.0))
    rough = film_expectation(maps[:, :2])
    assert torch.allclose(rough, cells, atol=0.05)
    network(torch.randn(1, 1, 64, 32)).places.sum().backward()
    assert network.unet.output_block.conv.conv.weight.grad.abs().sum() > 0
    assert network.corrector.blocks[1][-1].weight.grad.abs().sum() > 0


def film_expectation(maps: torch.Tensor) -> torch.Tensor:
    from spineseg.methods.film_heat import expectation

    size = torch.tensor([maps.shape[3], maps.shape[2]])
    return (expectation(20.0 * maps) + 1) / 2 * size - 0.5


def test_the_corrector_mends_one_place_from_the_others() -> None:
    torch.manual_seed(0)
    corrector = ResidualCorrector(5, hidden=32, heights=True)
    optimizer = torch.optim.Adam(corrector.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)

    def films_of(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, slope = rng.uniform(-0.3, 0.3, (2, count, 1))
        y = np.linspace(-0.8, 0.8, 5)
        true = np.stack([x + slope * y, np.broadcast_to(y, (count, 5))], axis=-1)
        seen, height = true.copy(), np.ones((count, 5))
        lost = rng.integers(0, 5, count)
        seen[np.arange(count), lost], height[np.arange(count), lost] = 0.0, 0.1
        return tuple(torch.as_tensor(a, dtype=torch.float32) for a in (seen, height, true))

    for _ in range(150):
        seen, height, true = films_of(64)
        loss = (corrector(seen, height) - true).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seen, height, true = films_of(200)
    before, after = ((p - true).norm(dim=-1).mean() for p in (seen, corrector(seen, height)))
    assert after < 0.5 * before


def test_no_maps_cost_one_and_right_maps_nothing() -> None:
    cells = torch.tensor([[[20.0, 20.0], [30.0, 60.0]]])
    plan = replace(TINY, spread=1.5, background=1.0)
    wanted = targets(cells, (96, 48), plan)
    assert wanted[0, 0, 20, 20] == 1
    assert wanted[0, 2, 20, 20] == 0
    assert wanted[0, 2, 0, 0] == 1
    assert targets(cells, (96, 48), replace(plan, background=0.0))[0, 2, 20, 20] == -1
    nothing = wanted.clone()
    nothing[:, :2] = 0
    square, apart = image_loss(nothing, wanted, plan.spread)
    assert float(square) == pytest.approx(1.0, abs=0.01)
    assert float(apart) > 0
    assert all(float(part) == pytest.approx(0.0, abs=1e-4)
               for part in image_loss(wanted, wanted, plan.spread))  # fmt: skip


def test_films_with_nothing_to_find_have_no_places_to_be_right_about() -> None:
    network = FilmLabelNetwork(**TINY.architecture(LEVELS)["params"])
    batch = {"canvas": torch.randn(2, 1, 128, 64), "cells": torch.full((2, LEVELS, 2), np.nan)}
    loss, parts = label_loss(network, batch, TINY)
    loss.backward()
    assert parts["place"] == 0
    assert all(np.isfinite(value) for value in parts.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("turns", [(), (0.0, 2.0, -2.0, 5.0, -5.0)])
def test_the_centres_go_with_the_warped_film(films: Path, turns: tuple[float, ...]) -> None:
    from spineseg.training.film_data import read_items

    _, cases = label_cases(films, "ap")
    items = read_items(cases, Progress())
    plan = replace(TINY, canvas=(512, 256), stride=4, films=3, metal=0, wrong=0, turns_deg=turns)
    batches = LabelBatches(items, [], FilmLabelTraining(plan=plan))
    batch, again = batches.batch(1), batches.batch(1)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    centres = (batch["cells"].numpy() + 0.5) * 4 - 0.5
    brighter = []
    for image, points in zip(batch["canvas"][:, 0].numpy(), centres):
        between = (points[1:] + points[:-1]) / 2
        for k in range(3, 14):
            (x, y), (u, v) = np.rint(points[k]).astype(int), np.rint(between[k]).astype(int)
            if 2 < x < 253 and 2 < u < 253 and 2 < y < 509 and 2 < v < 509:
                here, there = image[y - 2 : y + 3, x - 2 : x + 3], image[v, u - 2 : u + 3]
                brighter.append(here.mean() > there.mean())
    assert len(brighter) > 20
    assert np.mean(brighter) > 0.85  # noise and drawn patches hide a few


def test_a_network_learns_where_the_levels_are(films: Path) -> None:
    from spineseg.training.film_data import read_items

    torch.manual_seed(0)
    _, cases = label_cases(films, "ap")
    plan = replace(TINY, metal=0, wrong=0, turns_deg=(0.0,))
    batch = LabelBatches(
        read_items(cases[:2], Progress()), [], FilmLabelTraining(plan=plan)
    ).batch(0)  # fmt: skip
    network = FilmLabelNetwork(**plan.architecture(LEVELS)["params"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    figures = []
    for _ in range(80):
        loss, parts = label_loss(network, batch, plan)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        figures.append(parts)
    assert figures[-1]["gaussian"] < 0.8  # 1 is a network that finds nothing
    assert figures[-1]["cells"] < 1.0
    assert figures[-1]["rough_cells"] < 0.2 * figures[0]["rough_cells"]


class Perfect:
    """Knows where the levels lie on one prepared film, and sees nothing on others."""

    def __init__(self, picture: Picture, centres: np.ndarray) -> None:
        scale, offset = canvas_scale(picture)
        self.array = picture.array
        cells = (centres * scale + offset + 0.5) / 4 - 0.5
        self.heat = targets(torch.as_tensor(cells, dtype=torch.float32)[None], (128, 64), TINY)
        size = np.array([64, 128])
        self.places = torch.as_tensor((cells + 0.5) / size * 2 - 1, dtype=torch.float32)[None]

    def parameters(self) -> object:
        return iter([torch.zeros(1)])

    def __call__(self, canvas: torch.Tensor) -> Labelled:
        image, *_ = film_labels.canvas_image(Picture(self.array, np.ones(2)))
        alike = torch.cosine_similarity(canvas.flatten(), image.flatten(), dim=0) > 0.9
        return Labelled(self.heat * alike, self.places * 0.5, self.places)


@pytest.mark.parametrize("turn", [Turn(), Turn(1), Turn(2, True)])
def test_a_film_is_labelled_as_it_lies(monkeypatch: pytest.MonkeyPatch, turn: Turn) -> None:
    film, corners = drawn_film(4)
    upright = prepare(film)
    centres = centres_of(corners)
    network = Perfect(upright, upright.from_film(centres))
    known = Trained(network, NAMES, (512, 256), 1.5)
    monkeypatch.setattr(film_labels, "load", lambda *_: known)
    back = Turn((4 - turn.quarters) % 4, turn.negative)
    lying = back.apply(Picture(film.array, np.ones(2)))
    # Turn.back says where points of the upright film lie on the turned one.
    wanted = turn.back(centres, lying)
    given = Film(lying.array, spacing_mm=(0.5, 0.5), view="ap")
    found = predict(given, Settings(), Progress())
    assert found.levels == NAMES
    assert np.abs(found.centres_px - wanted).max() < 1.5
    assert min(found.confidence) > 0.8
    assert found.centres_mm is not None
    np.testing.assert_allclose(found.centres_mm, found.centres_px * 0.5)
    assert bool(found.warnings) == (turn != Turn())
    assert found.to_json()["levels"][0]["level"] == "T1"


def test_places_without_a_peak_are_unsure_and_no_spine_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film, corners = drawn_film(4)
    picture = prepare(film)
    network = Perfect(picture, picture.from_film(centres_of(corners)))
    network.places = network.places.clone()
    network.places[0, 5, 0] += 0.4
    monkeypatch.setattr(film_labels, "load", lambda *_: Trained(network, NAMES, (512, 256), 1.5))
    found = predict(film, Settings(view="ap"), Progress())
    assert found.confidence[5] < 0.05
    assert any("T6" in text and "Unsure" in text for text in found.warnings)
    blank = Film(np.full_like(film.array, 90) + (np.arange(320) % 7).astype(np.uint8))
    with pytest.raises(InputError, match="No spine is seen"):
        predict(blank, Settings(view="ap"), Progress())
    # Faint places all over the film, as on a photograph: refused, unless that is not wanted.
    network.heat, network.places = 0.2 * network.heat, network.places.flip(1)
    with pytest.raises(InputError, match="No spine is seen"):
        predict(film, Settings(view="ap"), Progress())
    assert "Not one below" in predict(film, Settings(view="ap", nothing=0), Progress()).warnings[-1]


def test_levels_come_from_the_header(films: Path, tmp_path: Path) -> None:
    levels, cases = label_cases(films, "ap")
    assert levels == NAMES
    assert len(cases) == 6
    called = ["C6", "C7", "T1", "S1"]
    names = [f"{n}_{c}_{a}" for n in called for c in ("ul", "ur", "ll", "lr") for a in "xy"]
    values = np.arange(len(names)).astype(float) + np.repeat([0, 50, 100, 150], 8)
    cells = [f"{v}" for v in values[:-4]] + [""] * 4
    name = cases[0].path.name
    (tmp_path / name).write_bytes(cases[0].path.read_bytes())
    (tmp_path / "landmarks.csv").write_text(
        f"file,{','.join(names)}\n{name},{','.join(cells)}\n", encoding="utf-8"
    )
    (tmp_path / "films.csv").write_text(f"file,spacing_mm\n{name},0.4\n", encoding="utf-8")
    (only,) = find_film_truths(tmp_path)
    assert (only.view, only.levels) == ("ap", ("C6", "C7", "T1", "sacrum"))
    assert only.spacing_mm == 0.4
    assert label_cases(tmp_path, "ap")[0] == only.levels  # one endplate is enough
    chosen, (digital,) = label_cases(tmp_path, "ap", ("C7", "T1"))
    assert chosen == digital.levels == ("C7", "T1")
    with pytest.raises(InputError, match="all levels"):
        label_cases(tmp_path, "ap", NAMES)


def test_lists_that_begin_too_late_are_no_truth() -> None:
    _, corners = drawn_film(2)
    truth = FilmTruth(Path("a.png"), "ap", NAMES, corners)
    assert in_order(truth)
    assert not in_order(replace(truth, corners_px=np.roll(corners, -1, axis=0)))
    assert not in_order(replace(truth, corners_px=corners[::-1]))
    twice = corners.copy()
    twice[6] = twice[5]
    assert not in_order(replace(truth, corners_px=twice))
    (row,) = score_film(
        replace(truth, corners_px=np.roll(corners, -1, axis=0)), Settings(), Progress()
    )
    assert row["kind"] == "disordered"
    line = summary([{"case": "a.png", **row}])[0]
    assert (line["films"], line["disordered_films"], line["vertebrae"]) == (0, 1, 0)


def test_shifted_levels_are_counted_and_distances_measured() -> None:
    _, corners = drawn_film(3)
    centres = centres_of(corners)
    height = np.linalg.norm(corners[:, :2].mean(axis=1) - corners[:, 2:].mean(axis=1), axis=1)
    moved = centres.copy()
    moved[:2] = centres[1:3]  # both named one too high
    moved[9, 0] += 0.5 * height[9]
    moved[12, 0] += 60.0  # beside the spine, and still nearest to its own
    found = FilmLevels(NAMES, moved, (0.9,) * 17)
    rows = compare(NAMES, corners, found, (0.5, 0.5))
    assert [r["identified"] for r in rows] == [False] * 2 + [True] * 15
    assert [r["identified_20mm"] for r in rows] == [n not in (0, 1, 12) for n in range(17)]
    assert rows[0]["nearest"] == "T2"
    assert rows[9]["error_heights_percent"] == pytest.approx(50.0)
    assert rows[9]["error_mm"] == pytest.approx(0.25 * height[9])
    unscaled = compare(NAMES, corners, found)
    assert unscaled[12]["error_mm"] is None
    assert not unscaled[12]["identified_20mm"]  # 60 px are more than 0.7 steps
    fewer = FilmLevels(NAMES[1:], centres[1:], (0.9,) * 16)
    assert "identified" not in compare(NAMES, corners, fewer)[0]
    plates = corners.copy()
    plates[-1, 2:] = np.nan
    assert compare(NAMES, plates, found)[-1]["error_heights_percent"] > 0


def test_a_training_leaves_weights_card_and_figures(trained: Path, films: Path) -> None:
    card = load_card("film-labels-ap", trained / "models")
    assert card.outputs["classes"] == [*NAMES, "background"]
    assert card.training_data[0]["n"] == 4
    assert "film-labels --data DATA --view ap" in card.command
    figures = {(row["data"].endswith("alone"), row["metric"]): row for row in card.results}
    assert figures[False, "identified_percent"]["n"] == 2
    assert 0 <= figures[True, "identified_percent"]["value"] <= 100
    assert card.method == registry.FILM_LABELS
    assert registry.get(card.method).load() is film_labels
    with pytest.raises(InputError, match="holds that training"):
        fit(films, {"output": trained, "plan": TINY}, Progress())
    with pytest.raises(InputError, match="--data"):
        fit(None, {"output": trained / "other"}, Progress())
    before = (trained / "film-labels-ap/checkpoint.json").read_text()
    options = {"output": trained, "resume": True, "hours": 3 / 3600, "fold": 0, "plan": TINY}
    fit(films, options, Progress())
    assert (trained / "film-labels-ap/checkpoint.json").read_text() != before


def test_films_are_labelled_and_evaluated(trained: Path, films: Path, tmp_path: Path) -> None:
    settings = Settings(models=str(trained / "models"), view="ap", nothing=0.0)
    film = read_film(films / "images" / "film0.png")
    found = predict(film, settings, Progress())
    assert found.levels == NAMES
    assert found.models == ("film-labels-ap",)
    output = tmp_path / "levels.csv"
    done = evaluate_films(films, output, settings, fold=0)
    with output.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 17
    assert {row["kind"] for row in rows} == {"vertebra"}
    share = np.mean([row["identified"] == "1" for row in rows])
    assert done.summary[0]["identified_percent"] == pytest.approx(100 * share)
    assert [line["group"] for line in done.summary] == ["all vertebrae", "thoracic", "lumbar"]
    again = evaluate_films(films, output, settings, fold=0, resume=True)
    assert len(again.notes) == 2
    assert again.summary[0]["identified_percent"] == done.summary[0]["identified_percent"]
    refused = evaluate_films(films, tmp_path / "no.csv", replace(settings, nothing=1.0))
    assert refused.summary[0]["failed_films"] == 6
    assert refused.summary[0]["identified_percent"] == 0
    with pytest.raises(InputError, match="no lateral films"):
        evaluate_films(films, output, replace(settings, view="lateral"))
    with pytest.raises(WeightsError):
        evaluate_films(films, output, replace(settings, models=str(tmp_path)))


def test_wrong_options_are_said() -> None:
    with pytest.raises(InputError, match="no view"):
        FilmLabelTraining(view="oblique")
    with pytest.raises(InputError, match="no preset"):
        FilmLabelTraining(preset="huge")
    with pytest.raises(InputError, match="no fold"):
        FilmLabelTraining(fold=5)
    with pytest.raises(ValueError, match="view"):
        Settings(view="oblique")


def test_the_commands_take_their_options(trained: Path, films: Path, tmp_path: Path) -> None:
    runner, output = CliRunner(), tmp_path / "levels.csv"
    line = ["evaluate", "films", str(films), "-o", str(output), "--fold", "0"]
    done = runner.invoke(app, [*line, "--models", str(trained / "models"), "--unet"])
    assert done.exit_code in (0, 2), done.output  # a moment's training may see no spine
    assert output.is_file()
    assert (tmp_path / "levels.summary.csv").is_file()
    wrong = runner.invoke(app, [*line, "--view", "oblique"])
    assert wrong.exit_code == 2
    given = {"preset": "paper", "fold": 1, "view": "lateral", "digital": films, "target": None}
    assert trainer("film-labels", given) is fit
    with pytest.raises(InputError, match="no --target"):
        trainer("film-labels", {**given, "target": "body"})
    with pytest.raises(InputError, match="no lateral films"):
        fit(films, {"output": tmp_path, "view": "lateral"}, Progress())
