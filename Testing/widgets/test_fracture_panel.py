"""The panel of FractureDetect: what it offers, a search, points that are moved, and files."""

from __future__ import annotations

import pytest

NAME = "FractureDetect"


@pytest.fixture
def panel(openPanel):
    return openPanel(NAME)


def test_opens(panel):
    assert panel.ui.applyButton.toolTip == "Choose a CT volume."
