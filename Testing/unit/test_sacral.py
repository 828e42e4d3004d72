"""What the coarse pass calls sacrum is no vertebra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from spineseg.methods.atlas import one_atlas
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.doubts import left_out
from spineseg.methods.instances import Instance
from spineseg.methods.sacral import sacral_share, without_sacral, without_scraps
from spineseg.volume import Volume

FINE = np.diag([1.5, 1.5, 1.5, 1.0])
COARSE = np.diag([4.0, 4.0, 4.0, 1.0])


def scene(lowest: int) -> tuple[Volume, list[Instance], Volume]:
    """Three blocks from the top; the coarse pass calls the last one `lowest`."""
    labels = np.zeros((96, 24, 24), dtype=np.uint8)
    regions = np.zeros((36, 9, 9), dtype=np.uint8)
    for n, region in enumerate((CoarseClass.LUMBAR, CoarseClass.LUMBAR, lowest)):
        labels[64 - 32 * n : 88 - 32 * n] = n + 1
        regions[24 - 12 * n : 34 - 12 * n] = region
    place = np.zeros(3)
    found = [
        Instance(place, 100, 50, False, False, False, True, 1.0, np.array([0.0, 0, -1]))
        for _ in range(3)
    ]
    return Volume(labels, FINE), found, Volume(regions, COARSE)


def nothing(instances: Volume) -> Volume:
    return instances.like(np.zeros(instances.shape, dtype=np.uint8))


def test_a_fragment_at_the_lower_end_is_dropped_where_some_sacrum_is_seen() -> None:
    instances, found, regions = scene(CoarseClass.BACKGROUND)
    small = replace(found[-1], n_voxels=30, touches_inferior=True)
    classes = nothing(instances).array.copy()
    classes[:8, :8, :8] = FineClass.SACRUM
    sacrum = instances.like(classes)
    assert len(without_sacral(instances, [*found[:2], small], regions, sacrum)[1]) == 2
    assert len(without_sacral(instances, [*found[:2], small], regions, nothing(instances))[1]) == 3
    assert len(without_sacral(instances, found, regions, sacrum)[1]) == 3


def test_a_sacrum_at_the_lower_end_is_dropped() -> None:
    instances, found, regions = scene(CoarseClass.SACRUM)
    assert sacral_share(instances, 3, regions) > 0.9
    kept, rest = without_sacral(instances, found, regions, nothing(instances))
    assert len(rest) == 2
    assert set(np.unique(kept.array)) == {0, 1, 2}


def test_a_lumbar_vertebra_stays() -> None:
    instances, found, regions = scene(CoarseClass.LUMBAR)
    kept, rest = without_sacral(instances, found, regions, nothing(instances))
    assert rest == found
    assert np.array_equal(kept.array, instances.array)


def test_where_the_coarse_pass_saw_nothing_nothing_is_dropped() -> None:
    instances, found, regions = scene(CoarseClass.BACKGROUND)
    assert sacral_share(instances, 3, regions) == 0.0
    assert without_sacral(instances, found, regions, nothing(instances))[1] == found


def test_a_scrap_above_the_spine_is_dropped_only_where_no_vertebra_was_seen() -> None:
    instances, found, regions = scene(CoarseClass.LUMBAR)
    scrap = replace(found[0], n_voxels=20, has_body=False, touches_superior=True)
    kept, rest = without_scraps(instances, [scrap, *found[1:]], regions)
    assert len(rest) == 3
    unseen = regions.array.copy()
    unseen[24:] = CoarseClass.BACKGROUND
    kept, rest = without_scraps(instances, [scrap, *found[1:]], regions.like(unseen))
    assert rest == found[1:]
    assert np.array_equal(kept.array, np.maximum(instances.array, 1) - 1)
    bony = replace(scrap, has_body=True)
    assert len(without_scraps(instances, [bony, *found[1:]], regions.like(unseen))[1]) == 2
    # C1 has no body either, but is as large as an arch.
    whole = replace(scrap, n_voxels=60)
    assert len(without_scraps(instances, [whole, *found[1:]], regions.like(unseen))[1]) == 3


def neck(first: int, second: int, third: int) -> tuple[Volume, list[Instance], Volume]:
    """Four blocks from the top with these numbers of voxels, C1 and C2 seen in the first three."""
    labels = np.zeros((128, 24, 24), dtype=np.uint8)
    regions = np.zeros((48, 9, 9), dtype=np.uint8)
    found = []
    for n, count in enumerate((first, second, third, 100)):
        labels[96 - 32 * n : 120 - 32 * n] = n + 1
        regions[36 - 12 * n : 46 - 12 * n] = CoarseClass.UPPER_CERVICAL
        place = np.array([0.0, 0.0, -18.0 * n])
        down = np.array([0.0, 0, -1])
        found.append(Instance(place, count, count // 2, False, False, False, True, 1.0, down))
    regions[:10] = CoarseClass.LOWER_CERVICAL
    return Volume(labels, FINE), found, Volume(regions, COARSE)


def test_there_is_one_atlas() -> None:
    instances, found, regions = neck(20, 100, 100)
    kept, rest = one_atlas(instances, found, regions)
    assert rest == found[1:]  # the rim of the skull is dropped
    assert np.array_equal(kept.array, np.maximum(instances.array, 1) - 1)
    instances, found, regions = neck(70, 100, 100)
    near = [found[0], replace(found[1], centroid=np.array([0.0, 0, -8])), *found[2:]]
    kept, rest = one_atlas(instances, near, regions)
    assert rest[0].n_voxels == 170  # half of the atlas is joined to the other
    assert (kept.array == 1).sum() == 2 * (instances.array == 1).sum()
    assert len(rest) == 3


def test_a_neck_of_two_upper_vertebrae_stays() -> None:
    instances, found, regions = neck(20, 100, 100)
    lower = regions.array.copy()
    lower[12:22] = CoarseClass.LOWER_CERVICAL  # the third is C3: the first may be a cut C1
    assert one_atlas(instances, found, regions.like(lower))[1] == found
    instances, found, regions = neck(80, 100, 100)
    assert one_atlas(instances, found, regions)[1] == found


def test_an_atlas_that_the_field_cuts_may_be_small() -> None:
    instances, found, regions = neck(20, 100, 100)
    cut = [replace(found[0], touches_superior=True), *found[1:]]
    assert one_atlas(instances, cut, regions)[1] == cut
    # Seen in two parts, it lies nearer to what is below than the next ones to each other.
    places = [0.0, -9.0, -18.0, -38.0]
    parts = [
        replace(one, centroid=np.array([0.0, 0, z])) for one, z in zip(cut, places, strict=True)
    ]
    assert len(one_atlas(instances, parts, regions)[1]) == 3


def test_a_body_that_was_taken_for_the_sacrum_is_noticed() -> None:
    instances, found, regions = scene(CoarseClass.SACRUM)
    body = instances.like(np.where(instances.array > 0, FineClass.BODY, 0).astype(np.uint8))
    centers = [
        instances.ijk_to_ras(np.argwhere(instances.array == n)[:, ::-1]).mean(axis=0)
        for n in (1, 2, 3)
    ]
    count = int((instances.array == 1).sum())
    found = [
        replace(one, centroid=center, body_voxels=count)
        for one, center in zip(found, centers, strict=True)
    ]
    kept, rest = without_sacral(instances, found, regions, body)
    above, below = left_out(kept, rest, body)
    assert above == 0.0
    assert below == 1.0
    assert left_out(instances, found, body) == (0.0, 0.0)
    assert left_out(instances, [], body) == (0.0, 0.0)
