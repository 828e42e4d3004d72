"""What a method saw on a film, as models in a scene."""

from __future__ import annotations

import numpy as np
from CobbAngleLib.Marks import drawMarks, marksOn
from cobbcases import addFilm
from spineseg.methods.film_result import Mark
from SpineSegMRML import films

LINE = Mark("centreline", "line", np.array([[300.0, 0.0], [310.0, 500.0], [300.0, 900.0]]))
BOXES = Mark("boxes", "outlines", np.array([[[0.0, 0.0], [50.0, 0.0], [50.0, 30.0], [0.0, 30.0]]]))
POINTS = Mark("key points", "points", np.array([[10.0, 20.0], [30.0, 40.0]]))


def pointsOf(node):
    data = node.GetPolyData()
    return np.array([data.GetPoint(i) for i in range(data.GetNumberOfPoints())])


def test_marks_lie_on_the_film_and_go_with_the_next_result(scene):
    film = addFilm(scene, spacing_mm=(0.2, 0.2), view="ap")
    drawMarks(film, (LINE, BOXES, POINTS))
    there = marksOn(film)
    assert set(there) == {"centreline", "boxes", "key points"}
    np.testing.assert_allclose(
        pointsOf(there["centreline"]), films.FilmPlace(film).ras(LINE.points_px), atol=1e-4
    )
    assert there["centreline"].GetPolyData().GetNumberOfLines() == 1
    assert there["boxes"].GetPolyData().GetNumberOfPoints() == 5  # closed
    assert there["key points"].GetPolyData().GetNumberOfVerts() == 2
    assert there["boxes"].GetDisplayNode().GetVisibility2D()
    moved = Mark("centreline", "line", LINE.points_px + 10.0)
    drawMarks(film, (moved,))
    assert set(marksOn(film)) == {"centreline"}
    assert marksOn(film)["centreline"] is there["centreline"]
    np.testing.assert_allclose(
        pointsOf(there["centreline"]), films.FilmPlace(film).ras(moved.points_px), atol=1e-4
    )
    drawMarks(film, (moved,), shown=False)
    assert marksOn(film) == {}


def test_marks_of_one_film_are_not_those_of_another(scene):
    one, other = addFilm(scene, view="ap"), addFilm(scene, view="ap")
    drawMarks(one, (LINE,))
    drawMarks(other, (BOXES,))
    assert (set(marksOn(one)), set(marksOn(other))) == ({"centreline"}, {"boxes"})
