"""The layers of the design: who may import whom, and where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project_tree import (
    LIBRARY,
    MRML,
    front_files,
    imports,
    module_folders,
    mrml_files,
    name_of,
    parse,
    python_files,
    requirements,
    web_files,
)

STANDARD = set(sys.stdlib_module_names)
SLICER = {"slicer", "qt", "ctk"}
OWN = {"spineseg"}
LIGHT = {"numpy", "scipy", "SimpleITK"}
# What a file of the library may import when it is itself imported, beyond LIGHT.
# docs/adr/0002: the training loop and its losses are torch code throughout.
TORCH_FILES = {
    "training/loop.py",
    "training/losses.py",
    "training/translation_losses.py",
    "training/translation_pictures.py",
}
EXTRA = {
    "networks/": {"torch"},
    # docs/adr/0004: a system of the challenge is one file, with its network.
    "systems/": {"torch", "monai"},
    # The commands: one file grew past 400 lines, so each large one has its own.
    "cli.py": {"typer", "rich"},
    "cli_": {"typer", "rich"},
    **{name: {"torch"} for name in TORCH_FILES},
}
PRINTING = {
    "cli.py", "cli_app.py", "cli_cobb.py", "cli_common.py", "cli_evaluate.py", "cli_export.py",
    "cli_fracture.py", "cli_label.py", "cli_train.py",
    "cli_translate.py", "cli_validate.py", "worker.py",
}  # fmt: skip
WINDOWS = {"slicer.app", "slicer.modules", "slicer.mrmlScene"}
MESSAGE_BOX = re.compile(r"slicer\.util\.\w*(Display|messageBox|confirm\w*|selectedFile)$")
# Modules whose distribution has another name.
DISTRIBUTION = {"skimage": "scikit-image", "nrrd": "pynrrd", "vtkmodules": "vtk"}

library = pytest.mark.parametrize("path", python_files(LIBRARY), ids=name_of)
mrml = pytest.mark.parametrize("path", mrml_files(), ids=name_of)
front = pytest.mark.parametrize("path", front_files(), ids=name_of)


def allowed_at_file_scope(path: Path) -> set[str]:
    inside = path.relative_to(LIBRARY).as_posix()
    extra = (names for start, names in EXTRA.items() if inside.startswith(start))
    return STANDARD | LIGHT | OWN | set().union(*extra)


def attributes(path: Path) -> set[str]:
    """Return every dotted name that a file uses."""
    return {ast.unparse(n) for n in ast.walk(parse(path)) if isinstance(n, ast.Attribute)}


@library
def test_library_imports_only_light_packages_at_file_scope(path: Path) -> None:
    allowed = allowed_at_file_scope(path)
    wrong = [i for i in imports(path) if i.at_file_scope and i.top not in allowed]
    assert not wrong, "import these inside the functions that need them"


@library
def test_library_imports_networks_inside_functions(path: Path) -> None:
    inside = path.relative_to(LIBRARY).as_posix()
    if inside.startswith(("networks/", "systems/")) or inside in TORCH_FILES:
        return
    heavy = ("spineseg.networks", "spineseg.training.loop", "spineseg.training.losses")
    assert not [i for i in imports(path) if i.at_file_scope and i.module.startswith(heavy)]


@library
def test_library_knows_no_slicer_and_no_layer_above(path: Path) -> None:
    above = SLICER | {MRML.name, "SpineSegWeb"} | {f"{f.name}Lib" for f in module_folders()}
    wrong = [i for i in imports(path, for_types=True) if i.top in above]
    assert not wrong


@library
def test_library_prints_only_where_it_is_a_program(path: Path) -> None:
    if path.relative_to(LIBRARY).as_posix() in PRINTING:
        return
    calls = [n for n in ast.walk(parse(path)) if isinstance(n, ast.Call)]
    wrong = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert not wrong
    assert not {"sys.stdout", "sys.__stdout__"} & attributes(path)


@library
def test_library_declares_what_it_imports(path: Path) -> None:
    known = {r.name.lower() for r in requirements("train")}
    tops = {i.top for i in imports(path)} - STANDARD - OWN
    names = {DISTRIBUTION.get(top, top).lower() for top in tops}
    assert names <= known, f"not in pyproject.toml: {names - known}"


def test_the_library_uses_what_it_asks_for() -> None:
    tops = {i.top for path in python_files(LIBRARY) for i in imports(path)}
    used = {DISTRIBUTION.get(top, top).lower() for top in tops}
    assert not {r.name.lower() for r in requirements()} - used


def test_importing_the_library_loads_no_heavy_package() -> None:
    modules = [
        ".".join(("spineseg", *path.relative_to(LIBRARY).with_suffix("").parts))
        for path in python_files(LIBRARY)
        if not {"networks", "systems"} & set(path.parts)
        and path.relative_to(LIBRARY).as_posix() not in TORCH_FILES
        and path.name not in ("__init__.py", "__main__.py")
    ]
    assert "spineseg.cli" in modules
    code = (
        f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'monai', 'skimage', 'vtk', 'pydicom', 'slicer', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LIBRARY.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@mrml
def test_mrml_layer_opens_no_window(path: Path) -> None:
    assert not [i for i in imports(path, for_types=True) if i.top in {"qt", "ctk"}]
    used = attributes(path) | {i.module for i in imports(path)}
    assert not WINDOWS & used, "scenes and nodes are arguments"
    assert not [name for name in used if MESSAGE_BOX.search(name)]


@mrml
def test_mrml_layer_starts_light(path: Path) -> None:
    allowed = STANDARD | LIGHT | OWN | {"vtk", "slicer", MRML.name, path.parent.name}
    wrong = [i for i in imports(path) if i.at_file_scope and i.top not in allowed]
    assert not wrong


@front
def test_widgets_do_not_compute(path: Path) -> None:
    libraries = {i.top for i in imports(path)} - STANDARD
    assert not libraries & (LIGHT | {"torch", "monai", "skimage", "pydicom", "nibabel"})


@pytest.mark.parametrize("path", web_files(), ids=name_of)
def test_the_browser_app_does_not_compute(path: Path) -> None:
    libraries = {i.top for i in imports(path)} - STANDARD
    assert not libraries & (LIGHT | {"torch", "monai", "skimage", "pydicom", "nibabel", "vtk"})
    assert not libraries & {"qt", "ctk"}
    assert not WINDOWS & attributes(path)


@front
def test_module_files_run_nothing_when_imported(path: Path) -> None:
    quiet = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
    )
    for node in parse(path).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno}"
        elif isinstance(node, ast.If):
            assert "TYPE_CHECKING" in ast.unparse(node.test), f"line {node.lineno}"
        else:
            assert isinstance(node, quiet), f"line {node.lineno}"


def test_every_layer_has_files() -> None:
    assert len(python_files(LIBRARY)) > 20
    assert len(mrml_files()) > 2
    assert len(web_files()) > 5
    assert {path.stem for path in front_files()} >= {"SpineSegExtension", "VertebraSegment"}
