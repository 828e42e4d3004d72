"""Landmarks on Markups nodes against the surfaces of a segmentation node."""

from __future__ import annotations

import numpy as np
import pytest
import tinytranslate
from CycleGANTranslateLib.Landmarks import LandmarkLogic
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import labels
from spineseg.errors import InputError
from spineseg.io.landmarks import Landmark, write_landmarks
from spineseg.io.meshes import vertebra_mesh
from spineseg.validation import validate
from spineseg.validation_files import DISTANCE
from SpineSegMRML import landmarks, segmentations, volumes
from SpineSegMRML.runs import Runs
from vtk.util.numpy_support import vtk_to_numpy

NAMES = ("T12", "L1", "101")
SHIFT = np.array([4.0, -3.0, 2.0])


@pytest.fixture
def mr(scene):
    node = volumes.addVolumeNode(scene, tinytranslate.mr(), "mr")
    addTransform(scene, node, rigid(obliqueAffine()))
    return node


@pytest.fixture
def node(mr):
    return segmentations.addSegmentationNode(volumes.volumeFromNode(mr).like(tinytranslate.truth()),
                                             mr, "spine")  # fmt: skip


@pytest.fixture
def logic():
    return LandmarkLogic(Runs())


def digitised(mr, names=NAMES) -> list[Landmark]:
    """Points on each vertebra's surface, moved by `SHIFT`; RAS mm of the world."""
    grid = volumes.volumeFromNode(mr)
    found = []
    for name, label in zip(NAMES, tinytranslate.LABELS):
        if name not in names:
            continue
        k = int(np.argwhere(tinytranslate.truth() == label)[:, 0].min())
        places = [(k + a, j, i) for a in (-0.5, 8.5) for j in (3.5, 15.5) for i in (3.5, 19.5)]
        places += [(k + 4, 25.5, 12), (k + 4, 3.5, 12), (k + 4, 9, 3.5)]
        ras = grid.ijk_to_ras(np.array(places, float)[:, ::-1]) + SHIFT
        found += [Landmark(name, f"point {n}", tuple(map(float, p))) for n, p in enumerate(ras)]
    return found


def addPoints(scene, mr, names=NAMES):
    return landmarks.addLandmarksNode(scene, digitised(mr, names), "points")


def test_the_numbers_are_the_librarys_and_the_table_has_units(scene, logic, mr, node):
    outcome = logic.measure(node, mr, addPoints(scene, mr))
    volume = volumes.volumeFromNode(mr).like(tinytranslate.truth())
    surfaces = {n: vertebra_mesh(volume, v) for n, v in zip(NAMES, tinytranslate.LABELS)}
    wanted = validate(surfaces, digitised(mr))
    table = outcome.tableNode
    assert table.GetNumberOfRows() == 3

    def cell(row, column):
        return float(table.GetCellText(row, table.GetColumnIndex(column)))

    for row, fit in enumerate(wanted.fits):
        assert table.GetCellText(row, 0) == fit.level
        assert cell(row, "Landmarks") == len(fit.points)
        assert cell(row, "Before") == pytest.approx(fit.before_mm.mean(), abs=1e-3)
        assert cell(row, "Mean") == pytest.approx(fit.mean, abs=1e-3)
        assert cell(row, "SD") == pytest.approx(fit.sd, abs=1e-3)
        assert cell(row, "Maximum") == pytest.approx(fit.maximum, abs=1e-3)
        assert cell(row, "Rotation") == pytest.approx(fit.rotation_deg, abs=1e-2)
        # ICP finds the shift back.
        shift = [cell(row, f"Shift{axis}") for axis in "RAS"]
        np.testing.assert_allclose(shift, -SHIFT, atol=1.5)
        assert cell(row, "Mean") < cell(row, "Before")
    assert table.GetColumnUnitLabel("Mean") == "mm"
    assert table.GetColumnUnitLabel("Rotation") == "°"
    assert f"{wanted.mean:.1f} ± {wanted.sd:.1f} mm" in outcome.summary()


def test_moved_points_and_coloured_models_lie_on_the_bone(application, scene, logic, mr, node):
    outcome = logic.measure(node, mr, addPoints(scene, mr))
    moved = landmarks.landmarksFromNode(outcome.movedNode)
    given = np.array([one.position for one in digitised(mr)])
    away = np.array([one.position for one in moved]) - (given - SHIFT)
    assert np.linalg.norm(away, axis=1).mean() < 1.5
    assert [one.level for one in moved] == [one.level for one in digitised(mr)]
    assert outcome.movedNode.GetNthControlPointDescription(0).endswith(" mm")
    grid = volumes.volumeFromNode(mr)
    for model, label in zip(outcome.modelNodes, tinytranslate.LABELS):
        values = vtk_to_numpy(model.GetPolyData().GetPointData().GetScalars())
        assert model.GetPolyData().GetPointData().GetScalars().GetName() == DISTANCE
        assert len(values) == model.GetPolyData().GetNumberOfPoints()
        display = model.GetDisplayNode()
        assert display.GetScalarVisibility()
        assert display.GetScalarRange()[1] >= values.max()
        color = [0.0] * 4
        display.GetColorNode().GetColor(0, color)
        assert color[2] > color[1]  # viridis begins in violet
        ras = grid.ijk_to_ras(np.argwhere(tinytranslate.truth() == label)[:, ::-1])
        middle = np.array(model.GetPolyData().GetBounds()).reshape(3, 2).mean(axis=1)
        assert np.abs(middle - (ras.min(axis=0) + ras.max(axis=0)) / 2).max() < 3
    hierarchy = application.subjectHierarchy()
    shown = [mr, outcome.tableNode, outcome.movedNode, *outcome.modelNodes]
    assert len({hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in shown}) == 1


def test_a_second_check_takes_the_place_of_the_first(scene, logic, mr, node):
    points = addPoints(scene, mr)
    first = logic.measure(node, mr, points)
    before = scene.GetNumberOfNodes()
    again = logic.measure(node, mr, points, first.tableNode)
    assert again.tableNode is first.tableNode
    assert scene.GetNumberOfNodes() == before
    assert all(model.GetScene() is None for model in first.modelNodes)


def test_points_under_a_transform_count_where_they_are_seen(scene, logic, mr, node):
    points = addPoints(scene, mr, ("L1",))
    wanted = logic.measure(node, mr, points).result.fits[0]
    matrix = rigid(obliqueAffine())
    moved = landmarks.addLandmarksNode(
        scene,
        [
            Landmark(one.level, one.label, tuple((np.linalg.inv(matrix) @ [*one.position, 1])[:3]))
            for one in digitised(mr, ("L1",))
        ],
        "turned",
    )
    addTransform(scene, moved, matrix)
    found = logic.measure(node, mr, moved).result.fits[0]
    assert found.mean == pytest.approx(wanted.mean, abs=1e-3)
    assert found.before_mm.mean() == pytest.approx(wanted.before_mm.mean(), abs=1e-3)


def test_a_file_becomes_points_that_name_their_level(scene, logic, mr, tmp_path):
    write_landmarks(digitised(mr), tmp_path / "digitised.csv")
    assert logic.validateFile(tmp_path / "digitised.csv") == ""
    assert "Choose a file" in logic.validateFile(tmp_path)
    points = logic.load(scene, tmp_path / "digitised.csv")
    assert points.GetName() == "digitised"
    assert points.GetNthControlPointLabel(0) == "T12 point 0"
    back = landmarks.landmarksFromNode(points)
    np.testing.assert_allclose(
        [one.position for one in back], [one.position for one in digitised(mr)], atol=1e-3
    )
    before = scene.GetNumberOfNodes()
    (tmp_path / "bad.csv").write_text("level,label,x,y,z\nQ1,tip,1,2,3\n")
    with pytest.raises(InputError, match="names no vertebra"):
        logic.load(scene, tmp_path / "bad.csv")
    assert scene.GetNumberOfNodes() == before


def test_what_does_not_fit_is_refused_and_leaves_the_scene(scene, logic, mr, node):
    why = logic.validate
    points = addPoints(scene, mr)
    assert why(node, mr, points) == ""
    assert "Translate an MR first" in why(None, mr, points)
    assert "volume that was segmented" in why(node, None, points)
    assert "Choose a list of landmarks" in why(node, mr, None)
    empty = landmarks.addLandmarksNode(scene, [], "none")
    assert "“none” holds no landmark" in why(node, mr, empty)
    empty.AddControlPointWorld([0.0, 0.0, 0.0], "F-1")
    assert "names no vertebra" in why(node, mr, empty)
    few = landmarks.addLandmarksNode(scene, digitised(mr, ("L1",))[:2], "few")
    gone = addPoints(scene, mr)
    node.GetSegmentation().RemoveSegment("T12")
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="has no T12"):
        logic.measure(node, mr, gone)
    with pytest.raises(InputError, match="L1"):
        logic.measure(node, mr, few)
    assert scene.GetNumberOfNodes() == before
    assert int(NAMES[2]) == labels.FIRST_UNSURE
