"""The end of networks that put out angles: tilts of the 17 vertebrae, and what the rule makes of
them.

The papers average a feature map over the whole picture and connect three numbers to that. Such an
average has forgotten where a vertebra tilts, so here a map is also averaged around each vertebra,
with weights that the network draws itself: they are where it says that this vertebra lies, so the
line through these places gives a first guess of its tilt. From 17 tilts, the challenge's rule
(`spineseg.measure.cobb`) makes three angles for each of its three cases; how likely each case is,
and what to add, is read from the averages. The loss is the challenge's own measure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn

from spineseg.measure.cobb import challenge_angles, middles
from spineseg.methods.film_heat import expectation
from spineseg.systems.system import LEVELS, Sample
from spineseg.training.film_losses import gaussians, place_loss

__all__ = ["AngleHead", "Found", "angle_loss", "angle_targets", "by_rule", "smape", "targets_of"]

Floats = NDArray[np.float64]
COUNT = len(LEVELS)
_CASES = 3  # one bow; an S above the middle of the picture; an S below
_DEG = 10.0  # degrees per unit of the network's own numbers
_ABOUT = (0.051, 0.037, 0.00103)
"""Heights of the vertebrae on a film cut to T1–L5, c₀ + c₁ n + c₂ n² of its height, n from 0."""
_LOOSE = 0.08  # how far off they may well be
_SHAPE = 4  # numbers that the rule's case depends on
_HALF = 0.4  # of the distance to the neighbours, from a vertebra's middle to its endplate
_SPREAD = 0.03  # of a vertebra's place in training, in widths of the canvas


def targets_of(corners: Floats, canvas: tuple[int, int]) -> dict[str, Tensor]:
    """What is learned of corners (17, 4, 2) on a canvas.

    ``angles`` (1, 3) and ``tilts`` (1, 17) in degrees, ``case`` (1,), and ``places`` (1, 17, 2),
    the centres as fractions of the canvas.
    """
    rows, columns = canvas
    found = challenge_angles(corners, rows)
    across = corners[:, [1, 3]].mean(axis=1) - corners[:, [0, 2]].mean(axis=1)
    tilts = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    plates = middles(corners)[1::2, 1]
    low = bool(plates[list(found.major_pair)].mean() >= rows / 2)
    centres = (corners.mean(axis=1) + 0.5) / np.array([columns, rows])
    angles = [found.major_deg, found.upper_deg, found.lower_deg]
    return {
        "angles": torch.tensor([angles], dtype=torch.float32),
        "tilts": torch.as_tensor(tilts, dtype=torch.float32)[None],
        "case": torch.tensor([int(found.s_shaped) * (1 + low)], dtype=torch.int64),
        "places": torch.as_tensor(centres, dtype=torch.float32)[None],
    }


def angle_targets(sample: Sample) -> dict[str, Tensor]:
    """`targets_of` a film as it is shown in training."""
    return targets_of(sample.corners, (sample.image.shape[-2], sample.image.shape[-1]))


def by_rule(tilts: Tensor) -> Tensor:
    """The challenge's angles (N, 3 cases, 3) of tilts (N, 17), in the tilts' unit."""
    between = (tilts[:, :, None] - tilts[:, None]).abs()
    count = tilts.shape[1]
    first = between.detach().flatten(1).argmax(1)
    one, other = first // count, first % count
    hi, lo = torch.minimum(one, other)[:, None], torch.maximum(one, other)[:, None]
    every = torch.arange(count, device=tilts.device)[None]

    def from_to(vertebra: Tensor) -> Tensor:
        index = vertebra[..., None].expand(-1, 1, count)
        return between.gather(1, index)[:, 0]

    of_hi, of_lo = from_to(hi), from_to(lo)
    major = of_hi.gather(1, lo)[:, 0]
    above = of_hi.masked_fill(every > hi, -1.0)
    upper, second = above.max(1)
    lower = of_lo.masked_fill(every < lo, -1.0).amax(1)
    third = from_to(second[:, None]).masked_fill(every > second[:, None], -1.0).amax(1)
    cases = (
        (major, of_hi[:, 0], of_lo[:, -1]),
        (major, upper, lower),
        (major, upper, third),
    )
    return torch.stack([torch.stack(case, dim=1) for case in cases], dim=1)


class Found:
    """What an `AngleHead` says of N pictures.

    Attributes
    ----------
    angles : (N, 3), degrees
    tilts : (N, 17), degrees
    case : (N, 3), logits
    places : (N, 17, rows, columns), logits of where each vertebra lies
    """

    def __init__(self, angles: Tensor, tilts: Tensor, case: Tensor, places: Tensor) -> None:
        self.angles, self.tilts, self.case, self.places = angles, tilts, case, places


class AngleHead(nn.Module):
    """Angles from one feature map and from what else is known of the whole picture.

    Parameters
    ----------
    features : int
        Channels of the map.
    more : int
        Length of the vectors that were averaged elsewhere.
    width : int
        Channels along the spine.
    """

    def __init__(self, features: int, more: int, width: int = 48) -> None:
        super().__init__()
        self.where = nn.Conv2d(features, COUNT, 1)
        self.along = nn.Sequential(
            nn.Conv1d(features + 1, width, 1),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.tilt = nn.Conv1d(width, 1, 3, padding=1)
        self.dense = nn.Sequential(nn.Linear(more + COUNT * (8 + 1) + _SHAPE, 48), nn.ReLU())
        self.short = nn.Conv1d(width, 8, 1)
        self.out = nn.Linear(48 + _SHAPE, 3 + _CASES)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.tilt.weight)

    def forward(self, features: Tensor, more: Tensor) -> Found:
        """Look at a map (N, features, y, x) and at vectors (N, more)."""
        places = self.where(features) + _about(features.shape[2])[..., None].to(features)
        weight = places.flatten(2).softmax(2)
        at = _middles(places)
        lean = _lean(at)[:, None]
        seen = self.along(torch.cat([features.flatten(2) @ weight.transpose(1, 2), lean], dim=1))
        tilts = self.tilt(seen)[:, 0] - lean[:, 0]
        shape = _shape(at.detach(), tilts.detach(), places.shape[2])
        known = torch.cat([more, self.short(seen).flatten(1), tilts, shape], dim=1)
        last = self.out(torch.cat([self.dense(known), shape], dim=1))
        case = last[:, 3:]
        ruled = (by_rule(tilts) * case.softmax(1)[..., None]).sum(1)
        angles = _DEG * (ruled + last[:, :3])
        return Found(angles, _DEG * tilts, case, places)


def _middles(places: Tensor) -> Tensor:
    """Where vertebrae lie (N, 17, 2), (x, y) in cells from the map's upper left corner."""
    rows, columns = places.shape[2:]
    return (expectation(places) + 1) * torch.tensor([columns / 2, rows / 2], device=places.device)


def _lean(at: Tensor) -> Tensor:
    """How far the spine leans to the right, downwards, at each vertebra (N, 17), in `_DEG`."""
    step = torch.cat([at[:, 1:2] - at[:, :1], at[:, 2:] - at[:, :-2], at[:, -1:] - at[:, -2:-1]], 1)
    return torch.rad2deg(torch.atan2(step[..., 0], step[..., 1].clamp(min=1.0))) / _DEG


def _shape(at: Tensor, tilts: Tensor, rows: int) -> Tensor:
    """What the rule's case depends on (N, `_SHAPE`): how far endplates lie to either side of the
    chord from the first to the last, and how low those of the major angle lie."""
    turn = torch.deg2rad(tilts * _DEG)
    pitch = (at[:, 1:] - at[:, :-1]).norm(dim=-1)
    pitch = torch.cat([pitch[:, :1], (pitch[:, 1:] + pitch[:, :-1]) / 2, pitch[:, -1:]], dim=1)
    down = _HALF * pitch[..., None] * torch.stack([-turn.sin(), turn.cos()], dim=-1)
    plates = torch.stack([at - down, at + down], dim=2).flatten(1, 2)
    chord = plates[:, -1:] - plates[:, :1]
    inner = plates[:, 1:-2] - plates[:, :1]  # as in `spineseg.measure.cobb`
    side = 100 * (chord[..., 0] * inner[..., 1] - chord[..., 1] * inner[..., 0])
    side = side / chord.square().sum(-1).clamp(min=1.0)
    right, left = side.amax(1), (-side).amax(1)
    away = torch.stack([torch.minimum(right, left), right, left], dim=1)
    ends = torch.stack([tilts.argmin(1), tilts.argmax(1)], dim=1)
    low = plates[..., 1].gather(1, 2 * ends + 1).mean(1, keepdim=True) / rows - 0.5
    return torch.cat([torch.asinh(4 * away), 10 * low], dim=1)


def _about(rows: int) -> Tensor:
    """Where vertebrae usually lie, as logits (17, rows) to begin from."""
    number = torch.arange(COUNT)[:, None]
    usual = _ABOUT[0] + _ABOUT[1] * number + _ABOUT[2] * number**2
    at = (torch.arange(rows) + 0.5) / rows
    return -0.5 * ((at - usual) / _LOOSE) ** 2


def smape(found: Tensor, wanted: Tensor) -> Tensor:
    """The challenge's measure (N,) of angles (N, 3), 0 to 1, with gradients below 0 too."""
    return (found - wanted).abs().sum(1) / (found.abs() + wanted).sum(1).clamp(min=10.0)


def angle_loss(found: Found, wanted: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of angles, tilts, case and places against `targets_of`, and its parts for the log."""
    error = smape(found.angles, wanted["angles"])
    tilt = F.smooth_l1_loss(found.tilts / _DEG, wanted["tilts"] / _DEG, beta=0.2)
    case = F.cross_entropy(found.case, wanted["case"])
    rows, columns = found.places.shape[2:]
    cells = wanted["places"] * torch.tensor([columns, rows], device=error.device) - 0.5
    heat = gaussians(cells, rows, columns, max(_SPREAD * columns, 0.6))
    place = place_loss(found.places, heat).mean()
    loss = 4.0 * error.mean() + 2.0 * tilt + 0.3 * case + 0.2 * place
    with torch.no_grad():
        off = (found.tilts - wanted["tilts"]).abs().mean()
    parts = {"smape": 100 * error.mean(), "tilt": off, "case": case, "place": place}
    return loss, parts
