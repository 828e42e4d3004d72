"""The angles of a spine from a label map, against digital patients whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.labels import FIRST_UNSURE, OTHER_BONE, by_name, is_vertebra
from spineseg.measure.cobb_clinical import CobbCurve, find_curves
from spineseg.measure.endplates import fit_bodies
from spineseg.measure.spine_angles import (
    SpineAngles,
    _range_3d,
    axial_rotation_deg,
    maximum_curvature,
    measure_spine,
    tilt_deg,
)
from spineseg.measure.steady import steadied
from spineseg.phantom.answers import cobb_angle
from spineseg.phantom.chain import Chain, build_chain
from spineseg.phantom.generate import spine_canvas
from spineseg.phantom.settings import PhantomSettings
from spineseg.phantom.spine import draw_spine
from spineseg.volume import Volume

SETTINGS = PhantomSettings(
    cobb_deg=45.0, spacing_mm=2.5, levels=("T3", "L5"), margin_mm=(55.0, 70.0, 12.0), torso=False,
    degeneration=0.2,
)  # fmt: skip


def drawn(settings: PhantomSettings = SETTINGS, seed: int = 22) -> tuple[Chain, Volume]:
    """A digital spine, and its label map without the two vertebrae that are cut."""
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    canvas = spine_canvas(chain, settings)
    draw_spine(canvas, chain, settings, 0.2, np.random.default_rng(seed))
    first, last = (by_name(name).verse for name in settings.levels)
    ids = np.where((canvas.ids >= first) & (canvas.ids <= last), canvas.ids, 0)
    return chain, Volume(ids.astype(np.uint8), canvas.affine)


@pytest.fixture(scope="module")
def spine() -> tuple[Chain, Volume]:
    return drawn()


@pytest.fixture(scope="module")
def measured(spine: tuple[Chain, Volume]) -> SpineAngles:
    return measure_spine(spine[1])


def body(chain: Chain, name: str):
    return chain.bodies[chain.index(name)]


def between(chain: Chain, upper: str, lower: str, plane: float) -> float:
    first = body(chain, upper).endplate(True)[1]
    last = body(chain, lower).endplate(False)[1]
    return float(tilt_deg(first, plane) - tilt_deg(last, plane))


def test_the_coronal_and_the_3d_angle_are_those_of_the_patient(spine, measured) -> None:
    chain, _ = spine
    true = cobb_angle(chain)
    assert true["degrees"] > 35
    assert measured.coronal.angle_deg == pytest.approx(true["degrees"], abs=2.0)
    ends = true["upper_end_vertebra"], true["lower_end_vertebra"]
    largest = max(abs(between(chain, *ends, plane)) for plane in range(-90, 90))
    assert measured.maximum.angle_deg == pytest.approx(largest, abs=2.0)


def test_the_3d_range_holds_the_angle_and_tells_of_ends_that_are_tilted_alike() -> None:
    # Seen from the front, the first two vertebrae are tilted alike; from the side, 15° apart.
    tilts = np.radians([[20.0, 0.0], [20.2, 15.0], [0.0, 15.0], [-20.0, 15.0]])
    normals = np.stack([np.tan(tilts[:, 0]), np.tan(tilts[:, 1]), np.ones(4)], axis=1)
    curve = CobbCurve(40.2, 1, 3, 2, "right")
    least, greatest = _range_3d(curve, normals, normals)
    own = maximum_curvature(normals[1], normals[3]).angle_deg
    other = maximum_curvature(normals[0], normals[3]).angle_deg
    assert least <= own <= greatest
    assert greatest == pytest.approx(max(own, other), abs=0.01)
    assert greatest - least > 2.0


def test_the_3d_range_mostly_holds_the_angle_of_small_curves_seen_with_noise() -> None:
    rng = np.random.default_rng(5)
    held = []
    for seed in range(40):
        settings = PhantomSettings(cobb_deg=float(rng.uniform(10, 20)))
        chain = build_chain(settings, np.random.default_rng([seed, 1]))
        bodies = chain.bodies[chain.index("T1") : chain.index("L5") + 1]
        true = tuple(np.array([b.endplate(up)[1] for b in bodies]) for up in (True, False))
        seen = tuple(normals + rng.normal(0, np.radians(0.5), normals.shape) for normals in true)
        places = np.array([b.centre for b in bodies])[:, [0, 2]] * (1.0, -1.0)
        own, ours = (
            max(find_curves(tilt_deg(u, 0), tilt_deg(v, 0), places, 0.0), key=lambda c: c.angle_deg)
            for u, v in (true, seen)
        )
        angle = maximum_curvature(true[0][own.upper_end], true[1][own.lower_end]).angle_deg
        least, greatest = _range_3d(ours, *seen)
        held.append(least - 2.0 <= angle <= greatest + 2.0)
    assert np.mean(held) > 0.85


def test_the_curve_bulges_to_the_side_where_its_apex_lies(spine, measured) -> None:
    chain, _ = spine
    named = measured.coronal.named(measured.levels)
    ends = [body(chain, named[end]).centre[0] for end in ("upper_end", "lower_end")]
    away = body(chain, named["apex"]).centre[0] - np.mean(ends)
    assert named["convex"] == ("right" if away > 0 else "left")


def test_axial_rotation_is_that_of_every_vertebra(spine, measured) -> None:
    chain, _ = spine
    assert set(measured.axial_rotation_deg) == {b.name for b in chain.bodies} & {
        *(f"T{n}" for n in range(3, 13)), *(f"L{n}" for n in range(1, 6)),
    }  # fmt: skip
    true = {n: axial_rotation_deg(body(chain, n).rotation) for n in measured.axial_rotation_deg}
    assert np.ptp(list(true.values())) > 8
    wrong = {n: v for n, v in measured.axial_rotation_deg.items() if abs(v - true[n]) > 3.0}
    assert not wrong


def test_kyphosis_and_lordosis_are_near(spine, measured) -> None:
    chain, _ = spine
    assert measured.kyphosis_deg == pytest.approx(between(chain, "T4", "T12", 90.0), abs=8.0)
    assert measured.lordosis_l1_l5_deg == pytest.approx(-between(chain, "L1", "L5", 90.0), abs=6.0)
    assert measured.lordosis_deg is None  # there is no sacrum


def test_the_image_may_lie_any_way_round(spine, measured) -> None:
    turned = measure_spine(spine[1].reoriented("ASL"))
    assert turned.coronal.angle_deg == pytest.approx(measured.coronal.angle_deg, abs=0.5)
    assert turned.coronal.convex == measured.coronal.convex
    assert turned.kyphosis_deg == pytest.approx(measured.kyphosis_deg, abs=0.5)
    for name, value in measured.axial_rotation_deg.items():
        assert turned.axial_rotation_deg[name] == pytest.approx(value, abs=0.7)


def test_steadied_directions_are_nearer_to_the_patients(spine) -> None:
    chain, volume = spine
    plain = [f for f in fit_bodies(volume) if f.axes is not None]

    def error(frames) -> float:
        away = [tilt_deg(f.upper.normal, 0) - tilt_deg(body(chain, f.name).endplate(True)[1], 0)
                for f in frames]  # fmt: skip
        return float(np.sqrt(np.mean(np.square(away))))

    assert error(steadied(plain)) < 0.8 * error(plain)


def test_a_slipped_neighbour_turns_nothing_much(spine) -> None:
    frames = [f for f in fit_bodies(spine[1]) if f.name in ("L1", "L2", "L3", "L4", "L5")]
    moved = list(frames)
    moved[2] = replace(frames[2], centre=frames[2].centre + (0.0, 15.0, 0.0))
    for a, b in zip(steadied(frames), steadied(moved), strict=True):
        assert np.degrees(np.arccos(min(1.0, a.axes[:, 2] @ b.axes[:, 2]))) < 12


def test_a_label_map_of_bodies_alone_shows_no_rotation(spine) -> None:
    chain, volume = spine
    array = volume.array.copy()
    index = np.argwhere(array)
    places = volume.ijk_to_ras(index[:, ::-1])
    for b in chain.bodies:
        mine = array[tuple(index.T)] == by_name(b.name).verse
        local = (places - b.centre) @ b.rotation
        arch = mine & (local[:, 1] < -b.size.depth / 2)
        array[tuple(index[arch].T)] = 0
    found = measure_spine(volume.like(array))
    assert found.axial_rotation_deg == {}
    assert found.coronal.angle_deg == pytest.approx(cobb_angle(chain)["degrees"], abs=6.0)


def test_unsure_levels_are_measured_without_kyphosis(spine, measured) -> None:
    array = spine[1].array
    unsure = array.copy()
    for n, label in enumerate(v for v in np.unique(array) if is_vertebra(v)):
        unsure[array == label] = FIRST_UNSURE + n
    unsure[0, 0, 0] = OTHER_BONE
    found = measure_spine(spine[1].like(unsure))
    # Not the same: how a vertebra is usually wedged is known of its level alone.
    assert found.coronal.angle_deg == pytest.approx(measured.coronal.angle_deg, abs=0.5)
    assert found.kyphosis_deg is None
    assert any("unsure" in text for text in found.warnings)
    assert found.levels[0] == "unsure 1"


def test_a_missing_and_a_cut_vertebra_are_told(spine) -> None:
    volume = spine[1]
    array = np.where(volume.array == by_name("T10").verse, 0, volume.array)
    lowest = int(np.argwhere(array == by_name("L5").verse)[:, 0].mean())
    cut = volume.like(array).crop((lowest, 0, 0), volume.shape)
    found = measure_spine(cut)
    assert "T10" not in found.axial_rotation_deg
    assert any("L5" in text and "Cut" in text for text in found.warnings)


@pytest.mark.parametrize("keep", [(), ("L3",)])
def test_fewer_than_two_vertebrae_are_refused(spine, keep: tuple[str, ...]) -> None:
    labels = [by_name(name).verse for name in keep]
    array = np.where(np.isin(spine[1].array, labels), spine[1].array, 0)
    with pytest.raises(InputError, match="two whole vertebrae"):
        measure_spine(spine[1].like(array))


@pytest.mark.parametrize("plane", [-60.0, -10.0, 0.0, 35.0, 90.0])
@pytest.mark.parametrize("angle", [8.0, 70.0])
def test_a_curve_in_one_plane_is_measured_in_that_plane(plane: float, angle: float) -> None:
    along = np.array([np.cos(np.radians(plane)), np.sin(np.radians(plane)), 0.0])
    half = np.radians(angle / 2)
    up = np.array([0.0, 0.0, 1.0])
    upper, lower = (np.cos(half) * up + s * np.sin(half) * along for s in (1, -1))
    found = maximum_curvature(upper, lower)
    assert found.angle_deg == pytest.approx(angle, abs=0.01)
    assert (found.plane_deg - plane) % 180 == pytest.approx(0, abs=0.01)
    assert np.dot(found.normal_ras, along) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("turn", [-25.0, 0.0, 10.0])
def test_tilting_a_vertebra_does_not_change_its_rotation(turn: float) -> None:
    from spineseg.phantom.chain import _rotation

    for pitch, roll in ((0, 0), (30, 0), (0, -35), (20, 25)):
        axes = _rotation(*np.radians([pitch, roll, turn]))
        assert axial_rotation_deg(axes) == pytest.approx(turn, abs=1e-6)
