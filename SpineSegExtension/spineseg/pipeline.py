"""Segmenting a scan with a method of the registry, and saving what it found.

>>> from spineseg import read_volume, save, segment
>>> scan = read_volume("scan.nii.gz")
>>> result = segment(scan)
>>> save(result, scan, "result")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from spineseg import registry
from spineseg.errors import InputError, MemoryLimitError, SpineSegError
from spineseg.manifest import FILE_NAME as MANIFEST
from spineseg.manifest import InputRecord, RunManifest, foreign_files, machine, now, output_hashes
from spineseg.measure.heights import measure_vertebrae
from spineseg.progress import Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume

LABELS = "segmentation.nii.gz"
SEG = "segmentation.seg.nrrd"
CENTROIDS = "centroids.json"
MODELS = "models"
REPORT = "report.html"
PARTS = (LABELS, SEG, CENTROIDS, MODELS, REPORT)
"""What `save` can write, besides run.json, which is always there."""


def segment(
    volume: Volume,
    method: str = registry.DEFAULT_SEGMENT,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> SegmentationResult:
    """Segment the vertebrae of a scan.

    Parameters
    ----------
    volume : Volume
        CT in HU, any orientation, (k, j, i).
    method : str
        Name of a row of the registry whose task is "segment".
    progress : Progress, optional
        Told of each step; its token cancels.
    settings : mapping, optional
        Changes to the method's default settings.

    Returns
    -------
    SegmentationResult
        A uint8 label map on the grid of `volume`, and its vertebrae with volume and heights.

    Raises
    ------
    InputError
        Unknown method or setting, or a scan that the method can't take.
    MemoryLimitError
        The computer's memory is too small for it.
    CancelledError
        The token was cancelled.
    """
    row = _row(method)

    def work(chosen: Any, progress: Progress) -> SegmentationResult:
        result: SegmentationResult = row.predict(volume, chosen, progress)
        return result

    return _measured(volume, row, work, settings, progress or Progress())


def update(
    volume: Volume,
    segmentation: Volume,
    start: int,
    keep: Collection[int] = (),
    level: str | None = None,
    method: str = registry.DEFAULT_UPDATE,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> SegmentationResult:
    """Go on from one corrected vertebra of an earlier result, instead of starting again.

    Parameters
    ----------
    volume : Volume
        CT in HU, any orientation, (k, j, i).
    segmentation : Volume
        Label map on the grid of `volume`: the result so far, corrected.
    start : int
        Label in it of the vertebra to go on from, upwards and downwards.
    keep : collection of int
        Labels of vertebrae that keep every voxel; they may get another number.
    level : str, optional
        What level the first one is, such as "L2"; by default the one that its label says.
    method : str
        The row of the registry whose walk it is.
    progress, settings
        As in `segment`.

    Returns
    -------
    SegmentationResult
        As `segment` gives.

    Raises
    ------
    InputError
        The segmentation lies on another grid, or it does not hold the vertebra to start from.
    SpineSegError
        As in `segment`.
    """
    from spineseg.methods.update import update_from

    row = _row(method)

    def work(chosen: Any, progress: Progress) -> SegmentationResult:
        return update_from(volume, segmentation, start, keep, chosen, progress, level)

    return _measured(volume, row, work, settings, progress or Progress())


def _row(method: str) -> registry.Method:
    row = registry.get(method)
    if row.task != registry.SEGMENT:
        raise InputError(
            f"The method “{method}” doesn't segment.",
            f"Choose one of: {', '.join(registry.names(registry.SEGMENT))}.",
        )
    return row


def _measured(
    volume: Volume,
    row: registry.Method,
    work: Callable[[Any, Progress], SegmentationResult],
    settings: Mapping[str, Any] | None,
    progress: Progress,
) -> SegmentationResult:
    """Call `work` with the method's settings, check what it made, and measure it."""
    progress("start", 0.0, f"loading {row.title}")
    chosen = method_settings(row, settings or {})
    started = time.perf_counter()
    try:
        result = work(chosen, progress.part(0.0, 0.95))
        _check(result, volume, row.name)
        progress("measure", 0.95, "volumes and heights")
        vertebrae = measure_vertebrae(result.segmentation, result.vertebrae, result.bodies)
    except MemoryError as error:
        raise memory_error(error) from error
    except RuntimeError as error:
        # torch reports a full memory as a RuntimeError (CUDA's is a subclass of it).
        if any(words in str(error).lower() for words in ("out of memory", "can't allocate memory")):
            raise memory_error(error) from error
        raise
    progress("measure", 1.0)
    timings = {**result.timings, "segment": round(time.perf_counter() - started, 3)}
    used = result.settings or asdict(chosen)
    models = result.models or row.models
    warnings = list(result.warnings)
    if not vertebrae and not warnings:
        warnings.append("No vertebra was found in this scan.")
    return replace(
        result,
        vertebrae=vertebrae,
        warnings=warnings,
        settings=used,
        timings=timings,
        models=models,
    )


def memory_error(error: BaseException) -> MemoryLimitError:
    """Return the error that tells a user that the memory was too small."""
    return MemoryLimitError(
        "There is not enough memory for this scan.",
        "Close other programs, crop the scan to the spine, or use a computer with more memory.",
        str(error),
    )


def method_settings(row: registry.Method, changes: Mapping[str, Any]) -> Any:
    """Return the settings of a row with changes; InputError where one is not valid."""
    try:
        return row.settings(**changes)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The settings given for “{row.name}” are not valid.", f"{error}.", repr(changes)
        ) from error


def _check(result: SegmentationResult, volume: Volume, method: str) -> None:
    """Refuse a result that breaks the promise of `segment`, before it is saved as if sound."""
    made = result.segmentation
    if made.shape != volume.shape or not np.allclose(made.affine, volume.affine):
        raise SpineSegError(f"The method “{method}” returned a label map on another grid.")
    if made.array.dtype != np.uint8:
        raise SpineSegError(f"The method “{method}” returned {made.array.dtype} labels, not uint8.")


def check_folder(
    folder: str | Path, overwrite: bool = False, parts: Collection[str] = PARTS
) -> Path:
    """Return `folder` as a path if a result may be written there.

    A result may share a folder with other files: they are never touched. What it may not do
    without `overwrite` is replace a file that has a name of its own and is not from an earlier
    run, or one from an earlier run that somebody has edited since (a label map corrected with the
    brush, say).

    Raises
    ------
    InputError
        It is a file, or a file in it would be lost.
    """
    path = Path(folder)
    parent = next((p for p in (path, *path.absolute().parents) if p.exists()), None)
    if parent is not None and not parent.is_dir():
        raise InputError(f"{parent} is a file.", "Name a folder for the result.")
    if overwrite or not path.exists():
        return path
    lost = foreign_files(path, (*parts, MANIFEST))
    if lost:
        few = ", ".join(lost[:3]) + (" …" if len(lost) > 3 else "")
        raise InputError(
            f"{path} holds files that the result would replace, made or edited by somebody: {few}.",
            "Name another folder, or allow it with --overwrite.",
        )
    return path


def save(
    result: SegmentationResult,
    volume: Volume,
    folder: str | Path,
    progress: Progress | None = None,
    *,
    method: str = registry.DEFAULT_SEGMENT,
    inputs: Collection[InputRecord] = (),
    title: str = "Scan",
    parts: Collection[str] = PARTS,
    mesh_format: str = "stl",
    overwrite: bool = False,
) -> Path:
    """Write a result into a folder: all of it, or, on failure or cancel, nothing.

    Parameters
    ----------
    result : SegmentationResult
        From `segment`.
    volume : Volume
        The scan that was segmented.
    folder : str or Path
        See `check_folder`.
    progress : Progress, optional
    method : str
        For the run manifest.
    inputs : collection of InputRecord, optional
        The scan's files, for the run manifest.
    title : str
        The report's heading.
    parts : collection of str
        Which of `PARTS` to write.
    mesh_format : {"stl", "obj", "ply"}
        Of the surface models.
    overwrite : bool
        See `check_folder`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        The folder can't be used, or the disk is full.
    CancelledError
        The token was cancelled.
    """
    from spineseg.atomic import atomic_folder
    from spineseg.report import begin_rendering, write_report

    progress = progress or Progress()
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise InputError(
            f"There is no output called {', '.join(sorted(unknown))}.",
            f"Choose from: {', '.join(PARTS)}.",
        )
    target = check_folder(folder, overwrite, parts)
    started = time.perf_counter()
    shown = result.segmentation
    with atomic_folder(target) as made, begin_rendering(shown, REPORT in parts) as rendering:
        _write_parts(result, volume, made, progress.part(0.0, 0.6), parts, mesh_format)
        timings = {**result.timings, "save": round(time.perf_counter() - started, 3)}
        manifest = RunManifest(
            task=registry.SEGMENT,
            method=method,
            inputs=list(inputs),
            settings=dict(result.settings),
            models=model_records(result.models),
            timings=timings,
            warnings=list(result.warnings),
            grid={"shape_kji": list(volume.shape), "affine_ras": volume.affine.tolist()},
            created=now(),
            machine=machine(),
        )
        if REPORT in parts:
            part = progress.part(0.6, 0.98)
            write_report(result, volume, made / REPORT, manifest, title, part, rendering=rendering)
        replace(manifest, outputs=output_hashes(made)).write(made / MANIFEST)
        progress("save", 1.0)
    return target


def _write_parts(
    result: SegmentationResult,
    volume: Volume,
    folder: Path,
    progress: Progress,
    parts: Collection[str],
    mesh_format: str,
) -> None:
    """Write the label map, segmentation, centroids and models into a folder."""
    from spineseg.io.centroids import write_centroids
    from spineseg.io.images import write_volume
    from spineseg.io.meshes import write_models
    from spineseg.io.segmentations import write_seg_nrrd

    progress("save", 0.0, LABELS)
    if LABELS in parts:
        write_volume(result.segmentation, folder / LABELS)
    progress("save", 0.2, SEG)
    if SEG in parts:
        write_seg_nrrd(result.segmentation, folder / SEG)
    progress("save", 0.4, CENTROIDS)
    if CENTROIDS in parts:
        write_centroids(result.vertebrae, volume, folder / CENTROIDS)
    progress("save", 0.5, "surface models")
    if MODELS in parts:
        write_models(result.segmentation, folder / MODELS, mesh_format, progress.part(0.5, 1.0))
    progress("save", 1.0)


def model_records(names: Collection[str]) -> list[dict[str, Any]]:
    """Return name, sha256 and version of models for the manifest."""
    from spineseg.weights import list_models

    cards = {card.name: card for card in list_models()}
    return [
        {"name": name, "sha256": cards[name].sha256} if name in cards else {"name": name}
        for name in names
    ]
