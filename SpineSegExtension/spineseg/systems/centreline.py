"""(e) Angles of the centreline: two networks in a row, and the tangents of what the second finds.

After Dubost et al., "Automated estimation of the spinal curvature via spine centerline extraction
with ensembles of cascaded neural networks" (challenge's proceedings, p. 88–94). The first network
segments the spine; the second sees only what the first put out and segments the centreline. It is
cut at 0.25, freed of small parts and smoothed, and its tangents at 19 points give the angles. One
thing is added, for no line knows how its vertebrae are wedged: the first network also says how the
spine tilts at each place, and a third of that is believed. Four such pairs, each
trained without one fold of patients, answer together. docs/cobb-centreline.md has what that gains,
and what else is different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from monai.networks.nets.basic_unet import BasicUNet
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from spineseg.errors import InputError
from spineseg.measure.centreline import centreline_tilts_deg
from spineseg.methods.film_result import Mark
from spineseg.systems import system
from spineseg.systems.bands import band_mask
from spineseg.systems.lines import (
    WIDTH,
    along,
    angles_of,
    length_of,
    line_of,
    tilts_of,
)
from spineseg.systems.masks import map_mark
from spineseg.systems.system import Answer, Sample, Sight, System
from spineseg.systems.trunk import Fine, Neck, Trunk

__all__ = ["POINTS", "SYSTEM", "THRESHOLD", "Cascades", "Centreline", "Settings", "fit", "predict"]

Floats = NDArray[np.float64]

THRESHOLD = 0.25
"""Of the centreline: low, so that it does not break."""
POINTS = 19
"""At which its tilt is read: about the gaps round 17 vertebrae."""
STRIDE = 2
"""Canvas pixels of a cell of the maps."""
_LINE = 0.2  # of the spine's width is centreline
_SMALL = 0.1  # of the canvas' rows: parts of the centreline that reach less far are dropped
_LEAST = 0.3  # of the canvas' rows that a spine must reach
_SHARE = 1 / 3  # of the tilt comes from the direction map, the rest from the tangent
_ACROSS, _ALONG = np.linspace(-0.38, 0.38, 9), np.linspace(-0.022, 0.022, 5)
_POSITIONS = 41  # of the line that is returned
_MEMBERS = 4  # of the ensemble: as many as there are folds beside the one kept aside


_TARGETS = ("masks", "places", "tilts")


@dataclass(frozen=True)
class Settings(system.Settings):
    """How to use it.

    Attributes
    ----------
    average : str
        "angles": each member's are read, and their mean is taken; "maps": they are read off the
        mean of the members' maps. The paper does both.
    """

    average: str = "angles"

    def __post_init__(self) -> None:
        if self.average not in ("maps", "angles"):
            raise InputError(f"There is no average of {self.average}.", "Choose maps or angles.")


class Member(nn.Module):
    """One cascade on the trunk's maps: the spine's logit and tilt, and the centreline's logit.

    The tilt is in radians, positive clockwise as seen in the picture: of the direction from the
    left to the right corners.
    """

    def __init__(self) -> None:
        super().__init__()
        self.neck = Neck()
        self.first = Fine(2)
        self.second = BasicUNet(2, 2, 1, features=(8, 16, 16, 32, 32, 8))

    def forward(self, image: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Image (N, 1, y, x) and the trunk's maps → (N, 2, y/2, x/2) and (N, 1, y/2, x/2)."""
        found = self.first(image, self.neck(maps)[0])
        seen = torch.cat([found[:, :1].sigmoid(), found[:, 1:]], dim=1)
        return found, self.second(seen)


class Cascades(nn.Module):
    """An ensemble on one trunk; a member never learns from the films of its own fold."""

    def __init__(self, members: int = _MEMBERS) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.members = nn.ModuleList(Member() for _ in range(members))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return all members' maps: (members, N, 2, y/2, x/2) and (members, N, 1, y/2, x/2)."""
        maps = self.trunk(image)
        first, line = zip(*(member(image, maps) for member in self.members), strict=True)
        return torch.stack(first), torch.stack(line)


class Centreline(System):
    """The system; see the top of this file."""

    name = "cobb-centreline"
    kind = Cascades
    params: ClassVar[Mapping[str, Any]] = {"members": _MEMBERS}
    outputs = ("spine", "tilt", "centreline")
    paper = "22.96 % (challenge), 20.40 % (public films)"

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """Both masks; places where the tilt is read, as in use but a little off, and the tilt."""
        spine, line = (
            band_mask(sample.corners, self.canvas, STRIDE, share) for share in (1.0, _LINE)
        )
        points, middles = line_of(sample.corners)
        at = np.sort(rng.uniform(0.0, 1.0, POINTS))
        where, down = along(at, points), along(at, np.gradient(points, axis=0))
        size = float(length_of(points)[-1])
        angle = np.arctan2(-down[:, 0], down[:, 1]) + rng.normal(0, np.radians(3), POINTS)
        where = where + rng.normal(0, 0.006 * size, where.shape)
        tilts = np.interp(at, middles, tilts_of(sample.corners))
        values = {
            "masks": np.stack([spine, line]),
            "places": self._places(where, angle, at, size),
            "tilts": tilts,
        }
        found = {k: torch.as_tensor(v, dtype=torch.float32)[None] for k, v in values.items()}
        return {**found, "fold": torch.tensor([sample.item.fold])}

    def loss(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The members' mean loss, each over the films of the batch that it may learn from."""
        image, maps = batch["image"], network.trunk(batch["image"])
        losses: list[Tensor] = []
        logs: list[dict[str, float]] = []
        for number, member in enumerate(network.members):
            its = batch["fold"] != number
            if not its.any():
                continue
            first, line = member(image[its], [m[its] for m in maps])
            loss, parts = cascade_loss(first, line, {k: batch[k][its] for k in _TARGETS})
            losses.append(loss)
            logs.append(parts)
        return torch.stack(losses).mean(), {
            k: float(np.mean([p[k] for p in logs])) for k in logs[0]
        }

    def answer(self, network: Any, sight: Sight) -> Answer | None:
        """Take the mean of the members' maps, or of what each reads off its own."""
        device = next(network.parameters()).device
        first, line = network(sight.image.to(device))
        chances = [m.float().cpu() for m in (first[:, 0, 0].sigmoid(), first[:, 0, 1],
                                             line[:, 0, 0].sigmoid())]  # fmt: skip
        options = sight.settings if isinstance(sight.settings, Settings) else Settings()
        whole = self._read(*(m.mean(0) for m in chances))
        if options.average == "maps" or whole is None:
            return whole
        each = [self._read(*one) for one in zip(*chances, strict=True)]
        angles = [one.angles for one in each if one is not None and one.angles is not None]
        return replace(whole, angles=np.mean(angles, axis=0)) if angles else whole

    def _read(self, spine: Tensor, tilt: Tensor, line: Tensor) -> Answer | None:
        """Cut, clean and smooth the centreline, and read the tilt along it; maps (y/2, x/2)."""
        curve = curve_of(line.numpy())
        if curve is None:
            return None
        try:
            points, tangent = centreline_tilts_deg(curve * STRIDE + (STRIDE - 1) / 2)
        except InputError:
            return None
        at = np.linspace(0.0, 1.0, POINTS)
        where, angle = along(at, points), np.radians(along(at, tangent[:, None])[:, 0])
        size = float(length_of(points)[-1])
        places = torch.as_tensor(self._places(where, angle, at, size), dtype=torch.float32)
        read = F.grid_sample(tilt[None, None], places.flatten(1, 2)[None], align_corners=False)
        seen = read[0, 0].mean(1).numpy().astype(np.float64)
        tilts = angle + _SHARE * (seen - angle)
        return Answer(
            centreline=along(np.linspace(0.0, 1.0, _POSITIONS), points),
            angles=angles_of(where, tilts, self.canvas[0]),
            marks=(map_mark("spine", spine, self.canvas), Mark("centreline", "line", where)),
        )

    def _places(self, where: Floats, angle: Floats, at: Floats, size: float) -> Floats:
        """Grids (n, 5, 9, 2) round points with tilts (n,), in `grid_sample`'s coordinates."""
        width = np.interp(at, (0.0, 1.0), WIDTH) * size
        right = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        down = np.stack([-right[:, 1], right[:, 0]], axis=1)
        across = width[:, None, None, None] * _ACROSS[:, None] * right[:, None, None]
        grid = where[:, None, None] + across + size * _ALONG[:, None, None] * down[:, None, None]
        return np.asarray((grid + 0.5) / np.array(self.canvas[::-1]) * 2 - 1)


def cascade_loss(
    first: Tensor, line: Tensor, wanted: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Squares over both masks, as in the paper, with a cross-entropy; the tilts' errors."""
    logits = torch.cat([first[:, :1], line], dim=1)
    squares = F.mse_loss(logits.sigmoid(), wanted["masks"])
    cross = F.binary_cross_entropy_with_logits(logits, wanted["masks"])
    each = F.grid_sample(first[:, 1:], wanted["places"].flatten(2, 3), align_corners=False)
    degrees = torch.rad2deg(each[:, 0] - wanted["tilts"][..., None])
    off = degrees.mean(2)
    tilt = F.smooth_l1_loss(off, torch.zeros_like(off))
    spread = F.smooth_l1_loss(degrees, torch.zeros_like(degrees))
    loss = 20.0 * squares + 5.0 * cross + tilt + 0.2 * spread
    parts = {"loss": loss, "squares": squares, "tilt": off.abs().mean(), "each": spread}
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def curve_of(chance: NDArray[np.float32]) -> Floats | None:
    """Return the middle (m, 2) between both borders of a centreline's map, in cells from its top.

    None if nothing of the length of a spine passes the threshold.
    """
    parts, count = ndimage.label(chance > THRESHOLD, structure=np.ones((3, 3)))
    high = [rows.stop - rows.start for rows, _ in ndimage.find_objects(parts)]
    kept = [n + 1 for n in range(count) if high[n] >= _SMALL * len(chance)]
    weight = np.where(np.isin(parts, kept), chance, 0.0)
    rows = np.flatnonzero(weight.any(axis=1))
    if len(rows) == 0 or rows[-1] - rows[0] < _LEAST * len(chance):
        return None
    weight = weight[rows]
    middle = weight @ np.arange(weight.shape[1]) / weight.sum(axis=1)
    return np.stack([middle, rows], axis=1).astype(np.float64)


SYSTEM = Centreline()
predict, fit = SYSTEM.predict, SYSTEM.fit
