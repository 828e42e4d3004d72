"""The walk along the spine, with a looker that knows the truth and, where wanted, errs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracle_looker import OracleLooker, coarse_truth, part, patient
from spineseg import registry
from spineseg.errors import CancelledError, InputError, WeightsError
from spineseg.labels import FIRST_UNSURE, by_name
from spineseg.methods import cascade
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.composing import compose
from spineseg.methods.runlog import RunLog
from spineseg.methods.second_look import mend
from spineseg.methods.spine_guide import make_guide
from spineseg.methods.spine_region import find_spine
from spineseg.methods.walk import Memory, Walk
from spineseg.phantom.generate import Phantom
from spineseg.progress import CancelToken, Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume

LOIN = {"levels": ("T10", "L4")}


def guided(phantom: Phantom, lo=None, hi=None):
    lo, hi = lo or (0, 0, 0), hi or phantom.ct.shape
    scan, ids, tissue = part(phantom, lo, hi)
    regions = coarse_truth(ids, tissue)
    spine = find_spine(regions, 48.0)
    return scan, regions, spine, make_guide(regions, spine)


def walked(phantom: Phantom, lo=None, hi=None, **faults) -> tuple[Walk, OracleLooker]:
    scan, _, _, guide = guided(phantom, lo, hi)
    looker = OracleLooker.at(phantom, lo, hi, **faults)
    walk = Walk(looker, guide, scan.grid)
    walk.go(Progress())
    return walk, looker


def names(walk: Walk, looker: OracleLooker) -> list[str]:
    """Return the true level of each vertebra that was found."""
    from spineseg.labels import by_verse

    found = []
    for seen in walk.found:
        ids = looker.ids.resampled_like(seen.one.probability.grid, order=0).array[seen.mask]
        found.append(by_verse(np.bincount(ids).argmax()).name)
    return found


def segmented(phantom: Phantom, lo=None, hi=None, **faults) -> SegmentationResult:
    scan, regions, _, _ = guided(phantom, lo, hi)
    looker = OracleLooker.at(phantom, lo, hi, **faults)
    log = RunLog({}, cascade.MODELS)
    return cascade.run(scan, regions, looker, cascade.Settings(), Progress(), log)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)


# --- the walk ----------------------------------------------------------------------------------


def test_a_walk_from_the_loin_to_the_head_finds_each_vertebra_once() -> None:
    phantom = patient(spacing_mm=3.5, levels=("C1", "L2"), margin_mm=(50.0, 60.0, 20.0))
    walk, looker = walked(phantom)
    column = [body.name for body in phantom.chain.bodies]
    found = names(walk, looker)
    assert found[: len(column) - 4] == column[: len(column) - 4]  # C1 to T13 or L1
    assert len(set(found)) == len(found)
    assert looker.looks[0][0] in {by_name(name).verse for name in ("T12", "L1")}


def test_the_walk_begins_at_the_border_in_view_else_in_the_middle() -> None:
    neck = patient(levels=("C4", "T4"))
    _, looker = walked(neck)
    assert looker.looks[0][0] in {by_name(name).verse for name in ("C7", "T1")}
    chest = patient(levels=("T4", "T8"))
    _, _, _, guide = guided(chest)
    assert guide.borders == ()
    _, looker = walked(chest)
    assert looker.looks[0][0] in {by_name(f"T{n}").verse for n in (5, 6, 7)}


def test_a_scoliosis_of_60_degrees_is_followed() -> None:
    phantom = patient(3, levels=("T4", "L3"), cobb_deg=60.0)
    walk, looker = walked(phantom)
    found = names(walk, looker)
    assert len(set(found)) == len(found)
    column = [body.name for body in phantom.chain.bodies]
    assert set(column[column.index("T4") : column.index("L3") + 1]) <= set(found)


def test_one_miss_does_not_end_the_walk_and_the_gap_is_filled_later() -> None:
    phantom = patient(**LOIN)
    walk, looker = walked(phantom, blind={"T11": 3})
    assert {"T10", "T12"} <= set(names(walk, looker))
    assert "T11" not in names(walk, looker)
    mend(walk, guided(phantom)[3], Progress())
    found = names(walk, looker)
    assert found[found.index("T10") : found.index("L1")] == ["T10", "T11", "T12"]


def test_halves_become_one_vertebra() -> None:
    phantom = patient(**LOIN)
    walk, looker = walked(phantom)
    one = walk.found[names(walk, looker).index("T11")]
    rows = np.flatnonzero(one.mask.any(axis=(1, 2)))
    walk.drop(one)
    for upper in (False, True):
        share = one.one.probability.array.copy()
        share[rows.mean().astype(int) :] *= upper
        share[: rows.mean().astype(int)] *= not upper
        body = np.minimum(one.one.body.array, share)
        volumes = [one.one.probability.like(layer) for layer in (share, body)]
        kji = np.argwhere(body >= 128)
        half = replace(one.one, probability=volumes[0], body=volumes[1],
                       center=volumes[1].ijk_to_ras(kji.mean(axis=0)[None, ::-1])[0])  # fmt: skip
        walk.add(walk.measured(half))
    assert names(walk, looker).count("T11") == 2
    mend(walk, guided(phantom)[3], Progress())
    found = names(walk, looker)
    assert found.count("T11") == 1
    whole = walk.found[found.index("T11")]
    truth = (phantom.vertebrae.array == by_name("T11").verse).sum() * phantom.vertebrae.voxel_mm3
    assert whole.one.volume_ml == pytest.approx(truth / 1000, rel=0.05)


def test_the_sacrum_ends_the_walk() -> None:
    # One whose sacrum lies where the walk looks for the next vertebra.
    phantom = patient(3, levels=("L2", "L5"), margin_mm=(50.0, 60.0, 45.0))
    assert (coarse_truth(phantom.vertebrae, phantom.tissue).array == CoarseClass.SACRUM).sum() > 50
    scan, _, _, guide = guided(phantom)
    looker = OracleLooker.at(phantom)
    # A network that takes the sacrum for one more vertebra.
    sacrum = 21
    looker.ids.array[phantom.tissue.resampled_like(looker.lattice, order=0).array == sacrum] = 25
    kji = np.argwhere(looker.ids.array == 25)
    looker.wholes[25] = looker.ids.ijk_to_ras(kji.mean(axis=0)[None, ::-1])[0]
    looker.centers[25] = looker.wholes[25]
    walk = Walk(looker, guide, scan.grid)
    walk.go(Progress())
    assert 25 in [label for label, _ in looker.looks]
    assert names(walk, looker)[-1] == "L5"


def test_cancel_at_a_step_and_progress_that_only_grows() -> None:
    phantom = patient(**LOIN)
    scan, _, _, guide = guided(phantom)
    told: list[tuple[str, float, str]] = []
    Walk(OracleLooker.at(phantom), guide, scan.grid).go(Progress(lambda *r: told.append(r)))
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    assert told[-1][1] == 1.0
    token = CancelToken()

    def stop(stage: str, fraction: float, text: str) -> None:
        if text == "3 found":
            token.cancel()

    walk = Walk(OracleLooker.at(phantom), guide, scan.grid)
    with pytest.raises(CancelledError):
        walk.go(Progress(stop, token))
    assert len(walk.found) == 3


def test_a_looker_that_always_finds_something_does_not_keep_the_walk_going() -> None:
    phantom = patient(**LOIN)
    scan, _, _, guide = guided(phantom)

    class Eager(OracleLooker):
        def look(self, seed, memory=None):
            one = super().look(self.centers[by_name("L1").verse], None)
            self.looks.append((0, seed))
            return one

    looker = Eager.at(phantom)
    walk = Walk(looker, guide, scan.grid)
    walk.go(Progress())
    assert len(walk.found) == 1
    assert len(looker.looks) < 60


def test_the_memory_marks_what_is_known_on_any_part_of_the_lattice() -> None:
    phantom = patient(**LOIN)
    walk, looker = walked(phantom)
    memory = Memory(looker.lattice)
    seen = walk.found[2]
    memory.add(seen)
    grid = looker.lattice.shifted((-5, -7, 3), [n + 12 for n in looker.lattice.shape])
    known = memory(grid)
    assert known.sum() == seen.mask.sum()
    points = grid.ijk_to_ras(np.argwhere(known)[:, ::-1])
    own = seen.one.probability.ijk_to_ras(np.argwhere(seen.mask)[:, ::-1])
    np.testing.assert_allclose(points, own, atol=1e-6)
    memory.drop(seen)
    assert not memory(grid).any()


# --- the whole method --------------------------------------------------------------------------


def test_segmentation_names_and_borders() -> None:
    phantom = patient(**LOIN)
    result = segmented(phantom)
    truth = phantom.vertebrae.array
    levels = [v.level for v in result.vertebrae]
    assert {"T10", "T11", "T12", "L1", "L2", "L3", "L4"} <= set(levels)
    for vertebra in result.vertebrae:
        own = result.segmentation.array == vertebra.label
        least = 0.95 if vertebra.complete else 0.75
        assert dice(own, truth == vertebra.label) > least, vertebra.level
        body = next(b for b in phantom.chain.bodies if b.name == vertebra.level)
        if vertebra.complete:
            assert np.linalg.norm(np.array(vertebra.centroid) - body.centre) < 3.0
    assert result.segmentation.grid.same_as(phantom.ct.grid)
    assert result.segmentation.array.dtype == np.uint8
    assert result.models == ("vertebra-coarse", "vertebra-one")
    assert set(result.timings) == {"walk", "vertebrae", "outline"}
    bodies = result.bodies.array > 0
    assert bodies.any()
    assert not (bodies & (result.segmentation.array == 0)).any()


def test_vertebrae_cut_by_the_field_of_view_are_kept_and_marked() -> None:
    phantom = patient(**LOIN)
    middle = phantom.ct.ras_to_ijk(
        np.array([phantom.chain.bodies[phantom.chain.index(n)].centre for n in ("T12", "L3")])
    )[:, 2]
    high, low = (round(float(k)) for k in middle)
    shape = phantom.ct.shape
    result = segmented(phantom, (low, 0, 0), (high, *shape[1:]))
    kept = {v.level or v.label: v.complete for v in result.vertebrae}
    assert len(kept) >= 4  # T12's lower half, L1, L2, L3's upper half
    assert not list(kept.values())[0]
    assert not list(kept.values())[-1]
    truth = part(phantom, (low, 0, 0), (high, *shape[1:]))[1].array
    for label in (by_name("T12").verse, by_name("L3").verse):
        own = np.bincount(result.segmentation.array[truth == label]).argmax()
        assert dice(result.segmentation.array == own, truth == label) > 0.9


def test_a_vertebra_that_is_never_seen_is_told_with_its_likelihood() -> None:
    result = segmented(patient(**LOIN), blind={"T11": 99})
    levels = [v.level for v in result.vertebrae]
    told = " ".join(result.warnings)
    if None in levels:
        assert "overlooked" in told or "unsure" in told
        assert "%" in told
    else:
        assert "T11" not in levels
        assert "was not found" in told or "overlooked" in told


def test_each_voxel_goes_to_the_more_probable_vertebra() -> None:
    phantom = patient(**LOIN)
    walk, looker = walked(phantom)
    scan, _, spine, guide = guided(phantom)
    upper, lower = walk.found[2:4]
    # Let the lower one claim all that the upper has, but with less conviction.
    both = [upper, lower]
    maps, instances, found = compose(scan, looker.lattice, both, guide, spine)
    assert len(found) == 2
    grid = instances.grid
    share = [seen.one.probability.resampled_like(grid, order=0).array for seen in both]
    sure = (share[0] > share[1]) & (share[0] >= 128)
    assert (instances.array[sure] == 1).mean() > 0.99
    np.testing.assert_array_equal(maps.bone.array, np.maximum(*share))
    assert {int(FineClass.BODY), int(FineClass.POSTERIOR)} <= set(np.unique(maps.classes.array))
    rib = maps.classes.array == FineClass.RIB
    assert rib.any()
    assert not (rib & (instances.array > 0)).any()


def test_nothing_is_found_where_there_is_no_spine() -> None:
    phantom = patient(**LOIN)
    regions = coarse_truth(phantom.vertebrae, phantom.tissue)
    empty = regions.like(np.zeros(regions.shape, np.uint8))
    log = RunLog({}, ())
    looker = OracleLooker.at(phantom)
    result = cascade.run(phantom.ct, empty, looker, cascade.Settings(), Progress(), log)
    assert result.vertebrae == []
    assert not result.segmentation.array.any()
    assert any("No vertebra was found" in warning for warning in result.warnings)
    assert looker.looks == []


def test_unsure_vertebrae_are_numbered_from_the_top() -> None:
    result = segmented(patient(levels=("T5", "T7")))
    labels = [v.label for v in result.vertebrae]
    assert labels == [FIRST_UNSURE + n for n in range(len(labels))]
    heights = [v.centroid[2] for v in result.vertebrae]
    assert heights == sorted(heights, reverse=True)


# --- the method as a row of the registry -------------------------------------------------------


def test_the_registry_offers_it() -> None:
    row = registry.get("cascade")
    assert row.models == cascade.MODELS
    assert row.load() is cascade
    assert row.settings(passes=3).passes == 3
    assert "cascade" in registry.names(registry.SEGMENT)


def test_missing_weights_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    scan = patient(levels=("L2", "L3")).ct
    with pytest.raises(WeightsError) as caught:
        cascade.predict(scan, cascade.Settings(models=str(tmp_path)), Progress())
    assert caught.value.remedy


def test_a_scan_that_is_no_ct_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    picture = Volume(np.random.default_rng(0).integers(0, 200, (30, 30, 30)).astype(np.uint8),
                     np.diag([2.0, 2.0, 2.0, 1.0]))  # fmt: skip
    with pytest.raises(InputError, match="Hounsfield"):
        cascade.predict(picture, cascade.Settings(models=str(tmp_path)), Progress())


@pytest.mark.parametrize(
    "changes", [{"passes": 0}, {"coarse_overlap": 1.0}, {"batch": 0}, {"threshold": 0.0}]
)
def test_settings_that_make_no_sense_are_refused(changes) -> None:
    with pytest.raises(ValueError):
        cascade.Settings(**changes)
