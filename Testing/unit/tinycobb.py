"""A method for films in tests: corners that stand in a film's first pixels, or a refusal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from madeupspine import LEVELS, bent, corners_of
from spineseg import registry
from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.methods.film_result import AP, FilmResult
from spineseg.progress import Progress

NAME = "tiny-cobb"


@dataclass(frozen=True)
class Settings:
    """Angle that is added to the one that the film says, and the view that is answered for."""

    more_deg: float = 0.0
    view: str | None = None


def picture(angle: int) -> np.ndarray:
    """A film (1000, 600) that says its angle in its first pixel; 255: nothing is on it."""
    array = np.tile(np.arange(600) % 250, (1000, 1)).astype(np.uint8)
    array[0, 0] = angle
    return array


def corners(angle: float) -> np.ndarray:
    return corners_of(bent((0, -angle / 2), (16, angle / 2)))


def predict(film: Film, settings: Settings, progress: Progress) -> FilmResult:
    progress("find", 0.5, film.name)
    if film.array[0, 0] == 255:
        raise InputError("No spine was found on this film.")
    return FilmResult(
        levels=LEVELS,
        corners_px=corners(float(film.array[0, 0]) + settings.more_deg),
        confidence=(0.9,) * 17,
        view=settings.view or AP,
    )


def fit(data: Any, settings: Settings, progress: Progress) -> None:
    raise NotImplementedError


def register() -> None:
    """Make this the only method for films; undo it by setting ``registry.METHODS`` back."""
    others = tuple(m for m in registry.METHODS if m.task != registry.COBB)
    row = registry.Method(NAME, "Tiny", registry.COBB, "tinycobb", "For tests.")
    registry.METHODS = (*others, row)
    # The registry looks for its methods there.
    sys.modules["spineseg.methods.tinycobb"] = sys.modules[__name__]
