"""The method from scan to vertebrae, with networks that are made by hand or not trained at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import blockspine
import numpy as np
import psutil
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from spineseg.errors import CancelledError, InputError, WeightsError
from spineseg.grid import Grid
from spineseg.labels import FIRST_UNSURE
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.instances import Instance
from spineseg.methods.loading import load_network
from spineseg.methods.naming import gather_evidence
from spineseg.methods.refine import refine_edges, tidy
from spineseg.methods.spine_region import find_spine, on_grid, widened
from spineseg.methods.to_scan import FineMaps, covered
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


def oblique_grid() -> Grid:
    turn = Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix()
    axes = np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]])  # columns swapped, k from the top
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * [1.1, 0.9, 2.5]
    shape = (90, 170, 150)
    middle = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = np.array([0, -15, -64]) - affine[:3, :3] @ middle
    return Grid(shape, affine)


def segmented(scene: blockspine.Scene, **changes) -> SegmentationResult:
    coarse, fine = blockspine.networks()
    return run(scene.scan, coarse, fine, Settings(**changes), Progress(), CPU)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)


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
        overlap = dice(labels.array == vertebra.label, scene.truth.array == number)
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
    assert dice(bodies, truth) > 0.85


def test_an_oblique_scan_of_other_spacing_gives_the_same_vertebrae() -> None:
    scene = blockspine.draw(oblique_grid())
    check(segmented(scene), scene, 0.88)


def test_the_order_of_the_scans_axes_does_not_matter() -> None:
    scene = blockspine.draw(straight_grid(2.0))
    plain = segmented(scene)
    turned = blockspine.draw(scene.scan.reoriented("PIL").grid)
    result = segmented(turned)
    check(result, turned)
    back = result.segmentation.reoriented("RAS").array
    assert dice(back > 0, plain.segmentation.array > 0) > 0.99


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


# --- the steps ---------------------------------------------------------------------------------


def coarse_map(shape: tuple[int, int, int] = (60, 30, 60)) -> tuple[Volume, np.ndarray]:
    classes = np.zeros(shape, dtype=np.uint8)
    classes[5:55, 12:18, 10:16] = CoarseClass.THORACIC
    classes[5:55, 9:11, 12:14] = CoarseClass.CANAL
    return Volume(classes, np.diag([4.0, 4.0, 4.0, 1.0])), classes


def test_the_spine_is_what_lies_near_the_canal() -> None:
    volume, classes = coarse_map()
    classes[10:20, 12:20, 45:55] = CoarseClass.LUMBAR  # a hip, 120 mm aside
    classes[40:42, 2:4, 50:52] = CoarseClass.CANAL  # and a canal where there is none
    spine = find_spine(volume, 48.0)
    assert spine is not None
    assert spine.array[5:55, 12:18, 10:16].all()
    assert not spine.array[:, :, 40:].any()


def test_a_canal_with_a_gap_is_followed_beyond_it() -> None:
    volume, classes = coarse_map()
    classes[25:33] = 0  # 32 mm of metal
    spine = find_spine(volume, 48.0)
    assert spine is not None
    assert spine.array[5:25, 12:18, 10:16].all()
    assert spine.array[33:55, 12:18, 10:16].all()


def test_without_a_canal_the_largest_bone_leads() -> None:
    volume, classes = coarse_map()
    classes[classes == CoarseClass.CANAL] = 0
    classes[10:14, 12:16, 50:54] = CoarseClass.LUMBAR
    spine = find_spine(volume, 48.0)
    assert spine is not None
    assert spine.array[5:55, 12:18, 10:16].all()
    assert not spine.array[:, :, 48:].any()


def test_no_spine_is_none() -> None:
    volume, classes = coarse_map()
    classes[:] = 0
    classes[5, 5, 5:9] = CoarseClass.LUMBAR
    assert find_spine(volume, 48.0) is None


def test_a_mask_is_widened_in_mm_and_sampled_elsewhere() -> None:
    mask = np.zeros((21, 21, 21), dtype=bool)
    mask[10, 10, 10] = True
    wide = widened(Volume(mask, np.diag([4.0, 4.0, 4.0, 1.0])), 12.0)
    assert wide.array[10, 10, 7:14].all()
    assert wide.array.sum() == (np.linalg.norm(np.indices(mask.shape) - 10.0 * np.ones(
        (3, 1, 1, 1)), axis=0) <= 3).sum()  # fmt: skip
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 20
    fine = on_grid(wide, Grid((20, 20, 20), affine))
    kji = np.argwhere(np.ones(fine.shape, bool))
    near = np.rint((kji * 2.0 + 20) / 4).astype(int)
    np.testing.assert_array_equal(fine.ravel(), wide.array[tuple(near.T)])


def test_the_field_of_view_on_the_fine_grid() -> None:
    scan = Volume(np.zeros((20, 30, 40), np.int16), oblique_grid().affine)
    low, high = scan.grid.corners().min(axis=0), scan.grid.corners().max(axis=0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = low - 10
    shape = tuple(int(n) for n in np.ceil((high - low + 20) / 3)[::-1])
    zeros = Volume(np.zeros(shape, np.uint8), affine)
    inside = covered(FineMaps(zeros, zeros, np.zeros((3, *shape), np.float16)), scan).array
    kji = np.argwhere(np.ones(shape, bool))
    ijk = scan.ras_to_ijk(zeros.ijk_to_ras(kji[:, ::-1]))
    expected = ((ijk >= -0.5) & (ijk <= np.array([40, 30, 20]) - 0.5)).all(axis=1)
    np.testing.assert_array_equal(inside.ravel(), expected)
    assert 0 < inside.sum() < inside.size


def test_edges_follow_the_scan_where_it_is_clear_and_stay_where_not() -> None:
    k, j, i = np.mgrid[:40, :40, :40] - 19.5
    truth = np.sqrt(k**2 + j**2 + i**2) < 14
    # The network's edge is off by a voxel, and soft.
    off = np.sqrt(k**2 + j**2 + (i - 1.2) ** 2) < 14
    share = ndimage.gaussian_filter(off.astype(np.float32), 1.5)
    noise = np.random.default_rng(0).normal(0, 15, truth.shape)
    hu = (np.where(truth, 400.0, 30.0) + noise).astype(np.float32)
    refined = refine_edges(hu, share, (1.0, 1.0, 1.0))
    assert dice(refined, truth) > dice(share >= 0.5, truth) + 0.02
    assert not refined[share < 0.3].any()
    assert refined[share > 0.7].all()
    weak = (np.where(truth, 70.0, 30.0) + noise).astype(np.float32)
    np.testing.assert_array_equal(refine_edges(weak, share, (1.0, 1.0, 1.0)), share >= 0.5)


def test_metal_beside_the_bone_is_not_added() -> None:
    share = np.tile(np.linspace(0.97, 0.0, 40, dtype=np.float32), (40, 40, 1))
    hu = np.where(share > 0.5, 500, 20).astype(np.float32)
    hu[:, :, 20:23] = 2900
    refined = refine_edges(hu, share, (1.0, 1.0, 1.0))
    assert not refined[share < 0.5].any()


def test_holes_are_filled_and_crumbs_dropped() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:12, 2:12, 2:12] = True
    mask[6, 6, 6] = False
    mask[17, 17, 17] = True
    clean = tidy(mask)
    assert clean[6, 6, 6]
    assert not clean[17, 17, 17]
    assert clean.sum() == 1000


def test_evidence_is_taken_from_both_passes() -> None:
    shape = (60, 60, 60)
    classes = np.zeros(shape, dtype=np.uint8)
    marks = np.zeros(shape, dtype=np.uint8)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    for number, k in ((1, 45), (2, 25)):
        classes[k - 6 : k + 6, 20:36, 20:40] = FineClass.BODY
        marks[k - 6 : k + 6, 20:36, 20:40] = number
    classes[43:48, 22:30, 8:20] = FineClass.RIB  # touches the upper one, on its left side
    classes[43:48, 22:30, 40:52] = FineClass.RIB
    classes[2:12, 20:36, 20:40] = FineClass.SACRUM
    regions = np.zeros((30, 30, 30), dtype=np.uint8)
    regions[12:] = CoarseClass.THORACIC
    regions[:12] = CoarseClass.LUMBAR
    found = [
        Instance(np.array([44.25, 41.25, k * 1.5]), 3840, 3840, False, False, False, True, 1.0,
                 np.array([0.0, 0.0, -1.0]))
        for k in (44.5, 24.5)
    ]  # fmt: skip
    upper, lower = gather_evidence(
        Volume(classes, affine), Volume(marks, affine), found,
        Volume(regions, np.diag([3.0, 3.0, 3.0, 1.0])),
    )  # fmt: skip
    assert upper.ribs is not None and upper.ribs > 0.9  # noqa: PT018
    assert lower.ribs is not None and lower.ribs < 0.1  # noqa: PT018
    np.testing.assert_allclose(upper.region, [0, 0, 1, 0])
    assert lower.region is not None
    np.testing.assert_allclose(lower.region, [0, 0, 2 / 3, 1 / 3])
    # From the body's centre to the sacrum's upper end, 13.5 voxels below.
    assert lower.sacrum_mm == pytest.approx(13.5 * 1.5, abs=1.6)
