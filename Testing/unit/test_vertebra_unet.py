"""The method from scan to vertebrae, with networks that are made by hand or not trained at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import blockspine
import numpy as np
import psutil
import pytest
import torch
from spineseg.errors import CancelledError, InputError, WeightsError
from spineseg.grid import Grid
from spineseg.labels import FIRST_UNSURE
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.loading import load_network
from spineseg.methods.vertebra_unet import (
    COARSE,
    FINE,
    Settings,
    predict,
    run,
)
from spineseg.networks.residual_unet import ResidualUNet
from spineseg.progress import CancelToken, Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume
from spineseg.weights import ModelCard, save_model

CPU = torch.device("cpu")


def straight_grid(spacing: float = 1.5, above: float = 30.0, below: float = 170.0) -> Grid:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [-50, -70, -below]
    shape = (int((above + below) / spacing), int(110 / spacing), int(100 / spacing))
    return Grid(shape, affine)


def segmented(scene: blockspine.Scene, **changes) -> SegmentationResult:
    coarse, fine = blockspine.networks()
    return run(scene.scan, coarse, fine, Settings(**changes), Progress(), CPU)


def check(result: SegmentationResult, scene: blockspine.Scene, least: float = 0.9) -> None:
    labels = result.segmentation
    assert labels.dtype == np.uint8
    assert labels.grid.same_as(scene.scan.grid)
    n = len(scene.centers)
    # Neither ribs nor sacrum are in view: no level may be invented.
    assert [v.label for v in result.vertebrae] == [FIRST_UNSURE + m for m in range(n)]
    assert all(v.level is None for v in result.vertebrae)
    for number, (vertebra, center) in enumerate(
        zip(result.vertebrae, scene.centers, strict=True), start=1
    ):
        overlap = blockspine.dice(labels.array == vertebra.label, scene.truth.array == number)
        assert overlap > least, f"vertebra {number}: {overlap:.3f}"
        assert np.linalg.norm(np.array(vertebra.centroid) - center) < 3.0
        assert 0 <= vertebra.confidence <= 1
    assert set(np.unique(labels.array)) == {0, *(v.label for v in result.vertebrae)}


@pytest.mark.parametrize("refine", [True, False])
def test_a_straight_spine(refine: bool) -> None:
    scene = blockspine.draw(straight_grid())
    result = segmented(scene, refine=refine)
    check(result, scene, 0.94 if refine else 0.9)
    assert all(v.complete for v in result.vertebrae)
    assert any("unsure" in warning for warning in result.warnings)
    assert set(result.timings) == {"coarse", "fine", "vertebrae", "outline"}
    assert result.settings["refine"] is refine
    bodies = result.bodies.array != 0
    truth = (scene.scan.array == blockspine.BODY) & (scene.truth.array > 0)
    # The hand-made network takes a body's outer shell, half as bright by partial volume, for arch.
    assert blockspine.dice(bodies, truth) > 0.85


def test_an_oblique_scan_of_other_spacing_gives_the_same_vertebrae() -> None:
    scene = blockspine.draw(blockspine.oblique_grid())
    check(segmented(scene), scene, 0.88)


def test_the_order_of_the_scans_axes_does_not_matter() -> None:
    scene = blockspine.draw(straight_grid(2.0))
    plain = segmented(scene)
    turned = blockspine.draw(scene.scan.reoriented("PIL").grid)
    result = segmented(turned)
    check(result, turned)
    back = result.segmentation.reoriented("RAS").array
    assert blockspine.dice(back > 0, plain.segmentation.array > 0) > 0.99


def test_bone_far_from_the_canal_is_left_out() -> None:
    affine = straight_grid(2.0).affine
    grid = Grid((100, 55, 115), affine)
    scene = blockspine.draw(grid, femur=True)
    assert (scene.scan.array[:, :, 75:] == blockspine.BODY).sum() > 1000
    result = segmented(scene)
    check(result, scene)
    assert not result.segmentation.array[:, :, 75:].any()


def test_vertebrae_cut_by_the_field_of_view_say_so() -> None:
    scene = blockspine.draw(straight_grid(above=3.0, below=131.0))
    result = segmented(scene)
    assert [v.complete for v in result.vertebrae] == [False, True, True, True, False]
    assert any("cut by the edge of the scan" in warning for warning in result.warnings)


def test_thick_slices_are_segmented_and_doubted() -> None:
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    affine[:3, 3] = [-50, -70, -170]
    scene = blockspine.draw(Grid((40, 110, 100), affine))
    result = segmented(scene)
    check(result, scene, 0.8)
    assert any("5.0 mm apart" in warning for warning in result.warnings)


def test_nothing_is_found_in_noise_and_a_sentence_says_so() -> None:
    noise = np.random.default_rng(0).normal(0, 60, (60, 60, 60)).astype(np.int16)
    scan = Volume(noise, np.diag([2.0, 2.0, 2.0, 1.0]))
    coarse, fine = blockspine.networks()
    result = run(scan, coarse, fine, Settings(), Progress(), CPU)
    assert result.vertebrae == []
    assert not result.segmentation.array.any()
    assert result.segmentation.grid.same_as(scan.grid)
    assert any("No vertebra was found" in warning for warning in result.warnings)


def test_a_scan_smaller_than_a_patch_is_padded_with_air() -> None:
    scan = blockspine.draw(straight_grid(4.0)).scan.crop((20, 5, 5), (26, 12, 12))
    coarse, fine = blockspine.networks()
    result = run(scan, coarse, fine, Settings(), Progress(), CPU)
    assert result.segmentation.shape == scan.shape


def test_scans_that_hold_nothing_are_refused() -> None:
    coarse, fine = blockspine.networks()
    flat = Volume(np.zeros((20, 20, 20), np.int16), np.eye(4))
    with pytest.raises(InputError, match="same value"):
        run(flat, coarse, fine, Settings(), Progress(), CPU)
    slice_ = Volume(np.arange(400, dtype=np.int16).reshape(1, 20, 20), np.eye(4))
    with pytest.raises(InputError, match="single slice"):
        run(slice_, coarse, fine, Settings(), Progress(), CPU)


def test_cancel_and_progress() -> None:
    scene = blockspine.draw(straight_grid(2.0))
    coarse, fine = blockspine.networks()
    told: list[tuple[str, float, str]] = []
    run(scene.scan, coarse, fine, Settings(), Progress(lambda *r: told.append(r)), CPU)
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert {stage for stage, _, _ in told} == {"coarse", "fine", "vertebrae", "outline"}
    token = CancelToken()

    def stop(stage: str, fraction: float, text: str) -> None:
        if stage == "fine" and "patch 2" in text:
            token.cancel()

    with pytest.raises(CancelledError):
        run(scene.scan, coarse, fine, Settings(), Progress(stop, token), CPU)


def test_memory_stays_far_below_a_scans_own_probabilities() -> None:
    affine = np.diag([0.6, 0.6, 0.6, 1.0])
    affine[:3, 3] = [-110, -120, -165]
    grid = Grid((330, 360, 360), affine)
    slabs = [blockspine.draw(grid.cropped((a, 0, 0), (a + 30, 360, 360)), 5).scan.array
             for a in range(0, 330, 30)]  # fmt: skip
    scan = Volume(np.concatenate(slabs), affine)
    process, highest = psutil.Process(), [0]

    def watch(*_: object) -> None:
        highest[0] = max(highest[0], process.memory_info().rss)

    coarse, fine = blockspine.networks()
    before = process.memory_info().rss
    result = run(scan, coarse, fine, Settings(), Progress(watch), CPU)
    assert len(result.vertebrae) == 5
    # One float32 for each voxel and fine channel would be 1.7 GB; the scan itself is 86 MB.
    assert highest[0] - before < 700e6


# --- the trained networks' files ---------------------------------------------------------------


def card(name: str, outputs: int) -> ModelCard:
    params = {"in_channels": 2, "out_channels": outputs, "widths": [4, 8, 8, 8, 8]}
    return ModelCard(
        name=name, method="vertebra-unet", version="1", description="Not trained.",
        created="2025-01-01", commit="0" * 40, command="spineseg train vertebra-unet",
        training_data=[{"name": "none", "terms": "none", "n": 0}],
        inputs={
            "spacing_mm": 4.0 if name == COARSE else 1.5,
            "intensity": {"window": [-1000, 1500], "unit": "HU", "mapping": "two channels"},
            "patch": [32, 32, 32],
        },
        outputs={"classes": []}, architecture={"name": "ResidualUNet", "params": params},
        results=[{"data": "none", "metric": "Dice", "value": 0.0, "n": 0}], limits=["all"],
    )  # fmt: skip


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    for name, outputs in ((COARSE, len(CoarseClass)), (FINE, len(FineClass) + 3)):
        made = card(name, outputs)
        save_model(name, ResidualUNet(**made.architecture["params"]).state_dict(), made, tmp_path)
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path))
    return tmp_path


def test_missing_weights_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    scene = blockspine.draw(straight_grid(4.0))
    with pytest.raises(WeightsError) as caught:
        predict(scene.scan, Settings(models=str(tmp_path / "none")), Progress())
    assert caught.value.remedy


def test_untrained_networks_run_from_files(models: Path) -> None:
    scene = blockspine.draw(straight_grid(3.0))
    result = predict(scene.scan, Settings(), Progress())
    assert result.segmentation.grid.same_as(scene.scan.grid)
    assert result.models == (COARSE, FINE)
    assert len(result.vertebrae) == len(set(np.unique(result.segmentation.array)) - {0})


def test_a_loaded_network_computes_what_was_saved(models: Path) -> None:
    loaded = load_network(FINE, len(FineClass) + 3, CPU)
    assert loaded.patch == (32, 32, 32)
    assert loaded.spacing_mm == 1.5
    assert load_network(FINE, len(FineClass) + 3, CPU, 48).patch == (48, 48, 48)
    torch.manual_seed(0)
    ResidualUNet(**card(COARSE, len(CoarseClass)).architecture["params"])
    expected = ResidualUNet(**card(FINE, len(FineClass) + 3).architecture["params"])
    image = torch.randn(1, 2, 32, 32, 32)
    with torch.inference_mode():
        ours, theirs = loaded.forward(image), expected(image)
    torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "OtherNet"),
        ("params", {"in_channels": 2, "out_channels": 10, "widths": [4, 8]}),
        ("params", {"in_channels": 2, "out_channels": 9, "widths": [4, 8, 8, 8, 8]}),
        ("params", {"depth": 3}),
    ],
)
def test_a_card_that_does_not_fit_its_weights_is_refused(models: Path, field, value) -> None:
    made = card(FINE, len(FineClass) + 3)
    state = ResidualUNet(**made.architecture["params"]).state_dict()
    save_model(FINE, state, replace(made, architecture={**made.architecture, field: value}), models)
    with pytest.raises(WeightsError):
        load_network(FINE, len(FineClass) + 3, CPU)


@pytest.mark.parametrize(
    "changes",
    [{"fine_patch": 50}, {"coarse_overlap": 1.0}, {"batch": 0}, {"threshold": 0}, {"reach_mm": -1}],
)
def test_settings_that_make_no_sense_are_refused(changes) -> None:
    with pytest.raises(ValueError):
        Settings(**changes)
