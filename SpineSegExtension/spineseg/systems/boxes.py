"""Chen et al.'s first method: a box on each vertebra (RetinaNet), four corners in it (HR-Net).

The detector is MONAI's RetinaNet on the shared trunk; boxes that overlap both neighbours, or lie
apart from them, are dropped. MONAI has no HR-Net, so the second network is one in its style, of
MONAI's blocks. `spineseg.systems.keypoints` is the system that both belong to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher
from monai.apps.detection.utils.box_coder import BoxCoder
from monai.apps.detection.utils.box_selector import BoxSelector
from monai.data.box_utils import box_iou
from monai.losses.focal_loss import FocalLoss
from monai.networks.blocks.convolutions import Convolution
from monai.networks.blocks.dynunet_block import UnetResBlock
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from spineseg.methods.film_chain import Frames, frames_of
from spineseg.methods.film_picture import CANVAS
from spineseg.systems.patches import CELLS, Close, local_mean, windows
from spineseg.systems.system import LEVELS, Sight
from spineseg.systems.trunk import Neck

__all__ = [
    "Detector", "Found", "HighResolution", "boxes_of", "corners_in", "detected", "detector_loss",
    "frames_on", "in_line", "look", "seventeen",
]  # fmt: skip

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SHAPES = ((35.0, 22.0),)
"""Width and height of anchors at 1/8: the median box of T1–T9 on the canvas."""
_SCALES = (1.0, 1.35)  # at 1/8, and at 1/16: the median box of T10–L5
_CANDIDATES = 9  # places a box and map that ATSS looks at
_FOCUS, _SHARE = 2.0, 0.25  # γ and α of the focal loss, as in RetinaNet's paper
_SEEN = 0.4  # least score of a box
_SAME = 0.5  # IoU from which two boxes are one vertebra's
_OVERLAP = 0.36  # the paper's T_IoU
_ASTRAY = 0.6  # distances between neighbours that a box may lie off its vertebra in the sketch
_REACH = 0.8  # widths of its box that a window reaches from the middle
_STREAMS = (16, 24, 32)  # channels at 1/2, 1/4 and 1/8 of a window
_STAGES = 3
_GROUPS = ("group", {"num_groups": 4})


class Found(NamedTuple):
    """What the detector puts out.

    Attributes
    ----------
    logits : (N, a)
        That an anchor is a vertebra.
    codes : (N, a, 4)
        Its box, as MONAI's ``BoxCoder`` writes it by the anchor.
    anchors : (a, 4)
        Left, top, right and bottom on the canvas.
    places : list of int
        Cells of each map; every one has all anchors.
    """

    logits: Tensor
    codes: Tensor
    anchors: Tensor
    places: list[int]


class Detector(nn.Module):
    """RetinaNet with one class on the trunk's maps at 1/8 and 1/16 of the canvas."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        neck = Neck(width, len(_SCALES), first=1)
        self.net = RetinaNet(2, 1, len(_SHAPES), neck)
        self.anchors = AnchorGeneratorWithAnchorShape(_SCALES, _SHAPES, indexing="xy")

    def forward(self, maps: list[Tensor], image: Tensor) -> Found:
        """Detect on the trunk's maps of images (N, 1, y, x)."""
        out: dict[str, list[Tensor]] = self.net(maps)
        logits, codes = (out[key] for key in (self.net.cls_key, self.net.box_reg_key))
        return Found(
            torch.cat([_by_anchor(one, 1) for one in logits], dim=1)[..., 0],
            torch.cat([_by_anchor(one, 4) for one in codes], dim=1),
            self.anchors(image, logits)[0],
            [one.shape[2] * one.shape[3] for one in logits],
        )


def _by_anchor(maps: Tensor, values: int) -> Tensor:
    """(N, anchors · values, y, x) → (N, y · x · anchors, values), the order of MONAI's anchors."""
    count, _, rows, columns = maps.shape
    split = maps.reshape(count, -1, values, rows, columns).permute(0, 3, 4, 1, 2)
    return split.reshape(count, -1, values)


def _coder() -> BoxCoder:
    return BoxCoder((1.0, 1.0, 1.0, 1.0))


def detector_loss(found: Found, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Losses for true boxes (N, n, 4): focal of the scores, smooth L1 of the codes; a vertebra."""
    matcher = ATSSMatcher(_CANDIDATES)
    which = torch.stack(
        [matcher(one, found.anchors, found.places, len(_SHAPES))[1] for one in boxes]
    )
    film, anchor = (which >= 0).nonzero(as_tuple=True)
    focal = FocalLoss(gamma=_FOCUS, alpha=_SHARE, reduction="none")
    count = max(len(film), 1)
    score = focal(found.logits[:, None], (which >= 0).float()[:, None]).sum() / count
    wanted = _coder().encode_single(boxes[film, which[film, anchor]], found.anchors[anchor])
    box = F.smooth_l1_loss(found.codes[film, anchor], wanted, reduction="sum", beta=0.1) / count
    return score, box


def detected(found: Found) -> tuple[Floats, Floats]:
    """Boxes (n, 4) on the canvas and scores (n,), from the top, of a single film."""
    boxes = _coder().decode_single(found.codes[0].float(), found.anchors)
    choose = BoxSelector(score_thresh=_SEEN, nms_thresh=_SAME)
    chosen, scores, _ = choose.select_boxes_per_image(
        [boxes], [found.logits[0][:, None]], list(CANVAS[::-1])
    )
    order = torch.argsort(chosen[:, 1] + chosen[:, 3])
    places, sure = (a[order].cpu().numpy().astype(np.float64) for a in (chosen, scores))
    return places, sure


def in_line(boxes: Floats) -> Bools:
    """Which boxes (n, 4), from the top, are kept: the paper's two rules.

    Not one that overlaps both neighbours by more than `_OVERLAP`, nor one whose upper left corner
    is farther from its neighbours' than it is wide. The paper asks the previous one for that; here
    the next one may speak for it too, or every gap would cost the box below.
    """
    near = np.array([_alike(a, b) for a, b in zip(boxes[1:], boxes[:-1], strict=True)])
    crowded = np.zeros(len(boxes), dtype=bool)
    crowded[1:-1] = (near[1:] > _OVERLAP) & (near[:-1] > _OVERLAP)
    kept = np.flatnonzero(~crowded)
    step = np.linalg.norm(np.diff(boxes[kept, :2], axis=0), axis=1)
    away = np.minimum(np.append(np.inf, step), np.append(step, np.inf))
    good = np.zeros(len(boxes), dtype=bool)
    good[kept[away <= boxes[kept, 2] - boxes[kept, 0]]] = True
    return good


def _alike(one: Floats, other: Floats) -> float:
    return float(box_iou(one[None], other[None])[0, 0])


def seventeen(boxes: Floats, sketch: Floats) -> tuple[Floats, Bools]:
    """Give each vertebra of a sketch (17, 4, 2) its box of boxes (n, 4), from the top.

    17 boxes are the 17 vertebrae. Of more or fewer, each goes to the vertebra that it is near to in
    the sketch; where none is left, the sketch's own place is taken.

    Returns
    -------
    (boxes, seen) : (17, 4), and whether the detector saw it (17,)
    """
    count = len(LEVELS)
    if len(boxes) == count:
        return boxes, np.ones(count, dtype=bool)
    made, seen = boxes_of(sketch), np.zeros(count, dtype=bool)
    middles = (made[:, :2] + made[:, 2:]) / 2
    pitch = float(np.median(np.linalg.norm(np.diff(middles, axis=0), axis=1)))
    away = np.linalg.norm(middles[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2, axis=2)
    # A box that is too far off costs as much as any other that is, so that it moves none.
    row, column = linear_sum_assignment(np.minimum(away, _ASTRAY * pitch))
    near = away[row, column] < _ASTRAY * pitch
    made[row[near]], seen[row[near]] = boxes[column[near]], True
    return made, seen


def boxes_of(corners: Any) -> Any:
    """Left, top, right and bottom (…, 4) of vertebrae's corners (…, 4, 2), an array or a tensor."""
    if isinstance(corners, Tensor):
        return torch.cat([corners.amin(-2), corners.amax(-2)], dim=-1)
    return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)


def frames_on(boxes: Floats) -> Frames:
    """Windows on boxes (17, 4), from the top, turned as the line of their middles is."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    along = frames_of(middles, np.ones(len(boxes)))
    return Frames(middles, along.right, along.down, _REACH * (boxes[:, 2] - boxes[:, 0]))


class _Exchange(nn.Module):
    """Each of the first streams gets the sum of all: finer ones strided, coarser ones enlarged."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.paths: Any = nn.ModuleList(
            nn.ModuleList(self._path(a, b) for a in range(inputs)) for b in range(outputs)
        )

    @staticmethod
    def _path(a: int, b: int) -> nn.Module:
        if a == b:
            return nn.Identity()
        if a > b:
            return nn.Sequential(
                Convolution(2, _STREAMS[a], _STREAMS[b], kernel_size=1, norm=_GROUPS, act=None),
                nn.Upsample(scale_factor=float(2 ** (a - b)), mode="nearest"),
            )
        steps = [
            Convolution(2, _STREAMS[a], _STREAMS[b if n == b - 1 else a], strides=2, norm=_GROUPS,
                        act="relu" if n < b - 1 else None)
            for n in range(a, b)
        ]  # fmt: skip
        return nn.Sequential(*steps)

    def forward(self, streams: list[Tensor]) -> list[Tensor]:
        """Exchange."""
        return [
            torch.relu(torch.stack([p(s) for p, s in zip(paths, streams, strict=True)]).sum(0))
            for paths in self.paths
        ]


class HighResolution(nn.Module):
    """In HR-Net's style: streams at 1/2, 1/4 and 1/8 of a window, side by side to the end.

    Windows (M, 2, 96, 96) and features (M, 24, 48, 48) → logits (M, 4, 48, 48) of upper left, upper
    right, lower left and lower right corner. The paper's began from ImageNet's weights; this one
    begins from what the patches' network has seen in the window, which it does not train.
    """

    def __init__(self, features: int = 24) -> None:
        super().__init__()
        self.near = Convolution(2, 1, 16, strides=2, norm=_GROUPS, act="relu")
        self.stem = Convolution(2, 16 + 2 + features, _STREAMS[0], norm=_GROUPS, act="relu")
        count = len(_STREAMS)
        self.spread = _Exchange(1, count)
        self.blocks: Any = nn.ModuleList(
            nn.ModuleList(UnetResBlock(2, c, c, 3, 1, _GROUPS, "relu") for c in _STREAMS)
            for _ in range(_STAGES)
        )
        self.exchange = nn.ModuleList(
            _Exchange(count, count if n < _STAGES - 1 else 1) for n in range(_STAGES)
        )
        self.out = nn.Conv2d(_STREAMS[0], 4, 1)

    def forward(self, seen: Tensor, features: Tensor) -> Tensor:
        """Put out logits."""
        line = (torch.arange(CELLS, device=seen.device) + 0.5) * (2 / CELLS) - 1
        place = torch.stack(torch.meshgrid(line, line, indexing="xy"))
        place = place[None].expand(len(seen), -1, -1, -1)
        streams = self.spread([self.stem(torch.cat([self.near(seen[:, :1]), place, features], 1))])
        for blocks, exchange in zip(self.blocks, self.exchange, strict=True):
            streams = exchange([b(s) for b, s in zip(blocks, streams, strict=True)])
        found: Tensor = self.out(streams[0])
        return found


def look(network: HighResolution, patch: Close, seen: Tensor) -> Tensor:
    """Maps (M, 4, 48, 48) of windows (M, 2, 96, 96)."""
    with torch.no_grad():
        features = patch.unet.skip_layers(seen)
    found: Tensor = network(seen, features)
    return found


def corners_in(network: HighResolution, patch: Close, sight: Sight, boxes: Floats) -> Floats:
    """Find the corners (17, 4, 2) in boxes (17, 4), both on the canvas."""
    ends = sight.to_prepared(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    frames = frames_on(ends)
    seen = windows(sight.picture, frames, np.arange(float(len(boxes))))
    seen = seen.to(patch.width.device, memory_format=torch.channels_last)
    maps = look(network, patch, seen).float()
    top = maps.flatten(2).argmax(-1)
    cells = torch.stack([top % CELLS, top // CELLS], dim=-1)[:, :, None].float()
    local = (local_mean(maps, cells)[:, :, 0] + 0.5) / (CELLS / 2) - 1
    return sight.to_canvas(frames.to_picture(local.cpu().numpy().astype(np.float64)))
