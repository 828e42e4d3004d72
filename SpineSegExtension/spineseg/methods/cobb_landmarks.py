"""Corners of T1–L5 on a frontal film: find the vertebrae, then look at each one closely.

The U-Net with heatmaps and the soft-argmax of paper p. 39, and the chain of vertebrae of the
challenge's landmark systems (Yi et al. 2020: centres, then corners), trained on public films. One
small network says on the whole film where each of the 17 vertebrae may lie; dynamic programming
chooses the places that together make a spine, so every film gets an answer. A second network looks
at each vertebra in a window turned along the spine and puts out its four corners; a second look
from there corrects the first. docs/cobb-landmarks.md says where this fails.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError, WeightsError
from spineseg.io.films import Film
from spineseg.methods import film_checks
from spineseg.methods.film_chain import LEVELS, Frames, best_chain, frames_of, smoothed
from spineseg.methods.film_heat import expectation, mass_near
from spineseg.methods.film_picture import Picture, prepare, sample
from spineseg.methods.film_result import AP, FilmResult
from spineseg.methods.film_windows import MIRRORED, canvas_image, window_points, with_level
from spineseg.progress import Progress

if TYPE_CHECKING:
    pass

__all__ = ["MODEL", "Found", "Settings", "find", "fit", "predict"]

Floats = NDArray[np.float64]

MODEL = "cobb-landmarks"
_REACH = 0.12  # of a width: probability farther off than this from a corner speaks against it
_RIGHT = 0.35  # mean probability of the chain's places from which on a film is taken as it lies
_BETTER = 0.2  # by which another way of lying must be more likely to be preferred
_NOTHING = 0.12  # less than this and no spine is seen at all
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
    looks : int
        How often each vertebra is looked at, each time from where the last look put it.
    mirror : bool
        Whether the mirrored film is looked at as well, and the mean taken.
    stiffness : float
        How strongly unsure vertebrae are drawn to the curve of their neighbours.
    """

    device: str | None = None
    models: str | None = None
    looks: int = 2
    mirror: bool = True
    stiffness: float = 0.003

    def __post_init__(self) -> None:
        if not 1 <= self.looks <= 5:
            raise ValueError("looks must be from 1 to 5")
        if self.stiffness < 0:
            raise ValueError("stiffness must not be negative")


@dataclass(frozen=True, eq=False)
class Found:
    """A chain on one prepared film.

    Attributes
    ----------
    chain : (17, 2)
        Centres, (x, y) on the prepared film.
    seen : (17,)
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


def predict(film: Film, settings: Settings, progress: Progress) -> FilmResult:
    """Find the corners of T1–L5.

    Parameters
    ----------
    film : Film
        Frontal, of the whole thoracic and lumbar spine.
    settings : Settings
    progress : Progress
        Its token cancels.

    Returns
    -------
    FilmResult
        All 17 levels; those that are not seen have a low confidence and a warning.

    Raises
    ------
    InputError
        Nothing on the film looks like a spine from the front, whichever way it is turned.
    WeightsError
        The trained network is missing or damaged.
    """
    began = time.perf_counter()
    progress("film", 0.0, "loading the network")
    network = load(settings.models, settings.device)
    loaded = time.perf_counter()
    progress("film", 0.2, "finding the vertebrae")
    picture = prepare(film)
    turn, found = _upright(network, picture, settings, progress)
    if found.score < _NOTHING:
        raise InputError(
            f"No spine is seen from the front on {film.name}.",
            "Use an AP or PA film of the whole thoracic and lumbar spine, upright.",
        )
    shown = turn.apply(picture)
    looked = time.perf_counter()
    progress("film", 0.5, "looking at each vertebra")
    corners, sure = look(network, shown, found.chain, settings)
    confidence = np.clip(found.seen * sure, 0.0, 1.0)
    corners = smoothed(
        corners.reshape(len(corners), -1),
        np.maximum(confidence, _LEAST_WEIGHT),
        settings.stiffness,
    ).reshape(corners.shape)
    warnings = film_checks.warnings_of(film, picture, corners, confidence, turn, found.score)
    ended = time.perf_counter()
    progress("film", 1.0, "corners found")
    return FilmResult(
        levels=LEVELS,
        corners_px=picture.to_film(turn.back(corners, picture)),
        confidence=tuple(round(float(c), 3) for c in confidence),
        view=AP,
        warnings=warnings,
        settings=asdict(settings),
        timings={"load": loaded - began, "find": looked - loaded, "corners": ended - looked},
        models=(MODEL,),
    )


@lru_cache(maxsize=2)
def load(models: str | None, device: str | None) -> Any:
    """Build the trained networks, once for a run.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    import torch

    from spineseg.device import choose_device
    from spineseg.networks.film_unet import FilmNetworks
    from spineseg.weights import load_card, load_state

    card, state = load_card(MODEL, models), load_state(MODEL, models)
    try:
        if card.architecture["name"] != FilmNetworks.__name__:
            raise ValueError(f"unknown architecture {card.architecture['name']}")
        network = FilmNetworks(**card.architecture["params"])
        network.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise WeightsError(
            f"The card of model {MODEL!r} does not describe its weights.",
            "Install SpineSeg again, or train the model with the command on its card.",
            str(error),
        ) from error
    network.eval().requires_grad_(False)
    layout = torch.channels_last
    return network.to(choose_device(device), memory_format=layout)  # type: ignore[call-overload]


def _upright(
    network: Any, picture: Picture, settings: Settings, progress: Progress
) -> tuple[film_checks.Turn, Found]:
    """Find the spine on the film as it lies; where it is not seen, turned or as a negative."""
    straight = film_checks.Turn()
    best, found = straight, find(network, picture, settings.mirror)
    if found.score >= _RIGHT:
        return best, found
    least = found.score + _BETTER
    for turn in film_checks.TURNS:
        progress("film", 0.4, "trying the film turned")
        other = find(network, turn.apply(picture), mirror=False)
        if other.score >= max(least, _RIGHT, found.score):
            best, found = turn, other
    return best, found


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
    network: Any, picture: Picture, chain: Floats, settings: Settings
) -> tuple[Floats, Floats]:
    """Find the corners (n, 4, 2) along a chain (n, 2), and how sure each vertebra's are (n,)."""
    ratio = network.width.cpu().numpy().astype(np.float64)
    corners, sure = np.zeros((len(chain), 4, 2)), np.zeros(len(chain))
    for _ in range(settings.looks):
        frames = frames_of(chain, ratio)
        local, sure = _one_look(network, picture, frames, settings.mirror)
        corners = frames.to_picture(local)
        chain = corners.mean(axis=1)
    return corners, sure


def _one_look(
    network: Any, picture: Picture, frames: Frames, mirror: bool
) -> tuple[Floats, Floats]:
    import torch

    device = next(network.parameters()).device
    windows = with_level(sample(picture, window_points(frames)), np.arange(len(frames.center)))
    both = torch.cat([windows, windows.flip(-1)]) if mirror else windows
    with torch.inference_mode():
        maps = network.corners(both.to(device, memory_format=torch.channels_last)).float().cpu()
        points = expectation(maps)
        sure = mass_near(maps, points, _REACH).mean(dim=1)
    if mirror:
        one, other = points.chunk(2)
        other = other[:, MIRRORED] * torch.tensor([-1.0, 1.0])
        points = (one + other) / 2
        apart = (one - other).norm(dim=-1).mean(dim=1)
        sure = torch.stack(sure.chunk(2)).mean(0) * torch.exp(-apart / _REACH)
    return points.numpy().astype(np.float64), sure.numpy().astype(np.float64)
