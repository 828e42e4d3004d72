"""What is as large as two vertebrae is looked at from both ends, and parted where it is two."""

from __future__ import annotations

import numpy as np
import pytest
from oracle_looker import OracleLooker
from spineseg.labels import by_name
from spineseg.methods import look_apart as look_apart_module
from spineseg.methods.classes import FineClass
from spineseg.methods.doubts import two_in_one
from spineseg.methods.instances import Instance
from spineseg.methods.look_apart import look_apart
from spineseg.methods.naming import scan_remarks
from spineseg.phantom.generate import Phantom, generate
from spineseg.phantom.settings import Fracture, PhantomSettings
from spineseg.result import Vertebra
from spineseg.training.samples import FINE_TABLE
from spineseg.volume import Volume

LEVELS = ("T8", "T9", "T10", "T11", "T12", "L1")
DOWN = np.array([0.0, 0.0, -1.0])


@pytest.fixture(scope="module")
def crushed() -> Phantom:
    return generate(
        PhantomSettings(
            spacing_mm=2.0, levels=("T7", "L2"), cobb_deg=5.0, kyphosis_deg=30.0, torso=False,
            fractures=(Fracture("T10", "crush", 0.5),), degeneration=0.1,
        ),
        5,
    )  # fmt: skip


def seen(phantom: Phantom, groups: list[tuple[str, ...]], **faults):
    """Return classes, instances (each a group of levels), what was found, and a looker."""
    looker = OracleLooker.at(phantom, **faults)
    ids = looker.ids.array
    parts = phantom.tissue.resampled_like(looker.lattice, order=0).array
    labels = np.zeros(ids.shape, np.uint8)
    for number, group in enumerate(groups, start=1):
        labels[np.isin(ids, [by_name(name).verse for name in group])] = number
    kinds = np.where(labels > 0, FINE_TABLE[parts], 0).astype(np.uint8)
    classes, instances = (Volume(a, looker.lattice.affine) for a in (kinds, labels))
    found = []
    for number in range(1, len(groups) + 1):
        body = (labels == number) & (kinds == FineClass.BODY)
        centre = classes.ijk_to_ras(np.argwhere(body)[:, ::-1]).mean(axis=0)
        whole = int((labels == number).sum())
        found.append(Instance(centre, whole, int(body.sum()), False, False, False, True, 0.9, DOWN))
    return classes, instances, found, looker


def joined(*pairs: tuple[str, str]) -> list[tuple[str, ...]]:
    groups: list[tuple[str, ...]] = []
    for name in LEVELS:
        pair = next((p for p in pairs if name in p), (name,))
        if pair not in groups:
            groups.append(pair)
    return groups


def test_a_crushed_vertebra_joined_with_its_neighbour_is_told_apart(crushed: Phantom) -> None:
    classes, instances, found, looker = seen(crushed, joined(("T10", "T11")))
    assert two_in_one(instances, found, classes)[2] > 0.03
    parted, kept = look_apart(classes, instances, found, looker)
    assert [one.slip for one in kept] == ["", "", "told apart", "told apart", "", ""]
    truth = seen(crushed, joined())[1].array
    for number in range(1, 7):
        mine, own = parted.array == number, truth == number
        assert 2 * (mine & own).sum() / (mine.sum() + own.sum()) > 0.9
        assert kept[number - 1].n_voxels == mine.sum()
    for one, name in zip(kept, LEVELS, strict=True):
        centre = crushed.chain.bodies[crushed.chain.index(name)].centre
        assert np.linalg.norm(one.centroid - centre) < 4.0


def test_what_is_told_apart_is_said(crushed: Phantom) -> None:
    classes, instances, found, looker = seen(crushed, joined(("T10", "T11")))
    kept = look_apart(classes, instances, found, looker)[1]
    named = [Vertebra(by_name(n).verse, n, tuple(k.centroid), 20.0, None, True, 1.0)
             for n, k in zip(LEVELS, kept, strict=True)]  # fmt: skip
    remarks = [text for text in scan_remarks(named, kept) if "looked at again" in text]
    assert remarks == ["T10 and T11 were seen as one until they were looked at again: check them."]


def test_a_vertebra_that_is_one_is_looked_at_and_left(
    crushed: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes, instances, found, looker = seen(crushed, joined())
    monkeypatch.setattr(look_apart_module, "two_in_one", lambda *_: [0, 0, 0.5, 0.5, 0.5, 0])
    same, kept = look_apart(classes, instances, found, looker)
    assert len(looker.looks) == 6
    assert [one.slip for one in kept] == [""] * 6
    assert (same.array == instances.array).all()


def test_a_look_that_sees_nothing_parts_nothing(crushed: Phantom) -> None:
    classes, instances, found, looker = seen(
        crushed, joined(("T10", "T11")), blind={"T10": 9, "T11": 9}
    )
    same, kept = look_apart(classes, instances, found, looker)
    assert len(kept) == len(found)
    assert (same.array == instances.array).all()
    assert len(looker.looks) == 2
