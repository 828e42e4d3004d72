"""Correct, then reuse: the walk goes on from a corrected vertebra and keeps what was edited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracle_looker import OracleLooker, coarse_truth, patient
from spineseg.errors import CancelledError, InputError
from spineseg.labels import FIRST_UNSURE, OTHER_BONE, SACRUM, by_name
from spineseg.methods import cascade, update
from spineseg.methods.runlog import RunLog
from spineseg.progress import CancelToken, Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume

LOIN = {"levels": ("T11", "L3")}


def verse(name: str) -> int:
    return by_name(name).verse


def updated(
    labels: np.ndarray, start: str | int, keep=(), level=None, progress=None, **changes
) -> SegmentationResult:
    phantom = patient(**{**LOIN, **changes})
    first = verse(start) if isinstance(start, str) else start
    keep = [verse(n) if isinstance(n, str) else n for n in keep]
    correction = update.check_correction(
        phantom.ct, phantom.vertebrae.like(labels), first, keep, level
    )
    looker = OracleLooker.at(phantom)
    regions = coarse_truth(phantom.vertebrae, phantom.tissue)
    settings, log = cascade.Settings(), RunLog({}, ())
    return update.run(
        phantom.ct, regions, looker, correction, settings, progress or Progress(), log
    )


def brushed(labels: np.ndarray, label: int, seed: int = 0) -> np.ndarray:
    """Return a label map in which a vertebra is edited: holes, and a blob beside it."""
    edited = labels.copy()
    own = np.argwhere(labels == label)
    rng = np.random.default_rng(seed)
    edited[tuple(own[rng.random(len(own)) < 0.1].T)] = 0
    k, j, i = own.mean(axis=0).astype(int)
    edited[k : k + 2, j - 2 : j + 2, i - 9 : i + 9] = label
    return edited


def test_edited_vertebrae_keep_every_voxel_and_the_rest_is_renumbered() -> None:
    truth = patient(**LOIN).vertebrae.array
    labels = brushed(brushed(truth, verse("L1")), verse("L3"), 1)
    labels[labels == verse("T12")] = FIRST_UNSURE  # unsure ones are redone
    labels[labels == verse("T11")] = 0  # and what was missing is found
    result = updated(labels, "L1", ["L3"], level="T12")
    array = result.segmentation.array
    np.testing.assert_array_equal(array == verse("T12"), labels == verse("L1"))
    np.testing.assert_array_equal(array == verse("L2"), labels == verse("L3"))
    moved = {"T12": "T11", "T11": "T10", "L2": "L1"}
    for old, new in moved.items():
        own, was = array == verse(new), truth == verse(old)
        free = (labels != verse("L1")) & (labels != verse("L3"))
        assert (own & was).sum() > 0.93 * (was & free).sum(), new
    named = {v.level: v for v in result.vertebrae}
    assert list(named) == sorted(named, key=lambda n: verse(n))
    assert named["T12"].confidence == 1.0
    assert set(np.unique(array)) - {0} == {v.label for v in result.vertebrae}
    assert result.segmentation.dtype == np.uint8


def test_without_a_new_name_the_map_is_made_whole_again() -> None:
    truth = patient(**LOIN).vertebrae.array
    labels = truth.copy()
    labels[(truth == verse("L2")) | (truth == verse("T12"))] = verse("L2")  # two merged
    result = updated(labels, "L1")
    array = result.segmentation.array
    for name in ("T11", "T12", "L2", "L3"):
        own, was = array == verse(name), truth == verse(name)
        assert 2 * (own & was).sum() / (own.sum() + was.sum()) > 0.93, name
    np.testing.assert_array_equal(array == verse("L1"), truth == verse("L1"))


def test_other_things_in_the_map_stay() -> None:
    truth = patient(**LOIN).vertebrae.array
    labels = truth.copy()
    labels[:3, :4, :5] = SACRUM.verse
    labels[:3, -4:, :5] = OTHER_BONE
    array = updated(labels, "L1").segmentation.array
    assert (array[:3, :4, :5] == SACRUM.verse).all()
    assert (array[:3, -4:, :5] == OTHER_BONE).all()


def test_t13_comes_only_from_the_user() -> None:
    rare = {"levels": ("T13", "L1"), "t13": True}
    truth = patient(**rare).vertebrae.array
    assert {verse("T12"), verse("T13"), verse("L2")} <= set(np.unique(truth).tolist())
    # The user stands by the map's count, and so by its T13.
    named = [v.level for v in updated(truth, "L1", **rare).vertebrae]
    assert named[-4:] == ["T12", "T13", "L1", "L2"]
    # A new name counts without it: the map's T13 may have been the mistake.
    counted = [v.level for v in updated(truth, "L2", level="L1", **rare).vertebrae]
    assert counted[-4:] == ["T10", "T11", "T12", "L1"]


def test_a_start_without_a_level_leaves_the_names_to_the_evidence() -> None:
    truth = patient(**LOIN).vertebrae.array
    labels = np.where(truth == verse("L1"), FIRST_UNSURE, 0).astype(np.uint8)
    result = updated(labels, FIRST_UNSURE)
    assert len(result.vertebrae) >= 5
    own = {int(n) for n in np.unique(result.segmentation.array[labels > 0])}
    assert len(own) == 1
    assert own <= {v.label for v in result.vertebrae}


def test_cancel() -> None:
    truth = patient(**LOIN).vertebrae.array
    token = CancelToken()

    def stop(stage: str, fraction: float, text: str) -> None:
        if stage == "walk" and text.startswith("2 "):
            token.cancel()

    with pytest.raises(CancelledError):
        updated(truth, "L1", progress=Progress(stop, token))


# --- bad input ---------------------------------------------------------------------------------


def refused(labels: Volume, start: int, level: str | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        update.check_correction(patient(**LOIN).ct, labels, start, level=level)
    assert caught.value.remedy
    return caught.value


def test_a_segmentation_from_another_scan_is_refused() -> None:
    labels = patient(**LOIN).vertebrae
    start = verse("L1")
    assert "another scan" in str(refused(labels.crop((1, 0, 0), labels.shape), start))
    moved = labels.affine.copy()
    moved[0, 3] += 2.0
    assert "another scan" in str(refused(Volume(labels.array, moved), start))
    # The same grid by chance, but not the same patient: its vertebra lies in air.
    scan = patient(**LOIN).ct
    k, j, i = np.argwhere(scan.array < -900)[0]
    wrong = np.zeros(labels.shape, np.uint8)
    wrong[k, j, i] = start
    assert "no bone" in str(refused(labels.like(wrong), start))


def test_a_start_that_is_not_there_is_refused() -> None:
    labels = patient(**LOIN).vertebrae
    assert "C3" in str(refused(labels, verse("C3")))
    assert "L1" in refused(labels, verse("C3")).remedy
    sacrum = labels.like(np.where(labels.array == verse("L1"), SACRUM.verse, 0).astype(np.uint8))
    refused(sacrum, SACRUM.verse)
    refused(labels, 0)


def test_other_values_and_names_are_refused() -> None:
    labels = patient(**LOIN).vertebrae
    assert "0 to 255" in str(refused(labels.astype(np.float32), verse("L1")))
    assert "L9" in str(refused(labels, verse("L1"), "L9"))
    refused(labels, verse("L1"), "sacrum")


def test_bad_input_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    phantom = patient(**LOIN)
    settings = cascade.Settings(models=str(tmp_path))
    with pytest.raises(InputError):
        update.update_from(phantom.ct, phantom.vertebrae, verse("C3"), [], settings, Progress())
