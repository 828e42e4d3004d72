"""How good a click is: the four validation conditions of the click-to-segment paper.

Paper 004 (CSI 2019, p. 15) tests on the data as they are (N), with the click moved (T), with the
scan resampled to a coarser voxel and back (R), and with both (TR), and gives the mean and the
standard deviation of Dice (eq. 1) and concurrency (eq. 2) for each, and the mean of the four.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CancelledError, DependencyError, InputError, WeightsError
from ..labels import by_verse, display_name
from ..measure.overlap import concurrency, dice
from ..methods.one_vertebra import CHANNELS, MODEL
from ..progress import Progress
from ..volume import Volume
from .click_scenes import FIRST_SEED, Box, Scene, phantom_scene, scene_of
from .datasets import AUTO, find_cases
from .resultfile import FAILED, ResultFile, fingerprint, summary_path, write_csv

__all__ = ["COLUMNS", "CONDITIONS", "ClickEvaluation", "ClickPlan", "evaluate_clicks", "summaries"]

CONDITIONS = ("N", "T", "R", "TR")
COLUMNS = (
    "case", "level", "region", "lesion", "target", "condition", "click", "offset_mm", "dice",
    "concurrency", "refused", "confidence", "kind", "seconds", "method", "settings", "error",
)  # fmt: skip
"""Of the table. ``kind`` is click or failed (a case)."""
SUMMARY_COLUMNS = (
    "settings", "target", "group", "condition", "clicks", "refused", "dice", "dice_sd",
    "concurrency", "concurrency_sd", "seconds", "seconds_max", "failed_cases",
)  # fmt: skip
AVERAGE = "mean of conditions"
MOVED_MM = 10.0
"""A moved click lies up to so far off: half a vertebra."""
COARSE_MM = (1.0, 2.0)
"""Voxel edges that a resampled scan went through (the paper's)."""
_METHOD = "click"
_TRIES = 100
_FATAL = (CancelledError, WeightsError, DependencyError)


class Session(Protocol):
    """What answers clicks: `spineseg.clicking.ClickSession`."""

    def click(self, point: Any, target: str = ...) -> Any:
        """Segment at a point."""


@dataclass(frozen=True)
class ClickPlan:
    """What to measure.

    Attributes
    ----------
    target : str
        "vertebra", "body" or "centrum".
    conditions : tuple of str
        Of `CONDITIONS`.
    clicks : int
        Moved clicks a vertebra, for T and TR; N and R have one each.
    seed : int
        Of the moves and of the resampling.
    """

    target: str = "vertebra"
    conditions: tuple[str, ...] = CONDITIONS
    clicks: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.target not in CHANNELS:
            raise InputError(
                f"There is no target “{self.target}”.", f"Choose one of: {', '.join(CHANNELS)}."
            )
        wrong = [name for name in self.conditions if name not in CONDITIONS]
        if wrong or not self.conditions:
            raise InputError(
                f"There is no condition “{', '.join(wrong)}”.",
                f"Choose from: {', '.join(CONDITIONS)}.",
            )
        if self.clicks < 1:
            raise InputError(f"{self.clicks} clicks measure nothing.", "Choose 1 or more.")


@dataclass(frozen=True)
class ClickEvaluation:
    """What a run gave: notes, and the rows of its summary (`SUMMARY_COLUMNS`)."""

    layout: str
    notes: list[str] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)


def evaluate_clicks(
    folder: Path | str | None,
    output: Path | str,
    plan: ClickPlan | None = None,
    progress: Progress | None = None,
    *,
    layout: str = AUTO,
    phantoms: int = 0,
    lesions: bool = False,
    resume: bool = False,
    session: Callable[[Volume], Session] | None = None,
) -> ClickEvaluation:
    """Click on every vertebra that lies wholly in its scan, and score what comes back.

    Every click stands alone: nothing is known of the neighbours. A click that is refused counts
    as 0.

    Parameters
    ----------
    folder : Path, str or None
        Labelled scans, see `spineseg.evaluation.datasets.find_cases`.
    output : Path or str
        CSV file, one row a click (`COLUMNS`); FILE.summary.csv is written beside it.
    plan : ClickPlan, optional
    progress : Progress, optional
    layout : str
        The data set's layout, or "auto".
    phantoms : int
        Digital patients to measure on besides (`click_scenes.phantom_scene`).
    lesions : bool
        With metastases.
    resume : bool
        Keep the rows of the file, and skip the cases that it has with the same plan and weights.
    session : callable, optional
        Makes what answers the clicks from a scan; by default `spineseg.ClickSession`.

    Raises
    ------
    InputError
        There is nothing to measure on, or no case could be scored.
    WeightsError
        The trained network is missing.
    CancelledError
        The token was cancelled; what was scored is in the file.
    """
    plan, progress = plan or ClickPlan(), progress or Progress()
    scenes, notes, found = _scenes(folder, layout, phantoms, lesions)
    key = fingerprint(asdict(plan), [MODEL])
    output = Path(output)
    table = ResultFile(output, COLUMNS, resume)
    failed = []
    for n, (name, open_scene) in enumerate(scenes.items()):
        part = progress.part(n / len(scenes), (n + 1) / len(scenes))
        part("case", 0.0, name)
        if table.done(name, _METHOD, key):
            notes.append(f"{name} was in the table already.")
            continue
        rows = _rows(open_scene, plan, session or _session, part)
        if rows and rows[0]["kind"] == FAILED:
            failed.append(f"{name} failed: {rows[0]['error']}")
        table.put(name, _METHOD, key, rows)
        write_csv(summary_path(output), SUMMARY_COLUMNS, summaries(table.rows))
    if len(failed) == len(scenes):
        raise InputError("No click could be scored.", "", "\n".join(failed))
    write_csv(summary_path(output), SUMMARY_COLUMNS, summaries(table.rows))
    mine = [row for row in summaries(table.rows) if row["settings"] == key]
    return ClickEvaluation(found, [*notes, *failed], mine)


def _session(scan: Volume) -> Session:
    from ..clicking import ClickSession

    return ClickSession(scan)


def _scenes(
    folder: Path | str | None, layout: str, phantoms: int, lesions: bool
) -> tuple[dict[str, Callable[[], Scene]], list[str], str]:
    """Return how to open each scene, by its name; what to note; and the layout."""
    scenes: dict[str, Callable[[], Scene]] = {}
    notes: list[str] = []
    found = "digital patients"
    if folder is not None:
        cases = find_cases(folder, layout)
        notes, found = list(cases.notes), cases.layout
        for case in cases.cases:
            scenes[case.name] = lambda case=case: scene_of(case)  # type: ignore[misc]
    kind = " with lesions" if lesions else ""
    for n in range(phantoms):
        scenes[f"patient{FIRST_SEED + n}{kind}"] = lambda n=n: phantom_scene(n, lesions)  # type: ignore[misc]
    if not scenes:
        raise InputError("There is nothing to click on.", "Give a folder, or --phantoms 10.")
    return scenes, notes, found


def _rows(
    open_scene: Callable[[], Scene],
    plan: ClickPlan,
    session: Callable[[Volume], Session],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return the table's rows of one case; a single failed one if anything in it goes wrong."""
    from ..jobs import readable

    try:
        scene = open_scene()
        rows = list(_clicked(scene, plan, session, progress))
        if not rows:
            raise InputError(
                f"No vertebra lies wholly in {scene.name}, or none has a {plan.target}.",
                "Leave this case out.",
            )
        return rows
    except _FATAL:
        raise
    except Exception as caught:  # noqa: BLE001  one scan must not end the run
        return [{"kind": FAILED, "target": plan.target, "error": str(readable(caught))}]


def _clicked(
    scene: Scene, plan: ClickPlan, session: Callable[[Volume], Session], progress: Progress
) -> Iterator[dict[str, Any]]:
    """Open the scan as it is and resampled, and click on its vertebrae."""
    boxes = scene.whole()
    kept = {n: box for n, box in boxes.items() if scene.mask(n, box, plan.target).any()}
    number = zlib.crc32(scene.name.encode())
    total, done = max(1, len(plan.conditions) * len(kept)), 0
    for resampled in (False, True):
        chosen = [name for name in plan.conditions if ("R" in name) is resampled]
        if not chosen or not kept:
            continue
        scan = scene.scan
        if resampled:
            scan = _resampled(scan, np.random.default_rng([plan.seed, number, 1]))
        answers = session(scan)
        for condition in chosen:
            for label, box in kept.items():
                progress("click", done / total, f"{scene.name} {condition} {display_name(label)}")
                rng = np.random.default_rng([plan.seed, number, label, CONDITIONS.index(condition)])
                for row in _clicks(scene, label, box, condition, plan, answers, rng):
                    yield {**row, "condition": condition, "kind": "click", "target": plan.target}
                done += 1
    progress("click", 1.0)


def _clicks(
    scene: Scene,
    label: int,
    box: Box,
    condition: str,
    plan: ClickPlan,
    answers: Session,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Click on one vertebra under one condition."""
    truth = scene.mask(label, box, plan.target)
    start = np.array([s.start for s in box])
    middle = scene.scan.ijk_to_ras((np.argwhere(truth).mean(axis=0) + start)[None, ::-1])[0]
    middle = np.asarray(scene.centroids.get(label, middle), dtype=float)
    level = display_name(label)
    shared = {
        "level": level,
        "region": by_verse(label).region if level[0] in "CTL" else "",
        "lesion": scene.lesions.get(label, ""),
    }
    for n in range(plan.clicks if "T" in condition else 1):
        point = _moved(scene.scan, middle, rng) if "T" in condition else middle
        row = {**shared, "click": n + 1, "offset_mm": float(np.linalg.norm(point - middle))}
        started = time.perf_counter()
        try:
            result = answers.click(point, target=plan.target)
        except InputError as refusal:
            row.update(dice=0.0, concurrency=0.0, refused=True, error=str(refusal))
        else:
            ours, theirs = _together(scene.scan, truth, start, result.mask)
            row.update(dice=dice(ours, theirs), concurrency=concurrency(ours, theirs))
            row.update(refused=False, confidence=float(result.confidence))
        yield {**row, "seconds": time.perf_counter() - started}


def _moved(
    scan: Volume, point: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a point up to `MOVED_MM` off, in any direction, that is still in the scan."""
    size = np.array(scan.shape[::-1])
    for _ in range(_TRIES):
        way = rng.normal(size=3)
        moved = point + way / np.linalg.norm(way) * rng.uniform(0.0, MOVED_MM)
        place = scan.ras_to_ijk(moved[None])[0]
        if (place >= 0).all() and (place <= size - 1).all():
            return np.asarray(moved)
    return point


def _resampled(scan: Volume, rng: np.random.Generator) -> Volume:
    """Return the scan on its own grid after it was brought to a voxel of 1 to 2 mm."""
    edge = float(rng.uniform(*COARSE_MM))
    coarse = scan.resampled((edge, edge, edge))
    return coarse.resampled_like(scan, fill=float(scan.array.min()))


def _together(
    scan: Volume, truth: NDArray[np.bool_], start: NDArray[Any], found: Volume
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the true mask and the found one (a crop of the scan's grid) in one box of both."""
    place = np.rint(scan.ras_to_ijk(found.ijk_to_ras(np.zeros((1, 3))))[0][::-1]).astype(int)
    lo = np.minimum(start, place)
    hi = np.maximum(start + truth.shape, place + found.shape)
    both = []
    for corner, mask in ((start, truth), (place, found.array > 0)):
        room = np.zeros(hi - lo, dtype=bool)
        k, j, i = corner - lo
        room[k : k + mask.shape[0], j : j + mask.shape[1], i : i + mask.shape[2]] = mask
        both.append(room)
    return both[0], both[1]


def summaries(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Summarise a table, as the paper's tables 1a and b do.

    Parameters
    ----------
    rows : sequence of mapping
        As in the file: text.

    Returns
    -------
    list of dict
        With `SUMMARY_COLUMNS`, for each plan and target: all clicks and those of each kind of
        lesion, under each condition, and the mean of the conditions' means.
    """
    result = []
    for key, target in dict.fromkeys((row["settings"], row["target"]) for row in rows):
        mine = [row for row in rows if (row["settings"], row["target"]) == (key, target)]
        failed = sum(row["kind"] == FAILED for row in mine)
        mine = [row for row in mine if row["kind"] != FAILED]
        for group in ("all", *dict.fromkeys(row["lesion"] for row in mine if row["lesion"])):
            chosen = [row for row in mine if group in ("all", row["lesion"])]
            parts = [
                _summarised(name, [row for row in chosen if row["condition"] == name])
                for name in CONDITIONS
                if any(row["condition"] == name for row in chosen)
            ]
            for line in [*parts, _averaged(parts)] if parts else []:
                head = {"settings": key, "target": target, "group": group}
                result.append({**head, **line, "failed_cases": failed if group == "all" else None})
    return result


def _summarised(condition: str, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    values = {n: np.array([float(row[n]) for row in rows]) for n in ("dice", "concurrency")}
    seconds = np.array([float(row["seconds"]) for row in rows])
    line: dict[str, Any] = {
        "condition": condition,
        "clicks": len(rows),
        "refused": sum(row["refused"] == "1" for row in rows),
        "seconds": float(seconds.mean()),
        "seconds_max": float(seconds.max()),
    }
    for name, array in values.items():
        line[name], line[f"{name}_sd"] = float(array.mean()), float(array.std())
    return line


def _averaged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("dice", "concurrency", "seconds")
    return {
        "condition": AVERAGE,
        "clicks": sum(part["clicks"] for part in parts),
        "refused": sum(part["refused"] for part in parts),
        **{name: float(np.mean([part[name] for part in parts])) for name in names},
    }
