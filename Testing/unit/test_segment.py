"""Segmenting and saving with a small method: outputs, refusals, and nothing half-written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import spineseg.pipeline as pipeline
import tinymethod
import tinyspine
from spineseg import registry
from spineseg.errors import CancelledError, InputError, MemoryLimitError, SpineSegError
from spineseg.io.images import read_volume
from spineseg.pipeline import check_folder, save, segment
from spineseg.progress import CancelToken, Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume

FEW = (pipeline.LABELS, pipeline.SEG, pipeline.CENTROIDS, pipeline.MODELS)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    tinymethod.register()


@pytest.fixture(scope="module")
def spine() -> tinyspine.Spine:
    return tinyspine.make(spacing=(1.5, 1.5, 2.0), directions=tinyspine.oblique(10.0))


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_public_names_are_functions() -> None:
    # In this order a submodule called `segment` would hide the function.
    from spineseg import read_volume, save, segment

    assert all(callable(f) for f in (read_volume, save, segment))


def test_vertebrae_are_found_and_measured(spine: tinyspine.Spine) -> None:
    result = segment(spine.scan, "tiny")
    assert [v.level for v in result.vertebrae] == ["L1", "L2", "L3"]
    np.testing.assert_array_equal(result.segmentation.array, spine.labels.array)
    assert all(v.volume_ml and v.heights_mm for v in result.vertebrae)
    assert result.settings == {"threshold": 300.0, "unsure": 0}
    assert result.timings["segment"] > 0
    assert result.warnings == []


def test_settings_reach_the_method(spine: tinyspine.Spine) -> None:
    result = segment(spine.scan, "tiny", settings={"unsure": 2})
    assert [v.label for v in result.vertebrae] == [20, 101, 102]
    with pytest.raises(InputError, match="settings"):
        segment(spine.scan, "tiny", settings={"nonsense": 1})


def test_a_scan_without_bone_is_said_to_be_so(spine: tinyspine.Spine) -> None:
    empty = spine.scan.like(np.full(spine.scan.shape, 40, np.int16))
    result = segment(empty, "tiny")
    assert result.vertebrae == []
    assert result.warnings == ["No vertebra was found in this scan."]


def test_unknown_method(spine: tinyspine.Spine) -> None:
    with pytest.raises(InputError, match="vertebra-unet"):
        segment(spine.scan, "guesswork")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")]
)
def test_a_full_memory_has_its_own_error(
    spine: tinyspine.Spine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def predict(*_: object) -> None:
        raise error

    monkeypatch.setattr(tinymethod, "predict", predict)
    with pytest.raises(MemoryLimitError):
        segment(spine.scan, "tiny")


def test_a_method_that_answers_on_another_grid_is_refused(
    spine: tinyspine.Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(volume: Volume, *_: object) -> SegmentationResult:
        return SegmentationResult(Volume(volume.array.astype(np.uint8), np.eye(4)), [])

    monkeypatch.setattr(tinymethod, "predict", predict)
    with pytest.raises(SpineSegError, match="grid"):
        segment(spine.scan, "tiny")


def test_everything_is_saved(spine: tinyspine.Spine, tmp_path: Path) -> None:
    result = segment(spine.scan, "tiny", settings={"unsure": 1})
    folder = save(result, spine.scan, tmp_path / "a" / "result", method="tiny", title="Case 1")
    assert {p.name for p in folder.iterdir()} == {*pipeline.PARTS, "run.json"}
    labels = read_volume(folder / pipeline.LABELS)
    np.testing.assert_array_equal(labels.array, result.segmentation.array)
    np.testing.assert_allclose(labels.affine, spine.scan.affine, atol=1e-4)
    assert len(list((folder / pipeline.MODELS).iterdir())) == 3
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["method"] == "tiny"
    assert run["settings"]["unsure"] == 1
    assert run["grid"]["shape_kji"] == list(spine.scan.shape)
    assert set(run["outputs"]) == set(listing(folder)) - {"run.json"}
    assert not list(tmp_path.rglob("*part*"))


def test_only_the_wanted_parts_are_saved(spine: tinyspine.Spine, tmp_path: Path) -> None:
    result = segment(spine.scan, "tiny")
    folder = save(result, spine.scan, tmp_path / "r", parts=[pipeline.LABELS])
    assert {p.name for p in folder.iterdir()} == {pipeline.LABELS, "run.json"}
    with pytest.raises(InputError, match=r"picture\.jpg"):
        save(result, spine.scan, tmp_path / "s", parts=["picture.jpg"])
    assert not (tmp_path / "s").exists()


def test_an_own_result_is_replaced_and_other_files_stay(
    spine: tinyspine.Spine, tmp_path: Path
) -> None:
    result = segment(spine.scan, "tiny")
    (tmp_path / "notes.txt").write_text("mine")
    save(result, spine.scan, tmp_path, parts=FEW)
    first = listing(tmp_path)
    save(result, spine.scan, tmp_path, parts=FEW)
    assert set(listing(tmp_path)) == set(first)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [pipeline.SEG, "models/20_L1.stl", "models/own.stl"])
def test_edited_files_are_not_replaced(spine: tinyspine.Spine, tmp_path: Path, name: str) -> None:
    result = segment(spine.scan, "tiny")
    save(result, spine.scan, tmp_path, parts=FEW)
    (tmp_path / name).write_bytes(b"corrected with the brush")
    before = listing(tmp_path)
    with pytest.raises(InputError, match=Path(name).name):
        save(result, spine.scan, tmp_path, parts=FEW)
    assert listing(tmp_path) == before
    save(result, spine.scan, tmp_path, parts=FEW, overwrite=True)
    assert listing(tmp_path).get(name) != b"corrected with the brush"


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / pipeline.LABELS).write_bytes(b"somebody's")
    with pytest.raises(InputError, match=pipeline.LABELS):
        check_folder(tmp_path)
    assert check_folder(tmp_path, overwrite=True) == tmp_path
    assert check_folder(tmp_path, parts=[pipeline.SEG]) == tmp_path


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is a file"):
            check_folder(place)


@pytest.mark.parametrize("exists", [False, True])
def test_cancelling_while_saving_leaves_nothing(
    spine: tinyspine.Spine, tmp_path: Path, exists: bool
) -> None:
    result = segment(spine.scan, "tiny")
    folder = tmp_path / "r"
    if exists:
        save(result, spine.scan, folder, parts=FEW)
    before = listing(tmp_path)
    token = CancelToken()

    def stop(stage: str, fraction: float, text: str) -> None:
        if fraction > 0.3:
            token.cancel()

    with pytest.raises(CancelledError):
        save(result, spine.scan, folder, Progress(stop, token), parts=FEW)
    assert listing(tmp_path) == before
    assert folder.exists() == exists


def test_a_full_disk_leaves_nothing(
    spine: tinyspine.Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import spineseg.io.segmentations

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    result = segment(spine.scan, "tiny")
    monkeypatch.setattr(spineseg.io.segmentations, "write_seg_nrrd", full)
    with pytest.raises(InputError, match="disk space"):
        save(result, spine.scan, tmp_path / "new" / "r")
    assert list(tmp_path.iterdir()) == []
