"""Heights, wedges and volumes of bodies, against digital patients whose sizes are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawnspine import drawn
from spineseg.labels import by_name
from spineseg.measure.body_places import body_centre
from spineseg.measure.vertebra_body import EDGE, VertebraBody, measure_bodies
from spineseg.phantom.chain import Chain
from spineseg.phantom.settings import Fracture, PhantomSettings
from spineseg.volume import Volume

SETTINGS = PhantomSettings(
    spacing_mm=2.0, levels=("T9", "L5"), cobb_deg=8.0, torso=False, margin_mm=(45.0, 60.0, 12.0),
    fractures=(Fracture("T11", "wedge", 0.5), Fracture("L1", "crush", 0.55),
               Fracture("L3", "biconcave", 0.45)),
)  # fmt: skip
Measured = tuple[Chain, Volume, dict[str, VertebraBody]]


@pytest.fixture(scope="module")
def measured() -> Measured:
    chain, labels = drawn(SETTINGS, 700_001)
    return chain, labels, {body.name: body for body in measure_bodies(labels)}


def true_heights(chain: Chain, name: str) -> np.ndarray:
    front, middle, back = chain.bodies[chain.index(name)].heights
    u = EDGE * 0.93 * np.array([1, 0, -1])  # the drawn back wall lies at 0.93 of the half-depth
    return middle + u * (front - back) / 2 + u * u * ((front + back) / 2 - middle)


@pytest.mark.parametrize("name", ["T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4"])
def test_heights_are_those_drawn(measured: Measured, name: str) -> None:
    chain, _, bodies = measured
    assert bodies[name].problem == ""
    found = bodies[name].heights
    assert found is not None
    away = found[1] - true_heights(chain, name)
    assert np.abs(away[[0, 2]]).max() < 3.5
    assert -5.5 < away[1] < 1.5  # endplates are drawn hollow: the middle is lower


def test_a_collapsed_body_is_found_though_its_arch_is_thicker(measured: Measured) -> None:
    chain, _, bodies = measured
    body = chain.bodies[chain.index("L1")]
    assert np.linalg.norm(bodies["L1"].centre - body.centre) < 4.0
    found = bodies["L1"].heights_mm
    assert found is not None
    assert found["posterior"] < 0.65 * body.size.height


def test_wedge_and_concavity_tell_the_kinds_apart(measured: Measured) -> None:
    _, _, bodies = measured
    wedge, hollow = bodies["T11"], bodies["L3"]
    assert wedge.wedge_deg is not None
    assert wedge.wedge_deg > 12
    assert abs(bodies["T9"].wedge_deg or 99) < 10
    assert hollow.concavity_mm is not None
    assert min(hollow.concavity_mm) > 2.5


def test_volume_and_area_are_a_bodys(measured: Measured) -> None:
    chain, labels, bodies = measured
    size = chain.bodies[chain.index("L2")].size
    box = size.width * size.depth * size.height / 1000
    volume, area = bodies["L2"].volume_ml, bodies["L2"].area_mm2
    assert volume is not None
    assert 0.6 * box < volume < 1.05 * box
    assert area is not None
    assert 0.75 < area / (size.depth * size.height) < 1.1
    assert volume < 0.8 * (labels.array == by_name("L2").verse).sum() * labels.voxel_mm3 / 1000


def test_heights_do_not_depend_on_how_the_grid_lies(measured: Measured) -> None:
    _, labels, bodies = measured
    turned = {b.name: b for b in measure_bodies(labels.reoriented("PIR"))}
    for name in ("T10", "L3"):
        a, b = bodies[name].heights, turned[name].heights
        assert a is not None
        assert b is not None
        assert np.allclose(a, b, atol=0.3)


def test_a_body_cut_by_the_edge_is_told(measured: Measured) -> None:
    _, labels, bodies = measured
    k = int(labels.ras_to_ijk(bodies["T10"].centre[None])[0][2])
    cut = labels.crop((0, 0, 0), (k, labels.shape[1], labels.shape[2]))
    again = {b.name: b for b in measure_bodies(cut)}
    assert again["T10"].points is None
    assert "edge of the scan" in again["T10"].problem
    assert again["T12"].heights_mm is not None


def test_a_scrap_of_a_vertebra_is_told_too(measured: Measured) -> None:
    _, volume, _ = measured
    label = by_name("T10").verse
    cut = volume.array.copy()
    where = np.argwhere(cut == label)
    cut[cut == label] = 0
    cut[tuple(where[: int(300 / volume.voxel_mm3)].T)] = label
    found = measure_bodies(volume.like(cut))
    names = [body.name for body in found]
    assert names.index("T9") + 1 == names.index("T10") == names.index("T11") - 1
    scrap = found[names.index("T10")]
    assert scrap.points is None
    assert scrap.problem == "only a scrap of it is there"


def test_an_arch_cut_by_the_edge_is_no_reason(measured: Measured) -> None:
    _, labels, bodies = measured
    back = labels.ras_to_ijk((bodies["L2"].centre - [0, 55, 0])[None])[0][1]
    cut = labels.crop((0, int(back), 0), labels.shape)
    again = next(b for b in measure_bodies(cut) if b.name == "L2")
    a, b = bodies["L2"].heights, again.heights
    assert a is not None
    assert b is not None
    assert np.abs(a - b).max() < 1.0


def test_a_rough_mask_gives_nearly_the_same_heights(measured: Measured) -> None:
    _, labels, bodies = measured
    rng = np.random.default_rng(3)
    array = labels.array.copy()
    border = np.argwhere((array > 0) & (np.roll(array, 1, 0) != array))
    for k, j, i in border[rng.random(len(border)) < 0.25]:
        array[k, j, i] = 0
    again = {b.name: b for b in measure_bodies(labels.like(array))}
    for name in ("T10", "T12", "L2", "L4"):
        a, b = bodies[name].heights, again[name].heights
        assert a is not None
        assert b is not None
        assert np.abs(a[1] - b[1]).max() < 1.5


def test_points_can_be_moved_and_the_heights_follow(measured: Measured) -> None:
    _, _, bodies = measured
    body = bodies["L2"]
    assert body.points is not None
    assert body.axes is not None
    assert body.heights_mm is not None
    middle = body.points[1].copy()
    middle[0, 0] -= 5.0 * body.axes[:, 2]
    moved = body.with_points(middle)
    assert moved.heights_mm is not None
    assert moved.wedge_deg is not None
    assert moved.heights_mm["anterior"] == pytest.approx(body.heights_mm["anterior"] - 5, abs=0.3)
    assert moved.wedge_deg > (body.wedge_deg or 0) + 5
    with pytest.raises(ValueError, match="without points"):
        replace(body, points=None).with_points(middle)


def test_a_collapsed_body_is_found_before_thick_facets() -> None:
    array = np.zeros((40, 70, 50), dtype=np.uint8)  # k, j, i at 1 mm: up, forwards, right
    array[18:23, 40:64, 5:45] = 1  # a body 5 mm high
    array[12:30, 10:28, 8:22] = array[12:30, 10:28, 28:42] = 1  # facets of 14 × 18 × 18 mm
    array[15:25, 26:42, 10:16] = array[15:25, 26:42, 34:40] = 1  # pedicles
    i, j, k = body_centre(Volume(array, np.eye(4)))
    assert 45 < j < 60
    assert 18 <= k <= 22
    alone = Volume(array[:, 40:64], np.eye(4))
    assert body_centre(alone) == pytest.approx([24.5, 11.5, 20.0], abs=2.0)


def test_a_mask_cut_askew_is_not_measured(measured: Measured) -> None:
    _, labels, bodies = measured
    body = bodies["L2"]
    assert body.axes is not None
    assert body.half_mm is not None
    kji = np.argwhere(labels.array == by_name("L2").verse)
    away = (labels.ijk_to_ras(kji[:, ::-1]) - body.centre) @ body.axes
    # What a mask of a neighbour took from its front above and below, and from its back.
    gone = (np.abs(away[:, 2]) > 0.5 * body.half_mm[2]) & (
        np.abs(away[:, 1]) > 0.45 * body.half_mm[1]
    )
    askew = labels.array.copy()
    askew[tuple(kji[gone].T)] = 0
    found = {one.name: one for one in measure_bodies(labels.like(askew))}
    assert found["L2"].points is None
    assert found["L2"].problem == "its heights are not plausible"
    assert found["L4"].problem == ""
