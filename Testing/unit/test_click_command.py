"""``spineseg click``: what it writes, prints and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracleclick
import pytest
import spineseg.clicking
import tinyspine
from spineseg.cli import app
from spineseg.clickjob import parse_point
from spineseg.errors import ExitCode, InputError
from spineseg.io.images import read_volume, write_volume
from spineseg.io.segmentations import write_seg_nrrd
from spineseg.labels import by_name
from spineseg.volume import Volume
from typer.testing import CliRunner, Result

L1, L2, L3 = (by_name(name).verse for name in ("L1", "L2", "L3"))


@pytest.fixture(autouse=True)
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spineseg.clicking, "load_looker", oracleclick.of_blocks)


@pytest.fixture(scope="module")
def spine() -> tinyspine.Spine:
    return tinyspine.make(spacing=(2.0, 2.0, 2.0), directions=np.diag([-1.0, -1.0, 1.0]))


@pytest.fixture(scope="module")
def scan(spine: tinyspine.Spine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    # As a CT: with air somewhere.
    array = spine.scan.array.copy()
    array[:, :8] = -1000
    write_volume(spine.scan.like(array), path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def click(scan: Path, point: object, output: Path, *more: object) -> Result:
    return run("click", scan, "--point", *np.asarray(point).tolist(), "-o", output, *more)


def only(spine: tinyspine.Spine, **labels: int) -> Volume:
    """Label map of L1, L2 or L3 of the spine, with the numbers that are given."""
    result = np.zeros(spine.labels.shape, np.uint8)
    for name, label in labels.items():
        result[spine.labels.array == by_name(name).verse] = label
    return spine.labels.like(result)


def test_one_file_on_the_scans_grid_with_one_value(
    spine: tinyspine.Spine, scan: Path, tmp_path: Path
) -> None:
    result = click(scan, spine.centres[1] + [0, -10, 0], tmp_path / "new" / "one.nii.gz")
    assert result.exit_code == ExitCode.OK, result.output
    assert result.stdout.splitlines()[-1] == str(tmp_path / "new" / "one.nii.gz")
    assert "Level unsure: label 101" in result.stderr
    made = read_volume(tmp_path / "new" / "one.nii.gz")
    assert made.dtype == np.uint8
    assert made.grid.same_as(read_volume(scan).grid)
    assert set(np.unique(made.array)) == {0, 101}
    truth = spine.labels.array == L2
    assert 2 * (truth & (made.array > 0)).sum() / (truth.sum() + (made.array > 0).sum()) > 0.9
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["one.nii.gz"]


def test_known_neighbours_name_it_and_a_name_may_be_given(
    spine: tinyspine.Spine, scan: Path, tmp_path: Path
) -> None:
    there, slicers = tmp_path / "there.nii.gz", tmp_path / "there.seg.nrrd"
    known = only(spine, L1=L1)
    write_volume(known, there)
    box = np.argwhere(known.array > 0)
    lo, hi = box.min(axis=0).tolist(), (box.max(axis=0) + 1).tolist()
    write_seg_nrrd(known.crop(lo, hi), slicers)  # as 3D Slicer saves it
    for file in (there, slicers):
        done = click(scan, spine.centres[1], tmp_path / "a.nii.gz", "--segmentation", file,
                     "--overwrite")  # fmt: skip
        assert done.exit_code == ExitCode.OK, done.output
        assert set(np.unique(read_volume(tmp_path / "a.nii.gz").array)) == {0, L2}
    done = click(scan, spine.centres[1], tmp_path / "b.nrrd", "--level", "l3", "--target", "body")
    assert done.exit_code == ExitCode.OK, done.output
    body = read_volume(tmp_path / "b.nrrd").array
    assert set(np.unique(body)) == {0, L3}
    assert (body > 0).sum() < (spine.labels.array == L2).sum()


def test_an_existing_file_stays_unless_told_otherwise(
    spine: tinyspine.Spine, scan: Path, tmp_path: Path
) -> None:
    target = tmp_path / "one.nii.gz"
    target.write_bytes(b"mine")
    refused = click(scan, spine.centres[0], target)
    assert refused.exit_code == ExitCode.INPUT
    assert "--overwrite" in refused.stderr
    assert target.read_bytes() == b"mine"
    assert click(scan, spine.centres[0], target, "--overwrite").exit_code == ExitCode.OK
    assert target.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("point", "more", "words"),
    [
        ((0, 0, 9000), (), "outside the scan"),
        (("nan", 0, 300), (), "not three numbers"),
        (("a", 0, 300), (), "not three numbers"),
        (None, ("--level", "L9"), "no level"),
        (None, ("--target", "skull"), "no target"),
        (None, ("--segmentation", "gone.nii.gz"), "no file"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_no_file(
    spine: tinyspine.Spine, scan: Path, tmp_path: Path,
    point: object, more: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    place = spine.centres[1].tolist() if point is None else list(point)  # type: ignore[call-overload]
    result = run("click", scan, "--point", *place, "-o", tmp_path / "one.nii.gz", *more)
    assert result.exit_code == ExitCode.INPUT
    assert words in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_outputs_and_segmentations_are_refused(
    spine: tinyspine.Spine, scan: Path, tmp_path: Path
) -> None:
    at = spine.centres[1]
    assert "folder" in click(scan, at, tmp_path).stderr
    assert "no format" in click(scan, at, tmp_path / "one.png").stderr
    other = tmp_path / "other.nii.gz"
    write_volume(tinyspine.make(count=2, spacing=(2.0, 2.0, 2.0)).labels, other)
    result = click(scan, at, tmp_path / "one.nii.gz", "--segmentation", other)
    assert result.exit_code == ExitCode.INPUT
    assert "scan's grid" in result.stderr
    result = click(scan, at, tmp_path / "one.nii.gz", "--segmentation", scan)
    assert result.exit_code == ExitCode.INPUT
    assert "labels" in result.stderr
    assert run("click", scan, "-o", tmp_path / "one.nii.gz").exit_code == ExitCode.INPUT
    assert run("click", scan, "-o", "x.nii.gz", "--point", 1, 2).exit_code == ExitCode.INPUT
    assert not (tmp_path / "one.nii.gz").exists()


def test_no_weights_have_their_code(
    spine: tinyspine.Spine, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path))
    result = click(scan, spine.centres[1], tmp_path / "one.nii.gz")
    assert result.exit_code == ExitCode.WEIGHTS
    assert list(tmp_path.iterdir()) == []


def test_points_are_numbers() -> None:
    assert parse_point(("-1.5", "2e1", "3")) == (-1.5, 20.0, 3.0)
    for words in (("1", "2"), ("1", "2", "inf"), ("1", "2", "-o")):
        with pytest.raises(InputError, match="not three numbers"):
            parse_point(words)
