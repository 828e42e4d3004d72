"""Errors as a user reads them, and progress that can be cancelled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import spineseg
from hypothesis import given
from hypothesis import strategies as st
from spineseg import errors
from spineseg.errors import CancelledError, ExitCode, InputError, SpineSegError
from spineseg.progress import CancelToken, Progress


def test_exit_codes_are_those_of_the_design() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "UNEXPECTED": 1,
        "INPUT": 2,
        "DEPENDENCY": 3,
        "WEIGHTS": 4,
        "MEMORY": 5,
        "CANCELLED": 6,
    }
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert {kind.exit_code for kind in kinds} == set(ExitCode) - {ExitCode.OK}


def test_an_error_is_one_sentence_with_details_apart() -> None:
    error = InputError("The file is empty.", "Export it again.", "0 bytes")
    assert str(error) == "The file is empty. Export it again."
    assert (error.cause, error.remedy, error.details) == (
        "The file is empty.",
        "Export it again.",
        "0 bytes",
    )
    assert str(SpineSegError("Alone.")) == "Alone."
    assert str(CancelledError()) == "The work was cancelled."


def test_errors_survive_another_process() -> None:
    for error in (InputError("a", "b", "c"), CancelledError()):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
        assert type(again) is type(error)
        assert (again.cause, again.remedy, again.details) == (
            error.cause,
            error.remedy,
            error.details,
        )


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 2))
def test_parts_map_onto_their_range(one: float, two: float, fraction: float) -> None:
    start, stop = sorted((one, two))
    seen: list[float] = []
    part = Progress(lambda stage, done, text: seen.append(done)).part(start, stop)
    for value in (0.0, fraction, 1.0):
        part("stage", value)
    assert (seen[0], seen[2]) == (start, stop)
    assert start - 1e-12 <= seen[1] <= stop + 1e-12


def test_parts_nest() -> None:
    seen: list[tuple[str, float, str]] = []
    progress = Progress(lambda *event: seen.append(event))
    inner = progress.part(0.5, 1.0).part(0.5, 1.0)
    inner("fine", 0.5, "half")
    assert seen == [("fine", pytest.approx(0.875), "half")]
    with pytest.raises(ValueError, match="start <= stop"):
        progress.part(0.6, 0.5)


def test_cancelling_reaches_every_part_from_another_thread() -> None:
    token = CancelToken()
    seen: list[float] = []
    progress = Progress(lambda stage, done, text: seen.append(done), token)
    child = progress.part(0.2, 0.4).part(0, 0.5)
    child("stage", 0.0)
    thread = threading.Thread(target=token.cancel)
    thread.start()
    thread.join()
    assert token.cancelled
    for report in (progress, child):
        with pytest.raises(CancelledError):
            report("stage", 0.5)
    with pytest.raises(CancelledError):
        token.check()
    assert seen == [0.2]


def test_a_callback_may_cancel_and_silence_is_the_default() -> None:
    token = CancelToken()
    progress = Progress(lambda stage, done, text: token.cancel(), token)
    with pytest.raises(CancelledError):
        progress("stage", 0.1)
    quiet = Progress()
    quiet("stage", 0.5)
    quiet.token.cancel()
    with pytest.raises(CancelledError):
        quiet("stage", 0.6)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, spineseg; print(spineseg.__version__);"
        "print([m for m in ('numpy', 'torch', 'SimpleITK', 'vtk') if m in sys.modules])"
    )
    package = Path(spineseg.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(package)},
    )
    version, heavy = done.stdout.split("\n")[:2]
    assert version.count(".") == 2
    assert heavy == "[]"


def test_unknown_names_of_the_package_are_refused() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = spineseg.nothing_here
