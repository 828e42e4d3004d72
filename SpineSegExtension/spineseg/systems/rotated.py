"""(f) Corners in turned boxes: proposals along the spinal cord, each looked at upright.

After Tao et al., "Automated spinal curvature assessment from X-ray images using landmarks
estimation network via rotation proposals" (challenge's proceedings, p. 95–100). A feature pyramid
segments the cord's midline and proposes a turned box (x, y, w, h, θ) at every cell; the midline
suppresses what lies beside the spine; each box is turned upright (rotated ROI align), and a fully
convolutional network finds its four corners. The paper takes all boxes it finds and regrets that
it may count a neck vertebra as the first; here each proposal also says which vertebra it is.
docs/cobb-rotated.md has what else is different.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn

from spineseg.methods.film_chain import best_chain
from spineseg.methods.film_heat import expectation, mass_near
from spineseg.methods.film_result import Mark
from spineseg.systems.bands import band_mask
from spineseg.systems.masks import map_mark
from spineseg.systems.patches import Head, across, landmarks_state
from spineseg.systems.system import LEVELS, Answer, Sample, Settings, Sight, System
from spineseg.systems.trunk import Neck, Trunk
from spineseg.training.film_losses import gaussians, place_loss

__all__ = ["SYSTEM", "Rotated", "Settings", "TurnedBoxes", "fit", "predict"]

Floats = NDArray[np.float64]

STRIDE = 4
"""Canvas pixels of a cell of the proposals."""
_CORD = 0.3  # of the spine's width is taken for the cord's midline
_FLOOR = 0.02  # least chance that a place is on the midline
_LEAST = 0.02  # mean chance of the midline along the chain; below that there is no spine
_UNIT = (36.0, 22.0)  # usual width and height of a box, pixels
_WIDER, _TALLER = 1.5, 1.7  # of a box, so that its corners lie inside of what is looked at
_LOOK = (48, 64)  # rows and columns of an upright box
_SPREAD_FIND, _SPREAD = 1.2, 1.2  # of the Gaussians, cells
_EACH = 9  # boxes of a film that are looked at in a step of the training
_REACH = 0.25  # of what is looked at: probability farther off from a corner speaks against it
_TURN = np.radians(75.0)  # no more is believed of a film's annotations
# Usual distances between the middles of T1–L5, as fractions of their mean.
_PITCH = np.array([0.69, 0.76, 0.81, 0.85, 0.87, 0.88, 0.9, 0.92, 0.96, 1.04, 1.1, 1.16, 1.21,
                   1.26, 1.3, 1.28])  # fmt: skip


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()
    )


class TurnedBoxes(nn.Module):
    """Both stages on the trunk's feature pyramid."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.neck = Neck(width)
        self.places = Head(len(LEVELS))
        self.boxes = nn.Sequential(_block(width, 48), _block(48, 48), nn.Conv2d(48, 6, 1))
        self.narrow = nn.Conv2d(width, 24, 1)
        self.near = nn.Sequential(nn.Conv2d(1, 24, 5, 2, 2), nn.GroupNorm(4, 24), nn.ReLU())
        self.fcn = nn.Sequential(
            _block(48, 32), _block(32, 32), _block(32, 32), _block(32, 32), nn.Conv2d(32, 4, 1)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Propose: (N, 1, y, x) → maps at a quarter of the grid.

        Returns
        -------
        places : (N, 17, y/4, x/4)
            A map of logits for each vertebra, whose softmax is where it lies.
        boxes : (N, 6, y/4, x/4)
            Of the vertebra there: middle minus place in pixels, logarithms of width and height
            (`_UNIT` is 0), θ in radians; last, the logit of the cord's midline.
        features : (N, 24, y/4, x/4)
            For the second stage.
        """
        maps = self.trunk(image)
        joined = self.neck(maps)[0]
        scale = image.new_tensor([4.0, 4.0, 0.3, 0.3, 0.3, 1.0])[:, None, None]
        return self.places(maps[0]), self.boxes(joined) * scale, self.narrow(joined)

    def corners(self, image: Tensor, features: Tensor, patches: Tensor) -> Tensor:
        """Look at patches (N, p, 6) and put out maps of corners (N · p, 4, rows, columns)."""
        canvas = (image.shape[2], image.shape[3])
        half = (_LOOK[0] // 2, _LOOK[1] // 2)
        near = self.near(look(image, patches, _LOOK, canvas))
        found: Tensor = self.fcn(torch.cat([near, look(features, patches, half, canvas)], dim=1))
        return found


class Rotated(System):
    """The system; see the top of this file."""

    name = "cobb-rotated"
    kind = TurnedBoxes
    outputs = ("cord", *LEVELS, "turned boxes", "corners")
    paper = "25.48 % (challenge)"

    def begin(self, network: Any, models: Any) -> None:
        """Let the proposals' places begin as the trunk's own last layer."""
        network.places.begin(landmarks_state(models), list(range(len(LEVELS))))

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """Cord, boxes and corners of a film, and how far off the proposals of stage two are."""
        count = len(sample.corners)
        chosen = np.sort(rng.permutation(count)[:_EACH])
        values = {
            "corners": sample.corners,
            "cord": band_mask(sample.corners, self.canvas, STRIDE, _CORD)[None],
            "noise": rng.normal(0.0, 1.0, (count, 5)),
        }
        found = {k: torch.as_tensor(v, dtype=torch.float32)[None] for k, v in values.items()}
        return {**found, "chosen": torch.as_tensor(chosen)[None]}

    def loss(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropies of places and cord, squares of θ, and the corners in their boxes."""
        image, corners = batch["image"], batch["corners"]
        places, boxes, features = network(image)
        truth = box_of(corners)
        rows, columns = places.shape[2:]
        cells = (truth[..., :2] + 0.5) / STRIDE - 0.5
        find = place_loss(places, gaussians(cells, rows, columns, _SPREAD_FIND)).mean()
        cord = F.binary_cross_entropy_with_logits(boxes[:, 5:], batch["cord"])
        # Stage one: what is said anywhere near a vertebra's middle.
        noise = batch["noise"]
        place = truth[..., :2] + 2.5 * noise[..., :2]
        found = self._proposals(boxes, place)
        sizes = F.smooth_l1_loss(found[..., :4], truth[..., :4], beta=1.0)
        angle = torch.rad2deg(found[..., 4] - truth[..., 4])
        # Stage two: half of the boxes are the network's own, half the truth, a little off.
        spread = noise.new_tensor([2.0, 2.0, 2.5, 1.5, 0.08])
        off = truth + noise.flip(1) * spread
        boxed = torch.where(noise[..., :1] > 0, found.detach(), off)
        chosen = batch["chosen"]
        patches = patches_of(_taken(boxed, chosen))
        wanted = on_patch(_taken(corners, chosen).flatten(0, 1), patches.flatten(0, 1))
        maps = network.corners(image, features, patches)
        high, wide = maps.shape[2:]
        local = (wanted + 1) * wanted.new_tensor([wide, high]) / 2 - 0.5
        heat = place_loss(maps, gaussians(local, high, wide, _SPREAD)).mean()
        points = expectation(maps)
        place_error = F.smooth_l1_loss(points, wanted, beta=0.02)
        both = [across(on_canvas(p, patches.flatten(0, 1))) for p in (points, wanted)]
        turn = torch.rad2deg(_angle(both[0]) - _angle(both[1])).clamp(-30, 30)
        tilt = F.smooth_l1_loss(turn, torch.zeros_like(turn))
        loss = find + 5.0 * cord + 0.5 * sizes + 0.03 * angle.square().clamp(max=400).mean()
        loss = loss + heat + 15.0 * place_error + 0.2 * tilt
        parts = {"loss": loss, "find": find, "cord": cord, "sizes": sizes,
                 "angle": angle.abs().mean(), "heat": heat, "place": place_error,
                 "tilt": turn.abs().mean()}  # fmt: skip
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def answer(self, network: Any, sight: Sight) -> Answer | None:
        """Propose boxes, choose one a vertebra along the cord, and find their corners."""
        image = sight.image.to(next(network.parameters()).device)
        places, boxes, features = network(image)
        cord = boxes[0, 5].sigmoid().clamp(min=_FLOOR)
        logs = places[0].flatten(1).log_softmax(1).view_as(places[0]) + cord.log()
        chain, _ = best_chain(logs.cpu().numpy(), _PITCH)
        cells = torch.as_tensor(chain, dtype=torch.float32, device=image.device)
        middle = ((cells + 0.5) * STRIDE - 0.5)[None]
        if float(_read(cord[None, None], middle, self.canvas).mean()) < 2 * _LEAST:
            return None
        found = self._proposals(boxes, middle)
        patches = patches_of(found)
        maps = network.corners(image, features, patches).float()
        points = expectation(maps)
        sure = mass_near(maps, points, _REACH).mean(1)
        corners = on_canvas(points, patches[0]).cpu().numpy().astype(np.float64)
        outlines = on_canvas(_OUTLINE.expand(len(corners), -1, -1), patches_of(found, 1.0, 1.0)[0])
        return Answer(
            corners=corners,
            confidence=sure.cpu().numpy().astype(np.float64),
            marks=(
                map_mark("cord", cord, self.canvas),
                Mark("turned boxes", "outlines", outlines.cpu().numpy().astype(np.float64)),
            ),
        )

    def _proposals(self, boxes: Tensor, places: Tensor) -> Tensor:
        """Boxes (N, n, 5) that maps propose at places (N, n, 2): x, y, w, h in pixels, and θ."""
        read = _read(boxes, places, self.canvas)
        size = read[..., 2:4].clamp(-1.2, 1.2).exp() * read.new_tensor(_UNIT)
        angle = read[..., 4:5].clamp(-_TURN, _TURN)
        return torch.cat([places + read[..., :2], size, angle], dim=-1)


_OUTLINE = torch.tensor([[[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]])


def box_of(corners: Tensor) -> Tensor:
    """Return the turned boxes (…, 5) of corners (…, 4, 2): x, y, w, h in pixels, and θ."""
    right = across(corners)
    down = corners[..., [2, 3], :].mean(-2) - corners[..., [0, 1], :].mean(-2)
    size = torch.stack([right.norm(dim=-1), down.norm(dim=-1)], dim=-1)
    angle = _angle(right).clamp(-_TURN, _TURN)
    return torch.cat([corners.mean(-2), size, angle[..., None]], dim=-1)


def patches_of(boxes: Tensor, wider: float = _WIDER, taller: float = _TALLER) -> Tensor:
    """Return patches (…, 6) on boxes (…, 5), with some margin.

    A patch is its centre, and half of its width and of its height as vectors, in pixels.
    """
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    half = boxes[..., 2:4].clamp(min=6.0) / 2
    right = torch.stack([cos, sin], dim=-1) * half[..., :1] * wider
    down = torch.stack([-sin, cos], dim=-1) * half[..., 1:] * taller
    return torch.cat([boxes[..., :2], right, down], dim=-1)


def on_canvas(local: Tensor, patches: Tensor) -> Tensor:
    """Places (m, …, 2) in patches (m, 6), from −1 to 1 → pixels of the canvas."""
    lead = (len(patches),) + (1,) * (local.ndim - 2)
    centre, right, down = (patches[:, k : k + 2].reshape(*lead, 2) for k in (0, 2, 4))
    return centre + local[..., :1] * right + local[..., 1:] * down


def on_patch(points: Tensor, patches: Tensor) -> Tensor:
    """Pixels (m, k, 2) of the canvas → places in patches (m, 6)."""
    away = points - patches[:, None, :2]
    axes = torch.stack([patches[:, 2:4], patches[:, 4:6]], dim=1)
    return (away[:, :, None] * axes[:, None]).sum(-1) / (axes**2).sum(-1)[:, None]


def look(maps: Tensor, patches: Tensor, shape: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """Rotated ROI align: read maps (N, c, y, x) in patches (N, p, 6) → (N · p, c, *shape)."""
    films, each = patches.shape[:2]
    v, u = ((torch.arange(n, device=maps.device) + 0.5) * (2 / n) - 1 for n in shape)
    grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
    points = on_canvas(grid.expand(films * each, -1, -1, -1), patches.flatten(0, 1))
    seen = F.grid_sample(maps, _in_grid(points, canvas).view(films, -1, shape[1], 2),
                         align_corners=False)  # fmt: skip
    return seen.view(films, -1, each, *shape).transpose(1, 2).reshape(films * each, -1, *shape)


def _angle(vectors: Tensor) -> Tensor:
    return torch.atan2(vectors[..., 1], vectors[..., 0])


def _taken(values: Tensor, chosen: Tensor) -> Tensor:
    """Take rows (N, k) of values (N, n, …)."""
    return values[torch.arange(len(values), device=values.device)[:, None], chosen]


def _read(maps: Tensor, places: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Read maps (N, c, y, x) at places (N, n, 2) of the canvas: (N, n, c)."""
    where = _in_grid(places, canvas)[:, :, None]
    return F.grid_sample(maps, where, align_corners=False)[..., 0].transpose(1, 2)


def _in_grid(points: Tensor, canvas: tuple[int, int]) -> Tensor:
    return (points + 0.5) / points.new_tensor([canvas[1], canvas[0]]) * 2 - 1


SYSTEM = Rotated()
predict, fit = SYSTEM.predict, SYSTEM.fit
