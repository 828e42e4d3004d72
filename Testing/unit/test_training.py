"""Training: pools, samples, losses, the loop and what it leaves behind, on tiny things."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from spineseg.errors import CancelledError, InputError
from spineseg.io.images import write_volume
from spineseg.methods.classes import OFFSET_MM, CoarseClass, FineClass
from spineseg.networks.residual_unet import ResidualUNet
from spineseg.phantom.generate import generate
from spineseg.phantom.settings import PhantomSettings
from spineseg.progress import CancelToken, Progress
from spineseg.training import pool as pools
from spineseg.training import vertebra
from spineseg.training.export import command_of, export, training_data
from spineseg.training.loop import LoopSettings, Trainer
from spineseg.training.losses import dice_loss, offset_loss, set_cross_entropy
from spineseg.training.real import (
    LabelSource,
    add_real,
    body_centre,
    load_source,
    pressed,
    to_verse,
)
from spineseg.training.samples import NO_VERTEBRA, SOME_VERTEBRA, make_sample
from spineseg.volume import Volume
from spineseg.weights import load_card, load_state

SIZE = (32, 32, 32)
MODELS = Path(pools.__file__).parents[1] / "models"


@pytest.fixture(scope="module")
def fine_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "fine"
    for seed in (1, 2):
        pools.save_item(pools.draw_fine(seed, (48, 48, 48)), folder_made(folder) / f"patient{seed}")
    return folder


def folder_made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_items_come_back_as_they_were_saved(tmp_path: Path) -> None:
    item = pools.draw_fine(3, (32, 32, 32))
    pools.save_item(item, tmp_path / "patient3")
    again = pools.load_item(pools.item_paths(tmp_path)[0])
    assert np.array_equal(again.layers, item.layers)
    assert again.centres == item.centres
    assert again.exact
    assert again.image is None


def test_some_patients_have_fractures_side_by_side() -> None:
    rng = np.random.default_rng(0)
    counts = [len(pools.random_settings(rng).fractures) for _ in range(200)]
    assert 0.25 < np.mean(np.array(counts) >= 4) < 0.5
    assert 0.25 < np.mean(np.array(counts) == 0) < 0.5


def test_filling_a_pool_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "draw_fine", lambda seed: pools.Item(
        np.full((4, 2, 2, 2), seed, np.uint8), {}, True))  # fmt: skip
    assert list(pools.fill(tmp_path, "fine", 2)) == [1, 2]
    first = pools.item_paths(tmp_path)[0].with_suffix(".npy").stat().st_mtime_ns
    list(pools.fill(tmp_path, "fine", 3))
    assert len(pools.item_paths(tmp_path)) == 3
    assert pools.item_paths(tmp_path)[0].with_suffix(".npy").stat().st_mtime_ns == first


def test_every_second_patient_of_a_scoliotic_pool_has_a_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = []

    def draw(seed: int, cobb_deg: float | None = None) -> pools.Item:
        curves.append(cobb_deg)
        return pools.Item(np.zeros((4, 2, 2, 2), np.uint8), {}, True)

    monkeypatch.setattr(pools, "draw_fine", draw)
    list(pools.fill(tmp_path, "scoliotic", 40))
    assert curves[::2] == [None] * 20
    assert all(curve is not None and 20 <= curve <= 90 for curve in curves[1::2])
    assert len(set(curves[1::2])) == 20


def test_the_curve_that_is_asked_for_bends_the_spine() -> None:
    straight = pools.draw_fine(3, (64, 64, 64), cobb_deg=5.0)
    bent = pools.draw_fine(3, (64, 64, 64), cobb_deg=80.0)

    def tilt(item: pools.Item) -> float:
        """Largest sideways step between neighbours' centres, per voxel of height."""
        centres = np.array([item.centres[label] for label in sorted(item.centres)])
        steps = np.abs(np.diff(centres, axis=0))
        return float((steps[:, 0] / np.maximum(steps[:, 2], 1e-6)).max())

    assert tilt(bent) > 3 * tilt(straight)


def test_offsets_point_at_the_centre_of_the_vertebra(fine_pool: Path) -> None:
    item = pools.load_item(pools.item_paths(fine_pool)[0])
    rng = np.random.default_rng(5)
    for _ in range(4):
        sample = make_sample(item, SIZE, 1.5, "fine", rng)
        inside = np.isin(sample.target, (FineClass.BODY, FineClass.POSTERIOR))
        assert sample.image.shape == (2, *SIZE)
        assert np.isfinite(sample.image).all()
        assert not sample.offsets[:, ~inside].any()
        if not inside.any():
            continue
        k, j, i = np.nonzero(inside)
        aims = np.stack([i, j, k], axis=1) + sample.offsets[:, k, j, i].T * OFFSET_MM / 1.5
        # All voxels of one vertebra aim at one point, so there are as many points as vertebrae.
        points = np.unique(np.rint(aims * 4), axis=0)
        assert len(points) <= 2 * len(item.centres)


def test_coarse_targets_tell_regions_apart() -> None:
    item = pools.draw_coarse(4)
    rng = np.random.default_rng(0)
    seen: set[int] = set()
    for _ in range(12):
        seen |= set(np.unique(make_sample(item, (48, 48, 48), 4.0, "coarse", rng).target).tolist())
    assert seen >= {CoarseClass.THORACIC, CoarseClass.LUMBAR, CoarseClass.CANAL, CoarseClass.RIB}
    assert seen <= {int(c) for c in CoarseClass}


def test_a_set_of_classes_costs_what_its_members_cost_together() -> None:
    logits = torch.randn(1, 7, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(1)
    some = torch.full((1, 2, 2, 2), SOME_VERTEBRA)
    want = -(p[:, 1] + p[:, 2]).log().mean()
    assert torch.isclose(set_cross_entropy(logits, some, 7), want, atol=1e-5)
    none = torch.full((1, 2, 2, 2), NO_VERTEBRA)
    want = -(1 - p[:, 1] - p[:, 2]).log().mean()
    assert torch.isclose(set_cross_entropy(logits, none, 7), want, atol=1e-5)
    plain = torch.randint(0, 7, (1, 2, 2, 2), generator=torch.Generator().manual_seed(1))
    want = torch.nn.functional.cross_entropy(logits, plain)
    assert torch.isclose(set_cross_entropy(logits, plain, 7), want, atol=1e-5)


def test_a_right_answer_costs_next_to_nothing() -> None:
    target = torch.randint(0, 7, (1, 8, 8, 8), generator=torch.Generator().manual_seed(2))
    logits = torch.nn.functional.one_hot(target, 7).permute(0, 4, 1, 2, 3).float() * 30
    assert dice_loss(logits, target, 7, fine=True) < 1e-2
    assert dice_loss(-logits, target, 7, fine=True) > 0.8
    offsets = torch.randn(1, 3, 8, 8, 8)
    assert offset_loss(offsets, offsets, target) == 0
    assert offset_loss(offsets + 1, offsets, target) > 0.5


def _trainer(pool: Path, folder: Path, hours: float) -> Trainer:
    torch.manual_seed(0)
    settings = vertebra.TrainSettings(patch=(16, 16, 16), batch=1, hours=hours)
    sampler = vertebra.Sampler(pool, "fine", settings, 0)
    network = ResidualUNet(2, vertebra.OUTPUTS["fine"], (4, 8))
    loop = LoopSettings(hours=hours, batch=1, rate=5e-3)
    return Trainer(network, vertebra.segmentation_loss("fine"), sampler.batch, loop, folder, "cpu")


def test_training_learns_keeps_its_place_and_goes_on(fine_pool: Path, tmp_path: Path) -> None:
    first = _trainer(fine_pool, tmp_path, hours=4 / 3600)
    first.run()
    assert first.step > 0
    state = json.loads((tmp_path / "checkpoint.json").read_text())
    assert state["step"] == first.step
    again = _trainer(fine_pool, tmp_path, hours=6 / 3600)
    average = again.run()
    assert again.step > first.step
    assert all(torch.isfinite(v).all() for v in average.values())
    if again.step >= 40:
        with (tmp_path / "log.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert float(rows[-1]["entropy"]) < 2.0


def test_cancelling_a_training_stops_it_at_the_next_step(fine_pool: Path, tmp_path: Path) -> None:
    token = CancelToken()
    steps = []

    def seen(stage: str, fraction: float, text: str) -> None:
        steps.append(text)
        token.cancel()

    with pytest.raises(CancelledError):
        _trainer(fine_pool, tmp_path, hours=1.0).run(Progress(seen, token))
    assert len(steps) == 1


def test_a_checkpoint_of_another_network_is_refused(fine_pool: Path, tmp_path: Path) -> None:
    _trainer(fine_pool, tmp_path, hours=1 / 3600).run()
    other = _trainer(fine_pool, tmp_path, hours=1.0)
    other.network = ResidualUNet(2, 10, (4, 8, 8))
    with pytest.raises(InputError, match="another network"):
        other.run()


def test_what_is_exported_loads_with_its_card(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResidualUNet(2, vertebra.OUTPUTS["fine"], vertebra.WIDTHS["fine"])
    rows = training_data("fine", 3, {"verse004_t9_l5_vertebrae": 2})
    results = [{"data": "none", "metric": "Dice", "value": 0.0, "n": 1}]
    export("fine", network.state_dict(), vertebra.TrainSettings(), rows, results,
           "spineseg train vertebra-unet -o FOLDER", tmp_path)  # fmt: skip
    card = load_card("vertebra-fine", tmp_path)
    assert card.size_bytes < 10_000_000
    assert any("CC BY-SA" in row["terms"] for row in card.training_data)
    again = ResidualUNet(**card.architecture["params"])
    again.load_state_dict(load_state("vertebra-fine", tmp_path))


def test_numberings_become_verse_ids() -> None:
    assert to_verse(np.array([24, 1, 0]), "c1-is-24").tolist() == [1, 24, 0]
    assert to_verse(np.array([27, 31, 32, 50, 26]), "totalsegmentator").tolist() == [
        24,
        20,
        19,
        1,
        0,
    ]
    assert to_verse(np.array([20, 28, 26]), "verse").tolist() == [20, 28, 0]
    with pytest.raises(InputError, match="numbering"):
        to_verse(np.array([1]), "mine")


def test_the_thickest_part_of_a_vertebra_is_its_body() -> None:
    mask = np.zeros((30, 60, 40), dtype=bool)
    mask[8:22, 34:56, 8:32] = True  # body
    mask[13:17, 4:34, 18:22] = True  # process
    centre = body_centre(mask)
    assert np.abs(centre - [14.5, 44.5, 19.5]).max() < 1.5


def test_real_label_maps_become_windows_of_the_pool(tmp_path: Path) -> None:
    labels = np.zeros((60, 60, 50), dtype=np.uint8)
    for n, label in enumerate((20, 21)):
        labels[8 + 24 * n : 26 + 24 * n, 26:48, 12:38] = label
    labels = labels[::-1]  # from the top downwards, as RAS has it
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    path = tmp_path / "verse_vertebrae.nii.gz"
    write_volume(Volume(np.ascontiguousarray(labels), affine), path)
    names = list(add_real(tmp_path / "pool", [LabelSource(path)], 2, shape=(32, 32, 32)))
    assert len(names) == 2
    item = pools.load_item(pools.item_paths(tmp_path / "pool")[0])
    assert not item.exact
    assert set(np.unique(item.layers[1])) & {20, 21}
    sample = make_sample(item, (16, 16, 16), 1.5, "fine", np.random.default_rng(0))
    assert set(np.unique(sample.target)) <= {0, SOME_VERTEBRA, NO_VERTEBRA}


def test_a_labelled_scan_is_shown_with_vertebrae_pressed_together(tmp_path: Path) -> None:
    patient = generate(
        PhantomSettings(
            spacing_mm=2.0, levels=("T12", "L3"), cobb_deg=5.0, degeneration=0.1, torso=False,
            margin_mm=(40.0, 50.0, 10.0),
        ),
        31,
    )  # fmt: skip
    write_volume(patient.vertebrae, tmp_path / "labels.nii.gz")
    write_volume(patient.ct, tmp_path / "ct.nii.gz")
    source = LabelSource(tmp_path / "labels.nii.gz", image=tmp_path / "ct.nii.gz", name="case")
    assert pressed(LabelSource(tmp_path / "labels.nii.gz"), 2) == []
    first, second = pressed(source, 2)
    assert (first.name, second.name) == ("case-pressed1", "case-pressed2")
    whole, low = load_source(source), load_source(first)
    sizes = {n: (low.ids == n).sum() / (whole.ids == n).sum() for n in whole.centres}
    assert min(sizes.values()) < 0.92
    for label, centre in whole.centres.items():
        assert low.centres[label] == pytest.approx(centre)
    assert low.image is not None
    assert whole.image is not None
    assert (low.image != whole.image).any()


def test_the_fine_network_goes_on_from_weights_that_ship(fine_pool: Path, tmp_path: Path) -> None:
    settings = vertebra.TrainSettings(
        patch=(16, 16, 16), batch=1, hours=0.0, start=MODELS, stages=("fine",)
    )
    weights = vertebra.train_stage("fine", fine_pool, tmp_path, settings, Progress())
    shipped = load_state("vertebra-fine", MODELS)
    assert all(torch.equal(weights[name], value.float()) for name, value in shipped.items())


def test_stages_are_chosen_by_name(tmp_path: Path) -> None:
    settings, _, _ = vertebra.chosen_settings({"output": tmp_path, "stage": "fine"})
    assert settings.stages == ("fine",)
    assert "--stage fine" in command_of(settings, False)
    with pytest.raises(InputError, match="coarse or fine"):
        vertebra.chosen_settings({"output": tmp_path, "stage": "instance"})


@pytest.mark.slow
def test_the_whole_training_leaves_two_models_that_load(tmp_path: Path) -> None:
    options = {"output": tmp_path, "hours": 2 / 3600, "patients": 1, "device": "cpu"}
    written = vertebra.fit(None, options)
    assert [p.stem for p in written] == ["vertebra-coarse", "vertebra-fine"]
    for name in ("vertebra-coarse", "vertebra-fine"):
        card = load_card(name, tmp_path / "models")
        assert card.training_data[0]["n"] == 1
        assert load_state(name, tmp_path / "models")
    with pytest.raises(InputError, match="resume"):
        vertebra.fit(None, options)


def test_the_terminal_says_which_real_scans_are_learned_from(tmp_path: Path, monkeypatch) -> None:
    from spineseg.cli import app
    from spineseg.training import vertebra
    from typer.testing import CliRunner

    seen: dict = {}
    monkeypatch.setattr(vertebra, "fit", lambda data, options, progress: seen.update(options))
    words = ["train", "vertebra-unet", "-o", str(tmp_path / "out"), "--data", str(tmp_path)]
    words += ["--real-scans", "--hold-out", "verse014", "--hold-out", "tptbox"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    settings, _, _ = vertebra.chosen_settings(seen)
    assert settings.real_images
    assert settings.hold_out == ("verse014", "tptbox")
    command = command_of(settings, True)
    assert "--real-scans --hold-out verse014 --hold-out tptbox" in command


def test_the_papers_networks_refuse_real_scans(tmp_path: Path) -> None:
    from spineseg.training.click import fit

    with pytest.raises(InputError, match="without real scans"):
        fit(None, {"output": tmp_path, "preset": "paper", "real_images": True}, Progress())
