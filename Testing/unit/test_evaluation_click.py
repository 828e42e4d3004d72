"""Clicks are scored under the paper's four conditions."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import madeupsets
import numpy as np
import oracleclick
import pytest
import spineseg.clicking
from spineseg.cli import app
from spineseg.errors import ExitCode, InputError
from spineseg.evaluation.click import AVERAGE, COLUMNS, ClickPlan, evaluate_clicks
from spineseg.evaluation.click_scenes import FIRST_SEED, Scene, phantom_scene, scene_of
from spineseg.evaluation.datasets import find_cases
from spineseg.io.images import write_volume
from spineseg.volume import Volume
from typer.testing import CliRunner


@dataclass
class Answer:
    mask: Volume
    confidence: float = 0.9


class Balls:
    """Gives the ball nearest to the click, as the made-up scans have them; refuses far clicks."""

    opened: list[Volume] = []

    def __init__(self, scan: Volume, radius: float = madeupsets.RADIUS_MM) -> None:
        self.scan, self.radius = scan, radius
        self.points: list[np.ndarray] = []
        Balls.opened.append(scan)

    def click(self, point: Any, target: str = "vertebra") -> Answer:
        self.points.append(np.asarray(point))
        middles = madeupsets.centres(self.scan.grid)
        middle = middles[np.linalg.norm(middles - point, axis=1).argmin()]
        if np.linalg.norm(middle - point) > 6.5:
            raise InputError("Too far.", "Click nearer.")
        k, j, i = np.indices(self.scan.shape)
        places = self.scan.ijk_to_ras(np.stack([i, j, k], axis=-1).reshape(-1, 3))
        inside = np.linalg.norm(places - middle, axis=1).reshape(self.scan.shape) <= self.radius
        index = np.argwhere(inside)
        lo, hi = index.min(axis=0), index.max(axis=0) + 1
        return Answer(self.scan.like(inside.astype(np.uint8)).crop(lo.tolist(), hi.tolist()))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_condition_has_its_clicks(tmp_path: Path) -> None:
    place = madeupsets.plain(tmp_path / "set", "ct")
    Balls.opened.clear()
    output = tmp_path / "clicks.csv"
    done = evaluate_clicks(tmp_path / "set", output, ClickPlan(clicks=3), session=Balls)
    rows = table(output)
    assert tuple(rows[0]) == COLUMNS
    count = {c: sum(row["condition"] == c for row in rows) for c in ("N", "T", "R", "TR")}
    assert count == {"N": 3, "T": 9, "R": 3, "TR": 9}
    offsets = {c: [float(r["offset_mm"]) for r in rows if r["condition"] == c] for c in count}
    assert max(offsets["N"] + offsets["R"]) < 1e-6
    assert 0 < min(offsets["T"]) < max(offsets["T"]) <= 10.0
    refused = [row for row in rows if row["refused"] == "1"]
    assert {row["condition"] for row in refused} <= {"T", "TR"}
    assert refused
    assert all(float(row["offset_mm"]) > 6.0 for row in refused)
    assert all(float(row["dice"]) == float(row["concurrency"]) == 0.0 for row in refused)
    hit = [row for row in rows if row["refused"] == "0"]
    assert all(float(row["dice"]) == pytest.approx(1.0, abs=0.02) for row in hit)
    # The second scan went through a coarser voxel, and is on the first one's grid.
    first, second = Balls.opened
    assert first.grid.same_as(second.grid)
    assert first.grid.same_as(place)
    assert (first.array != second.array).any()
    lines = {line["condition"]: line for line in done.summary}
    assert list(lines) == ["N", "T", "R", "TR", AVERAGE]
    assert lines["N"]["dice"] == pytest.approx(1.0, abs=0.02)
    assert lines["T"]["refused"] + lines["TR"]["refused"] == len(refused)
    mean = np.mean([lines[c]["concurrency"] for c in count])
    assert lines[AVERAGE]["concurrency"] == pytest.approx(mean)
    assert (tmp_path / "clicks.summary.csv").exists()


def test_a_smaller_answer_scores_by_the_equations(tmp_path: Path) -> None:
    place = madeupsets.plain(tmp_path / "set", "ct")
    evaluate_clicks(
        tmp_path / "set", tmp_path / "clicks.csv", ClickPlan(conditions=("N",)),
        session=lambda scan: Balls(scan, 8.0),
    )  # fmt: skip
    large = madeupsets.balls(place, (1, 1, 1)).array.sum() / 3
    small = madeupsets.balls(place, (1, 1, 1), 8.0).array.sum() / 3
    for row in table(tmp_path / "clicks.csv"):
        assert float(row["dice"]) == pytest.approx(2 * small / (small + large), abs=0.02)
        assert float(row["concurrency"]) == pytest.approx((1 + small / large) / 2, abs=0.02)


def test_the_same_seed_gives_the_same_clicks(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "set", "ct")
    offsets = []
    for seed in (0, 0, 1):
        plan = ClickPlan(conditions=("T",), seed=seed)
        evaluate_clicks(tmp_path / "set", tmp_path / "clicks.csv", plan, session=Balls)
        offsets.append([row["offset_mm"] for row in table(tmp_path / "clicks.csv")])
    assert offsets[0] == offsets[1] != offsets[2]


def test_cut_vertebrae_are_passed_over() -> None:
    place = madeupsets.grid()
    labels = madeupsets.small(madeupsets.balls(place, (20, 21, 22)))
    cut = labels.crop((0, 0, 0), (labels.shape[0] - 8, *labels.shape[1:]))
    assert set(Scene("cut", cut, cut).whole()) == {21, 22}  # L1 reached the top


def test_bodies_and_centra_come_from_subregions(tmp_path: Path) -> None:
    place = madeupsets.plain(tmp_path, "ct")
    whole = madeupsets.balls(place, (1, 1, 1)).array > 0
    parts = np.where(whole, 50, 0).astype(np.uint8)
    middle = parts.shape[1] // 2
    parts[:, middle:][parts[:, middle:] > 0] = 41
    write_volume(Volume(parts, place.affine), tmp_path / "anna_subregions.nii.gz")
    scene = scene_of(find_cases(tmp_path).cases[0])
    box = scene.whole()[21]
    body, centrum = (scene.mask(21, box, target) for target in ("body", "centrum"))
    assert (body == (scene.mask(21, box, "vertebra") & (parts[box] == 50))).all()
    assert 0 < centrum.sum() < body.sum()
    assert not (centrum & ~body).any()
    # The cut towards the arch is no surface of bone: the centrum reaches it.
    assert centrum[:, np.flatnonzero(body.any(axis=(0, 2)))[-1]].any()


def test_a_target_that_nobody_outlined_is_one_sentence(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "set", "ct")
    plan = ClickPlan(target="centrum")
    with pytest.raises(InputError, match="No click could be scored") as error:
        evaluate_clicks(tmp_path / "set", tmp_path / "clicks.csv", plan, session=Balls)
    assert "not known" in error.value.details
    assert table(tmp_path / "clicks.csv")[0]["kind"] == "failed"


def test_centroids_alone_cannot_be_outlined(tmp_path: Path) -> None:
    madeupsets.glocker(tmp_path / "set")
    with pytest.raises(InputError) as error:
        evaluate_clicks(tmp_path / "set", tmp_path / "clicks.csv", session=Balls)
    assert "centroids only" in error.value.details


def test_resuming_passes_over_what_is_there(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "set", "ct")
    output, plan = tmp_path / "clicks.csv", ClickPlan(conditions=("N",))
    evaluate_clicks(tmp_path / "set", output, plan, session=Balls)
    Balls.opened.clear()
    done = evaluate_clicks(tmp_path / "set", output, plan, session=Balls, resume=True)
    assert not Balls.opened
    assert done.notes == ["anna was in the table already."]
    assert len(table(output)) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": "pedicle"}, "no target"),
        ({"conditions": ("N", "X")}, "no condition"),
        ({"clicks": 0}, "measure nothing"),
    ],
)
def test_bad_plans_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ClickPlan(**given)


def test_nothing_to_click_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to click on"):
        evaluate_clicks(None, tmp_path / "clicks.csv")


@pytest.fixture(scope="module")
def patient() -> Scene:
    return phantom_scene(1)


def test_a_digital_patient_has_three_kinds_of_lesions_and_nested_truths(patient: Scene) -> None:
    assert patient.name == f"patient{FIRST_SEED + 1}"
    boxes = patient.whole()
    assert {patient.lesions[label] for label in boxes} == {"lytic", "blastic", "mixed"}
    for label, box in boxes.items():
        whole, body, centrum = (
            patient.mask(label, box, target) for target in ("vertebra", "body", "centrum")
        )
        assert whole.sum() > body.sum() > centrum.sum() > 0
        assert not (body & ~whole).any()
        assert not (centrum & ~body).any()


def test_an_oracle_that_clicks_on_a_digital_patient(
    patient: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import spineseg.evaluation.click as click

    def oracle(scan: Volume, device: object = None, models: str | None = None) -> Any:
        assert patient.bodies is not None
        return oracleclick.OracleLooker(scan, patient.labels, patient.bodies)

    monkeypatch.setattr(click, "phantom_scene", lambda n, lesions: patient)
    monkeypatch.setattr(spineseg.clicking, "load_looker", oracle)
    output = tmp_path / "clicks.csv"
    words = ["evaluate", "click", "--phantoms", "1", "--lesions", "--target", "body"]
    words += ["--conditions", "n,t", "--clicks", "2", "-o", str(output)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(output)
    rows = table(output)
    count = len(patient.whole())
    assert len(rows) == count * (1 + 2) >= 9
    assert {row["lesion"] for row in rows} == {"lytic", "blastic", "mixed"}
    centred = [float(row["dice"]) for row in rows if row["condition"] == "N"]
    assert min(centred) > 0.8  # what the oracle's 1.5 mm voxels and the outline's edges leave
    assert f"all {AVERAGE}: clicks {len(rows)}" in done.stderr
    wrong = CliRunner().invoke(app, [*words, "--conditions", "X"])
    assert wrong.exit_code == ExitCode.INPUT
