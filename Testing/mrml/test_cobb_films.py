"""Nodes that hold a film: from files, as Slicer loads them, and what is none."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import tinycobb
import tinycobbworker
from CobbAngleLib.Logic import CobbLogic
from cobbcases import UPPER, addFilm, atOnce, drag
from dicomfilm import write_dicom
from nodecases import ctVolume
from spineseg import registry
from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.measure.film import measure_film
from spineseg.measure.upright import turned_points
from spineseg.methods.film_result import FilmResult
from SpineSegMRML import films, volumes
from SpineSegMRML.cobbjobs import FilmFound


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The tiny method in place of the shipped ones."""
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    monkeypatch.setattr(registry, "DEFAULT_COBB", registry.DEFAULT_COBB)
    monkeypatch.setitem(sys.modules, "spineseg.methods.tinycobb", tinycobb)
    tinycobbworker.register()


@pytest.fixture
def logic():
    return CobbLogic(atOnce)


def test_a_film_from_a_file_lies_upright_with_its_pixel_size(logic, scene, tmp_path):
    path = tmp_path / "film.png"
    sitk.WriteImage(sitk.GetImageFromArray(tinycobb.picture(30)), str(path))
    node = logic.films.load(scene, path)
    film = films.filmFromNode(node)
    assert (film.name, film.spacing_mm, film.array.shape) == ("film.png", None, (1000, 600))
    assert volumes.volumeFromNode(node).orientation in ("LIP", "RIA", "LIA")
    left, right = films.FilmPlace(node).ras(np.array([[0.0, 0.0], [10.0, 0.0]]))
    np.testing.assert_allclose(right - left, [-10.0, 0.0, 0.0])  # to the patient's left
    top, bottom = films.FilmPlace(node).ras(np.array([[0.0, 0.0], [0.0, 10.0]]))
    np.testing.assert_allclose(bottom - top, [0.0, 0.0, -10.0])
    other = addFilm(scene, left_is="L", spacing_mm=(0.2, 0.1), view="ap")
    left, right = films.FilmPlace(other).ras(np.array([[0.0, 0.0], [10.0, 0.0]]))
    np.testing.assert_allclose(right - left, [1.0, 0.0, 0.0])
    known = films.filmFromNode(other)
    assert (known.left_is, known.spacing_mm, known.pixel_aspect) == ("L", (0.2, 0.1), 1.0)
    lateral = addFilm(scene, view="lateral")
    front, back = films.FilmPlace(lateral).ras(np.array([[0.0, 0.0], [10.0, 0.0]]))
    np.testing.assert_allclose(back - front, [0.0, -10.0, 0.0])
    other.SetSpacing(0.3, 0.3, 1.0)  # a user knows better
    assert films.filmFromNode(other).spacing_mm == pytest.approx((0.3, 0.3))
    assert logic.films.validateFile(path) == ""
    assert "Choose the file" in logic.films.validateFile(tmp_path)


def test_films_that_slicer_has_loaded_are_measured(logic, scene):
    """As Slicer's readers make them: in the axial plane; a coloured PNG as a vector volume."""
    picture = tinycobb.picture(40)
    node = slicer.vtkMRMLVectorVolumeNode()
    image = volumes.imageFromArray(picture[None])
    colours = volumes.imageFromArray(
        np.repeat(picture[None, ..., None], 3, axis=-1).reshape(1, 1000, 1800)
    )
    scalars = colours.GetPointData().GetScalars()
    scalars.SetNumberOfComponents(3)
    image.GetPointData().SetScalars(scalars)
    node.SetAndObserveImageData(image)
    node.SetRASToIJKMatrix(volumes.arrayToMatrix(np.diag([-1.0, -1.0, 1.0, 1.0])))
    node = scene.AddNode(node)
    film = films.filmFromNode(node)
    assert (film.spacing_mm, film.array.shape) == (None, (1000, 600))
    outcome = logic.films.measure(node)
    assert outcome.state.measured.angles_deg["major"] == pytest.approx(40)
    grey = volumes.addVolumeNode(
        scene, volumes.Volume(picture[None].astype(np.int16), np.diag([-0.2, -0.3, 1.0, 1.0])), "cr"
    )
    film = films.filmFromNode(grey)
    assert film.spacing_mm == pytest.approx((0.3, 0.2))
    assert film.pixel_aspect == pytest.approx(1.5)
    assert "pixel size is the volume's" in film.notes[0]
    inverted = slicer.vtkMRMLColorTableNode()
    inverted.SetName("Inverted Grey")
    grey.GetDisplayNode().SetAndObserveColorNodeID(scene.AddNode(inverted).GetID())
    assert films.filmFromNode(grey).array[5, 7] == 249 - picture[5, 7]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_an_endplate_on_a_film_that_lies_is_dragged_as_on_an_upright_one(scene, quarters):
    corners = tinycobb.corners(40)
    moved = corners.copy()
    moved[0, 1] += (5.0, -21.0)
    upright = Film(tinycobb.picture(40))
    expected = measure_film(FilmResult(tinycobb.LEVELS, moved), upright)
    (before, there), after = (turned_points(c, (600, 1000), quarters) for c in (
        np.stack([corners, moved]), moved))  # fmt: skip
    logic = CobbLogic(lambda *_, **__: FilmFound("m", FilmResult(tinycobb.LEVELS, before), 1.0))
    film = films.addFilmNode(scene, Film(np.rot90(upright.array, quarters), name="lying.png"))
    logic.films.measure(film)
    drag(film, UPPER, 1, (there - before)[0, 1])
    measured = logic.films.refresh(film).state.measured
    np.testing.assert_allclose(measured.corners_px, after, atol=1e-6)
    assert measured.angles_deg == pytest.approx(expected.angles_deg, abs=1e-6)
    assert measured.curves() == expected.curves()


def test_a_film_of_each_format_is_loaded_as_it_is(logic, scene, tmp_path):
    picture = tinycobb.picture(40)
    for ending, blurred in (("jpg", 60), ("png", 0), ("tif", 0)):  # of the sawtooth's edges
        path = tmp_path / f"film.{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(picture), str(path))
        film = films.filmFromNode(logic.films.load(scene, path))
        away = np.abs(film.array.astype(int) - picture).max()
        assert (film.array.shape, film.spacing_mm) == ((1000, 600), None)
        assert away <= blurred
    for kind, tags, spacing in (
        ("DX", {"PixelSpacing": [0.3, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.3, 0.2)),
        ("CR", {"ImagerPixelSpacing": [0.15, 0.15], "PixelSpacing": [0.15, 0.15]}, (0.15, 0.15)),
    ):
        path = write_dicom(tmp_path / kind, picture.astype(np.uint16), Modality=kind, **tags)
        node = logic.films.load(scene, path)
        film = films.filmFromNode(node)
        np.testing.assert_array_equal(film.array, picture)
        assert film.spacing_mm == pytest.approx(spacing)
        assert film.magnified is (kind == "CR")
        left, right = films.FilmPlace(node).ras(np.array([[0.0, 0.0], [10.0, 10.0]]))
        np.testing.assert_allclose(right - left, [-10 * spacing[1], 0.0, -10 * spacing[0]])


def test_bad_input_is_refused_in_a_sentence(application, logic, scene):
    def reason(array):
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        node = volumes.addVolumeNode(scene, volumes.Volume(array, affine), "x")
        return logic.films.validate(node), node

    assert logic.films.validate(None) == "Choose a film."
    ct = volumes.addVolumeNode(scene, ctVolume(np.eye(4)), "ct")
    assert "“ct” has 14 slices, so it is a scan and not a film." in logic.films.validate(ct)
    with pytest.raises(InputError, match="has 14 slices"):
        logic.films.measure(ct)
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert logic.films.validate(empty) == "“empty” has no voxels."
    assert "shows nothing" in reason(np.full((1, 100, 90), 7, np.uint8))[0]
    text, node = reason(tinycobb.picture(40)[None])
    assert text == ""
    hierarchy = application.subjectHierarchy()
    item = hierarchy.GetItemByDataNode(node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    assert "is a CT, not a radiograph" in logic.films.validate(node)
    assert "no method called “magic”" in logic.films.validate(addFilm(scene), "magic")
    assert "doesn't measure films" in logic.films.validate(addFilm(scene), "vertebra-unet")


def test_without_a_method_the_panel_says_what_a_user_can_do(logic, scene, monkeypatch):
    rest = tuple(m for m in registry.METHODS if m.task != registry.COBB)
    monkeypatch.setattr(registry, "METHODS", rest)
    assert "place them by hand" in logic.films.validate(addFilm(scene))
