"""(c) Top-down: a mask of the spine, a curve fitted to it, and the vertebrae's edges to correct it.

After the challenge's system of a top-down residual U-Net with vertebra angle correction
(proceedings, p. 75–80). The spine is segmented; between its left and right boundary, as in a water
pipe, nearest neighbours are joined, and a curve is fitted to the middles of these joints by least
squares. A curve can't know a single vertebra, so flat Gaussian kernels are turned on the map of
the vertebrae's edges: where their derivative answers most, there is the vertebra's direction.
docs/cobb-topdown.md has what is different.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor, nn

from spineseg.methods.film_result import Mark
from spineseg.systems.bands import band_mask, endplate_edges
from spineseg.systems.lines import WIDTH, along, angles_of, length_of, line_of, resampled, tilts_of
from spineseg.systems.masks import map_mark
from spineseg.systems.system import Answer, Sample, Settings, Sight, System
from spineseg.systems.trunk import Fine, Neck, Trunk

__all__ = ["DEGREE", "SYSTEM", "Settings", "SpineAndEdges", "TopDown", "fit", "fitted", "predict"]

Floats = NDArray[np.float64]

DEGREE = 7
"""Of the polynomial that is fitted; the paper does not say what its function is."""
STRIDE = 2
"""Canvas pixels of a cell of the maps."""
PLACES = 33
"""Along the spine where its direction is corrected: every vertebra and every gap, about."""
_LEARNED = 12  # places of a film in a step of the training
_POSITIONS = 41  # of the line that is returned
_LEAST = 0.3  # of the canvas' rows that a spine must reach
_NARROW, _WALL = 25, 0.85  # rows, and the share of the widest of them that is width between walls
_TANGENT = 16  # of 201 points at an end say where a curve goes on
_RANGE, _STEPS = 40.0, 35  # degrees to both sides of the curve's direction, and how many are tried
_USUAL = 8.0  # degrees: how far vertebrae turn from the curve where edges say little
_ACROSS = (-0.45, 0.45, 15)  # of a vertebra's width: where a kernel lies, and its samples
_ALONG = (-0.062, 0.062, 33)  # of the spine's length: about a vertebra to both sides
_FLAT = 0.28  # of the width: standard deviation of the kernel along its length
_NEAR = 0.026  # of the spine's length: how far off an edge still counts


class SpineAndEdges(nn.Module):
    """Image (N, 1, y, x) → logits of background, spine and endplates, (N, 3, y/2, x/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.neck = Neck()
        self.up = Fine(3)
        self.sharpness = nn.Parameter(torch.tensor(6.0))

    def forward(self, image: Tensor) -> Tensor:
        """Go through the trunk and come up again."""
        found: Tensor = self.up(image, self.neck(self.trunk(image))[0])
        return found

    def corrected(self, edges: Tensor, places: Tensor, canvas: tuple[int, int]) -> Tensor:
        """Return the direction of vertebrae (N, n), radians, from a map of edges (N, 1, y, x).

        Parameters
        ----------
        places : (N, n, 5)
            x, y, the curve's tilt, a vertebra's width, and the spine's length, in pixels.
        """
        answer = responses(edges, places, canvas)
        share = (self.sharpness * answer / answer.mean(-1, keepdim=True).clamp(min=1e-6)).softmax(
            -1
        )
        return places[..., 2] + (share * _turns(edges)).sum(-1)


class TopDown(System):
    """The system; see the top of this file."""

    name = "cobb-topdown"
    kind = SpineAndEdges
    outputs = ("background", "spine", "endplates")
    paper = "26.05 % (challenge)"

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """Spine and edges; places a little off the true curve, and the true tilt there."""
        points, middles = line_of(sample.corners)
        at = np.sort(rng.uniform(0.0, 1.0, _LEARNED))
        places = _places(points, at)
        places[:, :2] += rng.normal(0, 0.006, (len(at), 2)) * places[:, 4:]
        places[:, 2] += rng.normal(0, np.radians(3), len(at))
        values = {
            "spine": band_mask(sample.corners, self.canvas, STRIDE),
            "edges": endplate_edges(sample.corners, self.canvas, STRIDE)[None],
            "places": places,
            "tilts": np.interp(at, middles, tilts_of(sample.corners)),
        }
        return {k: torch.as_tensor(v, dtype=torch.float32)[None] for k, v in values.items()}

    def loss(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropies of spine and edges, and the error of the corrected directions."""
        logits = network(batch["image"])
        spine = F.cross_entropy(logits[:, :2], batch["spine"].long())
        edges = F.binary_cross_entropy_with_logits(logits[:, 2:], batch["edges"])
        found = network.corrected(logits[:, 2:].sigmoid(), batch["places"], self.canvas)
        off = torch.rad2deg(found - batch["tilts"])
        tilt = F.smooth_l1_loss(off, torch.zeros_like(off))
        loss = 5.0 * spine + 10.0 * edges + 0.5 * tilt
        parts = {"loss": loss, "spine": spine, "edges": edges, "tilt": off.abs().mean(),
                 "sharpness": network.sharpness}  # fmt: skip
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def answer(self, network: Any, sight: Sight) -> Answer | None:
        """Fit the curve to the mask, and correct its direction by the edges."""
        logits = network(sight.image.to(next(network.parameters()).device)).float()
        curve = fitted((logits[0, 1] > logits[0, 0]).cpu().numpy())
        if curve is None:
            return None
        points = curve * STRIDE + (STRIDE - 1) / 2
        places = _places(points, np.linspace(0.0, 1.0, PLACES))
        edges = logits[:, 2:].sigmoid()
        read = torch.as_tensor(places, dtype=torch.float32, device=edges.device)[None]
        tilts = network.corrected(edges, read, self.canvas)[0].cpu().numpy().astype(np.float64)
        half = np.stack([np.cos(tilts), np.sin(tilts)], axis=1) * places[:, 3:4] / 2
        return Answer(
            centreline=along(np.linspace(0.0, 1.0, _POSITIONS), points),
            angles=angles_of(places[:, :2], tilts, self.canvas[0]),
            marks=(
                map_mark("spine", logits[0, :2].softmax(0)[1], self.canvas),
                map_mark("endplates", edges[0, 0], self.canvas),
                Mark("fitted curve", "line", along(np.linspace(0.0, 1.0, _POSITIONS), points)),
                Mark(
                    "directions",
                    "outlines",
                    np.stack([places[:, :2] - half, places[:, :2] + half], axis=1),
                ),
            ),
        )


def fitted(mask: NDArray[np.bool_]) -> Floats | None:
    """Fit a curve to a mask of the spine: an evenly spaced line (m, 2), (x, y) in cells.

    None if the mask holds nothing of the length of a spine.
    """
    parts, count = ndimage.label(mask)
    if count == 0:
        return None
    largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    rows = np.flatnonzero(largest.any(axis=1))
    if rows[-1] - rows[0] < _LEAST * len(mask):
        return None
    part = largest[rows[0] : rows[-1] + 1]
    left, right = part.argmax(axis=1), part.shape[1] - 1 - part[:, ::-1].argmax(axis=1)
    # At both ends the outline is an endplate, which is no wall of the pipe.
    wide = right - left + 1.0
    usual = ndimage.grey_dilation(wide, size=_NARROW, mode="nearest")
    wall = np.flatnonzero(wide >= _WALL * usual)
    kept = slice(wall[0], wall[-1] + 1)
    walls = [np.stack([x, rows], axis=1)[kept].astype(np.float64) for x in (left, right)]
    middles = np.concatenate([
        (one + other[cKDTree(other).query(one)[1]]) / 2 for one, other in (walls, walls[::-1])
    ])  # fmt: skip
    curve = Polynomial.fit(middles[:, 1], middles[:, 0], DEGREE)
    y = np.linspace(middles[:, 1].min(), middles[:, 1].max(), 201)
    return resampled(_to_ends(np.stack([curve(y), y], axis=1), largest))


def _to_ends(line: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Continue a line straight to the end of a mask."""
    more = []
    for end, before in ((line[0], line[_TANGENT - 1]), (line[-1], line[-_TANGENT])):
        step = (end - before) / np.linalg.norm(end - before)
        points = end + np.arange(1, len(mask) // 8)[:, None] * step
        x, y = np.rint(points).astype(int).T
        inside = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
        inside[inside] = mask[y[inside], x[inside]]
        more.append(points[: int(np.argmin(np.append(inside, False)))])
    return np.concatenate([more[0][::-1], line, more[1]])


def responses(edges: Tensor, places: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Answer of flat Gaussian kernels' derivatives in each direction: (N, n, directions).

    Edges (N, 1, y, x) of the canvas are read along lines that are turned to each direction, with a
    Gaussian along them, which makes the flat kernel; its derivative is taken from line to line.
    """
    u, v = (torch.linspace(*p, device=edges.device) for p in (_ACROSS, _ALONG))
    angle = places[..., 2:3] + _turns(edges)
    cos, sin = angle.cos()[..., None, None], angle.sin()[..., None, None]
    x, y, width, length = (places[..., k, None, None, None] for k in (0, 1, 3, 4))
    a, b = u * width, (v * length.squeeze(-1))[..., :, None]
    where = torch.stack([x + a * cos - b * sin, y + a * sin + b * cos], dim=-1)
    size = where.new_tensor([canvas[1], canvas[0]])
    flat = ((where + 0.5) / size * 2 - 1).flatten(1, 3)
    read = F.grid_sample(edges, flat, align_corners=False)[:, 0].view(where.shape[:-1])
    kernel = torch.exp(-0.5 * (u / _FLAT) ** 2)
    profile = (read * (kernel / kernel.sum())).sum(-1)
    slope = profile[..., 2:] - profile[..., :-2]
    near = torch.exp(-0.5 * (v[1:-1] / _NEAR) ** 2)
    return (slope.square() * near).sum(-1)


def _turns(like: Tensor) -> Tensor:
    return torch.deg2rad(torch.linspace(-_RANGE, _RANGE, _STEPS, device=like.device))


def _places(points: Floats, at: Floats) -> Floats:
    """Return x, y, the tilt of the normal, a vertebra's width and the length: (n, 5)."""
    size = float(length_of(points)[-1])
    down = along(at, np.gradient(points, axis=0))
    tilt = np.arctan2(-down[:, 0], down[:, 1])
    width = np.interp(at, (0.0, 1.0), WIDTH) * size
    return np.column_stack([along(at, points), tilt, width, np.full(len(at), size)])


SYSTEM = TopDown()
predict, fit = SYSTEM.predict, SYSTEM.fit
