"""The run manifest: a JSON file beside each result that says what made it, and from what."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import spineseg
from spineseg.errors import InputError

FILE_NAME = "run.json"
FORMAT = "spineseg-run"
FORMAT_VERSION = 1
PACKAGES = ("numpy", "scipy", "SimpleITK", "torch", "vtk", "pydicom")
CHUNK = 1 << 20


@dataclass(frozen=True)
class InputRecord:
    """One input of a run.

    Attributes
    ----------
    path : str
        As the user gave it.
    sha256 : str
        Of the file; of a folder, see `sha256_of`.
    files : int
        How many files were read.
    size : int
        Their bytes.
    """

    path: str
    sha256: str
    files: int
    size: int


@dataclass(frozen=True)
class RunManifest:
    """What made a result.

    Attributes
    ----------
    task, method : str
        What was done and by which row of the registry.
    inputs : list of InputRecord
        The files that were read.
    settings : mapping
        The method's settings, as JSON values.
    models : sequence of mapping
        Name, version and sha256 of each model that was used.
    timings : mapping of str to float
        Seconds in each stage.
    warnings : list of str
        What makes the result doubtful.
    grid : mapping
        Shape (k, j, i) and affine (voxel i, j, k to RAS mm) of the scan.
    outputs : mapping of str to str
        sha256 of each file of the result, by its path in the folder: shows what was edited since.
    version, created, machine : str, str, mapping
        Of spineseg, in ISO 8601 UTC, and of the computer (no user name, no host name).
    """

    task: str
    method: str
    inputs: list[InputRecord] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[Mapping[str, Any]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    grid: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    version: str = spineseg.__version__
    created: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(content, indent=2, ensure_ascii=False, default=plain) + "\n"

    def write(self, path: Path) -> None:
        """Write the manifest to a file."""
        path.write_text(self.to_json(), encoding="utf-8", newline="\n")


def plain(value: Any) -> Any:
    """Return a JSON value for what `json` doesn't know (paths, numpy numbers and arrays)."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """Describe the computer: system, processor and the versions of the libraries that matter."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "packages": versions,
    }


def sha256_of(path: Path, chosen: Sequence[Path] | None = None) -> InputRecord:
    """Return the record of an input.

    Parameters
    ----------
    path : Path
        A file or a folder.
    chosen : sequence of Path, optional
        The files of the folder that were read; all of them by default. A folder's sha256 is the
        hash of its files' hashes, sorted, so that it depends on neither names nor order.

    Raises
    ------
    InputError
        A file can't be read.
    """
    if chosen:
        files = list(chosen)
    elif path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        files = [path]
    try:
        digests = [_sha256(file) for file in files]
        size = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise InputError(
            f"{path} can't be read.", "Check that it exists and that you may open it.", str(error)
        ) from error
    if path.is_dir():
        joined = hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
    else:
        joined = digests[0]
    return InputRecord(str(path), joined, len(files), size)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def output_hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file under `folder`, by its path in it (with forward slashes)."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE_NAME)
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def foreign_files(folder: Path, names: Collection[str]) -> list[str]:
    """Return the files of a folder that a new result would replace though they are not ours.

    Parameters
    ----------
    folder : Path
        Where the result shall go.
    names : collection of str
        The files and folders of the new result.

    Returns
    -------
    list of str
        Paths in the folder of files that no run made, or that were edited since: their sha256 is
        not the one in run.json. That file itself is ours if it is a run manifest.
    """
    ours: dict[str, str] = {}
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        if content["format"] == FORMAT:
            ours = dict(content["outputs"])
            ours[FILE_NAME] = _sha256(folder / FILE_NAME)
    except (OSError, ValueError, KeyError, TypeError):
        ours = {}
    files: list[Path] = []
    for name in names:
        place = folder / name
        files += sorted(place.rglob("*")) if place.is_dir() else [place]
    return [
        name
        for file in files
        if file.is_file() and ours.get(name := file.relative_to(folder).as_posix()) != _sha256(file)
    ]
