"""Models and landmarks of vertebrae for surgical planning, printing and the web.

Each structure becomes a closed surface whose volume is its voxels' within 1 %; whether it is
watertight and manifold is checked and written down. Beside the models lie pedicle points and
endplate planes as 3D Slicer's markups, and ``export.json``, which states all of it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from spineseg import labels as table
from spineseg.errors import InputError
from spineseg.io.mesh_files import ENCODERS
from spineseg.io.mesh_scenes import WRITERS, SceneMesh
from spineseg.manifest import FILE_NAME, InputRecord, RunManifest, machine, now, output_hashes
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

__all__ = [
    "FORMATS", "SPACES", "STATEMENT", "ExportSettings", "Exported", "Model", "Structure",
    "export_structures", "levels_of", "structures_of",
]  # fmt: skip

FORMATS = (*ENCODERS, *WRITERS)
"""Of the models: stl, obj and ply a file a structure; 3mf and glb one file with all of them."""
SPACES = ("LPS", "RAS")
STATEMENT = "export.json"
PEDICLES = "pedicles"
ENDPLATES = "endplates"
VOLUME_TOLERANCE = 0.01
TASK = "export"
_TRIES = 3  # of smoothing, each half as strong, until the volume is kept


@dataclass(frozen=True, eq=False)
class Structure:
    """What becomes one model.

    Attributes
    ----------
    label : int
        Its number in the label table.
    name : str
        As shown: "L1", "L1 body", "screw".
    mask : Volume
        Non-zero inside; any grid, affine to RAS mm.
    color : tuple of int
        RGB, 0–255.
    """

    label: int
    name: str
    mask: Volume
    color: tuple[int, int, int]


@dataclass(frozen=True)
class ExportSettings:
    """How to export.

    Attributes
    ----------
    format : str
        One of `FORMATS`.
    space : {"LPS", "RAS"}
        Of all coordinates; stated in each file's name and, where the format can, in it.
    smoothing : float
        0 to 1 as in `spineseg.io.meshes.vertebra_mesh`; weaker where it would cost volume.
    """

    format: str = "stl"
    space: str = "LPS"
    smoothing: float = 0.5

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(
                f"The mesh format {self.format} is unknown.", f"Use one of {', '.join(FORMATS)}."
            )
        if self.space not in SPACES:
            raise InputError(f"The space {self.space} is unknown.", "Use LPS or RAS.")
        if not 0 <= self.smoothing <= 1:
            raise InputError(f"The smoothing {self.smoothing} is not between 0 and 1.")


@dataclass(frozen=True)
class Model:
    """One exported surface, and what was checked on it.

    Attributes
    ----------
    label, name
        As in `Structure`.
    file : str
        In the folder; the object in it is called `name`.
    voxels_mm3, volume_mm3 : float
        Of the segmentation and of the surface.
    smoothing : float
        That was used.
    watertight, manifold : bool
        As `spineseg.io.meshes.mesh_checks` says: closed; and each edge in just two triangles that
        face the same way. Whether the surface cuts itself is not checked.
    pieces : int
        Separate parts of the voxels.
    triangles : int
    """

    label: int
    name: str
    file: str
    voxels_mm3: float
    volume_mm3: float
    smoothing: float
    watertight: bool
    manifold: bool
    pieces: int
    triangles: int

    @property
    def change(self) -> float:
        """How much larger the surface is than its voxels, as a share."""
        return self.volume_mm3 / self.voxels_mm3 - 1.0

    def doubts(self) -> list[str]:
        """Return a sentence for each check that it failed."""
        found = []
        if not self.watertight:
            found.append(f"The surface of {self.name} is not closed.")
        elif not self.manifold:
            found.append(f"The surface of {self.name} touches itself at edges (not manifold).")
        if abs(self.change) > VOLUME_TOLERANCE:
            found.append(f"The surface of {self.name} has {self.change:+.1%} of its volume.")
        return found


@dataclass(frozen=True)
class Exported:
    """What `export_structures` wrote.

    Attributes
    ----------
    folder : Path
    files : list of Path
        The models', then the landmarks'.
    models : list of Model
    warnings : list of str
    """

    folder: Path
    files: list[Path]
    models: list[Model]
    warnings: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return one sentence on the models and their checks."""
        whole = sum(model.manifold for model in self.models)
        most = max(abs(model.change) for model in self.models)
        return (
            f"{len(self.models)} models, {whole} of them watertight and manifold, "
            f"volumes kept within {max(most, 0.0005):.1%}."
        )


def levels_of(words: Iterable[str]) -> list[int]:
    """Return the labels of levels such as "L1", "T10-L2", "sacrum" or "101".

    Raises
    ------
    InputError
        A word is no level.
    """
    order = [level.verse for level in (*table.VERTEBRAE, table.SACRUM)]
    names = {table.display_name(label).lower(): label for label in order}
    found: list[int] = []
    for word in (part for text in words for part in text.replace(",", " ").split()):
        ends = [part.strip().lower() for part in word.replace("–", "-").split("-")]
        if all(end in names for end in ends) and len(ends) <= 2:
            first, last = (order.index(names[end]) for end in (ends[0], ends[-1]))
            found += order[min(first, last) : max(first, last) + 1]
        elif word.isdigit() and table.FIRST_UNSURE <= int(word) <= table.LAST_UNSURE:
            found.append(int(word))
        else:
            raise InputError(
                f"“{word}” is no level.", "Write L1, T10-L2, sacrum, or 101 for the first unsure."
            )
    return list(dict.fromkeys(found))


def structures_of(segmentation: Volume, chosen: Collection[int] | None = None) -> list[Structure]:
    """Return the vertebrae of a label map, and the sacrum, from the top.

    Parameters
    ----------
    segmentation : Volume
        Whole numbers (k, j, i) of the label table.
    chosen : collection of int, optional
        Which labels; by default all but spine bone that belongs to no vertebra.

    Raises
    ------
    InputError
        None of them is there.
    """
    boxes = {n: box for n, box in enumerate(ndimage.find_objects(segmentation.array), 1) if box}
    order = [level.verse for level in (*table.VERTEBRAE, table.SACRUM)]
    present = [n for n in order if n in boxes]
    present += [n for n in sorted(boxes) if n not in order and n != table.OTHER_BONE]
    wanted = [n for n in present if chosen is None or n in chosen]
    if not wanted:
        raise InputError(
            "The segmentation holds none of the vertebrae to export.",
            "It holds " + (", ".join(map(table.display_name, present)) or "no vertebra") + ".",
        )
    found = []
    for label in wanted:
        box = boxes[label]
        crop = segmentation.crop([s.start for s in box], [s.stop for s in box])
        mask = crop.like((crop.array == label).astype(np.uint8))
        found.append(Structure(label, table.display_name(label), mask, table.color_of(label)))
    return found


def export_structures(
    structures: Sequence[Structure],
    folder: Path | str,
    settings: ExportSettings | None = None,
    progress: Progress | None = None,
    *,
    segmentation: Volume | None = None,
    inputs: Collection[InputRecord] = (),
    overwrite: bool = False,
) -> Exported:
    """Write models, landmarks, their statement and a run manifest: all of them, or nothing.

    Parameters
    ----------
    structures : sequence of Structure
    folder : Path or str
        Made if it is missing; see `spineseg.pipeline.check_folder`.
    settings : ExportSettings, optional
    progress : Progress, optional
    segmentation : Volume, optional
        The whole label map. With it, pedicle points and endplate planes of the vertebrae among
        the structures are written too: neighbours show a vertebra's direction, so it may hold
        more than they do.
    inputs : collection of InputRecord, optional
        For the manifest.
    overwrite : bool
        Replace files that were edited or made by others.

    Raises
    ------
    InputError
        There is nothing to export, a file would be lost, or the disk refuses.
    DependencyError
        The library that writes the format is not installed.
    CancelledError
        The work was cancelled.
    """
    from spineseg.atomic import atomic_folder
    from spineseg.pipeline import check_folder
    from spineseg.planning_landmarks import write_landmarks

    settings = settings or ExportSettings()
    progress = progress or Progress()
    if not structures:
        raise InputError("There is nothing to export.", "Choose a vertebra.")
    names = _names(structures, settings)
    marks = [f"{word}_{settings.space}.mrk.json" for word in (PEDICLES, ENDPLATES)]
    target = check_folder(folder, overwrite, (*set(names), *marks, STATEMENT, FILE_NAME))
    started = time.perf_counter()
    with atomic_folder(target) as part:
        models = _write_models(structures, names, part, settings, progress.part(0.0, 0.7))
        warnings = [doubt for model in models for doubt in model.doubts()]
        landmarks: list[dict[str, Any]] = []
        if segmentation is not None:
            progress("landmarks", 0.7, "pedicles and endplates")
            chosen = {s.label for s in structures if s.name == table.display_name(s.label)}
            paths = [part / name for name in marks]
            landmarks, missing = write_landmarks(segmentation, chosen, paths, settings.space)
            warnings += missing
        _write_statement(part / STATEMENT, models, landmarks, settings, warnings)
        manifest = RunManifest(
            task=TASK,
            method="surface",
            inputs=list(inputs),
            settings=asdict(settings),
            timings={"export": round(time.perf_counter() - started, 3)},
            warnings=warnings,
            created=now(),
            machine=machine(),
            outputs=output_hashes(part),
        )
        manifest.write(part / FILE_NAME)
        written = [name for name in (*dict.fromkeys(names), *marks) if (part / name).exists()]
        progress("models", 1.0, f"{len(models)} models written")
    return Exported(target, [target / name for name in written], models, warnings)


def _names(structures: Sequence[Structure], settings: ExportSettings) -> list[str]:
    """Return the file of each structure."""
    if settings.format in WRITERS:
        return [f"vertebrae_{settings.space}.{settings.format}"] * len(structures)
    names: list[str] = []
    for one in structures:
        word = re.sub(r"[^\w.-]+", "_", one.name, flags=re.ASCII).strip("_.") or "segment"
        stem, count = f"{one.label:02d}_{word}", 1
        while (name := f"{stem}_{settings.space}.{settings.format}") in names:
            count += 1
            stem = f"{one.label:02d}_{word}_{count}"
        names.append(name)
    return names


def _write_models(
    structures: Sequence[Structure],
    names: Sequence[str],
    folder: Path,
    settings: ExportSettings,
    progress: Progress,
) -> list[Model]:
    from spineseg.io.mesh_scenes import write_scene
    from spineseg.io.meshes import mesh_arrays, write_mesh

    models: list[Model] = []
    scene: list[SceneMesh] = []
    signs = np.array([-1.0, -1.0, 1.0] if settings.space == "LPS" else [1.0, 1.0, 1.0])
    for index, (one, name) in enumerate(zip(structures, names, strict=True)):
        progress("models", index / len(structures), one.name)
        mesh, model = _model(one, name, settings.smoothing)
        models.append(model)
        if settings.format in WRITERS:
            points, triangles = mesh_arrays(mesh)
            title = one.name
            if title in {m.name for m in scene}:
                title = f"{one.name} ({one.label})"
            scene.append(SceneMesh(title, one.color, points * signs, triangles))
        else:
            write_mesh(mesh, folder / name, settings.space, one.name, one.color)
    if scene:
        progress("models", 0.95, names[0])
        write_scene(scene, folder / names[0], settings.space)
    return models


def _model(one: Structure, file: str, smoothing: float) -> tuple[vtkPolyData, Model]:
    """Return a structure's surface, smoothed as far as its volume allows, and its checks."""
    from spineseg.io.meshes import mesh_checks, vertebra_mesh

    inside = one.mask.like((one.mask.array != 0).astype(np.uint8))
    voxels = float(inside.array.sum()) * inside.voxel_mm3
    for attempt in range(_TRIES):
        used = smoothing / 2**attempt if attempt < _TRIES - 1 else 0.0
        mesh = vertebra_mesh(inside, 1, used)
        checks = mesh_checks(mesh)
        if abs(checks["volume_mm3"] / voxels - 1.0) <= VOLUME_TOLERANCE:
            break
    pieces = int(ndimage.label(inside.array)[1])
    return mesh, Model(
        one.label, one.name, file, round(voxels, 3), round(float(checks["volume_mm3"]), 3), used,
        checks["watertight"], checks["manifold"], pieces, checks["triangles"],
    )  # fmt: skip


def _write_statement(
    path: Path,
    models: Sequence[Model],
    landmarks: Sequence[dict[str, Any]],
    settings: ExportSettings,
    warnings: Sequence[str],
) -> None:
    content = {
        "format": "spineseg-export",
        "format_version": 1,
        "space": settings.space,
        "unit": "mm",
        "checked": "watertight: no edge of a single triangle. manifold: moreover every edge in "
        "two triangles that face the same way. Whether a surface cuts itself is not checked.",
        "not_a_medical_device": True,
        "models": [{**asdict(m), "volume_change": round(m.change, 5)} for m in models],
        "landmarks": list(landmarks),
        "warnings": list(warnings),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
