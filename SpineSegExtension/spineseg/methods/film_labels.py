"""Levels on a film of the whole spine (Bayat et al., CSI 2019, paper 004 p. 39).

A U-Net puts out a Gaussian for each level; the soft-argmax of each map is a first place, and fully
connected layers, which see all places at once, correct them. docs/film-labels.md says what is as in
the paper, and when it fails.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.methods.film_checks import DOUBTFUL, Turn, turn_words, turns
from spineseg.methods.film_picture import Picture, prepare
from spineseg.methods.film_result import AP, LATERAL, FilmLevels
from spineseg.methods.film_windows import canvas_image
from spineseg.methods.loading import build, matching_card
from spineseg.progress import Progress
from spineseg.weights import card_path

__all__ = ["MODELS", "MODEL_OF", "Settings", "fit", "label", "predict"]

Floats = NDArray[np.float64]

MODEL_OF = {AP: "film-labels-ap", LATERAL: "film-labels-lateral"}
MODELS = tuple(MODEL_OF.values())
# Mean confidence. Held-out frontal films have 0.42 and more, upside down at most 0.38, on the side
# or as negatives 0.3 at most, and films of the other view 0.14.
_RIGHT = 0.4  # from here on a film is taken as it lies
_BETTER = 0.05  # by which another way of lying must be better to be preferred
_STRANGE = 0.3  # less than this and it hardly looks like a spine
_SCATTERED = 3  # pairs that are not one below the other: what is found besides is no spine
_NEAR = 2.0  # standard deviations of a Gaussian within which its peak speaks for a place


@dataclass(frozen=True)
class Settings:
    """How to label a film.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    models : str or None
        Folder of the trained networks, if not the package's own.
    view : str or None
        "ap" or "lateral"; None takes what the file says, else what the film looks more like.
    correct : bool
        Whether the places are corrected; else they are the U-Net's own (the paper's comparison).
    nothing : float
        Mean confidence below which a film has no spine; 0 refuses none.
    """

    device: str | None = None
    models: str | None = None
    view: str | None = None
    correct: bool = True
    nothing: float = 0.05

    def __post_init__(self) -> None:
        if self.view not in (None, *MODEL_OF):
            raise ValueError(f"view must be {AP} or {LATERAL}")
        if not 0 <= self.nothing <= 1:
            raise ValueError("nothing must be from 0 to 1")


@dataclass(frozen=True, eq=False)
class Trained:
    """A network and what its card says of it.

    Attributes
    ----------
    network : FilmLabelNetwork
    levels : tuple of str
    canvas : (int, int)
        Rows and columns that a film is brought to.
    spread : float
        σ of a Gaussian, in cells of the maps.
    """

    network: Any
    levels: tuple[str, ...]
    canvas: tuple[int, int]
    spread: float


@dataclass(frozen=True, eq=False)
class Found:
    """Centres (n, 2) on a prepared film as it was turned, and confidence (n,)."""

    view: str
    turn: Turn
    centres: Floats
    confidence: Floats

    @property
    def score(self) -> float:
        """Mean confidence."""
        return float(self.confidence.mean())


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train the networks; see `spineseg.training.film_labels.fit`."""
    from spineseg.training.film_labels import fit as train

    return train(data, settings, progress)


def predict(film: Film, settings: Settings, progress: Progress) -> FilmLevels:
    """Find the levels that the network knows, and their centres.

    Parameters
    ----------
    film : Film
        Of the whole spine.
    settings : Settings
    progress : Progress
        Its token cancels.

    Returns
    -------
    FilmLevels
        All levels; those that are not seen have a low confidence and a warning.

    Raises
    ------
    InputError
        Nothing on the film looks like a spine, whichever way it is turned.
    WeightsError
        The trained network is missing or damaged.
    """
    began = time.perf_counter()
    picture = prepare(film)
    known = settings.view or film.view
    there = [v for v in MODEL_OF if card_path(MODEL_OF[v], settings.models).exists()]
    views = [known] if known in MODEL_OF else there or [AP]
    best = max(
        (_upright(str(view), picture, settings, progress) for view in views),
        key=lambda found: found.score,
    )
    scattered = best.score < _STRANGE and len(_out_of_order(best)) >= _SCATTERED
    if best.score < settings.nothing or (scattered and settings.nothing > 0):
        raise InputError(
            f"No spine is seen on {film.name}.",
            "Use an AP, PA or lateral film of the whole spine, upright.",
        )
    trained = load(settings.models, settings.device, best.view)
    warnings = _warnings(best, trained.levels)
    progress("film", 1.0, "levels found")
    return FilmLevels(
        levels=trained.levels,
        centres_px=picture.to_film(best.turn.back(best.centres, picture)),
        confidence=tuple(round(float(c), 3) for c in best.confidence),
        view=best.view,
        spacing_mm=film.spacing_mm,
        warnings=warnings,
        settings=asdict(settings),
        timings={"label": time.perf_counter() - began},
        models=(MODEL_OF[best.view],),
    )


@lru_cache(maxsize=2)
def load(models: str | None, device: str | None, view: str) -> Trained:
    """Build the trained network of a view, once for a run.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    import torch

    from spineseg.device import choose_device
    from spineseg.networks.film_labels import FilmLabelNetwork

    name = MODEL_OF[view]
    card, network = build(name, FilmLabelNetwork, models)
    with matching_card(name):
        rows, columns = card.inputs["patch"]
        levels = tuple(card.outputs["classes"][:-1])
        spread = float(card.inputs["spread_cells"])
    placed = network.to(choose_device(device), memory_format=torch.channels_last)
    return Trained(placed, levels, (int(rows), int(columns)), spread)


def _upright(view: str, picture: Picture, settings: Settings, progress: Progress) -> Found:
    """Label the film as it lies; where little is seen, turned or as a negative too."""
    trained = load(settings.models, settings.device, view)
    progress("film", 0.1, "looking for the levels")
    first = best = Found(view, Turn(), *label(trained, picture, settings.correct))
    if first.score >= _RIGHT:
        return first
    for turn in turns():
        progress("film", 0.4, "trying the film turned")
        other = Found(view, turn, *label(trained, turn.apply(picture), settings.correct))
        if other.score >= max(_RIGHT, first.score + _BETTER, best.score):
            best = other
    return best


def label(trained: Trained, picture: Picture, correct: bool = True) -> tuple[Floats, Floats]:
    """Find the centres (n, 2) on a prepared film, and how sure each is (n,).

    The confidence is the height of the level's map at the place, or within two standard deviations
    of its Gaussian: where the corrector moved a place away from all peaks, it is low.
    """
    import torch

    device = next(trained.network.parameters()).device
    image, scale, offset = canvas_image(picture, trained.canvas)
    with torch.inference_mode():
        found = trained.network(image.to(device, memory_format=torch.channels_last))
    heat = found.heat[0, :-1].cpu()
    places = (found.places if correct else found.rough)[0].cpu().double().numpy()
    size = np.array(heat.shape[:0:-1])
    cells = (places + 1) / 2 * size - 0.5
    reach = 2 * round(_NEAR * trained.spread) + 1
    near = torch.nn.functional.max_pool2d(heat[None], reach, 1, reach // 2)[0].numpy()
    column, row = np.clip(np.rint(cells), 0, size - 1).astype(int).T
    inside = ((cells >= -0.5) & (cells <= size - 0.5)).all(axis=1)
    height = near[np.arange(len(cells)), row, column].astype(np.float64)
    confidence = np.where(inside, np.clip(height, 0.0, 1.0), 0.0)
    canvas = (places + 1) / 2 * np.array(trained.canvas[::-1]) - 0.5
    return (canvas - offset) / scale, confidence


def _warnings(found: Found, levels: tuple[str, ...]) -> tuple[str, ...]:
    """Say what makes the levels doubtful."""
    said = turn_words(found.turn)
    if found.score < _STRANGE:
        kind = "lateral" if found.view == LATERAL else "frontal"
        said.append(
            f"This hardly looks like a {kind} film of the whole spine; do not trust the levels."
        )
    doubtful = [n for n, c in zip(levels, found.confidence, strict=True) if c < DOUBTFUL]
    if doubtful:
        said.append(f"Unsure where these are: {', '.join(doubtful)}. Check them.")
    wrong = [f"{levels[n]} and {levels[n + 1]}" for n in _out_of_order(found)]
    if wrong:
        said.append(f"Not one below the other: {', '.join(wrong)}. Check the levels.")
    return tuple(said)


def _out_of_order(found: Found) -> NDArray[np.intp]:
    """Return the levels whose next one does not lie below them."""
    return np.flatnonzero(np.diff(found.centres[:, 1]) <= 0)
