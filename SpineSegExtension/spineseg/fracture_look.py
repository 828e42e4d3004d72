"""What the two networks of a search for fractures see, for people to look at.

The voxel classifier's map of probabilities near the vertebrae (paper 004, p. 3), and a vertebra as
Spine-VAE draws it while its numbers go from cured to more fractured (p. 29), with the voxels that
sway the answer. None of it is anatomy: it is what a network holds for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg import labels
from spineseg.errors import InputError, WeightsError
from spineseg.fracture_networks import VAE, VOXELS, networks_here
from spineseg.grid import Grid
from spineseg.methods import fracture_voxels, spine_vae
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    from spineseg.fracture import Fractures
    from spineseg.measure.vertebra_body import VertebraBody

__all__ = [
    "AMOUNTS", "NOT_ANATOMY", "Look", "Preview", "evaluable", "look", "on_grid", "preview",
    "preview_problem", "probability_map", "require",
]  # fmt: skip

AMOUNTS = tuple(float(a) for a in np.linspace(-2, 2, 9))
"""Steps of a preview: −2 is cured, 0 as it is, 2 more fractured; see `spine_vae.imagine`."""
NOT_ANATOMY = "This is what a network imagines, not anatomy, and no forecast."
FULL = 100
MOST_PREVIEWS = 12
_MIDDLE = slice(spine_vae.SIZE // 2 - 1, spine_vae.SIZE // 2 + 1)

Singles = NDArray[np.float32]
Where = Sequence[tuple[int, ArrayLike]]


@dataclass(frozen=True, eq=False)
class Preview:
    """A vertebra between cured and more fractured, in the middle plane of its box (64² of 1.5 mm).

    Attributes
    ----------
    label : int
    amounts, probabilities : tuple of float
        By step: how far the numbers were moved, and what the classifier says of them, 0 to 1.
    pictures : (N, 64, 64) float32
        HU by step, rows from the top, columns from the front.
    original : (64, 64) float32
        HU of the CT inside the vertebra's mask.
    sways : (64, 64) float32
        How much each voxel of it sways the answer, 0 to 1 at most in this plane.
    """

    label: int
    amounts: tuple[float, ...]
    probabilities: tuple[float, ...]
    pictures: Singles
    original: Singles
    sways: Singles

    @property
    def level(self) -> str:
        return labels.display_name(self.label)


@dataclass(frozen=True, eq=False)
class Look:
    """What both networks see in one scan.

    Attributes
    ----------
    probability : Volume
        uint8 on the scan's grid: percent, 0 where the network did not look.
    previews : tuple of Preview
        Of suspects, from the top.
    """

    probability: Volume
    previews: tuple[Preview, ...]


def require(names: Collection[str] = (VOXELS, VAE), models: str | None = None) -> None:
    """Check that networks are there, before any long work.

    Raises
    ------
    WeightsError
        One is missing.
    """
    missing = [name for name in names if name not in networks_here(models)]
    if missing:
        raise WeightsError(
            f"The weights of {' and '.join(missing)} are missing, so there is nothing to show.",
            "Install SpineSeg again, or train them.",
        )


def evaluable(bodies: Iterable[VertebraBody]) -> list[tuple[int, ArrayLike]]:
    """Return label and centre of the bodies near which the voxel classifier can look.

    Where a body is cut off, air fills what is missing, and it never learned what that looks like.
    """
    own = (b for b in bodies if not b.problem and spine_vae.group_of(b.label) is not None)
    return [(body.label, body.centre) for body in own]


def probability_map(
    scan: Volume,
    vertebrae: Where,
    progress: Progress | None = None,
    models: str | None = None,
    device: str | None = None,
) -> Volume:
    """Map where a CT looks fractured to the voxel classifier, near its vertebrae.

    Parameters
    ----------
    scan : Volume
        CT in HU (k, j, i).
    vertebrae : sequence of (int, (3,))
        Label and centre of the body, RAS mm. Cervical ones are left out: it learned none.
    progress : Progress, optional
        Its token cancels.
    models, device : str, optional

    Returns
    -------
    Volume
        uint8, percent, on a grid of 1 mm along RAS that holds all of them; 0 elsewhere.

    Raises
    ------
    InputError
        There is no vertebra of the thorax or the loins.
    WeightsError
        The network is missing or damaged.
    """
    own = [place for label, place in vertebrae if spine_vae.group_of(label) is not None]
    if not own:
        raise InputError(
            "There is no evaluable vertebra of the thorax or the loins to look at.",
            "Check the levels of the segmentation.",
        )
    settings = fracture_voxels.Settings(models=models, device=device)
    found = fracture_voxels.fracture_voxels(scan, settings, progress, np.array(own)).fracture
    return found.like(np.rint(found.array * (FULL / 255)).astype(np.uint8))


def on_grid(volume: Volume, grid: Grid) -> Volume:
    """Return a volume on another grid, 0 outside; only what it covers of a large grid is worked on.

    Parameters
    ----------
    volume : Volume
        Any numbers (k, j, i).
    grid : Grid
    """
    result = np.zeros(grid.shape, dtype=volume.dtype)
    place = grid.ras_to_ijk(volume.grid.corners())[:, ::-1]
    size = np.array(grid.shape)
    lo = np.clip(np.floor(place.min(axis=0)).astype(int), 0, size)
    hi = np.clip(np.ceil(place.max(axis=0)).astype(int) + 1, 0, size)
    if (lo < hi).all():
        part = grid.cropped(lo.tolist(), hi.tolist())
        box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        result[box] = volume.resampled_like(part, order=1).array
    return Volume(result, grid.affine)


def preview_problem(label: int) -> str:
    """Return why there is no preview of a vertebra, in one sentence; "" where there is one."""
    group = spine_vae.group_of(label)
    if group is None:
        return "The network learned no cervical vertebra."
    if group < 0:
        return "Its level is unsure, and the network draws each group of levels in its own way."
    return ""


def preview(
    scan: Volume,
    segmentation: Volume,
    vertebrae: Where,
    label: int,
    progress: Progress | None = None,
    models: str | None = None,
    device: str | None = None,
) -> Preview:
    """Draw a vertebra from cured to more fractured.

    Parameters
    ----------
    scan, segmentation : Volume
        CT in HU and its label map, on one grid (k, j, i).
    vertebrae : sequence of (int, (3,))
        All of them from the top: label and centre of the body, RAS mm. Neighbours tell how the box
        stands; cervical ones are left out, as in `spineseg.fracture_networks.network_scores`.
    label : int
        Which one.
    progress : Progress, optional
        Its token cancels.
    models, device : str, optional

    Raises
    ------
    InputError
        It is cervical, its level is unsure, or it is not there.
    WeightsError
        The network is missing or damaged.
    """
    from spineseg.inference import finite_scan

    progress = progress or Progress()
    problem = preview_problem(label)
    if problem:
        raise InputError(problem, "Choose another vertebra.")
    own = [(n, place) for n, place in vertebrae if spine_vae.group_of(n) is not None]
    if label not in [n for n, _ in own] or not bool((segmentation.array == label).any()):
        raise InputError(
            f"{labels.display_name(label)} is not in the segmentation.", "Choose another vertebra."
        )
    progress("preview", 0.0, labels.display_name(label))
    boxes = spine_vae.box_grids(np.array([place for _, place in own], dtype=float))
    grid = boxes[[n for n, _ in own].index(label)]
    picture = spine_vae.masked_box(finite_scan(scan), segmentation, label, grid)
    progress("preview", 0.2, "drawing")
    settings = spine_vae.Settings(models=models, device=device)
    steps = spine_vae.imagine(picture, label, AMOUNTS, settings)
    progress("preview", 0.7, "where it looks")
    sways = _middle(spine_vae.saliency(picture, settings))
    progress("preview", 1.0)
    return Preview(
        label,
        tuple(step.amount for step in steps),
        tuple(step.probability for step in steps),
        np.stack([spine_vae.to_hu(_middle(step.picture)) for step in steps]),
        spine_vae.to_hu(_middle(picture)),
        np.asarray(sways / max(float(sways.max()), 1e-12), dtype=np.float32),
    )


def _middle(picture: NDArray[Any]) -> Singles:
    """Return the middle plane of a box (k, j, i) that stands upright: the front is on the left."""
    plane = picture[:, :, _MIDDLE].mean(axis=2)[::-1, ::-1]
    return np.asarray(plane, dtype=np.float32)


def look(scan: Volume, found: Fractures, progress: Progress | None = None) -> Look:
    """Let both networks show what they see: the map, and a preview of each suspect.

    Parameters
    ----------
    scan : Volume
        CT in HU (k, j, i).
    found : Fractures
        What a search of it has found. Round vertebrae that are not evaluable there is no map;
        suspects that are not evaluable, cervical ones and those
        whose level is unsure get no preview, nor do more than the 12 most probable ones.
    progress : Progress, optional

    Raises
    ------
    SpineSegError
        As `probability_map` and `preview` say.
    """
    progress = progress or Progress()
    where = [(f.graded.body.label, f.graded.body.centre) for f in found.findings]
    near = evaluable(f.graded.body for f in found.findings)
    percent = Volume(np.zeros((1, 1, 1), dtype=np.uint8), scan.affine)
    if near:
        percent = probability_map(scan, near, progress.part(0.0, 0.8))
    seen = [f for f in found.findings if f.suspect and not f.graded.problem]
    seen = [f for f in seen if not preview_problem(f.graded.body.label)]
    chosen = sorted(seen, key=lambda f: -(f.probability or 0.0))[:MOST_PREVIEWS]
    suspects = [f.graded.body.label for f in seen if f in chosen]
    previews = []
    for n, label in enumerate(suspects):
        part = progress.part(0.8 + 0.2 * n / len(suspects), 0.8 + 0.2 * (n + 1) / len(suspects))
        previews.append(preview(scan, found.segmentation, where, label, part))
    progress("preview", 1.0)
    return Look(on_grid(percent, scan.grid), tuple(previews))
