"""Digital patients without soft tissue, and vertebrae of given heights, for tests of fractures."""

from __future__ import annotations

import numpy as np
from spineseg.labels import by_name
from spineseg.measure.genant import norm_of
from spineseg.measure.vertebra_body import VertebraBody
from spineseg.phantom.chain import Chain, build_chain
from spineseg.phantom.generate import spine_canvas
from spineseg.phantom.settings import PhantomSettings
from spineseg.phantom.spine import draw_spine
from spineseg.volume import Volume

LEVELS = [f"T{n}" for n in range(4, 13)] + [f"L{n}" for n in range(1, 6)]


def drawn(settings: PhantomSettings, seed: int) -> tuple[Chain, Volume]:
    """Return a patient's chain and label map."""
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    canvas = spine_canvas(chain, settings)
    draw_spine(canvas, chain, settings, 0.2, np.random.default_rng(seed))
    return chain, Volume(canvas.ids.copy(), canvas.affine)


def body(name: str, keep: tuple[float, float, float] = (1, 1, 1), node: float = 0.0,
         scale: float = 1.0) -> VertebraBody:  # fmt: skip
    """Return a vertebra with the usual heights of its level, of which shares are kept."""
    norm = norm_of(name)
    assert norm is not None
    heights = norm * keep * scale
    points = np.zeros((3, 2, 3, 3))
    for plane, x in enumerate((-8.0, 0.0, 8.0)):
        for place, y in enumerate((15.0, 0.0, -15.0)):
            for plate, sign in enumerate((0.5, -0.5)):
                points[plane, plate, place] = (x, y, sign * heights[place])
    half = np.array([20.0, 16.0, heights.mean() / 2])
    return VertebraBody(
        by_name(name).verse, name, np.zeros(3), np.eye(3), half, points, (1.0, 1.0), (node, 0.2),
        600.0, 20.0,
    )  # fmt: skip


def spine(changed: dict[str, tuple[float, float, float]], scale: float = 1.0) -> list[VertebraBody]:
    """Return T4 to L5, some with less height."""
    return [body(name, changed.get(name, (1, 1, 1)), scale=scale) for name in LEVELS]
