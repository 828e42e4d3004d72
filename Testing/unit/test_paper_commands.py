"""The papers' own networks from the terminal: which options reach which training."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from spineseg import cli, cli_train
from spineseg.errors import ExitCode, InputError
from spineseg.training import cascade, click, vertebra
from typer.testing import CliRunner


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, dict[str, Any]]]:
    """What the trainings of what ships were asked for."""
    calls: list[tuple[str, Any, dict[str, Any]]] = []
    one = ModuleType("spineseg.training.one_vertebra")
    one.fit = lambda data, options, progress: calls.append(("one", data, dict(options))) or []
    monkeypatch.setitem(sys.modules, "spineseg.training.one_vertebra", one)
    monkeypatch.setattr(
        vertebra, "fit", lambda data, options, p: calls.append(("unet", data, dict(options))) or []
    )
    return calls


def train(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["train", *map(str, arguments)])


def test_small_trains_what_ships(asked: list[Any], tmp_path: Path) -> None:
    assert train("click", "-o", tmp_path, "--hours", 3, "--device", "cpu").exit_code == 0
    name, data, options = asked.pop()
    assert (name, data) == ("one", None)
    assert options["output"] == tmp_path
    assert (options["hours"], options["device"]) == (3.0, "cpu")
    assert not {"preset", "stage", "augment", "target"} & set(options)
    assert train("cascade", "-o", tmp_path, "--hours", 3, "--data", tmp_path).exit_code == 0
    (first, _, coarse), (second, data, one) = asked
    assert (first, second, data) == ("unet", "one", tmp_path)
    assert coarse["stages"] == ("coarse",)
    assert coarse["hours"] == one["hours"] == 1.5
    assert one["resume"]
    asked.clear()
    assert train("cascade", "--stage", "semantic", "-o", tmp_path).exit_code == 0
    assert [name for name, *_ in asked] == ["unet"]
    asked.clear()
    assert train("cascade", "--stage", "instance", "-o", tmp_path).exit_code == 0
    assert [name for name, *_ in asked] == ["one"]


def test_small_does_not_write_over_a_training(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "coarse").mkdir()
    (tmp_path / "coarse" / "checkpoint.safetensors").write_bytes(b"")
    result = train("cascade", "-o", tmp_path)
    assert result.exit_code == ExitCode.INPUT
    assert "--resume" in result.stderr
    assert not asked
    assert train("cascade", "-o", tmp_path, "--resume").exit_code == 0
    assert len(asked) == 2


@pytest.mark.parametrize("augment", click.AUGMENTATIONS)
def test_the_terminal_s_options_reach_the_paper_s_settings(
    augment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    monkeypatch.setattr(click, "_fit_paper", lambda *a: got.append(a) or tmp_path)
    result = train("click", "--preset", "paper", "--augment", augment, "--target", "body", "-o",
                   tmp_path, "--hours", 5, "--patients", 7, "--data", tmp_path)  # fmt: skip
    assert result.exit_code == 0
    data, settings, output, options, _ = got[0]
    assert settings == click.ClickTraining("body", augment, 5.0, 7)
    assert (settings.patch, settings.filters, settings.levels) == ((64, 128, 128), 32, 6)
    assert (data, output, options["resume"]) == (tmp_path, tmp_path, False)


def test_the_cascade_s_options_reach_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    monkeypatch.setattr(cascade, "_fit_paper", lambda *a: got.append(a) or tmp_path)
    assert train("cascade", "--preset", "paper", "-o", tmp_path, "--patients", 5).exit_code == 0
    assert [call[1] for call in got] == ["semantic", "instance"]
    settings = got[0][2]
    assert settings == cascade.CascadeTraining(patients=5)
    assert (settings.semantic_patch, settings.hardest) == ((160, 160, 160), 0.1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["vertebra-unet", "--augment", "S"], "vertebra-unet has no --augment"),
        (["vertebra-unet", "--preset", "paper"], "has no --preset"),
        (["cascade", "--target", "body"], "cascade has no --target. It takes --preset and --stage"),
        (["click", "--stage", "both"], "click has no --stage"),
        (["click", "--preset", "huge"], "“huge” is no preset"),
        (["click", "--preset", "paper", "--augment", "RST"], "“RST” is no set of augmentations"),
        (["click", "--preset", "paper", "--target", "rib"], "“rib” is no target"),
        (["click", "--target", "body"], "Add --preset paper"),
        (["cascade", "--stage", "third"], "“third” is no stage"),
        (["magic"], "no training for “magic”"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], text: str, asked: list[Any], tmp_path: Path
) -> None:
    result = train(*arguments, "-o", tmp_path / "out")
    assert result.exit_code == ExitCode.INPUT
    assert text in " ".join(result.stderr.split())
    assert not asked
    assert not (tmp_path / "out").exists()


def test_a_patch_that_can_t_be_halved_is_refused() -> None:
    with pytest.raises(InputError, match="multiples of 32"):
        click.ClickTraining(patch=(48, 128, 128))
    with pytest.raises(InputError, match="multiples of 8"):
        cascade.CascadeTraining(semantic_patch=(100, 160, 160))


def test_every_method_that_trains_says_so() -> None:
    for method in cli_train.METHODS:
        assert callable(cli_train.trainer(method, {}))
