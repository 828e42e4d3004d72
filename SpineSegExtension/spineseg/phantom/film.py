"""Radiographs of digital patients, frontal and lateral, with exact landmarks.

A patient is drawn twice: the body on a coarse grid, the spine on a fine one, both with voxels that
are long along the beam. Their densities are summed along the rays (`film_beam.py`), and the sums
become a film (`film_look.py`). The corners of the vertebral bodies come from the patient's own
chain by the same projection (`film_corners.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .answers import cobb_angle
from .chain import Chain, build_chain
from .codes import Tissue
from .film_beam import Beam, beam_canvas, shadow
from .film_corners import film_corners
from .film_look import FilmLook, develop, random_look
from .film_matter import Matter
from .generate import draw
from .render import VERTEBRA_CODES
from .settings import PhantomSettings

__all__ = ["FilmField", "RenderedFilm", "random_field", "render_film"]

Array = npt.NDArray[Any]
#: Voxels across and along the beam, mm, of spine and body; larger on films of more than so many
#: mm, whose pixels are larger too.
_NEAR = (1.0, 2.5), (2.5, 4.0)
_WIDE = (1.2, 3.0), (3.0, 5.0)
_LONG_MM = 620.0
#: What lies in front of and behind the spine, and on both sides of it, mm.
_BEFORE, _BEHIND, _ASIDE = 270.0, 170.0, 235.0


@dataclass(frozen=True)
class FilmField:
    """What a film shows: its beam, and the part of the plane that it covers.

    Parameters
    ----------
    corner, size : (u, v) of its upper left corner, width and height, mm
    rows : pixels of its height
    """

    beam: Beam
    corner: tuple[float, float]
    size: tuple[float, float]
    rows: int = 1024

    @property
    def spacing_mm(self) -> float:
        """Edge of a pixel at the film."""
        return self.size[1] / self.rows

    @property
    def columns(self) -> int:
        """Pixels of its width."""
        return max(1, round(self.size[0] / self.spacing_mm))

    def pixels(self, points: Array) -> Array:
        """Pixels (x, y) of points (u, v) of the film's plane, mm."""
        return np.asarray((np.asarray(points) - self.corner) / self.spacing_mm - 0.5)


@dataclass(frozen=True, eq=False)
class RenderedFilm:
    """A radiograph of a digital patient.

    Attributes
    ----------
    pixels : uint8 (rows, columns), bone bright
    spacing_mm : edge of a pixel at the film; the spine itself is shown magnified
    view : ap or lateral
    levels : from the top, C2 (or C1) to the sacrum, those whose corners all lie on the film
    corners : (n, 4, 2) float64 pixels (x, y): upper left, upper right, lower left, lower right as
        seen; left is the patient's right on a frontal film, the back on a lateral one. NaN for the
        upper end of C2 and the lower end of the sacrum
    cobb : largest frontal angle of the endplates in space, with its end vertebrae
    kyphosis_deg, lordosis_deg : T4 to T12 and L1 to S1, of the endplates' true planes seen from the
        side
    """

    pixels: Array
    spacing_mm: float
    view: str
    levels: tuple[str, ...]
    corners: Array
    cobb: dict[str, Any]
    kyphosis_deg: float | None
    lordosis_deg: float
    chain: Chain
    field: FilmField
    look: FilmLook
    settings: PhantomSettings
    seed: int


def render_film(
    settings: PhantomSettings | None = None,
    seed: int = 0,
    view: str = "ap",
    field: FilmField | None = None,
    look: FilmLook | None = None,
    whole: bool = False,
) -> RenderedFilm:
    """Take a film of a digital patient: of the one whom `generate` draws from the same numbers.

    Parameters
    ----------
    view : ap, which has the patient's left on the right of the picture, or lateral, looking right
    field, look : to take instead of what the seed draws
    whole : whether the film shows all of the spine, and `levels` begin with C1

    Raises
    ------
    InputError : settings that name levels which this patient does not have, or another view.
    """
    settings = settings or PhantomSettings()
    if view == "lateral" and settings.arms is None:
        settings = replace(settings, arms="forward")
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    framing, showing, matter, noise = np.random.default_rng([seed, 4]).spawn(4)
    field = field or random_field(framing, chain, view, whole)
    look = look or random_look(showing, view)
    loss = settings.osteoporosis
    loss = float(matter.beta(1.6, 1.6)) if loss is None else loss
    water, mineral = _sums(chain, settings, seed, field, Matter(loss, matter))
    levels, corners = film_corners(chain, field.beam, whole)
    corners = field.pixels(corners)
    inside = (corners >= -0.5) & (corners <= np.array([field.columns, field.rows]) - 0.5)
    complete = np.asarray(np.all(inside | np.isnan(corners), axis=(1, 2)))
    kyphosis, lordosis = sagittal_truth(chain)
    return RenderedFilm(
        pixels=develop(water, mineral, field.spacing_mm, look, noise),
        spacing_mm=field.spacing_mm,
        view=view,
        levels=tuple(level for level, shown in zip(levels, complete, strict=True) if shown),
        corners=corners[complete],
        cobb=cobb_angle(chain),
        kyphosis_deg=kyphosis,
        lordosis_deg=lordosis,
        chain=chain,
        field=field,
        look=look,
        settings=settings,
        seed=seed,
    )


def random_field(
    rng: np.random.Generator, chain: Chain, view: str, whole: bool = False
) -> FilmField:
    """A beam and a field of view at random, such as real films have (docs/phantom.md).

    A frontal film shows T1 to L5 and little more, or, one in four, skull and pelvis; a lateral one
    the neck and the pelvis; with `whole` either shows all from C1 down.
    """
    ap = view == "ap"
    middle = np.mean([body.centre for body in chain.bodies], axis=0)
    source = np.inf if rng.random() < 0.3 else float(rng.uniform(1500, 3200))
    towards = float(rng.choice([-1.0, 1.0]))
    gap = float(rng.uniform(20, 80))
    reach = (_BEHIND if towards > 0 else _BEFORE) if ap else _ASIDE
    beam = Beam(view, source, (0.0, 0.0), middle[1 if ap else 0] - towards * (reach + gap), towards)
    up = float(rng.uniform(-0.15, 0.15)) * 500
    foot = (-middle[0] if ap else middle[1], -middle[2] + up)
    beam = replace(beam, foot=(float(foot[0] + rng.normal(0, 15)), float(foot[1])))
    levels, corners = film_corners(chain, beam, whole)
    long = not ap or rng.random() < 0.25 or whole
    top = ("C1" if whole else "C2") if long else "T1"
    seen = corners[levels.index(top) : None if long else -1].reshape(-1, 2)
    low, high = np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)
    if not ap:
        above, below = rng.uniform(0.04, 0.18), rng.uniform(0.12, 0.32)
    elif long:
        above, below = rng.uniform(0.02, 0.12), rng.uniform(0.05, 0.25)
    else:
        above, below = rng.uniform(0.005, 0.07), rng.uniform(0.02, 0.13)
    height = float(high[1] - low[1]) / (1 - above - below)
    aspect = rng.uniform(0.36, 0.52) if not ap else rng.uniform(0.28, 0.52)
    span = float(high[0] - low[0])
    width = max(height * aspect, span + 25)
    free = width - span - 20
    share = float(np.clip(rng.normal(0.5, 0.12) if ap else rng.normal(0.45, 0.1), 0.05, 0.95))
    corner = (float(low[0] - 10 - free * share), float(low[1] - above * height))
    return FilmField(beam, corner, (width, height), int(rng.integers(900, 1400)))


def _sums(
    chain: Chain, settings: PhantomSettings, seed: int, field: FilmField, matter: Matter
) -> tuple[Array, Array]:
    """Water-like matter and mineral that the rays meet, g/cm², float32 (rows, columns) each."""
    beam = field.beam
    spine_mm, body_mm = _WIDE if field.size[1] > _LONG_MM else _NEAR
    u = field.corner[0] + (np.arange(field.columns) + 0.5) * field.spacing_mm
    v = field.corner[1] + (np.arange(field.rows) + 0.5) * field.spacing_mm
    places = np.array([body.centre for body in chain.bodies] + [chain.sacrum_centre])
    low, high = places.min(axis=0), places.max(axis=0)
    below, above = np.array([58.0, 80.0, 130.0]), np.array([58.0, 45.0, 35.0])
    fine = _canvas(field, low - below, high + above, spine_mm)
    draw(fine, chain, settings, seed, spine_only=True)
    bones = np.zeros(256, dtype=bool)
    bones[VERTEBRA_CODES[0] : VERTEBRA_CODES[1] + 1] = True
    bones[Tissue.SACRUM] = True
    total = shadow(beam, fine, matter.spine(fine, beam.axis), u, v, 2.5)
    below, above = np.array([_ASIDE, _BEHIND, 500.0]), np.array([_ASIDE, _BEFORE, 300.0])
    coarse = _canvas(field, low - below, high + above, body_mm)
    draw(coarse, chain, replace(settings, metal=(), lesions=()), seed)
    rest = shadow(beam, coarse, matter.body(coarse, beam.axis, bones), u, v, 8.0)
    # Skin and organs have no steps, whatever the voxels' size.
    soft = ndimage.gaussian_filter(rest[0], 0.7 * body_mm[0] / field.spacing_mm, truncate=2.5)
    return total[0] + soft, total[1] + rest[1]


def _canvas(field: FilmField, low: Array, high: Array, voxel: tuple[float, float]) -> Any:
    """A canvas over as much of the RAS box ``low``…``high`` as the film shows."""
    beam, low, high = field.beam, np.array(low), np.array(high)
    more = [float(beam.magnification(end[beam.axis])) for end in (low, high)]
    ends = np.array(
        [
            beam.foot + (np.array(field.corner) + np.array(field.size) * share - beam.foot) / m
            for m in more
            for share in (0, 1)
        ]
    )
    first, last = ends.min(axis=0) - 3 * voxel[0], ends.max(axis=0) + 3 * voxel[0]
    low[2], high[2] = max(low[2], -last[1]), min(high[2], -first[1])
    if beam.view == "ap":
        low[0], high[0] = max(low[0], -last[0]), min(high[0], -first[0])
    else:
        low[1], high[1] = max(low[1], first[0]), min(high[1], last[0])
    return beam_canvas(low, np.maximum(high, low), voxel[0], voxel[1], beam.axis)


def sagittal_truth(chain: Chain) -> tuple[float | None, float]:
    """Kyphosis (T4 to T12; None without T12) and lordosis (L1 to S1) of the planes, degrees."""
    bodies = {body.name: body for body in chain.bodies}

    def tilt(normal: Array) -> float:
        return float(np.degrees(np.arctan2(normal[1], normal[2])))

    kyphosis = None
    if "T12" in bodies:
        kyphosis = tilt(bodies["T4"].endplate(True)[1]) - tilt(bodies["T12"].endplate(False)[1])
    lordosis = tilt(chain.sacrum_rotation[:, 2]) - tilt(bodies["L1"].endplate(True)[1])
    return kyphosis, lordosis
