"""Several methods for films at once: their vote, or their weighted mean.

The systems of the AASCE 2019 challenge were mostly ensembles of like networks; this one is of
unlike methods. docs/cobb-ensemble.md says what it gains.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg import registry
from spineseg.errors import InputError, SpineSegError
from spineseg.io.films import Film
from spineseg.measure.cobb_combine import HOW, VOTE, combined, weights_of
from spineseg.measure.film import CHALLENGE_LEVELS, FilmMeasurement, measure_film
from spineseg.methods.film_result import AP, FilmResult
from spineseg.progress import Progress
from spineseg.weights import load_card

__all__ = ["MEMBERS", "Settings", "fit", "predict", "smape_of"]

NAME = "cobb-ensemble"
MEMBERS = (registry.DEFAULT_COBB, *(row.name for row in registry.SYSTEMS))
"""What it combines unless told otherwise."""
ANGLES = ("major", "upper", "lower")
_APART_DEG = 10.0  # between members' major angles: worth a look


@dataclass(frozen=True)
class Settings:
    """How to combine.

    Attributes
    ----------
    device, models, view
        As for its members.
    members : str
        Names of methods, separated by commas; empty for `MEMBERS`.
    combine : {"vote", "mean"}
        See `spineseg.measure.cobb_combine.combined`.
    """

    device: str | None = None
    models: str | None = None
    view: str | None = None
    members: str = ""
    combine: str = VOTE

    def __post_init__(self) -> None:
        if self.combine not in HOW:
            raise ValueError(f"combine must be {' or '.join(HOW)}")
        known = [name for name in registry.names(registry.COBB) if name != NAME]
        wrong = [name for name in self.names if name not in known]
        if wrong or not self.names:
            raise ValueError(f"members must be of {', '.join(known)}, not {', '.join(wrong)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The members."""
        given = tuple(name.strip() for name in self.members.split(",") if name.strip())
        return tuple(dict.fromkeys(given)) or MEMBERS


def fit(data: Any, settings: Any, progress: Progress | None = None) -> Any:
    """Say that there is nothing to train.

    Raises
    ------
    InputError
        Always.
    """
    raise InputError(
        f"{NAME} has no weights of its own.", f"Train its members: {', '.join(MEMBERS)}."
    )


def predict(film: Film, settings: Settings, progress: Progress) -> FilmResult:
    """Ask every member and combine their angles; the corners are the mean of those that have some.

    Raises
    ------
    InputError
        No member has an answer; the reason is the first one's.
    WeightsError
        A member's weights are missing or damaged.
    """
    began = time.perf_counter()
    found: dict[str, tuple[FilmResult, FilmMeasurement]] = {}
    refused: dict[str, InputError] = {}
    for number, name in enumerate(settings.names):
        part = progress.part(number / len(settings.names), (number + 1) / len(settings.names))
        row = registry.get(name)
        chosen = row.settings(device=settings.device, models=settings.models, view=settings.view)
        try:
            result = row.predict(film, chosen, part)
            if result.view != AP:
                raise InputError(
                    f"{film.name} looks like a lateral film; an ensemble measures frontal ones.",
                    "Use the default method, which measures both.",
                )
            found[name] = result, measure_film(result, film)
        except InputError as error:
            refused[name] = error
    if not found:
        raise next(iter(refused.values()))
    return replace(
        _together(found, refused, settings),
        settings=asdict(settings),
        timings={"film": time.perf_counter() - began},
    )


def _together(
    found: dict[str, tuple[FilmResult, FilmMeasurement]],
    refused: dict[str, InputError],
    settings: Settings,
) -> FilmResult:
    names = list(found)
    share = weights_of([smape_of(name, settings.models) for name in names])
    angles = np.array([[_angle(found[n][1], name) for name in ANGLES] for n in names])
    both = combined(angles, share, settings.combine)
    warnings = [f"{name} has no answer: {error}" for name, error in refused.items()]
    major = angles[:, 0]
    if np.ptp(major) > _APART_DEG:
        low, high = names[int(major.argmin())], names[int(major.argmax())]
        warnings.append(
            f"The methods are {np.ptp(major):.0f}° apart ({low} {major.min():.0f}°,"
            f" {high} {major.max():.0f}°): check the film."
        )
    with_corners = [n for n in names if found[n][0].corners_px is not None]
    corners, sure = _corners([found[n][0] for n in with_corners], share, names, with_corners)
    models = dict.fromkeys(model for n in names for model in found[n][0].models)
    return FilmResult(
        levels=CHALLENGE_LEVELS if corners is not None else (),
        corners_px=corners,
        angles_deg=dict(zip(ANGLES, (float(a) for a in both), strict=True)),
        confidence=sure,
        warnings=tuple(warnings),
        models=tuple(models),
    )


def _angle(measured: FilmMeasurement, name: str) -> float:
    return float((measured.angles_deg or {}).get(name, np.nan))


def _corners(
    results: Sequence[FilmResult], share: NDArray[np.float64], names: Sequence[str],
    those: Sequence[str],
) -> tuple[NDArray[np.float64] | None, tuple[float, ...]]:  # fmt: skip
    """Return the weighted mean of corners, and of the confidence of those that give one."""
    if not results:
        return None, ()
    weight = np.array([share[names.index(n)] for n in those])
    weight = weight / weight.sum()
    places = np.tensordot(weight, np.stack([r.corners_px for r in results]), 1)  # type: ignore[misc]
    sure = [r.confidence for r in results if r.confidence]
    return places, tuple(np.mean(sure, axis=0).round(3).tolist()) if sure else ()


def smape_of(method: str, models: str | None = None) -> float | None:
    """Return what a method's card says of its SMAPE on films that it did not learn from."""
    for model in reversed(registry.get(method).models):
        try:
            results = load_card(model, models).results
        except SpineSegError:
            continue
        for row in results:
            if row["metric"] == "smape_percent" and not str(row["data"]).startswith("cobb-"):
                return float(row["value"])
    return None
