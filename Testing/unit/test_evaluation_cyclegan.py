"""The paper's table from folders of cases: levels, means, missing ones, and what fails."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from spineseg.cli import app
from spineseg.errors import InputError
from spineseg.evaluation.cyclegan import REFERENCE, evaluate
from spineseg.evaluation.phantom_landmarks import phantom_landmarks
from spineseg.io.images import read_volume, write_volume
from spineseg.io.landmarks import write_landmarks
from spineseg.phantom import PhantomSettings, generate
from spineseg.phantom.magnetic import bodies_of
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients with landmarks, the second without one level; references for the first."""
    folder = tmp_path_factory.mktemp("cases")
    settings = PhantomSettings(spacing_mm=2.0, levels=("T8", "T10"), torso=False,
                               margin_mm=(45.0, 60.0, 12.0))  # fmt: skip
    phantom = generate(settings, 4)
    for name, levels in (("P1", ("T8", "T9", "T10")), ("P2", ("T8", "T10"))):
        case = folder / name
        case.mkdir()
        write_volume(phantom.vertebrae, case / "segmentation.nii.gz")
        write_landmarks(phantom_landmarks(phantom, levels, 1.0), case / "landmarks.csv")
    bodies = bodies_of(phantom)
    write_volume(bodies, folder / "P1" / "reference_bodies.nii.gz")
    lost = np.where(bodies.array == 2, 0, bodies.array).astype(np.uint8)
    write_volume(bodies.like(lost), folder / "P1" / "bodies.nii.gz")
    (folder / "not a case").mkdir()
    return folder


def test_the_table_is_the_papers(cases: Path, tmp_path: Path) -> None:
    table = evaluate(cases, tmp_path / "t.csv")
    assert table.levels == ["T8", "T9", "T10"]
    assert set(table.distances) == {"P1", "P2"}
    assert not table.failed
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| T9 |"))
    assert "N/A" in row
    assert f"{table.distances['P1']['T9']:.2f}" in row
    every = [v for case in table.distances.values() for v in case.values()]
    assert f"5 vertebrae with a mean distance error of {np.mean(every):.2f}" in text
    scores = table.bodies["P1"]
    assert [s.dice for s in scores].count(1.0) == len(scores) - 1
    assert [s.dice for s in scores].count(0.0) == 1
    rows = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8")))
    assert sum(r["kind"] == "landmarks" for r in rows) == 5
    assert sum(r["kind"] == "body" for r in rows) == len(scores)


def test_a_case_without_found_bodies_counts_as_missed(cases: Path, tmp_path: Path) -> None:
    lost = tmp_path / "cases" / "P4"
    lost.mkdir(parents=True)
    shutil.copy(cases / "P1" / REFERENCE, lost)
    table = evaluate(tmp_path / "cases", tmp_path / "t.csv")
    assert "count as missed" in table.failed["P4"]
    truth = read_volume(lost / REFERENCE)
    assert len(table.bodies["P4"]) == len(np.unique(truth.array)) - 1 > 0
    assert all(score.dice == 0 and not score.found for score in table.bodies["P4"])


def test_a_bad_case_is_named_and_ends_nothing(cases: Path, tmp_path: Path) -> None:
    bad = cases / "P3"
    bad.mkdir()
    (bad / "landmarks.csv").write_text("level,label,x,y,z\nT1,a,0,0,0\n", encoding="utf-8")
    small = generate(PhantomSettings(spacing_mm=4.0, levels=("L1", "L1"), torso=False), 1)
    write_volume(bodies_of(small), bad / "segmentation.nii.gz")
    table = evaluate(cases, tmp_path / "t.csv")
    assert set(table.failed) == {"P3"}
    assert len(table.distances) == 2
    assert "P3 failed" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no case"):
        evaluate(tmp_path, tmp_path / "t.csv")


def test_the_command(cases: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["evaluate", "cyclegan", str(cases), "-o", str(tmp_path / "t.csv")]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "t.md").exists()
