"""Fixtures of the mrml tier: a headless application and volumes in every position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headless import HeadlessApplication
from nodecases import AFFINES


@pytest.fixture
def application(tmp_path: Path) -> Iterator[HeadlessApplication]:
    """An application with an empty scene; it is closed after the test."""
    app = HeadlessApplication(tmp_path / "application")
    yield app
    app.close()


@pytest.fixture
def scene(application: HeadlessApplication) -> Any:
    """The application's scene."""
    return application.scene


@pytest.fixture(params=AFFINES, ids=lambda name: name.replace(" ", "-"))
def affine(request: pytest.FixtureRequest) -> np.ndarray:
    """Each of the grids in turn."""
    return AFFINES[request.param].copy()
