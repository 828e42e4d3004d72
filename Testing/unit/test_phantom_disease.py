"""Digital patients' lesions, implants and wear, and what the scanner makes of a patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from spineseg.labels import by_name
from spineseg.phantom import PhantomSettings
from spineseg.phantom.acquire import (
    Scanner,
    acquire,
    drift,
    interpolated,
    metal_artefacts,
    random_scanner,
)
from spineseg.phantom.canvas import DEPTH_UNIT, Canvas, strut
from spineseg.phantom.chain import Chain, build_chain
from spineseg.phantom.codes import Tissue
from spineseg.phantom.disease import draw_lesion
from spineseg.phantom.render import render_ct
from spineseg.phantom.spine import draw_spine

BONE = by_name("L2").verse
PLAIN = Scanner(noise_hu=20.0, kernel_mm=0.5, slice_mm=0.5)


def drawn(worn: float = 0.0, seed: int = 0, spacing: float = 2.0) -> tuple[Chain, Canvas]:
    """L2 and half of its neighbours, without a body round them."""
    settings = PhantomSettings(cobb_deg=0.0)
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    low = chain.bodies[chain.index("L2")].centre - np.array([50, 80, 40])
    canvas = Canvas(low, spacing, tuple(int(n / spacing) for n in (80, 120, 100)))  # type: ignore[arg-type]
    draw_spine(canvas, chain, settings, worn, np.random.default_rng(seed))
    return chain, canvas


def lesions(kind: str, count: int = 12) -> list[Canvas]:
    """One drawing of L2 after the other, each with a lesion by another seed."""
    chain, canvas = drawn()
    out = []
    for seed in range(count):
        copy = Canvas(canvas.origin, canvas.spacing, canvas.shape)
        copy.tissue, copy.ids, copy.depth = canvas.tissue, canvas.ids, canvas.depth
        body = chain.bodies[chain.index("L2")]
        draw_lesion(copy, body, kind, 9.0, np.random.default_rng(seed))
        out.append(copy)
    return out


def lag_one(noise: npt.NDArray[np.float32], axis: int) -> float:
    a, b = (np.delete(noise, end, axis).ravel() for end in (0, -1))
    return float(np.corrcoef(a, b)[0, 1])


def test_a_bar_along_its_own_across_direction_keeps_its_radius() -> None:
    canvas = Canvas(np.zeros(3), 1.0, (40, 30, 30))
    box = canvas.box(np.zeros(3), np.eye(3), np.zeros(3), np.full(3, 40.0))
    assert box is not None
    rod = strut(box, (15, 15, 5), (15, 15, 35), (3, 3), (3, 3)) < 0
    assert int(rod[20].sum()) == pytest.approx(np.pi * 9, abs=6)


def test_a_lytic_lesion_may_break_the_cortex_but_not_a_disc() -> None:
    outside, kept_in = 0, 0
    for canvas in lesions("lytic"):
        lytic = canvas.overlay == Tissue.LYTIC
        assert lytic.any()
        assert set(np.unique(canvas.ids[lytic])) <= {0, BONE}
        mass = lytic & (canvas.ids == 0)
        assert not np.isin(canvas.tissue[mass], [Tissue.DISC, Tissue.VACUUM]).any()
        assert (canvas.depth[mass] * DEPTH_UNIT < 9.0).all()
        outside += bool(mass.sum() * 8 > 200)  # mm³
        kept_in += bool((canvas.depth[lytic] * DEPTH_UNIT < -1.0).all())
    assert outside >= 2
    assert kept_in >= 2


@pytest.mark.parametrize("kind", ["blastic", "mixed"])
def test_new_bone_stays_in_its_vertebra(kind: str) -> None:
    volumes = []
    for canvas in lesions(kind):
        blastic = canvas.overlay == Tissue.BLASTIC
        volumes.append(int(blastic.sum()))
        assert set(np.unique(canvas.ids[blastic])) <= {BONE}
        assert (canvas.overlay == Tissue.LYTIC).any() == (kind == "mixed")
    assert min(volumes) > 0
    assert max(volumes) > 2 * min(volumes)


def test_lesions_look_like_what_they_are() -> None:
    chain, canvas = drawn()
    body = chain.bodies[chain.index("L2")]
    draw_lesion(canvas, body, "mixed", 12.0, np.random.default_rng(3))
    hu = render_ct(
        canvas.tissue, canvas.depth, canvas.overlay, canvas.spacing, PLAIN, np.random.default_rng(0)
    )
    lytic, blastic = (np.median(hu[canvas.overlay == c]) for c in (Tissue.LYTIC, Tissue.BLASTIC))
    assert lytic < 140 < 300 < blastic


def test_wear_widens_the_rims_and_leaves_no_hole_at_the_endplates() -> None:
    areas = {}
    for worn in (0.0, 1.0):
        areas[worn] = 0
        for seed in range(3):
            chain, canvas = drawn(worn, seed)
            x, y, z = ((chain.bodies[chain.index("L2")].centre - canvas.origin) / 2).astype(int)
            body = (canvas.ids == BONE) & np.isin(canvas.tissue, [49, 50])
            areas[worn] += int(body.any(axis=0).sum())
            assert not (canvas.tissue[z - 10 : z + 11, y, x] == Tissue.AIR).any()
    # Osteophytes stand out beyond the endplates of youth, seen from above.
    assert areas[1.0] > 1.03 * areas[0.0]


def test_the_arch_has_the_brighter_cortex() -> None:
    _, canvas = drawn(spacing=1.5)
    hu = render_ct(
        canvas.tissue, canvas.depth, canvas.overlay, 1.5, PLAIN, np.random.default_rng(0)
    )
    arch = (canvas.tissue >= 41) & (canvas.tissue <= 48)
    body = (canvas.tissue == 49) | (canvas.tissue == 50)
    assert np.percentile(hu[arch], 90) > np.percentile(hu[body], 90) + 100


def test_noise_has_the_asked_loudness_and_alternates_where_asked() -> None:
    flat = np.zeros((40, 40, 40), dtype=np.float32)
    none = np.zeros(flat.shape, dtype=bool)
    rng = np.random.default_rng(1)
    scan = acquire(flat, none, 1.5, replace(PLAIN, noise_taps=(0.2, -0.3, 0.0)), rng)
    assert float(scan.std()) == pytest.approx(20.0, rel=0.15)
    along = [lag_one(scan, axis) for axis in range(3)]
    assert along[0] > 0.25
    assert along[1] < -0.35
    assert abs(along[2]) < 0.1
    smooth = acquire(flat, none, 1.5, replace(PLAIN, noise_mm=1.2), rng)
    assert all(lag_one(smooth, axis) > 0.4 for axis in range(3))


def test_a_sharp_kernel_overshoots_at_an_edge() -> None:
    step = np.zeros((12, 40, 12), dtype=np.float32)
    step[:, 20:] = 300.0
    quiet = replace(PLAIN, noise_hu=0.01, slice_mm=0.3)
    none = np.zeros(step.shape, dtype=bool)
    plain, sharp = (
        acquire(step, none, 1.0, replace(quiet, edge=e), np.random.default_rng(0)) for e in (0, 0.8)
    )
    assert plain.max() < 302
    assert sharp.max() > 312
    assert sharp.min() < -12
    assert sharp[6, 38, 6] == pytest.approx(300, abs=3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_are_interpolated_between(axis: int) -> None:
    ramp = np.moveaxis(np.broadcast_to((np.arange(24.0) % 7)[:, None, None], (24, 5, 4)), 0, axis)
    out = np.moveaxis(interpolated(ramp.astype(np.float32), axis, 3.0, 0.0), axis, 0)[:, 0, 0]
    kept = np.arange(24) % 7
    for n in range(0, 20, 3):
        assert out[n] == kept[n]
        assert out[n + 1] == pytest.approx((2 * kept[n] + kept[n + 3]) / 3, abs=1e-5)


def test_slow_noise_has_unit_spread_and_no_jumps() -> None:
    field = drift((60, 50, 70), 8.0, np.random.default_rng(2))
    assert field.shape == (60, 50, 70)
    assert float(field.std()) == pytest.approx(1.0, abs=0.2)
    assert max(float(np.abs(np.diff(field, axis=n)).max()) for n in range(3)) < 1.4


def test_metal_darkens_what_lies_between_two_rods() -> None:
    metal = np.zeros((20, 60, 60), dtype=bool)
    metal[5:15, 28:32, 12:16] = True
    metal[5:15, 28:32, 44:48] = True
    artefact = np.mean(
        [metal_artefacts(metal, 1.0, np.random.default_rng(n)) for n in range(8)], axis=0
    )
    between = artefact[5:15, 29:31, 20:40].mean()
    aside = artefact[5:15, 8:16, 26:34].mean()
    assert between < aside - 10
    assert (artefact[:5] == 0).all()


def test_scanners_cover_what_real_scans_showed() -> None:
    scanners = [random_scanner(np.random.default_rng(n)) for n in range(300)]
    alternating = [s.noise_taps[1] < -0.15 for s in scanners]
    assert 0.2 < np.mean(alternating) < 0.5
    assert {s.slice_axis for s in scanners} == {0, 1, 2}
    thin = [s.cortex_mm < 0.7 and s.cortex_hu > 700 for s in scanners]
    assert np.mean(thin) > 0.25
    assert np.mean([s.noise_hu > 40 for s in scanners]) > 0.15
    assert np.mean([s.sclerosis > 0 for s in scanners]) == pytest.approx(0.4, abs=0.1)


def test_now_and_then_a_lumbar_vertebra_has_slipped() -> None:
    steps = []
    for seed in range(150):
        settings = PhantomSettings(cobb_deg=0.0, degeneration=1.0)
        chain = build_chain(settings, np.random.default_rng([seed, 1]))
        for upper, lower in zip(chain.bodies[-3:-1], chain.bodies[-2:], strict=True):
            (under, up), (over, down) = lower.endplate(True), upper.endplate(False)
            axis = (up + down) / np.linalg.norm(up + down)
            side = upper.rotation[:, 0] + lower.rotation[:, 0]
            steps.append(float((over - under) @ np.cross(axis, side / np.linalg.norm(side))))
    slipped = np.abs(steps) > 2.0
    assert 0.02 < slipped.mean() < 0.2
    assert min(steps) < -2 < 5 < max(steps) < 10
