"""How good trained film networks are on films that they did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SpineSegError
from ..io.films import read_film
from ..measure.cobb import challenge_angles
from ..progress import Progress
from ..training.film_data import FilmCase, film_cases

__all__ = ["card_results", "evaluate_fold", "score_films", "summary"]

_ANGLES = ("major", "upper", "lower")


def score_films(
    cases: Sequence[FilmCase],
    models: str | None,
    progress: Progress,
    device: str | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Measure films and compare with what is known of them.

    Parameters
    ----------
    cases : sequence of FilmCase
    models : str or None
        Folder of the weights.
    **changes
        To `spineseg.methods.cobb_landmarks.Settings`.

    Returns
    -------
    list of dict
        One a film: ``film``, ``angles`` and ``truth`` (major, upper, lower; degrees), ``landmark``
        (mean distance of a corner, as a fraction of the mean width of a vertebra), ``tilt``
        (mean error of a vertebra's tilt, degrees), ``confidence``, ``warnings``, ``seconds``; or
        ``film`` and ``failed``.
    """
    import time

    from ..methods.cobb_landmarks import Settings, load, predict

    load.cache_clear()  # the weights of a folder may have changed
    settings = Settings(models=models, device=device, **changes)
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        progress("measuring films", number / len(cases), case.path.name)
        film = read_film(case.path)
        began = time.perf_counter()
        try:
            found = predict(film, settings, Progress(token=progress.token))
        except SpineSegError as error:
            rows.append({"film": case.path.stem, "failed": str(error)})
            continue
        seconds = time.perf_counter() - began
        corners, truth = found.corners_px, case.corners_px
        assert corners is not None
        angles = challenge_angles(corners, film.height_px)
        known = case.angles_deg
        if known is None:
            own = challenge_angles(truth, film.height_px)
            known = (own.major_deg, own.upper_deg, own.lower_deg)
        width = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1).mean()
        rows.append(
            {
                "film": case.path.stem,
                "angles": (angles.major_deg, angles.upper_deg, angles.lower_deg),
                "truth": known,
                "landmark": float(np.linalg.norm(corners - truth, axis=-1).mean() / width),
                "tilt": float(np.abs(_tilt(corners) - _tilt(truth)).mean()),
                "confidence": float(np.mean(found.confidence)),
                "warnings": found.warnings,
                "seconds": seconds,
            }
        )
    return rows


def _tilt(corners: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    across = corners[:, [1, 3]].mean(axis=1) - corners[:, [0, 2]].mean(axis=1)
    return np.asarray(np.degrees(np.arctan2(across[:, 1], across[:, 0])))


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return SMAPE and mean errors over films; films without an answer are counted as failures.

    SMAPE is the challenge's: the mean over films of the sum of the three angles' errors divided by
    the sum of all six angles, in per cent.
    """
    good = [row for row in rows if "failed" not in row]
    if not good:
        return {"films": len(rows), "failures": len(rows)}
    ours = np.array([row["angles"] for row in good])
    truth = np.array([row["truth"] for row in good])
    away = np.abs(ours - truth)
    result = {
        "films": len(rows),
        "failures": len(rows) - len(good),
        "smape_percent": float(100 * (away.sum(1) / (ours + truth).sum(1)).mean()),
    }
    result |= {f"{name}_mae_deg": float(away[:, n].mean()) for n, name in enumerate(_ANGLES)}
    result["landmark_widths"] = float(np.mean([row["landmark"] for row in good]))
    result["tilt_mae_deg"] = float(np.mean([row["tilt"] for row in good]))
    result["seconds"] = float(np.median([row["seconds"] for row in good]))
    return result


def card_results(rows: Sequence[Mapping[str, Any]], data: str) -> list[dict[str, Any]]:
    """Return the summary as rows of a model card."""
    figures = summary(rows)
    count = int(figures.pop("films"))
    return [
        {"data": data, "metric": name, "value": round(value, 3), "n": count}
        for name, value in figures.items()
        if name != "seconds"
    ]


def evaluate_fold(
    data: Path | str, models: str | None, fold: int, progress: Progress | None = None
) -> dict[str, float]:
    """Measure weights on the films of a fold that they were not trained on."""
    from ..training.films import split

    _, kept = split(film_cases(Path(data)), fold)
    return summary(score_films(kept, models, progress or Progress()))
