"""From an MR to its vertebrae, with networks made by hand: geometry, files, thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import blockspine
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from spineseg.errors import CancelledError, InputError
from spineseg.grid import Grid
from spineseg.inference import plan
from spineseg.intensity import ct_to_unit, mr_range
from spineseg.io.images import read_volume
from spineseg.labels import OTHER_BONE
from spineseg.methods.classes import FineClass
from spineseg.methods.cyclegan import MODELS, Settings, run
from spineseg.methods.loading import Network
from spineseg.methods.spine_bone import assign_bone, keep_spine, separate_bodies
from spineseg.methods.translate import whole_grid
from spineseg.progress import CancelToken, Progress
from spineseg.result import TranslationResult
from spineseg.translation import PARTS, save_translation
from spineseg.volume import Volume

CPU = torch.device("cpu")
#: The MR is the block spine's CT, lifted: dark is dark, and the network undoes it.
LIFT = 1100.0


def grid(oblique: bool = False) -> Grid:
    affine = np.diag([3.0, 1.2, 1.2, 1.0])
    shape = (150, 100, 34)
    if oblique:
        turn = Rotation.from_euler("xyz", [5, -8, 12], degrees=True).as_matrix()
        axes = np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]]).T  # a left-handed order of axes
        affine[:3, :3] = turn @ axes * [1.2, 2.5, 1.3]
        shape = (150, 45, 100)
    middle = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = np.array([0.0, -15.0, -64.0]) - affine[:3, :3] @ middle
    return Grid(shape, affine)


class Case:
    """A block spine as MR, and networks that know how it was made."""

    def __init__(self, oblique: bool = False, lost: bool = False) -> None:
        scene = blockspine.draw(grid(oblique))
        self.truth = scene.truth
        noise = np.random.default_rng(0).normal(0, 4, scene.scan.shape)
        values = scene.scan.array.astype(np.float32)
        self.body = scene.truth.array * (values == blockspine.BODY)
        self.mr = scene.scan.like((values + LIFT + noise).astype(np.float32))
        low, high = mr_range(self.mr.array)
        self.span = (low - LIFT, high - LIFT)
        self.lost = lost

    def to_ct(self, image: torch.Tensor) -> torch.Tensor:
        low, high = self.span
        hu = (image + 1) / 2 * (high - low) + low
        maps = blockspine.fine_forward(hu / 750)
        kinds = maps[:, : len(FineClass)].argmax(dim=1, keepdim=True)
        ct = torch.full_like(hu, 20.0)
        for kind, value in ((FineClass.BODY, 320.0), (FineClass.POSTERIOR, 420.0)):
            ct[kinds == kind] = value
        unit = torch.from_numpy(ct_to_unit(ct.numpy())).clamp(-0.999, 0.999)
        return torch.cat([torch.atanh(unit), maps], dim=1)

    def to_mr(self, image: torch.Tensor) -> torch.Tensor:
        # Bright where the CT is, in another contrast than the MR's; or nothing of the MR at all.
        value = torch.zeros_like(image) if self.lost else 0.3 * image.clamp(-1, 1) + 0.2
        return torch.atanh((value - 0.25) / 1.25)

    def run(self, progress: Progress | None = None, **changes) -> TranslationResult:
        size = (64, 64, 64)
        networks = (Network(f, 1.5, size) for f in (self.to_ct, self.to_mr))
        to_ct, to_mr = networks
        settings = Settings(**changes)
        return run(self.mr, to_ct, to_mr, settings, progress or Progress(), CPU)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)


@pytest.mark.parametrize("oblique", [False, True])
def test_bodies_and_vertebrae_lie_on_the_mrs_own_grid(oblique: bool) -> None:
    case = Case(oblique)
    result = case.run()
    for volume in (result.synthetic_ct, result.segmentation, result.bodies, result.confidence):
        assert volume is not None
        assert volume.grid.same_as(case.mr.grid)
    assert result.synthetic_ct.dtype == np.int16
    assert [v.label for v in result.vertebrae] == [101, 102, 103, 104, 105]
    for n in range(1, 6):
        assert dice(result.bodies.array == n, case.body == n) > 0.85
        assert dice(result.segmentation.array == 100 + n, case.truth.array == n) > 0.8
    # From the top to the bottom, whatever way the voxels lie.
    heights = [v.centroid[2] for v in result.vertebrae]
    assert heights == sorted(heights, reverse=True)
    assert len(result.thresholds) > 1
    assert 80 < np.median(result.thresholds) < 320
    assert result.models == MODELS
    assert any("sacrum is not seen" in text for text in result.warnings)


def test_air_round_the_patient_is_not_translated() -> None:
    case = Case()
    whole = case.run(confidence=False)
    wide = np.pad(case.mr.array, ((0, 0), (0, 160), (0, 0)), constant_values=case.mr.array.min())
    case.mr = Volume(wide, case.mr.affine)
    patches: list[str] = []

    def told(stage: str, share: float, text: str) -> None:
        if stage == "translate" and text.startswith("patch "):
            patches.append(text)

    result = case.run(Progress(told), confidence=False)
    grid, patch = whole_grid(case.mr, Network(case.to_ct, 1.5, (64, 64, 64)))
    everywhere = plan(np.ones(grid.shape, dtype=bool), patch, 0.3)
    translated = int(patches[0].split(" ")[-1])
    assert f"patch {translated} of {translated}" in patches
    assert translated < 0.7 * sum(len(layer.tiles) for layer in everywhere)
    assert (result.synthetic_ct.array[:, -80:] == -250).all()
    assert len(result.vertebrae) == len(whole.vertebrae) == 5
    for n in range(1, 6):
        assert dice(result.bodies.array[:, :100] == n, whole.bodies.array == n) > 0.8


def test_the_mask_alone_gives_the_bodies_too() -> None:
    case = Case()
    result = case.run(separate="otsu", confidence=False)
    assert result.confidence is None
    assert result.bodies.array.max() == 5
    for n in range(1, 6):
        assert dice(result.bodies.array == n, case.body == n) > 0.7
    assert result.settings["separate"] == "otsu"


def test_an_mr_that_is_not_recovered_is_marked() -> None:
    sure, lost = Case().run(), Case(lost=True).run()
    assert lost.confidence is not None
    assert sure.confidence is not None
    assert lost.confidence.array.mean() < sure.confidence.array.mean()
    assert any("not recovered" in text for text in lost.warnings)
    assert lost.vertebrae[2].confidence < sure.vertebrae[2].confidence


def test_one_threshold_for_the_volume_and_an_empty_range() -> None:
    case = Case()
    assert len(case.run(per_slice=False, confidence=False).thresholds) == 1
    with pytest.raises(InputError, match="No voxel lies between"):
        case.run(low=900.0, high=990.0, confidence=False)


def test_a_ct_is_refused_before_any_work() -> None:
    case = Case()
    case.mr = case.mr.like(case.mr.array - LIFT)
    case.mr.array[:, 60:] = blockspine.AIR
    with pytest.raises(InputError, match="it is a CT"):
        case.run()


def test_cancel_stops_between_patches() -> None:
    token = CancelToken()
    seen = []

    def report(stage: str, fraction: float, text: str) -> None:
        seen.append(stage)
        if stage == "translate" and text.startswith("patch 1 "):
            token.cancel()

    with pytest.raises(CancelledError):
        Case().run(Progress(report, token))
    assert "bone" not in seen


def test_everything_is_written_and_nothing_half(tmp_path: Path) -> None:
    case = Case()
    result = case.run()
    folder = save_translation(result, case.mr, tmp_path / "out")
    for name in PARTS:
        assert (folder / name).exists(), name
    for name, volume in (
        ("synthetic_ct", result.synthetic_ct),
        ("segmentation", result.segmentation),
        ("bodies", result.bodies),
        ("confidence", result.confidence),
    ):
        read = read_volume(folder / f"{name}.nii.gz")
        assert np.array_equal(read.array, volume.array)
        assert np.allclose(read.affine, case.mr.affine, atol=1e-4)
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert manifest["task"] == "translate"
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "synthetic CT" in html
    assert html.count("data:image/png") >= 4
    with pytest.raises(InputError, match="no output called"):
        save_translation(result, case.mr, tmp_path / "other", parts=["nothing"])
    assert not (tmp_path / "other").exists()


def column(hollow: bool = False) -> tuple[Volume, Volume]:
    """Four bodies with arches, a rib beside them and a speck far away; and the bodies' truth."""
    scene = blockspine.draw(grid(), n=4, top=0.0)
    values = scene.scan.array
    bone = (values == blockspine.BODY) | (values == blockspine.ARCH)
    bodies = np.where(values == blockspine.BODY, scene.truth.array, 0)
    mask = bone.astype(np.uint8)
    mask[5:8, 90:94, 2:5] = 1
    if hollow:
        from scipy import ndimage

        mask[ndimage.binary_erosion(bodies > 0, iterations=4)] = 0
    return scene.scan.like(mask), scene.scan.like(bodies.astype(np.uint8))


@pytest.mark.parametrize("hollow", [False, True])
def test_bodies_are_parted_by_shape(hollow: bool) -> None:
    mask, truth = column(hollow)
    spine = keep_spine(mask)
    assert not spine.array[5:8, 90:94, 2:5].any()
    assert spine.array.sum() > 0.95 * (mask.array.sum() - 48)
    bodies = separate_bodies(spine)
    assert bodies.array.max() == 4
    for n in range(1, 5):
        assert dice(bodies.array == n, truth.array == n) > 0.75
    owned = assign_bone(spine, bodies)
    assert set(np.unique(owned.array)) <= {0, OTHER_BONE, 101, 102, 103, 104}
    assert ((owned.array > 0) >= (spine.array > 0)).all()


def test_without_bone_there_is_no_spine() -> None:
    empty = Volume(np.zeros((40, 40, 40), np.uint8), np.eye(4))
    assert not keep_spine(empty).array.any()
    assert not separate_bodies(empty).array.any()
    assert not assign_bone(empty, empty).array.any()
