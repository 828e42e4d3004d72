"""The app, running with quick workers, and a browser on it; once for all tests of this folder."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser import Browser

HERE = Path(__file__).resolve().parent
SCRIPTS = [HERE, HERE.parent / "unit", HERE.parent / "mrml"]


@pytest.fixture(scope="session")
def webPackages(gl: None) -> None:
    """Skip the test by name where the app can't run, or there is no browser."""
    for package in ("trame_slicer", "selenium"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"web: {package} is not installed")
    from browser import chromium

    if chromium() is None:
        pytest.skip("web: no chromium with its driver (apt-get install chromium chromium-driver)")


@pytest.fixture(scope="session")
def slowFile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there, segmenting takes half a minute."""
    return tmp_path_factory.mktemp("slow") / "slow"


@pytest.fixture(scope="session")
def address(webPackages: None, slowFile: Path) -> Iterator[str]:
    """The address of an app that runs."""
    path = os.pathsep.join([str(folder) for folder in SCRIPTS])
    environment = {**os.environ, "PYTHONPATH": path, "QUICK_SLOW": str(slowFile)}
    command = [sys.executable, str(HERE / "webapp.py")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip()
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@pytest.fixture(scope="session")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser on the app."""
    from browser import Browser

    opened = Browser(address, tmp_path_factory.mktemp("downloads"))
    yield opened
    opened.close()
