"""The worker that stays: many clicks, one process; and that it survives what happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tinyspine
from spineseg.errors import CancelledError, ExitCode, InputError, SpineSegError
from spineseg.labels import by_name
from spineseg.progress import CancelToken, Progress
from spineseg.residentclient import ResidentWorker
from spineseg.volume import Volume

COMMAND = [sys.executable, str(Path(__file__).with_name("oracleclick.py")), "--serve"]
L1, L2 = by_name("L1").verse, by_name("L2").verse


@pytest.fixture(scope="module")
def spine() -> tinyspine.Spine:
    return tinyspine.make(spacing=(2.0, 2.0, 2.0))


@pytest.fixture(scope="module")
def scan(spine: tinyspine.Spine) -> Volume:
    array = spine.scan.array.copy()
    array[:, :4] = -1000  # with air, as a CT
    return spine.scan.like(array)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; it must be empty in the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[ResidentWorker]:
    with ResidentWorker(command=COMMAND) as worker:
        yield worker
    assert list(folder.iterdir()) == []


def test_two_clicks_and_two_scans_in_one_process(
    worker: ResidentWorker, spine: tinyspine.Spine, scan: Volume
) -> None:
    worker.open(scan)
    pid = worker.pid
    assert pid is not None
    told: list[tuple[str, float, str]] = []
    first = worker.click(spine.centres[0], progress=Progress(lambda *r: told.append(r)))
    assert (first.label, first.level, first.replaces) == (101, None, None)
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    known = np.where(spine.labels.array == L1, L1, 0).astype(np.uint8)
    worker.open(scan)  # which is open already
    second = worker.click(spine.centres[1], known=scan.like(known))
    assert (second.label, second.level) == (L2, "L2")
    mask = scan.like(np.zeros(scan.shape, np.uint8)).paste(second.mask).array > 0
    truth = spine.labels.array == L2
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9
    assert not (mask & (known > 0)).any()
    again = worker.click(spine.centres[0], known=scan.like(known), target="body")
    assert again.replaces == L1
    assert np.allclose(again.center, spine.centres[0], atol=2)
    other = scan.crop((0, 0, 0), (scan.shape[0] - 3, *scan.shape[1:]))
    worker.open(other)
    assert worker.click(spine.centres[1]).label == 101
    assert worker.pid == pid


def test_errors_keep_their_class_and_the_worker_lives(
    worker: ResidentWorker, spine: tinyspine.Spine, scan: Volume
) -> None:
    with pytest.raises(InputError, match="No scan is open"):
        worker.click(spine.centres[0])
    with pytest.raises(InputError, match="picture or of an MR"):
        worker.open(scan.like(np.clip(scan.array, 0, 255).astype(np.uint8)))
    worker.open(scan)
    pid = worker.pid
    with pytest.raises(InputError, match="outside the scan"):
        worker.click((0, 0, 9000))
    corner = scan.ijk_to_ras([[1, 30, 3]])[0]
    with pytest.raises(InputError, match="no vertebra within 20 mm") as caught:
        worker.click(corner)
    assert caught.value.remedy
    assert worker.click(spine.centres[2]).label == 101
    assert worker.pid == pid


def test_a_missing_model_has_its_class(
    folder: Path, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spineseg.errors import WeightsError

    monkeypatch.setenv("SPINESEG_MODELS", str(folder))
    with ResidentWorker() as worker, pytest.raises(WeightsError, match="vertebra-one"):
        worker.open(scan)


def test_a_dead_worker_is_started_again_with_its_scan(
    worker: ResidentWorker, spine: tinyspine.Spine, scan: Volume
) -> None:
    worker.open(scan)
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    while worker.pid is not None:
        time.sleep(0.02)
    assert worker.click(spine.centres[1]).label == 101
    assert worker.pid not in (None, pid)


def test_a_worker_that_dies_at_work_is_told(
    worker: ResidentWorker, scan: Volume, spine: tinyspine.Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_MODE", "dies")
    with pytest.raises(SpineSegError, match="ended with code 3"):
        worker.open(scan)
    monkeypatch.delenv("ORACLE_MODE")
    worker.open(scan)
    assert worker.click(spine.centres[1]).label == 101


def cancel_when(path: Path, token: CancelToken) -> None:
    def wait() -> None:
        while not path.exists():
            time.sleep(0.02)
        token.cancel()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("mode", ["slow", "stuck"])
def test_cancelling_a_click(
    folder: Path, scan: Volume, spine: tinyspine.Spine, monkeypatch: pytest.MonkeyPatch, mode: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    started = tmp_path_factory.mktemp("flag") / "started"
    monkeypatch.setenv("ORACLE_MODE", mode)
    monkeypatch.setenv("ORACLE_STARTED", str(started))
    patience = 20.0 if mode == "slow" else 0.5
    with ResidentWorker(command=COMMAND, patience=patience) as worker:
        worker.open(scan)
        pid = worker.pid
        token = CancelToken()
        cancel_when(started, token)
        with pytest.raises(CancelledError):
            worker.click(spine.centres[1], progress=Progress(token=token))
        if mode == "slow":  # it listened, and is ready for the next one
            assert worker.pid == pid
            assert worker.click(spine.centres[1]).label == 101
        else:
            assert worker.pid is None
            monkeypatch.delenv("ORACLE_MODE")
            assert worker.click(spine.centres[1]).label == 101
    assert list(folder.iterdir()) == []


def test_one_click_at_a_time(worker: ResidentWorker, scan: Volume, spine: tinyspine.Spine) -> None:
    worker.open(scan)
    errors: list[InputError] = []

    def again(stage: str, fraction: float, text: str) -> None:
        try:
            worker.click(spine.centres[0])
        except InputError as error:
            errors.append(error)

    worker.click(spine.centres[1], progress=Progress(again))
    assert errors
    assert all("busy" in str(error) for error in errors)


def test_closing_standard_input_ends_it(folder: Path) -> None:
    child = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdin is not None
    assert child.stdout is not None
    for request, number in ((b"nonsense", None), (b'{"id": 7, "do": "fly"}', 7)):
        child.stdin.write(request + b"\n")
        child.stdin.flush()
        event = json.loads(child.stdout.readline())
        told = (event["event"], event["id"], event["code"])
        assert told == ("error", number, ExitCode.INPUT)
    assert child.communicate(timeout=60)[0] == b""
    assert child.returncode == 0
