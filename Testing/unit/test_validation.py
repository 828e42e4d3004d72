"""Landmarks against surfaces: the numbers are VTK's, and what can't be right is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from spineseg.errors import InputError
from spineseg.evaluation.phantom_landmarks import phantom_landmarks
from spineseg.geometry.registration import closest_points, icp, moved, rigid_fit, rough
from spineseg.io.images import write_volume
from spineseg.io.landmarks import Landmark, write_landmarks
from spineseg.io.meshes import mesh_arrays, write_models
from spineseg.phantom import PhantomSettings, generate
from spineseg.validation import read_surfaces, validate
from spineseg.validation_files import COLUMNS, DISTANCE, save_validation
from typer.testing import CliRunner
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import (
    vtkCellArray,
    vtkIterativeClosestPointTransform,
    vtkPolyData,
)

LEVELS = ("T8", "T9", "T10")


@cache
def patient():
    settings = PhantomSettings(spacing_mm=1.5, levels=("T8", "T10"), torso=False,
                               margin_mm=(45.0, 60.0, 12.0))  # fmt: skip
    return generate(settings, 4)


@cache
def model(folder: str):
    path = Path(folder) / "labels.nii.gz"
    write_volume(patient().vertebrae, path)
    return path


@cache
def surfaces():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_surfaces(model(folder))


def landmarks(noise: float = 0.0) -> list[Landmark]:
    return phantom_landmarks(patient(), LEVELS, noise)


def turned(points: list[Landmark], matrix, shift) -> list[Landmark]:
    middle = np.mean([p.position for p in points], axis=0)
    return [
        replace(p, position=tuple(matrix @ (np.array(p.position) - middle) + middle + shift))
        for p in points
    ]


def poly(points) -> vtkPolyData:
    data, places, cells = vtkPolyData(), vtkPoints(), vtkCellArray()
    places.SetDataTypeToDouble()
    for n, point in enumerate(points):
        places.InsertNextPoint(point)
        cells.InsertNextCell(1)
        cells.InsertCellPoint(n)
    data.SetPoints(places)
    data.SetVerts(cells)
    return data


@pytest.mark.parametrize("rounds", [1, 7, 100])
def test_the_numbers_are_those_of_vtk(rounds: int) -> None:
    mesh = surfaces()["T9"]
    points = np.array([p.position for p in landmarks(1.5) if p.level == "T9"])
    points = points @ Rotation.from_euler("xyz", [6, -4, 8], degrees=True).as_matrix().T + [3, 2, 1]
    theirs = vtkIterativeClosestPointTransform()
    theirs.SetSource(poly(points))
    theirs.SetTarget(mesh)
    theirs.GetLandmarkTransform().SetModeToRigidBody()
    theirs.SetMaximumNumberOfIterations(rounds)
    theirs.Update()
    matrix = np.array([[theirs.GetMatrix().GetElement(r, c) for c in range(4)] for r in range(4)])
    ours = icp(points, closest_points(mesh), rounds)
    assert np.abs(moved(matrix, points) - ours.points).max() < 1e-3
    assert np.abs(matrix[:3, :3] - ours.transform[:3, :3]).max() < 1e-4


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), n=st.integers(4, 12))
def test_a_rigid_motion_is_found_and_never_a_reflection(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 20, (n, 3))
    turn, shift = Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 50, 3)
    found = rigid_fit(points, points @ turn.T + shift)
    assert np.allclose(found[:3, :3], turn, atol=1e-8)
    assert np.allclose(found[:3, 3], shift, atol=1e-6)
    mirrored = rigid_fit(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored[:3, :3]) == pytest.approx(1)


def test_a_patient_who_stood_is_brought_back() -> None:
    exact = validate(surfaces(), landmarks())
    matrix = Rotation.from_euler("xyz", [8, 5, -10], degrees=True).as_matrix()
    stood = validate(surfaces(), turned(landmarks(), matrix, [20, -15, 40]))
    assert [fit.level for fit in stood.fits] == list(LEVELS)
    assert stood.mean == pytest.approx(exact.mean, abs=0.5)
    assert stood.mean < 1.5
    for fit in stood.fits:
        assert fit.before_mm.mean() > 5 * fit.mean
        assert np.allclose(moved(fit.transform, fit.points), fit.moved)
        assert np.allclose(fit.transform[:3, :3] @ fit.transform[:3, :3].T, np.eye(3))
        assert fit.rotation_deg < 30


def test_a_noisy_reader_is_measured() -> None:
    errors = [validate(surfaces(), landmarks(noise)).mean for noise in (0.0, 2.0, 4.0)]
    assert errors[0] < errors[1] < errors[2]


def test_points_on_the_surface_have_no_distance() -> None:
    points = mesh_arrays(surfaces()["T9"])[0][::400]
    own = [Landmark("T9", str(n), tuple(p)) for n, p in enumerate(points)]
    fit = validate(surfaces(), own).fits[0]
    assert fit.maximum < 0.05
    assert fit.rotation_deg < 1


def test_left_and_right_of_a_whole_patient_can_not_be_changed_unseen() -> None:
    upside_down = turned(landmarks(), np.diag([1.0, 1.0, -1.0]), [0, 0, 0])
    with pytest.raises(InputError, match="seem to be"):
        validate(surfaces(), upside_down)


def test_wrong_levels_and_few_points_are_refused() -> None:
    with pytest.raises(InputError, match="has no L4"):
        validate(surfaces(), [Landmark("L4", "a", (0, 0, 0))])
    some = [p for p in landmarks() if p.level == "T9"]
    with pytest.raises(InputError, match=r"3 landmark\(s\)"):
        validate(surfaces(), some[:3])
    line = [Landmark("T9", str(n), (0.0, 0.0, 3.0 * n)) for n in range(6)]
    with pytest.raises(InputError, match="on a line"):
        validate(surfaces(), line)
    far = [replace(p, position=tuple(8 * v for v in p.position)) for p in some]
    with pytest.raises(InputError, match="do not belong together"):
        validate(surfaces(), far)


def test_levels_out_of_order_and_another_unit_are_refused() -> None:
    swap = {"T8": "T9", "T9": "T8"}
    swapped = [replace(p, level=swap.get(p.level, p.level)) for p in landmarks()]
    with pytest.raises(InputError, match="T8 and T9 follow each other the other way"):
        validate(surfaces(), swapped)
    in_cm = [replace(p, position=tuple(v / 10 for v in p.position)) for p in landmarks()]
    with pytest.raises(InputError, match="Check the unit"):
        validate(surfaces(), in_cm)


def test_a_vertebra_that_moved_otherwise_is_named() -> None:
    points = landmarks()
    lifted = [
        replace(p, position=(p.position[0], p.position[1] + 30, p.position[2]))
        if p.level == "T9"
        else p
        for p in points
    ]
    result = validate(surfaces(), lifted)
    assert any(text.startswith("T9 moved") for text in result.warnings)


def test_a_vertebra_that_stays_away_is_named() -> None:
    rough = {p.label: p for p in landmarks(9.0) if p.level == "T9"}
    points = [rough.get(p.label, p) if p.level == "T9" else p for p in landmarks()]
    result = validate(surfaces(), points)
    assert [text.split()[0] for text in result.warnings if "stays" in text] == ["T9"]
    assert not any("stays" in text for text in validate(surfaces(), landmarks()).warnings)


def test_label_maps_and_stl_folders_give_the_same(tmp_path: Path) -> None:
    from_labels = read_surfaces(model(str(tmp_path)))
    for space in ("LPS", "RAS"):
        folder = tmp_path / space
        write_models(patient().vertebrae, folder, space=space)
        from_files = read_surfaces(folder)
        for level in LEVELS:
            a, b = (mesh_arrays(s[level])[0].mean(axis=0) for s in (from_labels, from_files))
            assert np.abs(a - b).max() < 0.05


def test_a_scan_or_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    write_volume(patient().ct, tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match="no label map"):
        read_surfaces(tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match="holds no vertebra"):
        read_surfaces(tmp_path)


def test_all_files_are_written(tmp_path: Path) -> None:
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    result = validate(surfaces(), landmarks(1.0))
    folder = save_validation(result, surfaces(), tmp_path / "out")
    rows = list(csv.DictReader((folder / "validation.csv").open(encoding="utf-8")))
    assert [row["level"] for row in rows] == list(LEVELS)
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[0]["mean_mm"]) == pytest.approx(result.fits[0].mean, abs=1e-3)
    numbers = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    assert numbers["mean_mm"] == pytest.approx(result.mean, abs=1e-3)
    assert len(numbers["vertebrae"][0]["landmarks"]) == len(result.fits[0].points)
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(folder / "models" / "T8.vtp"))
    reader.Update()
    scalars = reader.GetOutput().GetPointData().GetArray(DISTANCE)
    assert scalars.GetRange()[1] <= result.fits[0].maximum + 1e-4
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png") == 3
    assert f"{result.mean:.2f}" in html


def test_the_command_writes_and_refuses(tmp_path: Path) -> None:
    from spineseg.cli import app

    write_landmarks(landmarks(), tmp_path / "points.csv")
    labels = model(str(tmp_path))
    run = CliRunner()
    done = run.invoke(
        app, ["validate", str(labels), str(tmp_path / "points.csv"), "-o", str(tmp_path / "o")]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "o" / "run.json").exists()
    (tmp_path / "bad.csv").write_text("level,label,x,y,z\nT1,a,0,0,0", encoding="utf-8")
    bad = run.invoke(
        app, ["validate", str(labels), str(tmp_path / "bad.csv"), "-o", str(tmp_path / "p")]
    )
    assert bad.exit_code == 2
    assert not (tmp_path / "p").exists()
    few = ["validate", str(labels), str(tmp_path / "points.csv"), "--iterations", "3"]
    assert run.invoke(app, [*few, "-o", str(tmp_path / "q")]).exit_code == 0
    record = json.loads((tmp_path / "q" / "run.json").read_text(encoding="utf-8"))
    assert record["settings"] == {"iterations": 3}
    assert "3 rounds of ICP" in " ".join((tmp_path / "q" / "report.html").read_text().split())


def test_the_rough_alignment_undoes_a_shift() -> None:
    mesh = surfaces()["T9"]
    points = np.array([p.position for p in landmarks() if p.level == "T9"]) + [80, -60, 200]
    closest = closest_points(mesh)
    at = moved(rough(points, mesh_arrays(mesh)[0], closest), points)
    assert np.linalg.norm(at - closest(at), axis=1).mean() < 4
