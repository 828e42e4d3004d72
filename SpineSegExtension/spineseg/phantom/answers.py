"""The known answers of a digital patient, and its files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import atomic_folder, atomic_path
from ..io.images import write_volume
from ..labels import by_name
from ..progress import Progress
from .chain import Body, Chain
from .generate import Phantom, generate
from .magnetic import as_mr, bodies_of
from .settings import PhantomSettings

Array = npt.NDArray[Any]


def corners(body: Body) -> dict[str, list[float]]:
    """Corner points of a body, RAS mm: of its frontal and of its sagittal middle section.

    ``upper_left`` is the patient's left; ``upper_front`` the anterior corner of the upper endplate.
    """
    front, _, back = body.heights
    half_w, half_d = body.size.width / 2, body.size.depth / 2
    middle = (front + back) / 4
    points = {
        "left": (-half_w, 0.0, middle),
        "right": (half_w, 0.0, middle),
        "front": (0.0, half_d, front / 2),
        "back": (0.0, -half_d, back / 2),
    }
    out = {}
    for up, sign in (("upper", 1.0), ("lower", -1.0)):
        for side, (x, y, z) in points.items():
            world = body.centre + body.rotation @ np.array([x, y, sign * z])
            out[f"{up}_{side}"] = [round(float(v), 3) for v in world]
    return out


def coronal_tilt(normal: Array) -> float:
    """Tilt of an endplate in the frontal plane, degrees, positive to the patient's right."""
    return float(np.degrees(np.arctan2(normal[0], normal[2])))


def cobb_angle(chain: Chain) -> dict[str, Any]:
    """Largest frontal angle between an upper endplate and a lower one further down."""
    bodies = [b for b in chain.bodies if b.name != "C1"]
    upper = np.array([coronal_tilt(b.endplate(True)[1]) for b in bodies])
    lower = np.array([coronal_tilt(b.endplate(False)[1]) for b in bodies])
    gap = np.abs(upper[:, None] - lower[None, :])
    gap[np.tril_indices(len(bodies))] = -1.0
    i, j = np.unravel_index(int(gap.argmax()), gap.shape)
    return {
        "degrees": round(float(gap[i, j]), 2),
        "upper_end_vertebra": bodies[i].name,
        "lower_end_vertebra": bodies[j].name,
    }


def answers(phantom: Phantom) -> dict[str, Any]:
    """Everything that is known of a patient; positions are RAS mm, lengths mm, volumes mL."""
    labels = phantom.vertebrae.array
    counts = np.bincount(labels.ravel(), minlength=256)
    border = np.zeros(256, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            border[np.unique(np.take(labels, end, axis=axis))] = True
    rows = []
    for body in phantom.chain.bodies:
        verse = by_name(body.name).verse
        if not counts[verse]:
            continue
        plates = {}
        for name, upper in (("upper_endplate", True), ("lower_endplate", False)):
            centre, normal = body.endplate(upper)
            plates[name] = {
                "centre": [round(float(v), 3) for v in centre],
                "normal": [round(float(v), 5) for v in normal],
            }
        rows.append(
            {
                "level": body.name,
                "label": verse,
                "complete": not bool(border[verse]),
                "centroid": [round(float(v), 3) for v in body.centre],
                "volume_ml": round(float(counts[verse]) * phantom.vertebrae.voxel_mm3 / 1000, 3),
                "heights_mm": dict(
                    zip(
                        ("anterior", "middle", "posterior"),
                        (round(float(h), 3) for h in body.heights),
                        strict=True,
                    )
                ),  # fmt: skip
                "disc_below_mm": round(float(body.disc), 3),
                **plates,
                "corners": corners(body),
            }
        )
    return {
        "seed": phantom.seed,
        "space": "RAS mm",
        "settings": asdict(phantom.settings),
        "scanner": asdict(phantom.scanner),
        "cobb": cobb_angle(phantom.chain),
        "vertebrae": rows,
    }


def write_phantom(
    folder: Path | str,
    settings: PhantomSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    mr: str | None = None,
    film: str | None = None,
) -> Phantom:
    """Generate a patient and write its scan, its truth and its answers.

    Writes ``ct.nii.gz`` (int16 HU), ``vertebrae.nii.gz`` (VerSe ids), ``subregions.nii.gz`` (TPTBox
    sub-regions, and the codes of ``Tissue`` elsewhere), ``lesions.nii.gz`` (lesions and implants,
    only where there are any) and ``answers.json``; with ``mr``, a key of ``sequence.KINDS``, also
    ``mr.nii.gz`` (float32) and ``bodies.nii.gz`` (1 … n from the top), on the same grid. With
    ``film``, ap or lateral, also a radiograph of the whole spine: ``film.png``, ``film.json`` and,
    of usual anatomy, ``landmarks.csv`` and ``films.csv``.

    Raises
    ------
    InputError : settings that can't be drawn, or a folder that can't be written.
    """
    # They take the Cobb angle from here.
    from .film import render_film
    from .film_files import write_film

    progress = progress or Progress()
    progress("drawing", 0.0, "digital patient")
    radiograph = render_film(settings, seed, film) if film is not None else None
    phantom = generate(settings, seed)
    with atomic_folder(Path(folder)) as part:
        files = [
            ("ct", phantom.ct), ("vertebrae", phantom.vertebrae), ("subregions", phantom.tissue),
        ]  # fmt: skip
        if phantom.overlay.array.any():
            files.append(("lesions", phantom.overlay))
        if mr is not None:
            files += [("mr", as_mr(phantom, mr)), ("bodies", bodies_of(phantom))]
        for n, (name, volume) in enumerate(files):
            progress("writing", 0.5 + 0.5 * n / len(files), name)
            write_volume(volume, part / f"{name}.nii.gz")
        if radiograph is not None:
            write_film(radiograph, part)
        with atomic_path(part / "answers.json") as path:
            path.write_text(json.dumps(answers(phantom), indent=1), encoding="utf-8")
    progress("done", 1.0)
    return phantom
