"""The skeleton and the soft tissue round a digital spine: what lies where, crop or whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from spineseg.phantom.bodyshape import body_shape
from spineseg.phantom.canvas import Canvas
from spineseg.phantom.chain import Chain, build_chain
from spineseg.phantom.codes import OTHER_BONES, Tissue
from spineseg.phantom.settings import PhantomSettings
from spineseg.phantom.skeleton import draw_skeleton
from spineseg.phantom.spine import draw_spine
from spineseg.phantom.torso import draw_soft_tissue

SPACING = 4.0
SETTINGS = PhantomSettings(cobb_deg=15.0)


def make_chain(settings: PhantomSettings = SETTINGS, seed: int = 5) -> Chain:
    return build_chain(settings, np.random.default_rng(seed))


def draw(
    canvas: Canvas, chain: Chain, settings: PhantomSettings = SETTINGS, seed: int = 7
) -> Canvas:
    draw_spine(canvas, chain, settings, 0.3, np.random.default_rng(1))
    draw_skeleton(canvas, chain, np.random.default_rng(seed), settings)
    draw_soft_tissue(canvas, chain, np.random.default_rng(seed + 1), settings)
    return canvas


def whole_canvas(chain: Chain, spacing: float = SPACING) -> Canvas:
    top = chain.bodies[0].centre[2] + 190
    shape = tuple(int(n / spacing) for n in (top + 300, 420, 560))
    return Canvas(np.array([-280.0, -220.0, -300.0]), spacing, shape)  # type: ignore[arg-type]


def crop_canvas(chain: Chain, level: str, spacing: float, shape: tuple[int, int, int]) -> Canvas:
    centre = chain.bodies[chain.index(level)].centre
    # On the lattice of the whole canvas.
    low = np.array([-280.0, -220.0, -300.0])
    start = np.round((centre - np.array(shape[::-1]) * spacing / 2 - low) / spacing)
    return Canvas(low + start * spacing, spacing, shape)


def places(canvas: Canvas, *codes: int) -> npt.NDArray[np.float64]:
    """RAS mm of all voxels with one of the codes, (N, 3)."""
    found = np.argwhere(np.isin(canvas.tissue, codes))[:, ::-1]
    return np.asarray(found * canvas.spacing + canvas.origin)


def height(chain: Chain, level: str) -> float:
    return float(chain.bodies[chain.index(level)].centre[2])


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain()


@pytest.fixture(scope="module")
def body(chain: Chain) -> Canvas:
    return draw(whole_canvas(chain), chain)


def test_every_tissue_is_drawn(body: Canvas) -> None:
    present = set(np.unique(body.tissue))
    expected = {
        Tissue.FAT, Tissue.MUSCLE, Tissue.ORGAN, Tissue.LUNG, Tissue.GAS, Tissue.VESSEL,
        Tissue.KIDNEY, Tissue.BOWEL, Tissue.SKIN, Tissue.RIB, Tissue.SACRUM,
        Tissue.COSTAL_CARTILAGE, *OTHER_BONES,
    }  # fmt: skip
    assert {int(t) for t in expected} <= {int(t) for t in present}


def test_kidneys_lie_beside_the_upper_lumbar_spine(chain: Chain, body: Canvas) -> None:
    # The thyroid is as bright as the kidneys and carries their code.
    kidneys = places(body, Tissue.KIDNEY)
    kidneys = kidneys[kidneys[:, 2] < height(chain, "T8")]
    assert height(chain, "L3") - 30 < kidneys[:, 2].mean() < height(chain, "T12")
    for side in (-1, 1):
        one = kidneys[np.sign(kidneys[:, 0] - chain.bodies[chain.index("L2")].centre[0]) == side]
        assert 60e3 < len(one) * SPACING**3 < 400e3  # mm³
        assert 40 < abs(one[:, 0].mean() - chain.bodies[chain.index("L2")].centre[0]) < 95


def test_pelvis_and_femora_lie_below_the_lumbar_spine(chain: Chain, body: Canvas) -> None:
    assert places(body, Tissue.PELVIS)[:, 2].max() < height(chain, "L3")
    assert places(body, Tissue.FEMUR)[:, 2].max() < chain.sacrum_centre[2]
    assert places(body, Tissue.SACRUM)[:, 2].max() < height(chain, "L4")
    assert places(body, Tissue.SKULL)[:, 2].min() > height(chain, "T2")


def test_lungs_lie_in_the_chest_beside_the_bodies(chain: Chain, body: Canvas) -> None:
    lung = places(body, Tissue.LUNG)
    assert 1.0e6 < len(lung) * SPACING**3 < 8e6  # mm³
    assert lung[:, 2].max() < height(chain, "C6")
    assert lung[:, 2].min() > height(chain, "L3")
    centre = chain.bodies[chain.index("T8")].centre
    near = lung[np.abs(lung - centre).max(axis=1) < 32]
    assert len(near) > 0
    # None inside the body and canal of T8.
    assert np.linalg.norm((near - centre)[:, :2], axis=1).min() > 12


def test_aorta_is_left_and_cava_right_in_front_of_l2(chain: Chain) -> None:
    canvas = draw(crop_canvas(chain, "L2", 2.0, (24, 64, 64)), chain)
    centre = chain.bodies[chain.index("L2")].centre
    vessels = places(canvas, Tissue.VESSEL, Tissue.CALCIFICATION) - centre
    before = vessels[(vessels[:, 1] > 12) & (vessels[:, 1] < 50) & (np.abs(vessels[:, 0]) < 35)]
    assert (before[:, 0] < -4).sum() * 8 > 1000
    assert (before[:, 0] > 8).sum() * 8 > 1000


def test_other_bones_leave_the_vertebrae_and_canal_alone(chain: Chain) -> None:
    for level in ("C2", "T6", "L5"):
        alone = crop_canvas(chain, level, 2.0, (40, 60, 60))
        draw_spine(alone, chain, SETTINGS, 0.3, np.random.default_rng(1))
        full = draw(crop_canvas(chain, level, 2.0, (40, 60, 60)), chain)
        np.testing.assert_array_equal(alone.ids, full.ids)
        drawn = alone.tissue != Tissue.AIR
        np.testing.assert_array_equal(alone.tissue[drawn], full.tissue[drawn])
        bones = np.isin(full.tissue, [Tissue.RIB, Tissue.SACRUM, *OTHER_BONES])
        assert bones.any()
        assert not (bones & (full.ids > 0)).any()


def test_no_air_is_left_round_the_spine(chain: Chain) -> None:
    for level in ("C5", "T6", "L3"):
        canvas = draw(crop_canvas(chain, level, 2.0, (20, 30, 30)), chain)
        assert not (canvas.tissue == Tissue.AIR).any()


def test_ribs_keep_to_the_chest(chain: Chain, body: Canvas) -> None:
    ribs = places(body, Tissue.RIB)
    assert ribs[:, 2].max() < height(chain, "C6")
    assert ribs[:, 2].min() > height(chain, "L5")
    shape = body_shape(chain)
    assert len(shape.ribs) == 24
    heads = {r.name: r.points[0] for r in shape.ribs if r.side > 0}
    for name, head in heads.items():
        offset = head - chain.bodies[chain.index(name)].centre
        assert np.linalg.norm(offset) < 45


def test_a_thirteenth_thoracic_vertebra_has_ribs() -> None:
    chain = make_chain(PhantomSettings(t13=True))
    assert {r.name for r in body_shape(chain).ribs} >= {"T12", "T13"}


def test_same_seed_same_voxels_other_seed_others(chain: Chain) -> None:
    first, again, other = (
        draw(crop_canvas(chain, "T9", 3.0, (30, 50, 50)), chain, seed=s).tissue for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("level", ["C3", "T3", "T10", "L4"])
def test_a_crop_shows_what_the_whole_body_shows(chain: Chain, body: Canvas, level: str) -> None:
    canvas = draw(crop_canvas(chain, level, SPACING, (20, 24, 26)), chain)
    start = np.rint((canvas.origin - body.origin) / SPACING).astype(int)
    i, j, k = (slice(int(a), int(a) + n) for a, n in zip(start, canvas.shape[::-1], strict=True))
    same = body.tissue[k, j, i]
    # Rounding of float32 coordinates may move a single voxel over an edge.
    assert (canvas.tissue != same).mean() < 2e-3
    bones = np.isin(same, [Tissue.RIB, Tissue.SACRUM, *OTHER_BONES])
    assert ((canvas.tissue != same) & bones).sum() <= 2


def test_a_canvas_far_from_the_body_stays_empty(chain: Chain) -> None:
    canvas = draw(Canvas(np.array([2000.0, 2000.0, 2000.0]), 4.0, (8, 8, 8)), chain)
    assert (canvas.tissue == Tissue.AIR).all()
    assert (canvas.ids == 0).all()
