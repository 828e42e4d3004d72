"""A look at every vertebra mends what the fine pass got wrong, and leaves the rest."""

from __future__ import annotations

import numpy as np
import pytest
from oracle_looker import OracleLooker, patient
from spineseg.errors import CancelledError
from spineseg.labels import by_name
from spineseg.methods.classes import FineClass
from spineseg.methods.instances import Instance
from spineseg.methods.joint_look import look_at_all
from spineseg.methods.to_scan import FineMaps
from spineseg.progress import CancelToken, Progress
from spineseg.training.samples import FINE_TABLE
from spineseg.volume import Volume

LEVELS = ("L1", "L2", "L3")


class Scene:
    """Truth of a digital patient on the looker's lattice, as fine maps."""

    def __init__(self, **faults) -> None:
        self.phantom = patient(3, levels=("T12", "L4"))
        self.looker = OracleLooker.at(self.phantom, **faults)
        ids = self.looker.ids.array
        tissue = self.phantom.tissue.resampled_like(self.looker.lattice, order=0).array
        self.truth = np.zeros(ids.shape, np.uint8)
        self.found = []
        for number, name in enumerate(LEVELS, start=1):
            own = ids == by_name(name).verse
            self.truth[own] = number
            centre = self.phantom.chain.bodies[self.phantom.chain.index(name)].centre
            down = np.array([0.0, 0.0, -1.0])
            self.found.append(
                Instance(centre, int(own.sum()), 1000, False, False, False, True, 0.9, down)
            )
        self.classes = np.where(self.truth > 0, FINE_TABLE[tissue], 0).astype(np.uint8)

    def look(self, instances: np.ndarray, progress: Progress | None = None):
        affine = self.looker.lattice.affine
        kept = instances > 0
        classes = np.where(kept, self.classes, FineClass.BACKGROUND).astype(np.uint8)
        bone = np.where(kept, 255, 0).astype(np.uint8)
        votes = np.zeros((3, *instances.shape), np.float16)
        maps = FineMaps(Volume(classes, affine), Volume(bone, affine), votes)
        volume = Volume(instances, affine)
        return look_at_all(maps, volume, self.found, self.looker, progress or Progress())


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_what_the_fine_pass_missed_or_gave_to_a_neighbour_comes_back() -> None:
    scene = Scene()
    wrong = scene.truth.copy()
    second = np.argwhere(scene.truth == 2)
    upper = second[second[:, 0] > np.median(second[:, 0])]
    wrong[tuple(upper.T)] = 1  # half of L2 went to L1
    third = np.argwhere(scene.truth == 3)
    wrong[tuple(third[third[:, 2] < np.percentile(third[:, 2], 30)].T)] = 0  # a side of L3 is lost
    before = [dice(wrong == n, scene.truth == n) for n in (1, 2, 3)]
    maps, instances = scene.look(wrong)
    after = [dice(instances.array == n, scene.truth == n) for n in (1, 2, 3)]
    assert max(before) < 0.9
    assert min(after) > 0.92
    body = maps.classes.array == FineClass.BODY
    assert dice(body & (scene.truth > 0), scene.classes == FineClass.BODY) > 0.9
    assert not maps.bone.array[instances.array > 0].min() < 128


def test_a_vertebra_that_the_look_does_not_see_stays_as_it_was() -> None:
    scene = Scene(blind={"L2": 9})
    _, instances = scene.look(scene.truth)
    for n in (1, 2, 3):
        assert dice(instances.array == n, scene.truth == n) > 0.95


def test_cancel_stops_between_two_looks() -> None:
    scene = Scene()
    token = CancelToken()
    told = []

    def report(stage: str, fraction: float, text: str) -> None:
        told.append(text)
        if len(told) == 2:
            token.cancel()

    with pytest.raises(CancelledError):
        scene.look(scene.truth, Progress(report, token))
    assert len(scene.looker.looks) < 3
