"""Going on from a corrected vertebra: the job, what it is given, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tinymethod
import tinyspine
from spineseg import registry
from spineseg.errors import InputError
from spineseg.io.images import read_volume, write_volume
from spineseg.io.segmentations import write_seg_nrrd
from spineseg.jobs import SegmentJob, UpdateJob, job_of, run
from spineseg.labels import by_name
from spineseg.pipeline import LABELS
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

L1, L2, L3 = (by_name(name).verse for name in ("L1", "L2", "L3"))
SPINE = tinyspine.make(spacing=(2.0, 2.0, 2.0))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the walk was asked, which here renumbers all but the vertebra that it starts from."""
    seen: list[dict[str, Any]] = []

    def update_from(
        volume: Volume,
        segmentation: Volume,
        start: int,
        keep: Any,
        settings: Any,
        progress: Progress,
        level: str | None,
    ) -> SegmentationResult:
        seen.append({"start": start, "keep": list(keep), "settings": settings, "level": level})
        array = segmentation.array.copy()
        array[segmentation.array == start] = by_name(level or "L1").verse
        points = volume.ijk_to_ras(np.argwhere(array == L2)[:, ::-1])
        x, y, z = points.mean(axis=0).tolist()
        return SegmentationResult(volume.like(array), [Vertebra(L2, "L2", (x, y, z))])

    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    tinymethod.register()
    monkeypatch.setitem(
        sys.modules, "spineseg.methods.update", SimpleNamespace(update_from=update_from)
    )
    return seen


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    write_volume(SPINE.scan, tmp_path / "scan.nii")
    write_volume(SPINE.labels, tmp_path / "before.nii")
    return {
        "task": "update", "scan": str(tmp_path / "scan.nii"), "output": str(tmp_path / "out"),
        "segmentation": str(tmp_path / "before.nii"), "method": "tiny", "start": L1, "keep": [L1],
        "level": "L2", "settings": {"threshold": 250.0}, "parts": [LABELS],
    }  # fmt: skip


def test_the_walk_gets_what_the_job_says_and_its_result_is_measured_and_saved(
    asked: list[dict[str, Any]], job: dict[str, Any]
) -> None:
    done = run(job_of(job), Progress())
    assert asked == [
        {"start": L1, "keep": [L1], "level": "L2", "settings": tinymethod.Settings(250.0)}
    ]
    saved = read_volume(done.folder / LABELS)
    expected = np.where(SPINE.labels.array == L1, L2, SPINE.labels.array)
    np.testing.assert_array_equal(saved.array, expected)
    vertebra = done.result.vertebrae[0]
    assert vertebra.volume_ml == pytest.approx(
        (expected == L2).sum() * SPINE.scan.voxel_mm3 / 1000, rel=1e-3
    )


def test_a_segmentation_of_slicer_is_read_by_its_names(
    asked: list[dict[str, Any]], job: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "before.seg.nrrd"
    write_seg_nrrd(SPINE.labels, path)
    done = run(job_of({**job, "segmentation": str(path), "level": None}), Progress())
    assert asked[0]["level"] is None
    np.testing.assert_array_equal(done.result.segmentation.array, SPINE.labels.array)


def test_another_scans_segmentation_is_refused(
    asked: list[dict[str, Any]], job: dict[str, Any], tmp_path: Path
) -> None:
    other = tinyspine.make(spacing=(3.0, 3.0, 3.0))
    write_volume(other.labels, tmp_path / "other.nii")
    with pytest.raises(InputError, match="may be of another scan"):
        run(job_of({**job, "segmentation": str(tmp_path / "other.nii")}), Progress())
    assert asked == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"start": "L1"}, "start.*wrong type"),
        ({"start": 0}, "names no start"),
        ({"segmentation": ""}, "names no segmentation"),
        ({"keep": 20}, "keep.*wrong type"),
        ({"task": "fly"}, "no task called “fly”"),
    ],
)
def test_a_bad_job_is_refused(job: dict[str, Any], change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        job_of({**job, **change})


def test_the_task_says_which_job_it_is(job: dict[str, Any]) -> None:
    assert isinstance(job_of(job), UpdateJob)
    plain = job_of({"scan": "a", "output": "b"})
    assert plain == SegmentJob("a", "b")
    with pytest.raises(InputError, match="unknown fields: start"):
        job_of({"scan": "a", "output": "b", "start": 20})
    assert UpdateJob("a", "b").method == registry.DEFAULT_UPDATE
