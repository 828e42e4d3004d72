"""What every test tier shares: the tiers' markers, real data, and the rule about skips."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# CI judges the change, so it tries the same examples each time; other runs look for new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent
TIERS = {"unit", "mrml", "contract", "widgets", "web"}

# The one place that names the folder of real scans.
REALDATA = Path(os.environ.get("SPINESEG_REALDATA") or ROOT / "../shared/data").resolve()


@functools.cache
def load_dev() -> ModuleType:
    """Import dev.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("spineseg_dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def has_gl() -> bool:
    """Try an off-screen picture in a child: without GL libraries VTK may crash."""
    return bool(load_dev().graphics_work())


@functools.cache
def has_qt() -> bool:
    """Whether PySide6 is there, and the system's libraries that it needs."""
    try:
        importlib.import_module("PySide6.QtWidgets")
        importlib.import_module("PySide6.QtUiTools")
    except ImportError:
        return False
    return True


@functools.cache
def has_web() -> bool:
    """Whether the browser app can run, and Chromium with its driver is there to try it."""
    packages = all(importlib.util.find_spec(name) for name in ("trame_slicer", "selenium"))
    names = ("chromium", "chromium-browser", "google-chrome")
    return packages and any(map(shutil.which, names)) and bool(shutil.which("chromedriver"))


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


# A skip says why with one of these tags, and only while the thing is truly missing.
# Every other skip turns the run red.
SKIP_TAGS: dict[str, Callable[[], bool]] = {
    "realdata:": lambda: not REALDATA.is_dir(),
    "gl:": lambda: not has_gl(),
    "cuda:": lambda: not has_cuda(),
    "qt:": lambda: not has_qt(),
    "web:": lambda: not has_web(),
    "posix:": lambda: os.name != "posix",
}


def unexpected_skip(reason: str) -> str | None:
    """Return why a skip with this reason is not allowed, or None where it is."""
    reason = reason.removeprefix("Skipped: ").strip()
    for tag, missing in SKIP_TAGS.items():
        if reason.startswith(tag):
            return None if missing() else f"what “{tag}” stands for is here: {reason}"
    return f"the reason starts with none of {', '.join(SKIP_TAGS)}: {reason}"


def _fail_unexpected_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    problem = unexpected_skip(reason)
    if problem:
        report.outcome = "failed"
        report.longrepr = f"Unexpected skip: {problem}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn an unexpected skip of a test into a failure."""
    report = yield
    _fail_unexpected_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn an unexpected skip of a whole file into a failure."""
    report = yield
    _fail_unexpected_skip(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and with what it needs."""
    for item in items:
        tier = item.path.relative_to(ROOT / "Testing").parts[0]
        if tier in TIERS:
            item.add_marker(tier)
        for needed in {"realdata", "gl"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(needed)


@pytest.fixture(scope="session")
def dev() -> ModuleType:
    """The script at the root, as a module."""
    return load_dev()


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real scans; the test is skipped by name where there is none."""
    if not REALDATA.is_dir():
        pytest.skip(f"realdata: no folder {REALDATA} (set SPINESEG_REALDATA)")
    return REALDATA


@pytest.fixture(scope="session")
def gl() -> None:
    """Skip the test by name where VTK can't draw."""
    if not has_gl():
        pytest.skip("gl: VTK can't draw off-screen here (dev.py names the libraries)")


@pytest.fixture(scope="session")
def qtLibrary() -> None:
    """Skip the test by name where there is no Qt."""
    if not has_qt():
        pytest.skip("qt: PySide6 can't be imported here (pip install PySide6-Essentials)")
