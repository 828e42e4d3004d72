"""The worker in a real child process, and the helper that starts and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import tinyspine
from spineseg import errors
from spineseg.errors import CancelledError, ExitCode, InputError, MemoryLimitError, SpineSegError
from spineseg.io.images import write_volume
from spineseg.jobs import SegmentJob, readable
from spineseg.progress import CancelToken, Progress
from spineseg.workerclient import JobResult, run_job

CHILD = [sys.executable, str(Path(__file__).with_name("tinychild.py")), "worker"]
FEW = ["segmentation.nii.gz"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nii"
    write_volume(tinyspine.make(spacing=(2.0, 2.0, 2.0)).scan, path)
    return path


@pytest.fixture
def job(scan: Path, tmp_path: Path) -> dict[str, Any]:
    return {"scan": str(scan), "output": str(tmp_path / "out"), "method": "tiny", "parts": FEW}


def raw(job: dict[str, Any] | str, tmp_path: Path, **options: Any) -> tuple[int, list[Any], str]:
    """Run the worker with its input kept open; return exit code, events and standard error."""
    path = tmp_path / "job.json"
    path.write_text(job if isinstance(job, str) else json.dumps(job), encoding="utf-8")
    child = subprocess.Popen(
        [*CHILD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**options),
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdin is not None
    try:
        lines = child.stdout.read().splitlines()
        stderr = child.stderr.read().decode()
        code = child.wait(60)
    finally:
        child.kill()
        for pipe in (child.stdin, child.stdout, child.stderr):
            pipe.close()
    return code, [json.loads(line) for line in lines], stderr


def environment(**options: Any) -> dict[str, str]:
    import spineseg

    package = str(Path(spineseg.__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": package, **{k: str(v) for k, v in options.items()}}


def test_events_and_exit_code(job: dict[str, Any], tmp_path: Path) -> None:
    code, events, _ = raw(job, tmp_path)
    assert code == ExitCode.OK
    assert [e["event"] for e in events].count("result") == 1
    result = events[-1]
    assert result["event"] == "result"
    assert [v["level"] for v in result["vertebrae"]] == ["L1", "L2", "L3"]
    assert sorted(result["files"]) == ["run.json", "segmentation.nii.gz"]
    fractions = [e["fraction"] for e in events[:-1]]
    assert {e["event"] for e in events[:-1]} == {"progress"}
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_what_libraries_print_does_not_reach_the_events(
    job: dict[str, Any], tmp_path: Path
) -> None:
    code, events, stderr = raw(job, tmp_path, TINY_MODE="chatty")
    assert code == ExitCode.OK
    assert events[-1]["event"] == "result"
    assert "a library says hello" in stderr
    assert "and so does C" in stderr


@pytest.mark.parametrize(
    ("mode", "code"), [("memory", ExitCode.MEMORY), ("bug", ExitCode.UNEXPECTED)]
)
def test_errors_have_their_code_and_one_sentence(
    job: dict[str, Any], tmp_path: Path, mode: str, code: ExitCode
) -> None:
    returned, events, _ = raw(job, tmp_path, TINY_MODE=mode)
    assert returned == code
    error = events[-1]
    assert (error["event"], error["code"]) == ("error", code)
    assert "\n" not in error["cause"]
    assert ("Traceback" in error["details"]) == (mode == "bug")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"scan": "a", "output": "b", "speed": 1}',
             '{"scan": 1, "output": "b"}', '{"scan": "a", "output": "b", "task": "fly"}',
             '{"scan": "gone.nii", "output": "b"}']
)  # fmt: skip
def test_a_bad_job_is_an_input_error(tmp_path: Path, text: str) -> None:
    code, events, _ = raw(text, tmp_path)
    assert code == ExitCode.INPUT
    assert [e["event"] for e in events if e["event"] != "progress"] == ["error"]


def test_job_fields() -> None:
    job = SegmentJob.from_dict({"scan": "a", "output": "b", "task": "segment", "parts": ["x"]})
    assert job == SegmentJob("a", "b", parts=["x"])
    with pytest.raises(InputError, match="output"):
        SegmentJob.from_dict({"scan": "a"})


def run(job: dict[str, Any], progress: Progress | None = None, **options: Any) -> JobResult:
    return run_job(job, progress, command=CHILD, **options)


def test_client_returns_files_that_are_there(job: dict[str, Any]) -> None:
    seen: list[float] = []
    result = run(job, Progress(lambda _stage, fraction, _text: seen.append(fraction)))
    assert all(path.is_file() for path in result.files)
    assert result.folder.name == "out"
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_client_raises_the_childs_error(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_MODE", "memory")
    with pytest.raises(MemoryLimitError, match="memory"):
        run(job)


def test_client_notices_a_child_that_dies_without_a_word(job: dict[str, Any]) -> None:
    dies = [sys.executable, "-c", "import os, sys; sys.stderr.write('oh'); os._exit(0)"]
    with pytest.raises(SpineSegError, match="without a result") as caught:
        run_job(job, command=dies)
    assert "oh" in caught.value.details
    killed = [sys.executable, "-c", "import os; os.abort()"]
    with pytest.raises(SpineSegError, match="with code"):
        run_job(job, command=killed)


def test_client_does_not_trust_a_result_without_files(job: dict[str, Any], tmp_path: Path) -> None:
    event = {"event": "result", "folder": str(tmp_path), "files": ["gone.nii"]}
    code = f"print({json.dumps(event)!r})"
    with pytest.raises(SpineSegError, match=r"gone\.nii"):
        run_job(job, command=[sys.executable, "-c", code])


def test_client_names_a_python_that_is_not_there(job: dict[str, Any]) -> None:
    with pytest.raises(errors.DependencyError, match="nowhere"):
        run_job(job, python="/nowhere/python")


def alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"


def cancel_when(path: Path, token: CancelToken) -> None:
    def wait() -> None:
        while not path.exists():
            time.sleep(0.02)
        token.cancel()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("mode", ["slow", "stuck"])
def test_cancelling_ends_the_child(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    started = tmp_path / "started"
    monkeypatch.setenv("TINY_MODE", mode)
    monkeypatch.setenv("TINY_STARTED", str(started))
    token = CancelToken()
    cancel_when(started, token)
    with pytest.raises(CancelledError):
        run(job, Progress(token=token), patience=20.0 if mode == "slow" else 0.5)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"started"}


@pytest.mark.parametrize("without_psutil", [False, True])
def test_ending_a_child_ends_its_children(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_psutil: bool
) -> None:
    if without_psutil:
        monkeypatch.setitem(sys.modules, "psutil", None)
    pids = tmp_path / "pids"
    # A worker that neither listens nor ends, with a child of its own.
    code = (
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])\n"
        f"part = pathlib.Path({str(pids)!r} + '.part')\n"
        "part.write_text(f'{os.getpid()} {child.pid}')\n"
        f"part.rename({str(pids)!r})\n"
        "time.sleep(120)\n"
    )
    token = CancelToken()
    cancel_when(pids, token)
    with pytest.raises(CancelledError):
        run_job(job, Progress(token=token), command=[sys.executable, "-c", code], patience=0.3)
    monkeypatch.undo()
    numbers = [int(n) for n in pids.read_text().split()]
    deadline = time.monotonic() + 10
    while any(alive(n) for n in numbers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [n for n in numbers if alive(n)] == []


def test_a_child_whose_parent_has_gone_ends_by_itself(job: dict[str, Any], tmp_path: Path) -> None:
    started = tmp_path / "started"
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    child = subprocess.Popen(
        [*CHILD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(TINY_MODE="slow", TINY_STARTED=started),
    )
    try:
        while not started.exists():
            assert child.poll() is None
            time.sleep(0.02)
        assert child.stdin is not None
        child.stdin.close()  # what the operating system does for a parent that ends
        assert child.wait(30) == ExitCode.CANCELLED
    finally:
        child.kill()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a", "b"), ExitCode.INPUT),
        (MemoryError(), ExitCode.MEMORY),
        (KeyboardInterrupt(), ExitCode.CANCELLED),
        (ModuleNotFoundError("no", name="torch"), ExitCode.DEPENDENCY),
        (OSError(28, "No space left on device"), ExitCode.INPUT),
        (PermissionError(13, "Permission denied", "scan.nii"), ExitCode.INPUT),
        (ValueError("first line\nsecond line"), ExitCode.UNEXPECTED),
    ],
)
def test_any_exception_becomes_one_sentence(error: BaseException, code: ExitCode) -> None:
    told = readable(error)
    assert told.exit_code == code
    assert "\n" not in str(told)
    assert "Traceback" not in str(told)
