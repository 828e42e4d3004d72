"""What a film makes of the rays that reach it: exposure, scatter, noise, contrast, marks.

The patient is two materials, as in dual-energy work: what weighs like water, and bone mineral
(Alvarez & Macovski, Phys. Med. Biol. 21, 1976, eq. 2). Two energies stand for the tube's spectrum,
so thick parts harden the beam. How films differ is drawn widely on purpose (domain randomisation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]
#: Attenuation at about 45 and 75 keV, cm²/g, of water and of bone mineral (after NIST's tables).
_WATER, _MINERAL = np.array([0.245, 0.189]), np.array([0.75, 0.31])


@dataclass(frozen=True)
class FilmLook:
    """How a film was exposed, processed and shown.

    Parameters
    ----------
    soft_beam : share of the low energy
    scatter, scatter_mm : scattered beside direct rays, and how far they stray
    blur_mm : standard deviation of focus and detector
    noise, grain_mm : standard deviation of the noise (of the logarithm) behind a thick part, and
        its blur
    even, even_mm : how much of the slow change of brightness the processing took out, and what it
        took for slow
    detail, edges : how much structures of a centimetre, and of a millimetre, are raised
    dark, bright : percentiles of the film that are shown black and white
    top : how bright white is, as a share of the range
    gamma : of the curve between them
    slope : brightness gained across the film, (right, down), as a share of the range
    stitch : height of the seam between two exposures (0–1) and the step there; None for none
    grid_mm : distance of a ruler's lines over the film; 0 for none
    edge_light : collimator's bright borders: left, right, top, bottom as shares; 0 for none
    marker : a letter, "" for none, with its place (right, down) as shares
    """

    soft_beam: float = 0.5
    scatter: float = 0.3
    scatter_mm: float = 35.0
    blur_mm: float = 0.3
    noise: float = 0.02
    grain_mm: float = 0.4
    even: float = 0.3
    even_mm: float = 40.0
    detail: float = 0.3
    edges: float = 0.3
    dark: float = 5.0
    bright: float = 99.5
    top: float = 1.0
    gamma: float = 1.0
    slope: tuple[float, float] = (0.0, 0.0)
    stitch: tuple[float, float] | None = None
    grid_mm: float = 0.0
    edge_light: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    marker: str = ""
    marker_at: tuple[float, float] = (0.1, 0.1)


def random_look(rng: np.random.Generator, view: str) -> FilmLook:
    """A film's look at random: lateral ones are evened out more, and often stitched and ruled."""
    lateral = view == "lateral"
    often = 0.85 if lateral else 0.6
    stitch = None
    if rng.random() < (0.7 if lateral else 0.15):
        stitch = (float(rng.uniform(0.3, 0.7)), float(rng.normal(0, 0.06)))
    light = [float(v) if rng.random() < 0.08 else 0.0 for v in rng.uniform(0.005, 0.04, 4)]
    return FilmLook(
        soft_beam=float(rng.uniform(0.2, 0.8)),
        scatter=float(rng.uniform(0.05, 0.8)),
        scatter_mm=float(rng.uniform(20, 60)),
        blur_mm=float(rng.uniform(0.1, 0.7)),
        noise=float(np.exp(rng.uniform(np.log(0.005), np.log(0.03)))),
        grain_mm=float(rng.uniform(0.2, 0.7)),
        even=float(rng.uniform(0.4 if lateral else 0.0, 0.85)) if rng.random() < often else 0.0,
        even_mm=float(rng.uniform(20, 80)),
        detail=float(rng.uniform(0.3, 2.5) if lateral else rng.uniform(0.0, 0.8)),
        edges=float(rng.uniform(0.5, 3.0) if lateral else rng.uniform(0.0, 1.5)),
        dark=float(rng.uniform(0, 6) if lateral else rng.uniform(1, 22)),
        bright=float(rng.uniform(97, 100)),
        top=float(rng.uniform(0.7, 1.0)),
        gamma=float(np.exp(rng.normal(-0.15 if lateral else 0.0, 0.25))),
        slope=(float(rng.normal(0, 0.04)), float(rng.normal(0, 0.06))),
        stitch=stitch,
        grid_mm=float(rng.uniform(30, 60)) if rng.random() < (0.5 if lateral else 0.03) else 0.0,
        edge_light=(light[0], light[1], light[2], light[3]),
        marker=str(rng.choice(["R", "L", "S"])) if rng.random() < 0.3 else "",
        marker_at=(float(rng.uniform(0.03, 0.93)), float(rng.uniform(0.03, 0.9))),
    )


def develop(
    water: Array, mineral: Array, spacing_mm: float, look: FilmLook, rng: np.random.Generator
) -> Array:
    """The film, uint8 (rows, columns), bone bright.

    Parameters
    ----------
    water, mineral : (rows, columns) g/cm², what the rays passed
    """
    share = np.array([look.soft_beam, 1 - look.soft_beam])
    rays = np.zeros(water.shape, dtype=np.float32)
    for s, w, m in zip(share, _WATER, _MINERAL, strict=True):
        rays += np.float32(s) * np.exp(-np.float32(w) * water - np.float32(m) * mineral)
    rays = ndimage.gaussian_filter(rays, look.blur_mm / spacing_mm, truncate=3)
    # Air scatters nothing: only as much as comes through a thin part does.
    body = water > 1.0
    thick = rays[body] if body.any() else rays
    scattered = np.minimum(rays, np.percentile(thick, 70)) * body
    rays = rays + look.scatter * _coarse_blur(scattered, look.scatter_mm / spacing_mm)
    value = -np.log(np.maximum(rays, 1e-7))
    middle = float(np.percentile(thick, 50))
    grain = rng.standard_normal(value.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(grain, look.grain_mm / spacing_mm, truncate=2.5)
    grain *= np.float32(look.noise) / max(float(grain.std()), 1e-6)
    # Few rays, much noise (Poisson's).
    value = value + grain * np.clip(np.sqrt(middle / rays), 0.2, 3.0)
    return _shown(value, body, spacing_mm, look)


def _coarse_blur(picture: Array, sigma: float) -> Array:
    """A wide Gaussian blur, done on every few pixels."""
    step = max(1, int(sigma / 4))
    small = ndimage.gaussian_filter(
        ndimage.uniform_filter(picture, step)[::step, ::step], sigma / step, truncate=2.5
    )
    rows = [np.clip(np.arange(m) / step, 0, n - 1) for n, m in
            zip(small.shape, picture.shape, strict=True)]  # fmt: skip
    out = ndimage.map_coordinates(small, np.meshgrid(*rows, indexing="ij"), order=1)
    return np.asarray(out, dtype=np.float32)


def _shown(value: Array, body: Array, spacing_mm: float, look: FilmLook) -> Array:
    """Processing, window and marks."""
    if look.even > 0:
        # Within the body alone: no halo along the skin.
        weight = body.astype(np.float32) + np.float32(1e-3)
        sigma = look.even_mm / spacing_mm
        slow = _coarse_blur(value * weight, sigma) / _coarse_blur(weight, sigma)
        value = value - np.float32(look.even) * (slow - float(slow.mean()))
        value[~body] = np.minimum(value[~body], np.percentile(value[body], 1) if body.any() else 0)
    for much, wide_mm in ((look.detail, 8.0), (look.edges, 1.5)):
        if much > 0:
            blurred = _coarse_blur(value, wide_mm / spacing_mm)
            value = value + np.float32(much) * np.clip(value - blurred, -0.6, 0.6)
    of = value[body] if body.any() else value
    low, high = np.percentile(of, [look.dark, look.bright])
    shown = np.clip((value - low) / max(float(high - low), 1e-3), 0, 1) ** look.gamma * look.top
    rows, columns = shown.shape
    right, down = np.linspace(-0.5, 0.5, columns), np.linspace(-0.5, 0.5, rows)[:, None]
    shown = shown * (1 + look.slope[0] * right + look.slope[1] * down)
    if look.stitch is not None:
        seam = int(look.stitch[0] * rows)
        shown[seam:] += look.stitch[1]
        shown[seam : seam + max(1, round(0.7 / spacing_mm))] = 0.6
    if look.grid_mm:
        for axis, many in ((0, rows), (1, columns)):
            at = np.arange(look.grid_mm / 2, many * spacing_mm, look.grid_mm) / spacing_mm
            lines = [slice(None), slice(None)]
            for place in at.astype(int):
                lines[axis] = slice(place, place + 1)
                shown[lines[0], lines[1]] += 0.07
    _marks(shown, spacing_mm, look)
    return np.asarray(np.rint(np.clip(shown, 0, 1) * 255), dtype=np.uint8)


#: Letters of lead, 5 × 7, a row a number.
_LETTERS = {
    "R": (30, 17, 17, 30, 20, 18, 17), "L": (16, 16, 16, 16, 16, 16, 31),
    "S": (15, 16, 16, 14, 1, 1, 30),
}  # fmt: skip


def _marks(shown: Array, spacing_mm: float, look: FilmLook) -> None:
    """The collimator's borders and a lead letter, in place."""
    rows, columns = shown.shape
    left, right, top, bottom = look.edge_light
    shown[:, : int(left * columns)] = 1.0
    shown[:, columns - int(right * columns) :] = 1.0
    shown[: int(top * rows)] = 1.0
    shown[rows - int(bottom * rows) :] = 1.0
    if look.marker:
        bits = np.array([[row >> b & 1 for b in range(4, -1, -1)] for row in
                         _LETTERS[look.marker]], dtype=bool)  # fmt: skip
        letter = np.kron(bits, np.ones((max(1, round(2.0 / spacing_mm)),) * 2, dtype=bool))
        y, x = int(look.marker_at[1] * rows), int(look.marker_at[0] * columns)
        part = shown[y : y + letter.shape[0], x : x + letter.shape[1]]
        part[letter[: part.shape[0], : part.shape[1]]] = 0.95
