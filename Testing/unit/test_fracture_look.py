"""What the networks see: the map, a vertebra from cured to fractured, their jobs and the report."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from spineseg import fracture_look
from spineseg.cli import app
from spineseg.errors import CancelledError, ExitCode, InputError, WeightsError
from spineseg.fracture_look import AMOUNTS, NOT_ANATOMY, on_grid, preview, preview_problem
from spineseg.fracture_look_pictures import amount_words, preview_strip, step_png, sways_png
from spineseg.fracturelookjob import MAP_FILE, STEP_FILES, SWAYS_FILE
from spineseg.grid import Grid
from spineseg.io.images import read_volume, write_volume
from spineseg.jobs import job_of, run
from spineseg.labels import by_name
from spineseg.methods import fracture_voxels, spine_vae
from spineseg.phantom import Fracture, PhantomSettings, generate
from spineseg.progress import CancelToken, Progress
from spineseg.volume import Volume
from spineseg.workerclient import run_job
from tinyfracture import tiny_item, tiny_models
from typer.testing import CliRunner

L1, L2 = (by_name(name).verse for name in ("L1", "L2"))
Where = list[tuple[int, np.ndarray]]
runner = CliRunner()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Small networks in place of the package's own."""
    folder = tiny_models(tmp_path / "models")
    monkeypatch.setenv("SPINESEG_MODELS", str(folder))
    forget()
    yield folder
    forget()


@pytest.fixture
def shipped() -> Iterator[None]:
    """The package's own networks."""
    forget()
    yield
    forget()


def forget() -> None:
    """Let no network stay that another folder held."""
    fracture_voxels.load.cache_clear()
    spine_vae.load.cache_clear()


@pytest.fixture(scope="module")
def spine() -> tuple[Volume, Volume, Where]:
    """Four blocks: CT, label map, and where they are."""
    item = tiny_item()
    scan, mask = Volume(item.scan, item.affine), Volume(item.labels, item.affine)
    places = scan.ijk_to_ras([one.centre for one in item.vertebrae])
    return scan, mask, [(v.label, p) for v, p in zip(item.vertebrae, places, strict=True)]


def decoded(png: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(png), format="png"))


def test_the_map_is_percent_near_the_vertebrae(
    models: Path, spine: tuple[Volume, Volume, Where]
) -> None:
    scan, _, where = spine
    percent = fracture_look.probability_map(scan, where[:1])
    plain = fracture_voxels.fracture_voxels(scan, centres=[where[0][1]]).fracture
    assert percent.grid.same_as(plain.grid)
    assert percent.array.dtype == np.uint8
    assert 0 < percent.array.max() <= 100
    np.testing.assert_array_equal(percent.array, np.rint(plain.array / 2.55))
    with pytest.raises(InputError, match="no evaluable vertebra of the thorax"):
        fracture_look.probability_map(scan, [(by_name("C5").verse, where[0][1])])


def test_a_map_comes_onto_a_grid_that_lies_askew() -> None:
    percent = Volume(np.full((20, 20, 20), 80, np.uint8), np.eye(4))
    turn = np.array([[0, -2, 0, 30], [2, 0, 0, -5], [0, 0, 3, -9], [0, 0, 0, 1.0]])
    back = on_grid(percent, Grid((12, 24, 20), turn))
    inside = back.ijk_to_ras([[8, 10, 5]])[0]
    assert ((inside > 0) & (inside < 19)).all()
    assert back.array[5, 10, 8] == 80
    assert back.array[0].max() == 0  # at −9 mm
    far = np.eye(4)
    far[:3, 3] = 500
    assert not on_grid(percent, Grid((4, 4, 4), far)).array.any()


def test_a_preview_goes_from_cured_to_fractured(
    shipped: None, spine: tuple[Volume, Volume, Where]
) -> None:
    scan, mask, where = spine
    made = preview(scan, mask, where, L2)
    assert made.level == "L2"
    assert made.amounts == AMOUNTS == (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
    (found,) = (f for f in spine_vae.spine_vae(scan, mask, where).findings if f.label == L2)
    assert made.probabilities[4] == pytest.approx(found.probability, abs=1e-5)
    assert made.probabilities[0] < 0.5 < made.probabilities[-1]
    assert made.pictures.shape == (9, 64, 64)
    bone = made.pictures > -500
    assert bone.any(axis=(1, 2)).all()
    heights = bone[:, :, 10:30].any(axis=2).sum(axis=1)
    assert heights[0] > heights[-1]  # rows of the body, cured and fractured
    assert made.sways.max() == 1.0
    # The body lies in front, so on the left; the spike behind it, which is lower, on the right.
    own = made.original > -500
    columns = np.flatnonzero(own.any(axis=0))
    assert own[:, columns[3]].sum() > 2 * own[:, columns[-3]].sum()


@pytest.mark.parametrize(
    ("label", "text"),
    [(by_name("C4").verse, "no cervical"), (101, "level is unsure"), (by_name("T3").verse, "")],
)
def test_some_have_no_preview(spine: tuple[Volume, Volume, Where], label: int, text: str) -> None:
    assert text in preview_problem(label)
    assert bool(preview_problem(label)) == bool(text)
    scan, mask, where = spine
    with pytest.raises(InputError, match=text or "T3 is not in the segmentation"):
        preview(scan, mask, where, label)


def test_pictures_are_small_and_show_the_steps(
    shipped: None, spine: tuple[Volume, Volume, Where]
) -> None:
    made = preview(*spine, L1)
    one, looks, strip = (
        decoded(p) for p in (step_png(made, 4), sways_png(made), preview_strip(made))
    )
    assert one.shape[:2] == looks.shape[:2] == (144, 192)
    assert np.array_equal(one[..., 0], one[..., 2])  # grey
    assert (looks[..., 0] - looks[..., 2]).max() > 0.3  # red somewhere
    assert strip.shape[1] > 8 * strip.shape[0] / 1.4
    assert [amount_words(a) for a in (-1.5, 0.0, 2.0)] == [
        "cured by 1.5", "as it is", "more fractured by 2"
    ]  # fmt: skip


def test_the_child_draws_both(
    models: Path, spine: tuple[Volume, Volume, Where], tmp_path: Path
) -> None:
    scan, mask, where = spine
    write_volume(scan, tmp_path / "ct.nii")
    write_volume(mask, tmp_path / "labels.nii")
    rows = [[label, *map(float, place)] for label, place in where]
    job = {"scan": str(tmp_path / "ct.nii"), "vertebrae": rows}
    stages: list[str] = []
    told = Progress(lambda stage, *_: stages.append(stage))
    more = {"segmentation": str(tmp_path / "labels.nii"), "label": L1}
    drawn = run_job(
        {**job, **more, "task": "fracture-preview", "output": str(tmp_path / "p")},
        told, python=sys.executable,
    )  # fmt: skip
    assert {path.name for path in drawn.files} == {SWAYS_FILE, *STEP_FILES}
    assert {"read", "preview", "pictures"} <= set(stages)
    found = drawn.event["found"]
    assert (found["level"], found["amounts"]) == ("L1", list(AMOUNTS))
    expected = preview(scan, mask, where, L1)
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    done = run(job_of({**job, "task": "fracture-map", "output": str(tmp_path / "m")}), Progress())
    back = read_volume(done.folder / MAP_FILE)
    wanted = fracture_look.probability_map(scan, where)
    np.testing.assert_array_equal(back.array, wanted.array)
    assert back.grid.same_as(wanted.grid, 1e-3)


def test_jobs_refuse_what_they_can_not_use(
    models: Path, spine: tuple[Volume, Volume, Where], tmp_path: Path
) -> None:
    write_volume(spine[0], tmp_path / "ct.nii")
    job = {"scan": str(tmp_path / "ct.nii"), "output": str(tmp_path / "out")}
    with pytest.raises(InputError, match="names no vertebrae"):
        job_of({**job, "task": "fracture-map"})
    with pytest.raises(InputError, match="rows of label and place"):
        run(job_of({**job, "task": "fracture-map", "vertebrae": [[1, 2]]}), Progress())
    token = CancelToken()
    token.cancel()
    rows = [[label, *map(float, place)] for label, place in spine[2]]
    with pytest.raises(CancelledError):
        run(job_of({**job, "task": "fracture-map", "vertebrae": rows}), Progress(token=token))
    assert not (tmp_path / "out").exists()


def test_the_command_shows_what_the_networks_see(models: Path, tmp_path: Path) -> None:
    patient = generate(
        PhantomSettings(
            spacing_mm=2.5, levels=("T12", "L3"), cobb_deg=5.0, margin_mm=(35.0, 50.0, 14.0),
            fractures=(Fracture("L1", "wedge", 0.5),), degeneration=0.1, torso=False,
        ),
        700_003,
    )  # fmt: skip
    write_volume(patient.ct, tmp_path / "ct.nii.gz")
    write_volume(patient.vertebrae, tmp_path / "labels.nii.gz")
    given = ["fracture", str(tmp_path / "ct.nii.gz"), "--segmentation"]
    given += [str(tmp_path / "labels.nii.gz"), "--networks", "-o", str(tmp_path / "out")]
    done = runner.invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "fracture_probability.nii.gz" in done.output
    percent = read_volume(tmp_path / "out" / "fracture_probability.nii.gz")
    assert percent.grid.same_as(patient.ct.grid, 1e-3)
    body = patient.vertebrae.array == L1
    assert 0 < percent.array[body].mean() <= 100
    assert percent.array.max() <= 100
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    rows = json.loads((tmp_path / "out" / "fractures.json").read_text(encoding="utf-8"))[
        "vertebrae"
    ]
    suspects = [row["level"] for row in rows if row["suspect"] and row["evaluable"]]
    assert "L1" in suspects
    assert html.count("from cured to more fractured, as Spine-VAE draws it") == 2 * len(suspects)
    assert NOT_ANATOMY in html
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert "fracture_probability.nii.gz" in record["outputs"]


def test_without_weights_it_says_so_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spine: tuple[Volume, Volume, Where]
) -> None:
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match="fracture-voxels and spine-vae are missing"):
        fracture_look.require()
    write_volume(spine[0], tmp_path / "ct.nii")
    write_volume(spine[1], tmp_path / "labels.nii")
    given = ["fracture", str(tmp_path / "ct.nii"), "--segmentation", str(tmp_path / "labels.nii")]
    done = runner.invoke(app, [*given, "--networks", "-o", str(tmp_path / "out")])
    assert done.exit_code == int(WeightsError("").exit_code) != int(ExitCode.OK)
    assert "nothing to show" in " ".join(done.output.split())
