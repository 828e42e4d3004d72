"""Digital patients with odd anatomy: a missing T12, block vertebrae, long and short lowest ribs."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.labels import by_name
from spineseg.phantom import Fusion, PhantomSettings
from spineseg.phantom.canvas import Canvas
from spineseg.phantom.chain import Chain, build_chain, level_names
from spineseg.phantom.codes import Tissue
from spineseg.phantom.generate import draw, generate, spine_canvas

WIDE = (150.0, 70.0, 10.0)


def drawn(settings: PhantomSettings, seed: int = 5) -> tuple[Chain, Canvas]:
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    canvas = spine_canvas(chain, settings)
    draw(canvas, chain, settings, seed)
    return chain, canvas


def settings(first: str, last: str, **odd: object) -> PhantomSettings:
    return PhantomSettings(
        spacing_mm=2.0, levels=(first, last), cobb_deg=3.0, torso=False, margin_mm=WIDE, **odd
    )


def rib_ml_near(chain: Chain, canvas: Canvas, level: str) -> float:
    """Volume of rib within 18 mm above and below a body's centre, which others don't reach."""
    kji = np.argwhere(canvas.tissue == Tissue.RIB)
    ras = kji[:, ::-1] * canvas.spacing + canvas.origin
    body = chain.bodies[chain.index(level)]
    away = np.abs((ras - body.centre) @ body.rotation[:, 2])
    aside = np.linalg.norm((ras - body.centre)[:, :2], axis=1)
    return float(((away < 18.0) & (aside < 55.0)).sum()) * canvas.spacing**3 / 1000


def test_a_spine_without_t12_goes_from_t11_to_l1() -> None:
    odd = settings("T10", "L2", thoracic_11=True)
    names = level_names(odd)
    assert len(names) == 23
    assert names[names.index("T11") + 1] == "L1"
    chain, canvas = drawn(odd)
    present = {int(n) for n in np.unique(canvas.ids)}
    assert by_name("T12").verse not in present
    assert {by_name(n).verse for n in ("T11", "L1")} <= present
    gap = chain.bodies[chain.index("L1")].centre - chain.bodies[chain.index("T11")].centre
    assert 20 < np.linalg.norm(gap) < 45
    assert rib_ml_near(chain, canvas, "T11") > 1.0


def test_organs_are_drawn_without_a_t12() -> None:
    odd = PhantomSettings(spacing_mm=5.0, levels=("T10", "L2"), thoracic_11=True)
    tissue = generate(odd, seed=3).tissue.array
    assert (tissue == Tissue.KIDNEY).any()
    assert (tissue == Tissue.VESSEL).any()


@pytest.mark.parametrize("arches", [True, False])
@pytest.mark.parametrize(("upper", "lower"), [("L2", "L3"), ("C2", "C3")])
def test_a_block_vertebra_has_bone_where_the_disc_was(upper: str, lower: str, arches: bool) -> None:
    chain, canvas = drawn(settings(upper, lower, fusions=(Fusion(upper, arches),)), seed=4)
    above, below = (chain.bodies[chain.index(n)] for n in (upper, lower))
    middle = (above.endplate(upper=False)[0] + below.endplate(upper=True)[0]) / 2
    i, j, k = np.rint((middle - canvas.origin) / canvas.spacing).astype(int)
    pair = {by_name(n).verse for n in (upper, lower)}
    between = canvas.ids[k - 2 : k + 3, j, i]
    assert {int(n) for n in between} == pair
    # No cortex and no joint space: deep inside the bone all the way.
    assert canvas.depth[k - 2 : k + 3, j, i].max() < -30
    disc = canvas.tissue == Tissue.DISC
    usual = drawn(settings(upper, lower), seed=4)[1].tissue == Tissue.DISC
    assert disc.sum() < usual.sum()
    # A heap of bone no larger than the two and their disc.
    volume = np.isin(canvas.ids, list(pair)).sum() * canvas.spacing**3 / 1000
    assert volume < (180 if upper == "L2" else 45)


def test_fused_arches_leave_the_canal_open() -> None:
    odd = settings("L2", "L3", fusions=(Fusion("L2"),))
    chain, canvas = drawn(odd)
    plain = drawn(settings("L2", "L3", fusions=(Fusion("L2", arches=False),)))[1]
    bone = [int(np.isin(c.ids, [by_name(n).verse for n in ("L2", "L3")]).sum())
            for c in (canvas, plain)]  # fmt: skip
    assert bone[0] > bone[1]
    canal = [int(np.isin(c.tissue, (Tissue.CANAL, Tissue.CORD)).sum()) for c in (canvas, plain)]
    assert canal[0] > 0.95 * canal[1]


def test_lowest_ribs_are_as_long_as_asked() -> None:
    cases = [drawn(settings("T12", "L1", lowest_ribs=share)) for share in (0.0, 0.3, 1.0)]
    heads = [rib_ml_near(chain, canvas, "T12") for chain, canvas in cases]
    assert heads[0] < 0.5 * heads[1]
    whole = [int((canvas.tissue == Tissue.RIB).sum()) for _, canvas in cases]
    assert whole[0] < whole[1] < whole[2]


def test_lumbar_ribs_lie_beside_l1() -> None:
    none, some = (
        rib_ml_near(*drawn(settings("L1", "L2", lowest_ribs=0.0, lumbar_ribs=share)), "L1")
        for share in (0.0, 0.6)
    )
    assert none < 0.2
    assert some > none + 0.5


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        ({"t13": True, "thoracic_11": True}, "both a T13 and no T12"),
        ({"lowest_ribs": 1.5}, "lowest ribs"),
        ({"lumbar_ribs": -1.0}, "lumbar ribs"),
    ],
)
def test_what_cannot_be_is_refused(odd: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        PhantomSettings(**odd)


def test_fusions_need_a_neighbour_below() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="L5 has no vertebra below"):
        build_chain(PhantomSettings(fusions=(Fusion("L5"),)), rng)
    with pytest.raises(InputError, match="no T13"):
        build_chain(PhantomSettings(fusions=(Fusion("T13"),)), rng)
    with pytest.raises(InputError, match="no body that could be fused"):
        Fusion("C1")
