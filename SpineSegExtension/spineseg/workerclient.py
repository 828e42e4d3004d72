"""Starting a worker process, following it and ending it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from spineseg import errors
from spineseg.errors import CancelledError, SpineSegError
from spineseg.progress import Progress

PATIENCE = 5.0
"""Seconds between asking a worker to stop and ending its whole process tree."""
POLL = 0.05
STDERR_LINES = 200


@dataclass(frozen=True)
class JobResult:
    """What a worker made.

    Attributes
    ----------
    folder : Path
        Where its files are.
    files : list of Path
        They were there when the worker had ended.
    event : mapping
        The worker's result event (see `spineseg.worker`).
    """

    folder: Path
    files: list[Path]
    event: Mapping[str, Any]


def run_job(
    job: Mapping[str, Any],
    progress: Progress | None = None,
    *,
    python: str | None = None,
    command: Sequence[str] | None = None,
    patience: float = PATIENCE,
) -> JobResult:
    """Run a job in a child process and wait for it.

    Parameters
    ----------
    job : mapping
        JSON values; fields of `spineseg.jobs.SegmentJob`.
    progress : Progress, optional
        Gets the worker's progress, called from this thread about every 50 ms even while the
        worker is silent, so that a front end may handle its events there. Cancelling its token,
        from any thread, stops the worker.
    python : str, optional
        Interpreter that can import spineseg; by default this one. In 3D Slicer pass PythonSlicer.
    command : sequence of str, optional
        The whole command, to which the job file's path is added; by default the worker.
    patience : float
        Seconds that a cancelled worker gets to end by itself.

    Returns
    -------
    JobResult
        Only if the worker ended with 0, sent a result and its files are there.

    Raises
    ------
    SpineSegError
        What the worker reported, as the same class; or that it ended without a word.
    CancelledError
        The token was cancelled.
    """
    progress = progress or Progress()
    progress("start", 0.0)
    with tempfile.TemporaryDirectory(prefix="spineseg-") as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(dict(job)), encoding="utf-8")
        line = [*(command or [python or sys.executable, "-m", "spineseg.worker"]), str(path)]
        return _Worker(line, patience).follow(progress)


class _Worker:
    """A running child: its pipes are read by threads, its events by the caller's thread."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        # Several events of one child are one group, so that a signal reaches its children too.
        options: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        try:
            self._child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                **options,
            )
        except OSError as error:
            raise errors.DependencyError(
                f"{command[0]} can't be started.", "Name a Python that has spineseg.", str(error)
            ) from error
        self._patience = patience
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._result: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self._last: tuple[str, float, str] = ("start", 0.0, "")
        self._threads = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_events(self) -> None:
        for line in _pipe(self._child.stdout):
            self._lines.put(line)
        self._lines.put(None)

    def _read_stderr(self) -> None:
        for line in _pipe(self._child.stderr):
            self._stderr.append(line.decode("utf-8", "replace").rstrip())

    def follow(self, progress: Progress) -> JobResult:
        """Relay events until the child ends; end it if the caller cancels or fails."""
        try:
            while True:
                try:
                    line = self._lines.get(timeout=POLL)
                except queue.Empty:
                    progress(*self._last)
                    continue
                if line is None:
                    break
                self._handle(line, progress)
            # A child that has closed its output but hangs is ended like a cancelled one.
            self._wait(self._patience)
        finally:
            self._stop()
        return self._outcome()

    def _handle(self, line: bytes, progress: Progress) -> None:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            self._stderr.append(line.decode("utf-8", "replace").rstrip())
            return
        if kind == "progress":
            self._last = (str(event["stage"]), float(event["fraction"]), str(event["text"]))
            progress(*self._last)
        elif kind == "result":
            self._result = event
        elif kind == "error":
            self._error = event

    def _wait(self, seconds: float) -> bool:
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _stop(self) -> None:
        """Ask the child to end, then end it with all its children."""
        if self._child.stdin is not None:
            with suppress(OSError):  # it may have gone already
                self._child.stdin.close()
        if not self._wait(self._patience):
            end_tree(self._child)
        for thread in self._threads:
            thread.join(timeout=1.0)
        for pipe in (self._child.stdout, self._child.stderr):
            # A grandchild that holds a pipe keeps its thread: closing under it would block.
            if pipe is not None and not any(thread.is_alive() for thread in self._threads):
                pipe.close()

    def _outcome(self) -> JobResult:
        code = self._child.returncode
        details = "\n".join(self._stderr)
        if self._error is not None:
            raise _error_of(self._error, details)
        if code != 0 or self._result is None:
            how = f"with code {code}" if code else "without a result"
            raise SpineSegError(
                f"The segmentation process ended {how}.",
                "If this happens again, the computer may have too little memory.",
                details,
            )
        folder = Path(self._result["folder"])
        files = [folder / name for name in self._result["files"]]
        missing = [path.name for path in files if not path.exists()]
        if missing or not files:
            raise SpineSegError(f"The result lacks {', '.join(missing) or 'all its files'}.")
        return JobResult(folder, files, self._result)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # Popen was told to make it
    return stream


def _environment() -> dict[str, str]:
    """Return this environment, with this package's folder where the child's Python finds it."""
    package = str(Path(__file__).resolve().parent.parent)
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != package]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, *others])}


def _error_of(event: Mapping[str, Any], stderr: str) -> SpineSegError:
    """Return a worker's error as an object of the class that has its exit code."""
    kinds = (
        errors.InputError,
        errors.DependencyError,
        errors.WeightsError,
        errors.MemoryLimitError,
        CancelledError,
    )
    kind = next((k for k in kinds if k.exit_code == event.get("code")), SpineSegError)
    details = "\n".join(filter(None, [str(event.get("details", "")), stderr]))
    return kind(str(event.get("cause", "")), str(event.get("remedy", "")), details)


def end_tree(child: subprocess.Popen[bytes]) -> None:
    """End a process and all its children at once.

    psutil finds them where it is installed; else the operating system's own means are used.
    """
    try:
        import psutil
    except ImportError:
        _end_group(child)
    else:
        try:
            family = psutil.Process(child.pid)
            for process in [*family.children(recursive=True), family]:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            pass
    started = time.monotonic()
    while child.poll() is None and time.monotonic() - started < PATIENCE:
        time.sleep(POLL)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(child.pid)], capture_output=True, check=False
        )
        return
    try:
        # The child leads a group of its own (start_new_session).
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
