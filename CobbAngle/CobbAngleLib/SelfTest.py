"""The module's self test on nodes, for the application's test runner and for the mrml tier.

It needs no weights and no torch: the Logic is given runners that know the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from spineseg import labels
from spineseg.io.films import Film
from spineseg.measure.film import CHALLENGE_LEVELS, measure_film
from spineseg.measure.spine_angles import measure_spine
from spineseg.methods.film_result import FilmResult
from spineseg.volume import Volume
from SpineSegMRML import endplates, films, segmentations, volumes
from SpineSegMRML.cobbjobs import SpineFound

from CobbAngleLib.Logic import CobbLogic

__all__ = ["runSelfTest"]

LEVELS = ("T12", "L1", "L2", "L3")
BEND = 36.0  # degrees, between T1 and L5


def runSelfTest(scene: Any, folder: Path) -> None:
    """Measure a made-up film by hand and by a runner, move an endplate, and measure blocks in 3D.

    Raises
    ------
    AssertionError
        A result is not as it should be.
    """
    logic = CobbLogic(spineRunner=_measured)
    film = films.addFilmNode(scene, _film())
    corners = _corners()
    place = films.FilmPlace(film)
    for level, which, rows in (("T5", "superior", (0, 1)), ("T11", "inferior", (2, 3))):
        line = logic.films.place(film, level, which)
        for corner in corners[CHALLENGE_LEVELS.index(level), list(rows)]:
            line.AddControlPointWorld(*place.ras(corner)[0])
    measured = logic.films.refresh(film).state.measured
    _require(measured is not None and len(measured.curves()) == 1, "two endplates make an angle")
    _require(abs(measured.curves()[0]["angle_deg"] - BEND * 6 / 16) < 0.1, "the right one")
    logic.films._take(film, "self test", FilmResult(CHALLENGE_LEVELS, corners), False)
    told: list[Any] = []
    logic.follow(film, lambda: told.append(logic.films.refresh(film).state.measured))
    moved = corners.copy()
    moved[0, 1, 1] -= 15.0
    line = endplates.linesOf(film)[("T1", "superior")]
    line.SetNthControlPointPositionWorld(1, *place.ras(moved[0, 1])[0])
    expected = measure_film(FilmResult(CHALLENGE_LEVELS, moved), _film())
    _require(len(told) == 1, "a moved endplate is noticed")
    for name, value in (expected.angles_deg or {}).items():
        _require(abs(told[0].angles_deg[name] - value) < 1e-3, f"{name} follows it")
    logic.films.export(film, Path(folder) / "film")
    logic.close()

    truth = _blocks()
    source = volumes.addVolumeNode(scene, truth.like(truth.array.astype(np.int16)), "self test CT")
    node = segmentations.addSegmentationNode(truth, source, "self test vertebrae")
    outcome = logic.spines.measure(node, "all")
    _require(len(outcome.planeNodes) == 2 * len(LEVELS), "a plane for each endplate")
    normal = [0.0, 0.0, 0.0]
    outcome.planeNodes[0].GetNormalWorld(normal)
    _require(normal[2] > 0.99, "which looks to the head")
    _require(outcome.vertebraeNode.GetNumberOfRows() == len(LEVELS), "a row for each vertebra")
    logic.spines.export(node, Path(folder) / "spine")


def _require(condition: bool, what: str) -> None:
    # Not an assert statement: Python started with -O would skip it.
    if not condition:
        raise AssertionError(f"not so: {what}")


def _film() -> Film:
    return Film(np.tile(np.arange(300) % 250, (900, 1)).astype(np.uint8), name="self test film")


def _corners() -> np.ndarray:
    """Return corners (17, 4, 2) of a spine that bends evenly, T1 one way and L5 the other."""
    tilt = np.radians(np.linspace(-BEND / 2, BEND / 2, len(CHALLENGE_LEVELS)))
    right = np.stack([np.cos(tilt), np.sin(tilt)], axis=1)
    down = np.stack([-np.sin(tilt), np.cos(tilt)], axis=1)
    centre = np.array([150.0, 40.0]) + np.cumsum(50.0 * down, axis=0) - 50.0 * down[0]
    return np.stack(
        [centre + sx * 30.0 * right + sy * 20.0 * down for sy in (-1, 1) for sx in (-1, 1)], axis=1
    )


def _blocks() -> Volume:
    """Return a label map (k, j, i): bodies on each other, each with a process behind it."""
    array = np.zeros((72, 44, 32), np.uint8)
    for position, name in enumerate(reversed(LEVELS)):
        label, low = labels.by_name(name).verse, 4 + 17 * position
        array[low : low + 12, 20:36, 6:26] = label
        array[low + 4 : low + 8, 6:20, 14:18] = label
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))


def _measured(volume: Volume, **_: Any) -> SpineFound:
    if not np.array_equal(volume.array, _blocks().array):
        raise AssertionError("not so: the segmentation reaches the runner as it is")
    return SpineFound(measure_spine(volume))
