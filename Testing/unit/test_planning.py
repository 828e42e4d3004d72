"""Models and landmarks for planning, opened again with other libraries, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
import vtk
from planningcases import gltf_of, opened
from scipy.spatial import cKDTree
from spineseg import labels, planning
from spineseg.cli import app
from spineseg.errors import CancelledError, ExitCode, InputError
from spineseg.io.images import write_volume
from spineseg.io.landmarks import read_landmarks
from spineseg.io.meshes import vertebra_mesh
from spineseg.measure.pedicles import find_pedicles
from spineseg.phantom import Phantom, PhantomSettings, generate
from spineseg.phantom.chain import Body
from spineseg.planning import ExportSettings, Structure, export_structures, structures_of
from spineseg.progress import CancelToken, Progress
from spineseg.volume import Volume
from typer.testing import CliRunner
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

LEVELS = ("L1", "L2", "L3")
runner = CliRunner()


@pytest.fixture(scope="module")
def patient() -> Phantom:
    """A patient who is not the same on both sides: a scoliosis, and a growth on the left."""
    settings = PhantomSettings(
        spacing_mm=1.5, levels=("L1", "L3"), cobb_deg=35.0, torso=False, degeneration=0.1
    )
    return generate(settings, 11)


@pytest.fixture(scope="module")
def lopsided(patient: Phantom) -> Volume:
    """The patient's label map with a ball of bone on the left of L2."""
    array = patient.vertebrae.array.copy()
    body = next(b for b in patient.chain.bodies if b.name == "L2")
    ball = body.centre - body.rotation @ np.array([body.size.width / 2 + 6.0, 0.0, 0.0])
    k, j, i = np.indices(array.shape)
    ras = patient.vertebrae.ijk_to_ras(np.stack([i, j, k], -1).reshape(-1, 3))
    near = (np.linalg.norm(ras - ball, axis=1) < 9.0).reshape(array.shape)
    array[near & (array == 0)] = labels.by_name("L2").verse
    return Volume(array, patient.vertebrae.affine)


def distances(surface: vtk.vtkPolyData, points: np.ndarray) -> np.ndarray:
    """Return how far points lie from a surface, mm."""
    field, there = vtk.vtkImplicitPolyDataDistance(), vtk.vtkDoubleArray()
    field.SetInput(surface)
    field.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points), deep=True), there)
    return vtk_to_numpy(there)


def mirrored(points: np.ndarray) -> np.ndarray:
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    return np.stack([2 * middle[0] - points[:, 0], points[:, 1], points[:, 2]], axis=1)


@pytest.mark.parametrize("space", planning.SPACES)
@pytest.mark.parametrize("fmt", planning.FORMATS)
def test_other_libraries_find_volume_place_and_side(
    lopsided: Volume, tmp_path: Path, fmt: str, space: str
) -> None:
    chosen = planning.levels_of(LEVELS)
    settings = ExportSettings(fmt, space)
    done = export_structures(structures_of(lopsided, chosen), tmp_path, settings)
    assert not done.warnings
    found = {}
    for path in dict.fromkeys(done.files):
        assert space in path.stem
        for name, surface in opened(path, space).items():
            found[name or path.stem.split("_")[1]] = surface
    assert sorted(found) == list(LEVELS)
    for name in LEVELS:
        points, faces = found[name]
        theirs = trimesh.Trimesh(points, faces, process=True)
        mask = lopsided.array == labels.by_name(name).verse
        assert theirs.is_watertight
        assert theirs.is_winding_consistent
        assert theirs.volume == pytest.approx(mask.sum() * lopsided.voxel_mm3, rel=0.01)
        middle = lopsided.ijk_to_ras(np.argwhere(mask)[:, ::-1]).mean(axis=0)
        assert np.linalg.norm(theirs.center_mass - middle) < 0.5
        # Smoothing takes the voxels' stairs away, which are up to half a voxel high.
        away = np.abs(distances(vertebra_mesh(lopsided, labels.by_name(name).verse, 0.0), points))
        assert np.sqrt((away**2).mean()) < 0.5
    # The ball is on the patient's left (RAS: x below), and would not fit on the right.
    points = found["L2"][0]
    mask = lopsided.array == labels.by_name("L2").verse
    voxels = lopsided.ijk_to_ras(np.argwhere(mask)[:, ::-1])
    assert np.abs([points.min(0) - voxels.min(0), points.max(0) - voxels.max(0)]).max() < 2.0
    ways = [np.mean(cKDTree(voxels).query(p)[0]) for p in (points, mirrored(points))]
    assert ways[0] < 1.0 < 1.5 < ways[1]


def test_the_smoothed_surface_lies_within_half_a_millimetre_of_the_true_one(
    patient: Phantom, tmp_path: Path
) -> None:
    # The digital patient knows its surface between the voxels, in tenths of a millimetre.
    fine = patient.vertebrae
    done = export_structures(structures_of(fine, planning.levels_of(["L2"])), tmp_path)
    (points, _), = opened(done.files[0], "LPS").values()  # fmt: skip
    ijk = fine.ras_to_ijk(points)
    depth = Volume(patient.depth.array.astype(np.float32) / 10.0, fine.affine)
    from scipy import ndimage

    signed = ndimage.map_coordinates(depth.array, ijk[:, ::-1].T, order=1)
    # The mask is drawn half a millimetre larger than the bone (phantom.vertebra.MASK_GROW_MM).
    assert abs(float(np.median(signed)) - 0.5) < 0.25
    assert np.mean(np.abs(signed - 0.5) < 0.75) > 0.8


def test_a_3mf_has_a_named_coloured_object_a_vertebra(patient: Phantom, tmp_path: Path) -> None:
    import zipfile

    from lxml import etree

    done = export_structures(
        structures_of(patient.vertebrae, planning.levels_of(LEVELS)),
        tmp_path,
        ExportSettings("3mf", "RAS"),
    )
    model = etree.fromstring(zipfile.ZipFile(done.files[0]).read("3D/3dmodel.model"))
    assert model.get("unit") == "millimeter"
    assert "SPACE=RAS" in "".join(model.itertext("{*}metadata"))
    colors = {b.get("name"): b.get("displaycolor")[:7] for b in model.iter("{*}base")}
    expected = {
        n: "#{:02X}{:02X}{:02X}".format(*labels.color_of(labels.by_name(n).verse)) for n in LEVELS
    }
    assert colors == expected
    objects = list(model.iter("{*}object"))
    assert [o.get("name") for o in objects] == list(LEVELS)
    assert [o.get("pindex") for o in objects] == ["0", "1", "2"]


def test_a_glb_says_colours_names_and_space(patient: Phantom, tmp_path: Path) -> None:
    done = export_structures(
        structures_of(patient.vertebrae, planning.levels_of(["L1-L2"])),
        tmp_path,
        ExportSettings("glb", "LPS"),
    )
    content = gltf_of(done.files[0])
    assert [m["name"] for m in content["meshes"]] == ["L1", "L2"]
    colors = [m["pbrMetallicRoughness"]["baseColorFactor"] for m in content["materials"]]
    assert len(colors) == 2
    assert colors[0] != colors[1]
    assert content["scenes"][0]["extras"]["space"] == "LPS"
    # Nothing is fetched from elsewhere.
    assert not any("uri" in one for one in content.get("buffers", []) + content.get("images", []))


def axis_of(body: Body, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of a pedicle's axis as the digital patient is drawn (RAS mm)."""
    size = body.size
    back, (width, height) = -size.depth / 2 * 0.93, size.pedicle
    if body.name[0] == "C":
        ends = [
            (sign * size.width / 2 * 0.7, back + 4, 0.0),
            (sign * (size.canal[0] / 2 + 4.5), back - size.canal[1] * 0.38, 0.0),
        ]
    else:
        x = size.canal[0] / 2 + width * 0.48
        z = min(body.heights[2], size.height) / 2 - height / 2
        z -= 0.5 if body.name[0] == "L" else 1.0
        ends = [(sign * x, back + 4, z), (sign * (x + 1), back - size.canal[1] * 0.6, z)]
    first, last = (body.centre + body.rotation @ np.array(end) for end in ends)
    return first, last


@pytest.mark.parametrize(
    ("levels", "limit"), [(("T10", "L3"), 2.0), (("C4", "C6"), 5.5)], ids=["trunk", "neck"]
)
def test_pedicle_points_lie_on_the_pedicles(levels: tuple[str, str], limit: float) -> None:
    settings = PhantomSettings(
        spacing_mm=1.0 if levels[0][0] == "C" else 1.5, levels=levels, cobb_deg=30.0,
        torso=False, degeneration=0.1,
    )  # fmt: skip
    patient = generate(settings, 3)
    bodies = {body.name: body for body in patient.chain.bodies}
    first, last = (patient.chain.index(name) for name in levels)
    wanted = {b.name for b in patient.chain.bodies[min(first, last) : max(first, last) + 1]}
    found = [p for p in find_pedicles(patient.vertebrae) if p.name in wanted]
    assert {(p.name, p.side) for p in found} == {(n, s) for n in wanted for s in ("right", "left")}
    for pedicle in found:
        body = bodies[pedicle.name]
        start, end = axis_of(body, 1.0 if pedicle.side == "right" else -1.0)
        along = np.clip((pedicle.centre - start) @ (end - start) / ((end - start) ** 2).sum(), 0, 1)
        off = np.linalg.norm(pedicle.centre - start - along * (end - start))
        assert off < limit, (pedicle.name, pedicle.side)
        assert pedicle.width_mm == pytest.approx(body.size.pedicle[0] + 1.0, abs=4.0)


def test_landmarks_lie_beside_the_models(patient: Phantom, tmp_path: Path) -> None:
    chosen = planning.levels_of(["L1", "L2"])
    done = export_structures(
        structures_of(patient.vertebrae, chosen), tmp_path, segmentation=patient.vertebrae
    )
    points = read_landmarks(tmp_path / "pedicles_LPS.mrk.json")
    assert [p.label for p in points] == [
        f"{n} pedicle {s}" for n in ("L1", "L2") for s in ("right", "left")
    ]
    planes = json.loads((tmp_path / "endplates_LPS.mrk.json").read_text())["markups"]
    assert [p["name"] for p in planes] == [
        f"{n} {e} endplate" for n in ("L1", "L2") for e in ("upper", "lower")
    ]
    body = next(b for b in patient.chain.bodies if b.name == "L2")
    for plane, upper in zip(planes[2:], (True, False), strict=True):
        centre, normal = body.endplate(upper)
        lps = np.array([-1.0, -1.0, 1.0])
        assert np.degrees(np.arccos(lps * plane["normal"] @ normal)) < 4.0
        assert abs((lps * plane["center"] - centre) @ normal) < 2.0
    stated = json.loads((tmp_path / planning.STATEMENT).read_text())
    assert [m["name"] for m in stated["models"]] == ["L1", "L2"]
    assert all(m["watertight"] and m["manifold"] for m in stated["models"])
    assert all(abs(m["volume_change"]) < 0.01 for m in stated["models"])
    assert stated["landmarks"][0]["pedicles"]["left"]["width_mm"] > 3
    assert {p.name for p in done.files} < {p.name for p in tmp_path.iterdir()}


def test_what_is_not_closed_or_lost_volume_is_said() -> None:
    good = planning.Model(20, "L1", "a.stl", 100.0, 100.5, 0.5, True, True, 1, 12)
    assert not good.doubts()
    open_one = planning.Model(20, "L1", "a.stl", 100.0, 100.5, 0.5, False, False, 1, 12)
    assert "not closed" in open_one.doubts()[0]
    lost = planning.Model(20, "L1", "a.stl", 100.0, 97.0, 0.0, True, False, 1, 12)
    assert "manifold" in lost.doubts()[0]
    assert "-3.0%" in lost.doubts()[1]


def test_thin_bone_keeps_its_volume(tmp_path: Path) -> None:
    array = np.zeros((30, 30, 30), np.uint8)
    array[5:25, 5:25, 14] = 1
    sheet = Structure(20, "L1", Volume(array, np.eye(4)), (1, 2, 3))
    (model,) = export_structures([sheet], tmp_path, ExportSettings(smoothing=1.0)).models
    assert abs(model.change) <= 0.01
    assert model.watertight


def test_edited_files_are_not_replaced_and_a_cancel_leaves_nothing(
    patient: Phantom, tmp_path: Path
) -> None:
    one = structures_of(patient.vertebrae, planning.levels_of(["L3"]))
    folder = tmp_path / "out"
    (file,) = export_structures(one, folder).files
    export_structures(one, folder)
    file.write_bytes(b"edited")
    with pytest.raises(InputError, match="would replace"):
        export_structures(one, folder)
    assert file.read_bytes() == b"edited"
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        export_structures(one, tmp_path / "new", progress=Progress(token=token))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("word", ["L9", "vertebra", "T1-L5-S1", "99"])
def test_words_that_are_no_levels_are_refused(word: str) -> None:
    with pytest.raises(InputError, match="no level"):
        planning.levels_of([word])


def test_levels_are_read_as_written() -> None:
    names = [labels.display_name(n) for n in planning.levels_of(["t12-L2", "l2,sacrum 101"])]
    assert names == ["T12", "T13", "L1", "L2", "sacrum", "unsure 1"]


def test_the_command(patient: Phantom, tmp_path: Path) -> None:
    source = tmp_path / "segmentation.nii.gz"
    write_volume(patient.vertebrae, source)
    out = tmp_path / "models"
    words = ["export", str(tmp_path), "-o", str(out), "--levels", "L1", "--levels", "L2"]
    result = runner.invoke(app, [*words, "--format", "ply", "--frame", "ras"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith(str(out))
    assert "2 models, 2 of them watertight and manifold" in result.stderr
    assert (out / "20_L1_RAS.ply").is_file()
    run = json.loads((out / "run.json").read_text())
    assert run["task"] == "export"
    assert run["inputs"][0]["path"] == str(source)
    for more in (["--levels", "C1"], ["--levels", "X"], ["--format", "vrml"], ["--frame", "xyz"]):
        again = runner.invoke(app, ["export", str(source), "-o", str(tmp_path / "no"), *more])
        assert again.exit_code == ExitCode.INPUT, more
        assert not (tmp_path / "no").exists()
