"""Every panel after a run: pictures, light and dark, and whether all of it fits into a small dock.

``SPINESEG_PICTURES=docs/tutorials`` makes the pictures of the tutorials anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_tutorials import LARGEST_BYTES, STEMS

NARROW, SCALE = 300, 1.5


@pytest.mark.parametrize(("name", "stem"), STEMS.items())
def test_the_panel_can_be_pictured_and_fits_a_small_dock(
    name, stem, openPanel, application, tmp_path
):
    import panelpictures as pictures

    panel = openPanel(name)
    pictures.SHOWN[name](panel, application.scene)
    folder = Path(os.environ.get("SPINESEG_PICTURES") or tmp_path)
    light = pictures.picture(panel)
    with pictures.dark():
        dark = pictures.picture(panel)
    assert light.size() == dark.size()
    for image, path in ((light, f"{stem}.png"), (dark, f"{stem}-dark.png")):
        assert image.save(str(folder / path))
        assert (folder / path).stat().st_size < LARGEST_BYTES
    grey = [
        [image.pixelColor(3, y).lightness() for y in range(0, 200, 7)] for image in (light, dark)
    ]
    assert min(grey[0]) > 128 > max(grey[1])

    pictures.unfold(panel)
    qt = pictures.laidOut(panel, NARROW)
    assert qt.minimumSizeHint().width() <= NARROW
    assert pictures.cutOff(qt) == []
    assert pictures.overlapping(qt) == []


@pytest.mark.parametrize("name", STEMS)
def test_the_panel_has_room_for_larger_letters(name, openPanel):
    import panelpictures as pictures

    with pictures.largerText(SCALE):
        panel = openPanel(name)
        pictures.unfold(panel)
        qt = pictures.laidOut(panel, round(SCALE * NARROW))
        assert qt.minimumSizeHint().width() <= SCALE * NARROW
        assert pictures.cutOff(qt) == []
        assert pictures.overlapping(qt) == []
