"""Corners of the vertebrae on a film: find the vertebrae, then look at each one closely.

The U-Net with heatmaps and the soft-argmax of paper p. 39, and the chain of vertebrae of the
challenge's landmark systems (Yi et al. 2020: centres, then corners), trained on public films. One
small network says on the whole film where each vertebra may lie (T1–L5 from the front, C2–S1 from
the side; each view has networks of its own); dynamic programming
chooses the places that together make a spine, so every film gets an answer. A second network looks
at each vertebra in a window turned along the spine and puts out its four corners; a second look
from there corrects the first. docs/cobb-landmarks.md says where this fails.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.methods import film_checks
from spineseg.methods.film_chain import LEVELS_OF, Frames, best_chain, frames_of, smoothed
from spineseg.methods.film_heat import expectation, mass_near
from spineseg.methods.film_picture import Picture, prepare, sample
from spineseg.methods.film_prior import settled
from spineseg.methods.film_result import AP, LATERAL, FilmResult
from spineseg.methods.film_windows import MIRRORED, canvas_image, window_points, with_level
from spineseg.methods.loading import build
from spineseg.progress import Progress
from spineseg.weights import card_path

__all__ = ["MODELS", "MODEL_OF", "Found", "Settings", "find", "fit", "predict"]

Floats = NDArray[np.float64]

MODEL_OF = {AP: "cobb-landmarks", LATERAL: "cobb-lateral"}
MODELS = tuple(MODEL_OF.values())
_REACH = 0.12  # of a width: probability farther off than this from a corner speaks against it
# Mean probability that the chain's places are vertebrae. Of held-out films 95 of 100 have more than
# 0.81 and all more than 0.5; upside down at most 0.79, halves of films 0.67, of another view 0.33.
_RIGHT = 0.78  # from here on a film is taken as it lies
_BETTER = 0.1  # by which another way of lying must be more likely to be preferred
_SURE = 0.85  # more than a wrong way ever had: no other need be tried
_NOTHING = 0.35  # less than this and no spine is seen at all
# Chosen on rendered lateral films, and on the frontal ones kept aside, where 1 to 3 do alike.
_NOISE_DEG = {AP: 2.0, LATERAL: 6.0}
_LEAST_WEIGHT = 0.02  # of a vertebra in smoothing, however unsure it is


@dataclass(frozen=True)
class Settings:
    """How to find the corners.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    models : str or None
        Folder of the trained network, if not the package's own.
    view : str or None
        "ap" or "lateral"; None takes what the file says, else what the film looks more like.
    looks : int
        How often each vertebra is looked at, each time from where the last look put it.
    mirror : bool
        Whether the mirrored film is looked at as well, and the mean taken.
    stiffness : float
        How strongly unsure vertebrae are drawn to the curve of their neighbours.
    noise_deg : float or None
        How far off an endplate's tilt is that was seen with a confidence of one half, in degrees:
        the larger, the more it follows what is usual (`film_prior`). None takes 2 on frontal films
        and 6 on lateral ones; 0 leaves the tilts as they were seen.
    """

    device: str | None = None
    models: str | None = None
    view: str | None = None
    looks: int = 2
    mirror: bool = True
    stiffness: float = 0.003
    noise_deg: float | None = None

    def __post_init__(self) -> None:
        if self.view not in (None, *MODEL_OF):
            raise ValueError(f"view must be {AP} or {LATERAL}")
        if not 1 <= self.looks <= 5:
            raise ValueError("looks must be from 1 to 5")
        if self.stiffness < 0 or (self.noise_deg or 0) < 0:
            raise ValueError("stiffness and noise_deg must not be negative")


@dataclass(frozen=True, eq=False)
class Found:
    """A chain on one prepared film.

    Attributes
    ----------
    chain : (n, 2)
        Centres, (x, y) on the prepared film.
    seen : (n,)
        Probability that a vertebra's centre lies there.
    """

    chain: Floats
    seen: Floats

    @property
    def score(self) -> float:
        """Mean of what is seen."""
        return float(self.seen.mean())


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train the networks; see `spineseg.training.films.fit`."""
    from spineseg.training.films import fit as train

    return train(data, settings, progress)


@dataclass(frozen=True, eq=False)
class Sight:
    """A film as one view's network sees it best: how it was turned, and what was found."""

    view: str
    network: Any
    turn: film_checks.Turn
    found: Found


def predict(film: Film, settings: Settings, progress: Progress) -> FilmResult:
    """Find the corners of T1–L5 from the front, or of C2–S1 from the side.

    Parameters
    ----------
    film : Film
        Of the whole spine.
    settings : Settings
    progress : Progress
        Its token cancels.

    Returns
    -------
    FilmResult
        All levels of the view; those that are not seen have a low confidence and a warning.

    Raises
    ------
    InputError
        Nothing on the film looks like a spine, whichever way it is turned.
    WeightsError
        The trained network is missing or damaged.
    """
    began = time.perf_counter()
    progress("film", 0.0, "finding the vertebrae")
    picture = prepare(film)
    sight = _sight(picture, _views(film, settings), settings, progress)
    if sight.found.score < _NOTHING:
        seen = "from the side" if settings.view == LATERAL else "from the front"
        raise InputError(
            f"No spine is seen {seen} on {film.name}.",
            "Use an AP or PA film of the whole thoracic and lumbar spine, or a lateral one of the "
            "whole spine, upright.",
        )
    looked = time.perf_counter()
    progress("film", 0.5, "looking at each vertebra")
    corners, confidence = _corners(sight, picture, settings)
    warnings = film_checks.warnings_of(
        film, picture, corners, confidence, sight.turn, sight.found.score, sight.view
    )
    ended = time.perf_counter()
    progress("film", 1.0, "corners found")
    return FilmResult(
        levels=LEVELS_OF[sight.view],
        corners_px=picture.to_film(sight.turn.back(corners, picture)),
        confidence=tuple(round(float(c), 3) for c in confidence),
        view=sight.view,
        warnings=warnings,
        settings=asdict(settings),
        timings={"find": looked - began, "corners": ended - looked},
        models=(MODEL_OF[sight.view],),
    )


def _views(film: Film, settings: Settings) -> list[str]:
    """Return the views that a film may be of: the one that is known, or all that have weights."""
    known = settings.view or film.view
    if known in MODEL_OF:
        return [str(known)]
    there = [view for view in MODEL_OF if card_path(MODEL_OF[view], settings.models).exists()]
    return there or [AP]


def _corners(sight: Sight, picture: Picture, settings: Settings) -> tuple[Floats, Floats]:
    """Corners (n, 4, 2) on the turned picture, NaN where there are none, and confidence (n,)."""
    known = known_corners(sight.view)
    shown = sight.turn.apply(picture)
    corners, sure = look(sight.network, shown, sight.found.chain, settings, known)
    confidence = np.clip(sight.found.seen * sure, 0.0, 1.0)
    # An endplate that is not asked for (the sacrum's lower one) lies on the other for smoothing.
    corners = np.where(known[..., None], corners, corners[:, [2, 3, 0, 1]])
    smooth = smoothed(
        corners.reshape(len(corners), -1),
        np.maximum(confidence, _LEAST_WEIGHT),
        settings.stiffness,
    ).reshape(corners.shape)
    smooth[~known] = np.nan
    mean, spread = (
        b.cpu().numpy().astype(np.float64) for b in (sight.network.tilt, sight.network.tilt_spread)
    )
    noise = _NOISE_DEG[sight.view] if settings.noise_deg is None else settings.noise_deg
    return settled(smooth, confidence, mean, spread, noise), confidence


def known_corners(view: str) -> NDArray[np.bool_]:
    """Return which corners (n, 4) are looked for: all but C2's upper and S1's lower endplate."""
    known = np.ones((len(LEVELS_OF[view]), 4), dtype=bool)
    if view == LATERAL:
        known[0, :2] = known[-1, 2:] = False
    return known


@lru_cache(maxsize=2)
def load(models: str | None, device: str | None, view: str = AP) -> Any:
    """Build the trained networks of a view, once for a run.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    import torch

    from spineseg.device import choose_device
    from spineseg.networks.film_unet import FilmNetworks

    network = build(MODEL_OF[view], FilmNetworks, models)[1]
    layout = torch.channels_last
    return network.to(choose_device(device), memory_format=layout)


def _sight(picture: Picture, views: Sequence[str], settings: Settings, progress: Progress) -> Sight:
    """Find the spine on the film as it lies; where it is not seen, turned or as a negative."""
    lying = [_as_it_lies(view, picture, settings) for view in views]
    best = max(lying, key=lambda one: one.found.score)
    if best.found.score >= _RIGHT:
        return best
    least = max(best.found.score + _BETTER, _RIGHT)
    for sight in lying:
        for turn in film_checks.turns(sight.view == LATERAL, picture):
            progress("film", 0.3, "trying the film turned")
            other = find(sight.network, turn.apply(picture), mirror=False)
            if other.score >= max(least, best.found.score):
                best = Sight(sight.view, sight.network, turn, other)
            if best.found.score >= max(least, _SURE):
                return best
    return best


def _as_it_lies(view: str, picture: Picture, settings: Settings) -> Sight:
    network = load(settings.models, settings.device, view)
    # A lateral film's mirror image is another film: the patient faces the other way.
    straight = find(network, picture, settings.mirror and view == AP)
    seen = Sight(view, network, film_checks.Turn(), straight)
    if view == LATERAL:
        turn = film_checks.Turn(mirrored=True)
        other = find(network, turn.apply(picture), mirror=False)
        if other.score > straight.score:
            seen = Sight(view, network, turn, other)
    return seen


def find(network: Any, picture: Picture, mirror: bool = True) -> Found:
    """Find the chain of vertebrae on a prepared film."""
    import torch

    from spineseg.networks.film_unet import FIND_STRIDE

    device = next(network.parameters()).device
    image, scale, offset = canvas_image(picture)
    both = torch.cat([image, image.flip(-1)]) if mirror else image
    with torch.inference_mode():
        maps = network.find(both.to(device, memory_format=torch.channels_last)).float().cpu()
    shape = maps.shape[2:]
    logs = maps[:, :-1].flatten(2).log_softmax(2).reshape(len(maps), -1, *shape)
    any_one = maps[:, -1:].sigmoid()
    if mirror:
        logs = torch.stack([logs[0], logs[1].flip(-1)]).mean(0)
        logs = logs.flatten(1).log_softmax(1).reshape(-1, *shape)
        any_one = torch.stack([any_one[0], any_one[1].flip(-1)]).mean(0)
    else:
        logs, any_one = logs[0], any_one[0]
    cells, _ = best_chain(logs.numpy(), network.pitch.cpu().numpy().astype(np.float64))
    near = torch.nn.functional.max_pool2d(any_one[None], 3, 1, 1)[0, 0].numpy()
    column, row = (
        np.clip(np.rint(cells[:, a]).astype(int), 0, n - 1)
        for a, n in ((0, shape[1]), (1, shape[0]))
    )
    canvas = (cells + 0.5) * FIND_STRIDE - 0.5
    return Found((canvas - offset) / scale, near[row, column].astype(np.float64))


def look(
    network: Any,
    picture: Picture,
    chain: Floats,
    settings: Settings,
    known: NDArray[np.bool_] | None = None,
) -> tuple[Floats, Floats]:
    """Find the corners (n, 4, 2) along a chain (n, 2), and how sure each vertebra's are (n,).

    `known` (n, 4) says which are looked for; the others mean nothing.
    """
    weight = (np.ones((len(chain), 4)) if known is None else known)[..., None]
    ratio = network.width.cpu().numpy().astype(np.float64)
    corners, sure = np.zeros((len(chain), 4, 2)), np.zeros(len(chain))
    for _ in range(settings.looks):
        frames = frames_of(chain, ratio)
        local, each = _one_look(network, picture, frames, settings.mirror)
        corners = frames.to_picture(local)
        chain = (corners * weight).sum(axis=1) / weight.sum(axis=1)
        sure = (each * weight[..., 0]).sum(axis=1) / weight[..., 0].sum(axis=1)
    return corners, sure


def _one_look(
    network: Any, picture: Picture, frames: Frames, mirror: bool
) -> tuple[Floats, Floats]:
    import torch

    device = next(network.parameters()).device
    count = len(frames.center)
    windows = with_level(sample(picture, window_points(frames)), np.arange(count), count)
    both = torch.cat([windows, windows.flip(-1)]) if mirror else windows
    with torch.inference_mode():
        maps = network.corners(both.to(device, memory_format=torch.channels_last)).float().cpu()
        points = expectation(maps)
        sure = mass_near(maps, points, _REACH)
    if mirror:
        one, other = points.chunk(2)
        other = other[:, MIRRORED] * torch.tensor([-1.0, 1.0])
        points = (one + other) / 2
        apart = (one - other).norm(dim=-1)
        straight, flipped = sure.chunk(2)
        sure = (straight + flipped[:, MIRRORED]) / 2 * torch.exp(-apart / _REACH)
    return points.numpy().astype(np.float64), sure.numpy().astype(np.float64)
