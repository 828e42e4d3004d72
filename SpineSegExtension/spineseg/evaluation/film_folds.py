"""How good trained film networks are on films that they did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SpineSegError
from ..io.film_tables import FilmTruth
from ..io.films import Film, read_film
from ..measure.cobb import challenge_angles
from ..measure.sagittal import sagittal_angles
from ..methods.film_chain import LEVELS_OF
from ..methods.film_result import AP
from ..progress import Progress
from ..training.film_data import film_cases

__all__ = ["card_results", "evaluate_fold", "score_films", "summary"]

Floats = NDArray[np.float64]


def score_films(
    cases: Sequence[FilmTruth],
    models: str | None,
    progress: Progress,
    device: str | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Measure films and compare with what is known of them.

    Parameters
    ----------
    cases : sequence of FilmTruth, of one view
    models : str or None
        Folder of the weights.
    **changes
        To `spineseg.methods.cobb_landmarks.Settings`.

    Returns
    -------
    list of dict
        One a film: ``film``, ``angles`` and ``truth`` (degrees, by name: major, upper and lower, or
        kyphosis and lordosis), ``landmark`` (mean distance of a corner, as a fraction of the mean
        width of a vertebra), ``tilt`` (mean error of a vertebra's tilt, degrees), ``confidence``,
        ``warnings``, ``seconds``; or ``film``, ``truth`` and ``failed``.
    """
    import time

    from ..methods.cobb_landmarks import Settings, load, predict

    load.cache_clear()  # the weights of a folder may have changed
    settings = Settings(models=models, device=device, **changes)
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        progress("measuring films", number / len(cases), case.path.name)
        film = read_film(case.path)
        truth = case.corners_on(*film.array.shape[::-1])
        known = {
            "film": case.path.stem,
            "truth": case.angles_deg or _angles(case.levels, truth, film),
        }
        began = time.perf_counter()
        try:
            found = predict(film, settings, Progress(token=progress.token))
        except SpineSegError as error:
            rows.append({**known, "failed": str(error)})
            continue
        seconds = time.perf_counter() - began
        corners = found.corners_px
        assert corners is not None
        width = np.nanmean(np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1))
        rows.append(
            {
                **known,
                "angles": _angles(found.levels, corners, film),
                "landmark": float(np.nanmean(np.linalg.norm(corners - truth, axis=-1)) / width),
                "tilt": float(np.nanmean(np.abs(_tilt(corners) - _tilt(truth)))),
                "confidence": float(np.mean(found.confidence)),
                "warnings": found.warnings,
                "seconds": seconds,
            }
        )
    return rows


def _angles(levels: Sequence[str], corners: Floats, film: Film) -> dict[str, float]:
    """Return a film's angles: of a lateral one if the corners reach above the thorax."""
    if levels == LEVELS_OF[AP]:
        found = challenge_angles(corners, film.height_px)
        return {"major": found.major_deg, "upper": found.upper_deg, "lower": found.lower_deg}
    spacing = film.spacing_mm or (film.pixel_aspect, 1.0)
    side = sagittal_angles(dict(zip(levels, corners, strict=True)), spacing)
    return {"kyphosis": side.kyphosis_deg or np.nan, "lordosis": side.lordosis_deg or np.nan}


def _tilt(corners: Floats) -> Floats:
    """Tilts (n,) in degrees, of both endplates together where both are there."""
    plates = corners[:, [1, 3]] - corners[:, [0, 2]]
    across = np.nanmean(plates, axis=1)
    return np.asarray(np.degrees(np.arctan2(across[:, 1], np.abs(across[:, 0]))))


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return SMAPE and mean errors over films.

    SMAPE is the challenge's: the mean over films of the sum of the three angles' errors divided by
    the sum of all six angles, in per cent. A film without an answer has angles of 0°, as in
    `spineseg.evaluation.cobb`: it is never left out. Corners, tilts and times are of the others.
    """
    good = [row for row in rows if "failed" not in row]
    result: dict[str, float] = {"films": len(rows), "failures": len(rows) - len(good)}
    if not rows:
        return result
    names = list(rows[0]["truth"])
    truth = np.array([[row["truth"][name] for name in names] for row in rows])
    ours = np.array([[row.get("angles", {}).get(name, 0.0) for name in names] for row in rows])
    ours = np.nan_to_num(ours)  # an angle that was not found is none
    away = np.abs(ours - truth)
    if "major" in names:
        result["smape_percent"] = float(100 * (away.sum(1) / (ours + truth).sum(1)).mean())
    for n, name in enumerate(names):
        known = away[np.isfinite(away[:, n]), n]  # a film may lack an endplate in its table
        if len(known):
            result[f"{name}_mae_deg"] = float(known.mean())
    if not good:
        return result
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
    data: Path | str,
    models: str | None,
    fold: int,
    progress: Progress | None = None,
    view: str = AP,
) -> dict[str, float]:
    """Measure weights on the films of a fold that they were not trained on."""
    from ..training.films import split

    _, kept = split(film_cases(Path(data), view), fold)
    return summary(score_films(kept, models, progress or Progress(), view=view))
