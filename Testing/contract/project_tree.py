"""What the contract tests read: the project's files, and what each module imports."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "SpineSegExtension" / "spineseg"
MRML = ROOT / "SpineSegExtension" / "SpineSegMRML"
WEB = ROOT / "SpineSegExtension" / "SpineSegWeb"
NOT_OURS = {".git", ".venv", "build", "demo", "dist", "__pycache__"}


@cache
def project_files() -> tuple[Path, ...]:
    """Return the project's files: git's list with what is new, or the tree where git is absent."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
        files = (ROOT / name for name in names)
    else:
        files = (path for path in ROOT.rglob("*") if not NOT_OURS & set(path.parts))
    return tuple(sorted(path for path in files if path.is_file()))


def texts() -> Iterator[tuple[Path, str]]:
    """Yield the project's text files with their contents."""
    for path in project_files():
        data = path.read_bytes()
        if b"\0" not in data and path.suffix != ".safetensors":
            yield path, data.decode("utf-8")


@cache
def pyproject() -> dict[str, Any]:
    """Return what pyproject.toml says."""
    reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    parsed: dict[str, Any] = reader.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return parsed


def requirements(*extras: str) -> list[Requirement]:
    """Return the package's dependencies, and those of `extras`."""
    project = pyproject()["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    return [Requirement(line) for lines in lists for line in lines]


def python_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def module_folders() -> list[Path]:
    """Return the Slicer module folders."""
    return sorted(path.parent for path in ROOT.glob("*/CMakeLists.txt"))


def mrml_files() -> list[Path]:
    """Return the files of layer 2: nodes and logic, without windows."""
    folders = [MRML, *(f / f"{f.name}Lib" for f in module_folders())]
    return [path for folder in folders for path in python_files(folder)]


def front_files() -> list[Path]:
    """Return the files of layer 3: the modules' widgets."""
    return [f / f"{f.name}.py" for f in module_folders() if (f / f"{f.name}.py").exists()]


def web_files() -> list[Path]:
    """Return the files of layer 3 that make the browser app."""
    return python_files(WEB)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Import:
    """One imported module: its full name, its line, and whether importing the file runs it."""

    module: str
    line: int
    at_file_scope: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def imports(path: Path, for_types: bool = False) -> list[Import]:
    """Return what a file imports; with `for_types`, also what only a type checker sees."""
    found: list[Import] = []
    _collect(parse(path), True, for_types, _package_of(path), found)
    return found


def _package_of(path: Path) -> list[str]:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    for start in ("spineseg", "SpineSegMRML"):
        if start in parts:
            return parts[parts.index(start) : -1]
    return parts[-2:-1]


def _collect(
    node: ast.AST, at_file_scope: bool, for_types: bool, package: list[str], found: list[Import]
) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            if for_types:
                _collect(child, False, for_types, package, found)
            continue
        if isinstance(child, ast.Import):
            found += [Import(a.name, child.lineno, at_file_scope) for a in child.names]
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            module = ".".join([*base, *([child.module] if child.module else [])])
            # `from spineseg import networks` names a module too.
            found += [
                Import(f"{module}.{alias.name}", child.lineno, at_file_scope)
                for alias in child.names
            ]
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            _collect(child, at_file_scope and not inside, for_types, package, found)
