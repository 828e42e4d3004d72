"""The training of film networks: where it begins, its data, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from spineseg import registry
from spineseg.errors import InputError
from spineseg.methods import cobb_landmarks
from spineseg.methods.film_chain import LEVELS
from spineseg.networks.film_unet import FilmNetworks
from spineseg.progress import Progress
from spineseg.training.film_data import FilmItem, film_cases, folds_of, proportions, read_items
from spineseg.training.film_losses import film_loss
from spineseg.training.films import FilmBatches, FilmTraining, begin_from, blended, fit, split
from spineseg.weights import load_card
from tinyfilm import drawn_film, drawn_items, film_folder

SMALL = {"find_filters": (8, 16, 16, 16, 16), "corner_filters": (8, 16, 16)}


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(3)


def test_blended_weights_are_the_mean_of_those_that_both_have(tmp_path: Path) -> None:
    one = {"a": torch.tensor([1.0, 3.0]), "n": torch.tensor(4), "own": torch.ones(2)}
    other = {"a": torch.tensor([2.0, 5.0]).half(), "n": torch.tensor(8), "own": torch.ones(3)}
    found = blended(one, other)
    assert found["a"].tolist() == [1.5, 4.0]
    assert (int(found["n"]), len(found["own"])) == (4, 2)
    with pytest.raises(InputError, match="blend"):
        FilmTraining(blend=True, start=tmp_path)


def test_lateral_networks_begin_from_frontal_ones() -> None:
    frontal = FilmNetworks(**SMALL)
    lateral = FilmNetworks(**SMALL, vertebrae=24)
    before = lateral.state_dict()["find.output_block.conv.conv.weight"].clone()
    count = begin_from(lateral, {k: v.half() for k, v in frontal.state_dict().items()})
    after = lateral.state_dict()
    # All but the places of the levels, and the spine's proportions and tilts.
    assert count == len(after) - 6
    assert torch.equal(after["find.output_block.conv.conv.weight"], before)
    same = "corners.input_block.conv1.conv.weight"
    assert torch.equal(after[same], frontal.state_dict()[same].half().float())


def test_folds_keep_patients_together() -> None:
    patients = [str(n // 3) for n in range(30)]
    folds = folds_of(patients)
    assert sorted(np.bincount(folds)) == [6] * 5
    assert all(len({f for f, p in zip(folds, patients) if p == name}) == 1 for name in patients)


def test_data_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no films"):
        film_cases(tmp_path)
    (tmp_path / "films.csv").write_text("file,patient\na.png,1\n", encoding="utf-8")
    (tmp_path / "landmarks.csv").write_text("file,v01_ul_x\na.png,three\n", encoding="utf-8")
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match="can't be read"):
        film_cases(tmp_path)
    with pytest.raises(InputError, match="fold"):
        FilmTraining(fold=7)


def test_the_networks_learn(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    _, ratio = proportions(items)
    plan = FilmTraining(films=1, windows=2, **SMALL)  # type: ignore[arg-type]
    batches = FilmBatches(items, [], ratio, plan)
    first, again = batches.batch(0), batches.batch(0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    batch = next(b for b in map(batches.batch, range(20)) if b["right"].all())
    network = FilmNetworks(**SMALL)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    parts = []
    for _ in range(7):
        loss, figures = film_loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        parts.append(figures)
    for name in ("find", "seen", "heat", "error"):
        assert parts[-1][name] < 0.97 * parts[0][name], name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of a moment, on films of its own."""
    folder = tmp_path_factory.mktemp("films")
    data = film_folder(folder / "xray_ap", 6)
    options = {"output": folder / "out", "hours": 1 / 3600, "fold": 0, "films": 1, "windows": 2}
    fit(data.parent, {**options, **SMALL}, Progress())
    return folder


def test_a_training_leaves_weights_card_and_figures(trained: Path) -> None:
    card = load_card("cobb-landmarks", trained / "out/models")
    assert "research use" in card.training_data[0]["terms"]
    assert card.training_data[0]["n"] == 4
    figures = {row["metric"]: row for row in card.results}
    assert figures["smape_percent"]["n"] == 2
    assert card.method in registry.names(registry.COBB)
    with pytest.raises(InputError, match="holds that training"):
        fit(trained, {"output": trained / "out"}, Progress())
    with pytest.raises(InputError, match="--data"):
        fit(None, {"output": trained / "other"}, Progress())


def test_items_are_read_as_they_were_drawn(trained: Path) -> None:
    learned, kept = split(film_cases(trained), 0)
    assert {c.patient for c in learned}.isdisjoint(c.patient for c in kept)
    item = read_items(kept[:1], Progress())[0]
    _, corners = drawn_film(int(item.name.removeprefix("film")))
    assert np.abs(item.picture.to_film(item.corners) - corners).max() < 0.02


def test_every_film_gets_seventeen_vertebrae(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cobb_landmarks, "_NOTHING", 0.0)
    chosen = registry.get("cobb-landmarks").settings(
        models=str(trained / "out/models"), device="cpu"
    )
    film, _ = drawn_film(9)
    found = registry.get("cobb-landmarks").predict(film, chosen, Progress())
    assert found.levels == LEVELS
    assert found.corners_px is not None
    assert found.corners_px.shape == (17, 4, 2)
    assert np.isfinite(found.corners_px).all()
    assert (np.diff(found.corners_px.mean(axis=1)[:, 1]) > 0).all() or found.warnings
    monkeypatch.setattr(cobb_landmarks, "_NOTHING", 1.0)
    with pytest.raises(InputError, match="No spine is seen"):
        cobb_landmarks.predict(film, chosen, Progress())
