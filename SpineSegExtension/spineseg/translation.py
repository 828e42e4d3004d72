"""Translating an MR to CT with a method of the registry, and saving what it gave.

>>> from spineseg import read_volume
>>> from spineseg.translation import save_translation, translate
>>> mr = read_volume("mr.nii.gz")
>>> result = translate(mr)
>>> save_translation(result, mr, "result")
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg import pictures, registry, slices
from spineseg.errors import InputError
from spineseg.manifest import FILE_NAME as MANIFEST
from spineseg.manifest import InputRecord, RunManifest, machine, now, output_hashes
from spineseg.measure.heights import measure_vertebrae
from spineseg.pipeline import (
    CENTROIDS,
    LABELS,
    MODELS,
    REPORT,
    check_folder,
    memory_error,
    method_settings,
    model_records,
)
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, TranslationResult
from spineseg.volume import Volume

SYNTHETIC = "synthetic_ct.nii.gz"
BODIES = "bodies.nii.gz"
CONFIDENCE = "confidence.nii.gz"
PARTS = (SYNTHETIC, LABELS, BODIES, CONFIDENCE, CENTROIDS, MODELS, REPORT)
"""What `save_translation` can write, besides run.json, which is always there."""

_DOUBT = np.array([1.0, 0.25, 0.1])  # colour of what can't be trusted


def translate(
    mr: Volume,
    method: str = registry.DEFAULT_TRANSLATE,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TranslationResult:
    """Translate an MR of the spine to CT, and segment its vertebrae there.

    Parameters
    ----------
    mr : Volume
        MR of any sequence and orientation, (k, j, i).
    method : str
        Name of a row of the registry whose task is "translate".
    progress : Progress, optional
        Told of each step; its token cancels.
    settings : mapping, optional
        Changes to the method's default settings.

    Returns
    -------
    TranslationResult
        All on the grid of `mr`, its vertebrae with volume and heights.

    Raises
    ------
    InputError
        Unknown method or setting, or a volume that the method can't take.
    MemoryLimitError
        The computer's memory is too small for it.
    CancelledError
        The token was cancelled.
    """
    row = registry.get(method)
    if row.task != registry.TRANSLATE:
        raise InputError(
            f"The method “{method}” doesn't translate.",
            f"Choose one of: {', '.join(registry.names(registry.TRANSLATE))}.",
        )
    progress = progress or Progress()
    progress("start", 0.0, f"loading {row.title}")
    chosen = method_settings(row, settings or {})
    started = time.perf_counter()
    try:
        result: TranslationResult = row.predict(mr, chosen, progress.part(0.0, 0.95))
        progress("measure", 0.95, "volumes and heights")
        vertebrae = measure_vertebrae(result.segmentation, result.vertebrae, result.bodies)
    except MemoryError as error:
        raise memory_error(error) from error
    seconds = round(time.perf_counter() - started, 3)
    return replace(
        result, vertebrae=vertebrae, timings={**result.timings, "translate all": seconds}
    )


def save_translation(
    result: TranslationResult,
    mr: Volume,
    folder: str | Path,
    progress: Progress | None = None,
    *,
    method: str = registry.DEFAULT_TRANSLATE,
    inputs: Collection[InputRecord] = (),
    title: str = "MR",
    parts: Collection[str] = PARTS,
    mesh_format: str = "stl",
    overwrite: bool = False,
) -> Path:
    """Write a result into a folder: all of it, or, on failure or cancel, nothing.

    Parameters and errors as in `spineseg.pipeline.save`, with `PARTS` of this module.
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
    shown = result.segmentation
    with atomic_folder(target) as made, begin_rendering(shown, REPORT in parts) as rendering:
        _write(result, mr, made, parts, mesh_format, progress.part(0.0, 0.6))
        manifest = RunManifest(
            task=registry.TRANSLATE,
            method=method,
            inputs=list(inputs),
            settings=dict(result.settings),
            models=model_records(result.models),
            timings=dict(result.timings),
            warnings=list(result.warnings),
            grid={"shape_kji": list(mr.shape), "affine_ras": mr.affine.tolist()},
            created=now(),
            machine=machine(),
        )
        if REPORT in parts:
            plain = _as_segmentation(result)
            more = _pictures(result, mr)
            part = progress.part(0.6, 0.98)
            write_report(plain, mr, made / REPORT, manifest, title, part, more, rendering)
        replace(manifest, outputs=output_hashes(made)).write(made / MANIFEST)
        progress("save", 1.0)
    return target


def _as_segmentation(result: TranslationResult) -> SegmentationResult:
    return SegmentationResult(
        segmentation=result.segmentation,
        vertebrae=result.vertebrae,
        warnings=result.warnings,
        settings=result.settings,
        timings=result.timings,
        bodies=result.bodies,
        models=result.models,
    )


def _write(
    result: TranslationResult, mr: Volume, folder: Path, parts: Collection[str], mesh_format: str,
    progress: Progress,
) -> None:  # fmt: skip
    from spineseg.io.centroids import write_centroids
    from spineseg.io.images import write_volume
    from spineseg.io.meshes import write_models

    volumes = {
        SYNTHETIC: result.synthetic_ct,
        LABELS: result.segmentation,
        BODIES: result.bodies,
        CONFIDENCE: result.confidence,
    }
    for number, (name, volume) in enumerate(volumes.items()):
        progress("save", 0.1 * number, name)
        if name in parts and volume is not None:
            write_volume(volume, folder / name)
    if CENTROIDS in parts:
        write_centroids(result.vertebrae, mr, folder / CENTROIDS)
    if MODELS in parts:
        write_models(result.segmentation, folder / MODELS, mesh_format, progress.part(0.5, 1.0))
    progress("save", 1.0)


def _pictures(result: TranslationResult, mr: Volume) -> list[tuple[bytes, str]]:
    """Return PNGs with their captions: the synthetic CT, and where it can't be trusted."""
    centroids = [v.centroid for v in result.vertebrae]
    made = []
    bodies = result.bodies
    piece = slices.take(result.synthetic_ct, bodies, centroids, "sagittal")
    caption = "The synthetic CT, mid-sagittal, with the vertebral bodies."
    made.append((pictures.png_of(pictures.overlaid(piece)), caption))
    if result.confidence is not None:
        piece = slices.take(mr, bodies, centroids, "sagittal")
        sure = slices.take(result.confidence, bodies, centroids, "sagittal").image
        picture = _doubt(pictures.windowed(piece.image), np.nan_to_num(sure, nan=100.0))
        caption = "Red: the MR is not recovered from the synthetic CT; distrust outlines there."
        made.append((pictures.png_of(picture), caption))
    return made


def _doubt(grey: NDArray[Any], sure: NDArray[Any]) -> NDArray[Any]:
    weight = np.clip((80.0 - sure) / 60.0, 0, 0.8)[..., None]
    picture: NDArray[Any] = np.repeat(grey[..., None], 3, axis=2) * (1 - weight) + _DOUBT * weight
    return picture
