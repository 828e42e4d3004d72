"""From a CT and its label map to graded vertebrae: the library, the job, and the command."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from spineseg.cli import app
from spineseg.errors import ExitCode, InputError
from spineseg.fracture import Fractures, find_fractures, save_fractures
from spineseg.fracture_input import require_match
from spineseg.fracturejob import FractureJob
from spineseg.io.images import write_volume
from spineseg.jobs import job_of
from spineseg.labels import TOTALSEGMENTATOR_TO_VERSE, by_name
from spineseg.measure.bone_density import METAL_HU, density_words
from spineseg.measure.fracture_rules import stated_rules
from spineseg.phantom import Fracture, Phantom, PhantomSettings, generate
from typer.testing import CliRunner

SETTINGS = PhantomSettings(
    spacing_mm=2.5, levels=("T10", "L4"), cobb_deg=5.0, margin_mm=(45.0, 60.0, 14.0),
    fractures=(Fracture("L1", "wedge", 0.5),), degeneration=0.1, osteoporosis=0.6,
)  # fmt: skip
runner = CliRunner()


@pytest.fixture(scope="module")
def patient() -> Phantom:
    return generate(SETTINGS, 700_003)


@pytest.fixture(scope="module")
def found(patient: Phantom) -> Fractures:
    return find_fractures(patient.ct, patient.vertebrae)


@pytest.fixture(scope="module")
def files(patient: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("patient")
    write_volume(patient.ct, folder / "ct.nii.gz")
    write_volume(patient.vertebrae, folder / "labels.nii.gz")
    return folder


def test_the_fracture_is_found_and_no_other(found: Fractures) -> None:
    graded = {f.level: f.graded for f in found.findings}
    assert graded["L1"].grade == 3
    assert graded["L1"].kind == "wedge"
    assert all(graded[name].grade == 0 for name in ("T11", "T12", "L2", "L3"))
    sure = {f.level: f.probability for f in found.findings if f.probability is not None}
    assert max(sure, key=sure.__getitem__) == "L1"
    assert found.probability is not None
    assert found.probability > 0.5


def test_what_is_cut_off_is_listed_with_its_reason(found: Fractures) -> None:
    lost = [f for f in found.findings if f.graded.problem]
    assert lost
    assert all("edge of the scan" in f.graded.problem or "scrap" in f.graded.problem for f in lost)
    assert not any(f.score.known for f in lost)
    assert any(text.startswith("Not evaluable") for text in found.warnings)


def test_bone_is_as_dense_as_it_was_drawn(patient: Phantom, found: Fractures) -> None:
    core = (patient.vertebrae.array == by_name("L2").verse) & (patient.depth.array < -60)
    drawn = float(patient.ct.array[core].mean())
    density = next(f.density for f in found.findings if f.level == "L2")
    assert density.mean == pytest.approx(drawn, abs=30)
    assert density.p10 is not None
    assert density.p90 is not None
    assert density.p10 < density.mean < density.p90


def test_contrast_is_told(patient: Phantom, found: Fractures) -> None:
    assert found.aorta_hu == pytest.approx(patient.scanner.contrast_hu, abs=25)
    told = any("Contrast" in text for text in found.warnings)
    assert told == (patient.scanner.contrast_hu > 120)


def test_metal_gives_no_hu_and_a_warning(patient: Phantom) -> None:
    array = patient.ct.array.copy()
    centre = next(b for b in patient.chain.bodies if b.name == "L3").centre
    i, j, k = np.rint(patient.ct.ras_to_ijk(centre[None])[0]).astype(int)
    array[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = METAL_HU + 500
    done = find_fractures(patient.ct.like(array), patient.vertebrae)
    density = next(f.density for f in done.findings if f.level == "L3")
    assert density.mean is None
    assert any("Metal or cement in L3" in text for text in done.warnings)


def test_one_vertebra_says_that_neighbours_are_missing(patient: Phantom) -> None:
    only = patient.vertebrae.array == by_name("L2").verse
    labels = patient.vertebrae.like(np.where(only, patient.vertebrae.array, 0))
    done = find_fractures(patient.ct, labels)
    assert [f.level for f in done.findings] == ["L2"]
    assert any("one vertebra only" in text for text in done.warnings)


def test_bad_input_is_named(patient: Phantom) -> None:
    empty = patient.vertebrae.like(np.zeros_like(patient.vertebrae.array))
    with pytest.raises(InputError, match="holds no vertebra"):
        find_fractures(patient.ct, empty)
    with pytest.raises(InputError, match="scan's grid"):
        find_fractures(patient.ct, patient.vertebrae.crop((1, 0, 0), patient.vertebrae.shape))
    moved = patient.vertebrae.like(np.roll(patient.vertebrae.array, 40, axis=1))
    shifted = patient.ct.like(np.full_like(patient.ct.array, -900))
    with pytest.raises(InputError, match="does not match the CT"):
        find_fractures(shifted, moved)


def test_labels_of_others_are_refused_or_told(patient: Phantom) -> None:
    array = patient.vertebrae.array
    table = np.zeros(256, np.uint8)
    table[list(TOTALSEGMENTATOR_TO_VERSE.values())] = list(TOTALSEGMENTATOR_TO_VERSE)
    with pytest.raises(InputError, match="TotalSegmentator"):
        find_fractures(patient.ct, patient.vertebrae.like(table[array]))
    canal = array.copy()
    canal[:2, :2, :2] = 61
    assert require_match(patient.ct, patient.vertebrae.like(canal)) == [
        "Left out, for no vertebra has that label: 61."
    ]
    assert require_match(patient.ct, patient.vertebrae) == []


def test_files_hold_what_they_promise(found: Fractures, patient: Phantom, tmp_path: Path) -> None:
    folder = save_fractures(found, patient.ct, tmp_path / "out", title="Patient")
    content = json.loads((folder / "fractures.json").read_text(encoding="utf-8"))
    first = {row["level"]: row for row in content["vertebrae"]}["L1"]
    assert set(first) >= {
        "level", "evaluable", "genant_grade", "type", "probability", "heights_mm", "hu_mean",
        "evidence",
    }  # fmt: skip
    assert set(first["heights_mm"]) == {"anterior", "middle", "posterior"}
    assert 0 <= content["patient"]["probability"] <= 1
    assert np.array(first["points_ras"]["middle"]).shape == (2, 3, 3)
    with (folder / "fractures.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["level"]: row for row in csv.DictReader(file)}
    assert rows["L1"]["genant_grade"] == "3"
    assert float(rows["L1"]["anterior_mm"]) == first["heights_mm"]["anterior"]
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png") == sum(f.suspect for f in found.findings)
    assert "L1: grade 3 (wedge)" in html
    assert all(rule.source in unescape(html) for rule in stated_rules())
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["task"] == "fracture"
    assert not (folder / "segmentation.nii.gz").exists()


def test_the_command_writes_a_report(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = [str(files / "ct.nii.gz"), "--segmentation", str(files / "labels.nii.gz")]
    done = runner.invoke(app, ["fracture", *given, "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "L1: grade 3, wedge" in done.output
    assert (out / "report.html").is_file()
    (out / "fractures.csv").write_text("mine", encoding="utf-8")
    again = runner.invoke(app, ["fracture", *given, "-o", str(out)])
    assert again.exit_code == int(ExitCode.INPUT)
    assert "--overwrite" in again.output


def test_a_segmentation_of_another_scan_is_refused(files: Path, tmp_path: Path) -> None:
    given = ["--segmentation", str(files / "ct.nii.gz"), "-o", str(tmp_path / "out")]
    done = runner.invoke(app, ["fracture", str(files / "ct.nii.gz"), *given])
    assert done.exit_code == int(ExitCode.INPUT)
    assert "label map" in done.output


def test_the_worker_knows_the_job() -> None:
    job = job_of({"task": "fracture", "scan": "a", "output": "b", "segmentation": "c"})
    assert isinstance(job, FractureJob)
    assert job.segmentation == "c"


def test_thresholds_are_pickhardts() -> None:
    assert "likely" in density_words(90)
    assert "ruled out" in density_words(140)
    assert density_words(180) == ""


def test_thresholds_know_of_contrast() -> None:
    assert "likely" not in density_words(120)
    assert density_words(120, contrast=True) == (
        "120 HU with contrast, about 102 to 106 without: osteoporosis is likely"
        " (at most 110 HU in L1)"
    )
    # Between the phases' rises a specific threshold keeps silent, a sensitive one speaks.
    assert "likely" not in density_words(126, contrast=True)
    assert "ruled out" in density_words(177, contrast=True)
    assert density_words(179, contrast=True) == ""


def test_every_rule_has_its_source() -> None:
    rules = stated_rules()
    assert {r.about for r in rules} >= {"compared with", "grade", "type", "density"}
    assert len({(r.about, r.name) for r in rules}) == len(rules)
    assert all(re.search(r"(19|20)\d\d", rule.source) for rule in rules)
