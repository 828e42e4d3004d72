"""A case as a whole: a scan from any file into the scene, and everything out as one archive."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clickworker import LEVELS, label, scan, truth, truthArray
from spineseg.errors import CancelledError, InputError
from spineseg.io.images import read_volume, write_volume
from spineseg.progress import CancelToken, Progress
from spineseg.result import Vertebra
from SpineSegMRML import cases, picking, segmentations, tables


@pytest.fixture
def source(scene: Any) -> Any:
    return cases.showScan(scene, scan(), "somebody")


@pytest.fixture
def segmentation(scene: Any, source: Any) -> Any:
    volume = scan().like(truthArray())
    return segmentations.addSegmentationNode(volume, source, "vertebrae")


def test_a_scan_comes_from_a_file_a_folder_or_an_archive(tmp_path: Path) -> None:
    write_volume(scan(), tmp_path / "somebody.nii.gz")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.write(tmp_path / "somebody.nii.gz", "deep/inside/one.nii.gz")
    for name in ("somebody.nii.gz", "packed.zip"):
        notes: list[str] = []
        volume, called = cases.scanFromFile(tmp_path / name, tmp_path / "unpacked", notes)
        assert called == name.partition(".")[0]
        assert np.array_equal(volume.array, scan().array)
        assert np.allclose(volume.affine, scan().affine, atol=1e-4)


def test_a_ct_is_shown_for_bone_and_other_images_by_their_values(scene: Any, source: Any) -> None:
    assert not cases.isCt(source)  # the blocks lie in no air
    air = scan().array.copy()
    air[0] = -1000
    ct = cases.showScan(scene, scan().like(air), "ct")
    display = ct.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == cases.WINDOWS["bone"]
    cases.setWindow(ct, "soft")
    assert (display.GetWindow(), display.GetLevel()) == cases.WINDOWS["soft"]
    cases.setWindow(ct, "auto")
    assert display.GetAutoWindowLevel()
    assert source.GetDisplayNode().GetAutoWindowLevel()


def test_everything_is_exported_in_its_place(
    source: Any, segmentation: Any, tmp_path: Path
) -> None:
    target = tmp_path / "case.zip"
    made = cases.exportCase(segmentation, source, target, {"angles.csv": b"measure,value\n"})
    assert made == target
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        for name in ("segmentation.nii.gz", "README.txt", "angles.csv"):
            (tmp_path / name).write_bytes(archive.read(name))
    found = read_volume(tmp_path / "segmentation.nii.gz")
    assert np.array_equal(found.array, truthArray())
    assert np.allclose(found.affine, scan().affine, atol=1e-4)
    about = (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert "Not a medical device" in about
    assert f"{label('L1')} L1" in about
    for level in LEVELS:
        assert f"models/{label(level)}_{level}_LPS.stl" in names
    assert "segmentation.seg.nrrd" in names


def test_nothing_is_written_where_there_is_nothing_or_it_is_cancelled(
    scene: Any, source: Any, segmentation: Any, tmp_path: Path
) -> None:
    target = tmp_path / "case.zip"
    with pytest.raises(InputError, match="Segment a volume first"):
        cases.exportCase(None, source, target)
    token = CancelToken()
    progress = Progress(lambda stage, *_: token.cancel() if stage == "save" else None, token)
    with pytest.raises(CancelledError):
        cases.exportCase(segmentation, source, target, progress=progress)
    assert not [path for path in tmp_path.iterdir() if "case" in path.name]


def test_tables_become_text_with_units_and_empty_cells(scene: Any) -> None:
    center = (0.0, 0.0, 0.0)
    vertebrae = [Vertebra(label("L1"), "L1", center, 20.5), Vertebra(101, None, center)]
    node = tables.addVertebraTable(scene, vertebrae, "vertebrae")
    titles, rows = cases.rowsOf(node)
    assert titles[:2] == ["Level", "Volume (mL)"]
    assert rows[0][:2] == ["L1", "20.5"]
    assert rows[1][2] == ""
    lines = list(csv.reader(io.StringIO(cases.tableBytes(node).decode("utf-8"))))
    assert lines == [titles, *rows]


def test_the_segment_at_a_point_and_the_middle_of_one(source: Any, segmentation: Any) -> None:
    volume = scan()
    for level in LEVELS:
        inside = volume.ijk_to_ras(np.argwhere(truth(level))[:, ::-1])
        middle = picking.centerOf(segmentation, source, level)
        assert middle is not None
        assert np.allclose(middle, inside.mean(axis=0), atol=1e-3)
        assert picking.segmentAt(segmentation, source, tuple(inside[0])) == level
    between = volume.ijk_to_ras(np.array([[0, 0, 0]]))[0]
    assert picking.segmentAt(segmentation, source, tuple(between)) == ""
    assert picking.segmentAt(segmentation, source, (9999.0, 0.0, 0.0)) == ""
    assert picking.segmentAt(None, source, tuple(between)) == ""
    segmentation.GetSegmentation().AddEmptySegment("empty", "empty")
    assert picking.centerOf(segmentation, source, "empty") is None
