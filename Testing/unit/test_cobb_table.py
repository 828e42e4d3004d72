"""Methods for films side by side: combining their answers, the ensemble, and the table."""

from __future__ import annotations

import csv
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tinycobb
from spineseg import cli, registry
from spineseg.cobb import measure_radiograph
from spineseg.errors import ExitCode, InputError
from spineseg.evaluation.cobb_table import compare
from spineseg.io.films import Film
from spineseg.measure.cobb_combine import MEAN, VOTE, combined, weights_of
from spineseg.methods.cobb_ensemble import Settings as EnsembleSettings
from spineseg.methods.film_result import FilmResult
from test_cobb_command import labelled
from typer.testing import CliRunner

OFF = {"one": 0.0, "two": 6.0, "three": -3.0, "silent": None}


@dataclass(frozen=True)
class Settings:
    """What the ensemble gives its members."""

    device: str | None = None
    models: str | None = None
    view: str | None = None


def module(name: str) -> types.ModuleType:
    """A method that is off by so many degrees; the last one has no answer."""

    def predict(film: Film, settings: Settings, progress: object) -> FilmResult:
        if OFF[name] is None:
            raise InputError("Nothing is seen.", "Look again.")
        says = float(film.array[0, 0]) + OFF[name]
        if name == "two":
            angles = {"major": says, "upper": says / 2, "lower": says / 2}
            return FilmResult(angles_deg=angles, models=("two",))
        return FilmResult(tinycobb.LEVELS, tinycobb.corners(says), confidence=(0.9,) * 17)

    found = types.ModuleType(name)
    found.__dict__.update(Settings=Settings, predict=predict)
    return found


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three methods that are off by 0, 6 and −3 degrees, and one without answers."""
    others = tuple(m for m in registry.METHODS if m.task != registry.COBB)
    ensemble = registry.get("cobb-ensemble")
    rows = []
    for name in OFF:
        monkeypatch.setitem(sys.modules, f"spineseg.methods.{name}", module(name))
        rows.append(registry.Method(name, name, registry.COBB, name, "For tests."))
    monkeypatch.setattr(registry, "METHODS", (*others, *rows, ensemble))


def film(angle: int = 40) -> Film:
    return Film(tinycobb.picture(angle), "film.png")


def test_a_mean_is_weighted_and_a_vote_leaves_out_who_is_far_off() -> None:
    angles = [[40, 20, 10], [42, 22, 12], [90, 80, 70], [np.nan] * 3]
    np.testing.assert_allclose(combined(angles), np.mean(angles[:3], axis=0))
    np.testing.assert_allclose(combined(angles, [3, 1, 0, 5]), [40.5, 20.5, 10.5])
    np.testing.assert_allclose(combined(angles, how=VOTE), [42, 22, 12])
    np.testing.assert_allclose(combined(angles[:2], how=VOTE), [41, 21, 11])  # a tie
    np.testing.assert_allclose(combined(angles, [5, 1, 1, 1], how=VOTE), [40, 20, 10])
    assert np.isnan(combined([[np.nan] * 3])).all()


def test_a_method_with_half_the_error_counts_four_times() -> None:
    share = weights_of([5.0, 10.0, None])
    assert share[0] == pytest.approx(4 * share[1])
    assert share[2] == share[1]
    assert share.sum() == pytest.approx(1)


def test_an_ensemble_takes_the_mean_and_says_who_had_no_answer() -> None:
    mean = {"members": "one,two,silent", "combine": MEAN}
    done = measure_radiograph(film(), "cobb-ensemble", settings=mean)
    found = done.measurement
    assert found.angles_deg["major"] == pytest.approx(43.0)
    assert found.corners_px.shape == (17, 4, 2)
    assert any("silent has no answer: Nothing is seen." in w for w in found.warnings)
    vote = {"members": "one, two, three"}
    done = measure_radiograph(film(), "cobb-ensemble", settings=vote)
    assert done.measurement.angles_deg["major"] == pytest.approx(40.0, abs=0.01)


def test_an_ensemble_refuses_what_it_can_not_ask() -> None:
    with pytest.raises(InputError, match="Nothing is seen"):
        measure_radiograph(film(), "cobb-ensemble", settings={"members": "silent"})
    for wrong in ({"members": "cobb-ensemble"}, {"members": "vertebra-unet"}, {"combine": "luck"}):
        with pytest.raises(InputError, match="not valid"):
            measure_radiograph(film(), "cobb-ensemble", settings=wrong)
    assert EnsembleSettings(members="one,one, two").names == ("one", "two")
    assert EnsembleSettings(members="one").combine == VOTE


def test_methods_that_are_far_apart_are_told() -> None:
    OFF["two"] = 30.0
    try:
        done = measure_radiograph(film(), "cobb-ensemble", settings={"members": "one,two"})
    finally:
        OFF["two"] = 6.0
    assert any("30° apart (one 40°, two 70°)" in w for w in done.measurement.warnings)


def test_all_methods_and_their_ensembles_come_in_one_table(tmp_path: Path) -> None:
    films = {f"{n}.png": (20 + n, 20 + n, "no") for n in range(6)}
    folder = labelled(tmp_path / "set", films)
    run = CliRunner().invoke(
        cli.app, ["evaluate", "cobb", str(folder), "--all", "-o", str(tmp_path / "all.csv")]
    )
    assert run.exit_code == 0, run.output
    with (tmp_path / "all.summary.csv").open(encoding="utf-8") as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    assert list(table)[0] == "one"  # the best first
    assert float(table["one"]["smape_percent"]) == pytest.approx(0, abs=0.01)
    assert float(table["two"]["major_mae_deg"]) == pytest.approx(6, abs=0.01)
    assert float(table["three"]["major_mae_deg"]) == pytest.approx(3, abs=0.01)
    assert (table["silent"]["failed"], table["silent"]["smape_percent"]) == ("6", "100.0000")
    # One patient: the other half has nothing to choose weights on, so all count alike.
    mean = table["weighted mean of all methods"]
    assert float(mean["major_mae_deg"]) == pytest.approx(1.0, abs=0.01)
    assert float(table["vote of all methods"]["major_mae_deg"]) == pytest.approx(0, abs=0.01)
    text = (tmp_path / "all.md").read_text(encoding="utf-8")
    assert "| one | 6 | 0.00 |" in text
    assert "disagree most" in text


def test_weights_are_chosen_on_other_patients(tmp_path: Path) -> None:
    films = {f"{n}.png": (20 + n, 20 + n, "no") for n in range(6)}
    folder = labelled(tmp_path / "set", films)
    about = (folder / "films.csv").read_text(encoding="utf-8").splitlines()
    about[4:] = [line.replace(",1,", ",2,") for line in about[4:]]
    (folder / "films.csv").write_text("\n".join(about) + "\n", encoding="utf-8")
    done = compare(folder, tmp_path / "two.csv", methods=("one", "two"))
    mean = next(line for line in done.table if line["method"] == "weighted mean of all methods")
    assert float(mean["major_mae_deg"]) < 0.01  # all the weight is on the one without error
    assert [row["one"] for row in done.apart][0] == pytest.approx(done.apart[0]["true"], abs=0.1)


def test_all_and_one_method_exclude_each_other(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set", {"a.png": (30, 30, "no")})
    given = ["evaluate", "cobb", folder, "--all", "--method", "one", "-o", tmp_path / "a.csv"]
    run = CliRunner().invoke(cli.app, [str(a) for a in given])
    assert run.exit_code == ExitCode.INPUT
    assert "Leave out" in run.stderr
