"""Generates a digital patient: a scan, what every voxel is, and the answers to measure against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..volume import Volume
from .canvas import Canvas
from .chain import Chain, build_chain
from .render import Scanner, random_scanner, render_ct
from .settings import PhantomSettings
from .skeleton import draw_skeleton
from .spine import draw_spine
from .torso import draw_soft_tissue

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Phantom:
    """A digital patient.

    Attributes
    ----------
    ct : int16 HU
    vertebrae : uint8 VerSe ids
    tissue : uint8 codes of ``Tissue`` and, in vertebrae, of ``SubRegion``
    overlay : uint8, lesions and implants (``INCLUSIONS``)
    depth : int8, signed distance to the surface of the bone, in tenths of a millimetre
        (``DEPTH_UNIT``), negative inside; 127 far from bone
    chain : where every vertebra lies, also outside of the grid
    scanner : how the scan was made
    """

    ct: Volume
    vertebrae: Volume
    tissue: Volume
    overlay: Volume
    depth: Volume
    chain: Chain
    scanner: Scanner
    settings: PhantomSettings
    seed: int


def spine_canvas(chain: Chain, settings: PhantomSettings) -> Canvas:
    """The grid round the chosen levels: half of the outermost neighbours and a margin."""
    first, last = (chain.index(name) for name in settings.levels)
    bodies = chain.bodies[min(first, last) : max(first, last) + 1]
    centres = np.array([b.centre for b in bodies])
    margin = np.asarray(settings.margin_mm, dtype=float)
    half = bodies[0].size.height / 2, bodies[-1].size.height / 2
    low = centres.min(axis=0) - margin - np.array([0, 20, half[1]])
    high = centres.max(axis=0) + margin + np.array([0, -20, half[0]])
    shape = np.ceil((high - low) / settings.spacing_mm).astype(int) + 1
    return Canvas(low, settings.spacing_mm, (int(shape[2]), int(shape[1]), int(shape[0])))


def draw(
    canvas: Canvas, chain: Chain, settings: PhantomSettings, seed: int, spine_only: bool = False
) -> None:
    """Draw a patient's spine, skeleton and body; the same whatever part lies on the canvas.

    ``spine_only`` leaves out all but vertebrae, discs, canal and sacrum.
    """
    spine, skeleton, soft, worn = np.random.SeedSequence(seed).spawn(4)
    wear = settings.degeneration
    if wear is None:
        wear = float(np.random.default_rng(worn).beta(1.0, 1.8))
    draw_spine(canvas, chain, settings, wear, np.random.default_rng(spine))
    draw_skeleton(canvas, chain, np.random.default_rng(skeleton), settings, spine_only)
    if spine_only:
        return
    if settings.torso:
        draw_soft_tissue(canvas, chain, np.random.default_rng(soft), settings)


def _slices(canvas: Canvas, slice_mm: float | None) -> tuple[Array, Array]:
    """Affine of the scan and its slices' places on the canvas, in the canvas's slices."""
    affine = canvas.affine
    step = (slice_mm or canvas.spacing) / canvas.spacing
    affine[2, 2] *= step
    return affine, np.arange(0, canvas.shape[0] - 0.999, step)


def generate(settings: PhantomSettings | None = None, seed: int = 0) -> Phantom:
    """Generate a digital patient; the same ``settings`` and ``seed`` give the same voxels.

    Raises
    ------
    InputError : settings that name levels which this patient does not have.
    """
    settings = settings or PhantomSettings()
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    canvas = spine_canvas(chain, settings)
    draw(canvas, chain, settings, seed)
    rng = np.random.default_rng([seed, 2])
    scanner = random_scanner(rng, settings.osteoporosis)
    # The slices are taken below: the scanner interpolates none, and they lie across the body.
    thick = settings.slice_mm or settings.spacing_mm
    scanner = replace(scanner, slice_mm=thick, slice_axis=0, slice_gap_mm=0.0)
    hu = render_ct(canvas.tissue, canvas.depth, canvas.overlay, canvas.spacing, scanner, rng)
    affine, at = _slices(canvas, settings.slice_mm)
    below, share = np.floor(at).astype(int), (at % 1.0)[:, None, None]
    above = np.minimum(below + 1, len(hu) - 1)
    scan = hu[below] * (1 - share) + hu[above] * share
    near = np.rint(at).astype(int)
    return Phantom(
        ct=Volume(np.rint(scan).astype(np.int16), affine),
        vertebrae=Volume(canvas.ids[near], affine),
        tissue=Volume(canvas.tissue[near], affine),
        overlay=Volume(canvas.overlay[near], affine),
        depth=Volume(canvas.depth[near], affine),
        chain=chain,
        scanner=scanner,
        settings=settings,
        seed=seed,
    )
