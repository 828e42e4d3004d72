"""The report of a run: one HTML file that needs nothing else, for people."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from spineseg import labels, pictures, scene3d, slices
from spineseg.manifest import RunManifest
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

FILE_NAME = "report.html"
DASH = "–"
SURE = 0.5  # below this confidence a row is marked


def begin_rendering(
    segmentation: Volume, wanted: bool
) -> AbstractContextManager[scene3d.Rendering | None]:
    """Begin the report's 3D picture, if a report is wanted, so that it is drawn during saving."""
    return scene3d.Rendering(segmentation) if wanted else nullcontext()


def write_report(
    result: SegmentationResult,
    scan: Volume,
    path: Path,
    manifest: RunManifest,
    title: str,
    progress: Progress | None = None,
    more: Sequence[tuple[bytes, str]] = (),
    rendering: scene3d.Rendering | None = None,
) -> None:
    """Write the report of a segmentation.

    Parameters
    ----------
    result : SegmentationResult
        With measured vertebrae.
    scan : Volume
        What was segmented; on the grid of ``result.segmentation``.
    path : Path
        The HTML file.
    manifest : RunManifest
        What made the result; shown folded.
    title : str
        Heading, such as the scan's file name.
    progress : Progress, optional
    more : sequence of (bytes, str)
        Further pictures (PNG) with their captions.
    rendering : Rendering, optional
        Of ``result.segmentation``, if it was begun before; else it is made now.
    """
    import jinja2

    progress = progress or Progress()
    source = resources.files("spineseg").joinpath("resources/report.html.j2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(source.read_text(encoding="utf-8"))
    html = template.render(
        title=title,
        summary=_summary(result),
        created=manifest.created,
        warnings=result.warnings,
        pictures=_pictures(result, scan, progress, rendering) + [_further(*one) for one in more],
        rows=[_row(v) for v in result.vertebrae],
        settings=json.dumps(json.loads(manifest.to_json()), indent=2, ensure_ascii=False),
        version=manifest.version,
    )
    path.write_text(html, encoding="utf-8", newline="\n")
    progress("report", 1.0)


def _summary(result: SegmentationResult) -> str:
    count = len(result.vertebrae)
    if not count:
        return "No vertebra found"
    named = [v.level for v in result.vertebrae if v.level]
    text = f"{count} vertebra" + ("e" if count > 1 else "")
    if named:
        text += f", {named[0]}" if len(named) == 1 else f", {named[0]} to {named[-1]}"
    unsure = count - len(named)
    return text + (f", {unsure} of unsure level" if unsure else "")


def _row(vertebra: Vertebra) -> dict[str, Any]:
    """Return a vertebra's cells as text."""
    notes = []
    if vertebra.level is None:
        notes.append("level unsure")
    elif vertebra.confidence < SURE:
        notes.append("low confidence")
    if not vertebra.complete:
        notes.append("cut by the edge of the scan")
    heights = vertebra.heights_mm or {}
    volume = vertebra.volume_ml
    return {
        "name": vertebra.level or labels.display_name(vertebra.label),
        "label": vertebra.label,
        "color": labels.color_of(vertebra.label),
        "unsure": vertebra.level is None or vertebra.confidence < SURE,
        "volume": DASH if volume is None else f"{volume:.1f}",
        "confidence": f"{100 * min(max(vertebra.confidence, 0.0), 1.0):.0f}",
        "note": "; ".join(notes),
        **{
            place: f"{heights[place]:.1f}" if place in heights else DASH
            for place in ("anterior", "middle", "posterior")
        },
    }


def _pictures(
    result: SegmentationResult, scan: Volume, progress: Progress,
    rendering: scene3d.Rendering | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the report's pictures with their captions."""
    centroids = [v.centroid for v in result.vertebrae if np.isfinite(v.centroid).all()]
    shown = [v for v in result.vertebrae if np.isfinite(v.centroid).all()]
    made = []
    for number, (plane, view) in enumerate(
        (("sagittal", "seen from the left"), ("coronal", "seen from the front"))
    ):
        progress("report", 0.1 + 0.2 * number, f"mid-{plane} picture")
        piece = slices.take(scan, result.segmentation, centroids, plane)
        along = "along the spine's curve, " if centroids else ""
        made.append(
            {
                "data": _base64(pictures.overlay_png(piece, shown, plane)),
                "alt": f"Mid-{plane} slice of the scan with the vertebrae in colour",
                "caption": f"Mid-{plane}, {along}{view}.",
                "scene": False,
            }
        )
    progress("report", 0.5, "3D picture")
    scene = rendering.scene() if rendering else scene3d.render(result.segmentation)
    if scene is not None:
        how = "" if scene.rendered else " Shaded projections: no OpenGL on this computer."
        made.append(
            {
                "data": _base64(scene.png),
                "alt": "The segmented bones from behind and from the left",
                "caption": f"From behind (patient's left on the left) and from the left.{how}",
                "scene": True,
            }
        )
    return made


def _further(png: bytes, caption: str) -> dict[str, Any]:
    return {"data": _base64(png), "alt": caption, "caption": caption, "scene": False}


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")
