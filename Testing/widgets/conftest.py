"""Fixtures of the widgets tier: panels on the stand-in, and what went wrong unseen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tinytranslate
import tinyworker
from headless import HeadlessApplication
from spineseg import registry

ROOT = Path(__file__).resolve().parents[2]
# Loaded anew for each test: they import what is there only while the stand-in is.
OF_THE_FRONTS = ("VertebraSegment", "CycleGANTranslate", "CobbAngle", "FractureDetect")
FRONTS = {*OF_THE_FRONTS, "SpineSegExtension", *(f"{n}Lib.Parameters" for n in OF_THE_FRONTS)}


@pytest.fixture
def application(tmp_path: Path) -> Iterator[HeadlessApplication]:
    """An application with an empty scene; it is closed after the test."""
    app = HeadlessApplication(tmp_path / "application")
    yield app
    app.close()


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """What was raised in signals and observers, which Slicer would only print.

    A test that expects some takes them out of the list.
    """
    found: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: found.append(value))
    yield found
    if found:
        raise AssertionError("raised in a signal or an observer") from found[0]


@pytest.fixture
def slicerApp(
    qtLibrary: None,
    application: HeadlessApplication,
    errors: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """The stand-in for `slicer.app`, in place."""
    from standin import pythonqt
    from standin.application import install

    before = {name: sys.modules.pop(name) for name in FRONTS & set(sys.modules)}
    # The tiny methods can be chosen besides the shipped ones.
    rows = (*tinyworker.METHODS, *tinytranslate.METHODS)
    names = {row.name for row in rows}
    others = [row for row in registry.METHODS if row.name not in names]
    monkeypatch.setattr(registry, "METHODS", (*rows, *others))
    yield install(application, monkeypatch.setitem, monkeypatch.setattr)
    for name in FRONTS & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(before)
    pythonqt.forget()


@pytest.fixture
def openPanel(slicerApp: Any) -> Iterator[Callable[[str], Any]]:
    """Opens a module by its name and returns its panel; modules are unloaded after the test."""
    from standin.application import openModule

    modules = []

    def open_(name: str) -> Any:
        module = openModule(ROOT, name)
        modules.append(module)
        parent = module.widgetRepresentation()
        parent.show()
        parent.enter()
        return parent.self()

    yield open_
    for module in modules:
        module.close()
    slicerApp.processEvents()


@pytest.fixture
def messages(slicerApp: Any) -> list[dict[str, Any]]:
    """The message boxes that were shown."""
    from standin.ctkwidgets import ctkMessageBox

    return ctkMessageBox.shown
