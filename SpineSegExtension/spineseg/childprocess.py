"""A child process that speaks JSON, one object a line: starting, hearing and ending it.

Its pipes are read by threads, so that neither side waits for the other; what it writes to standard
error is kept for the details of an error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from spineseg import errors
from spineseg.errors import SpineSegError

__all__ = ["PATIENCE", "POLL", "Child", "end_tree", "error_of"]

PATIENCE = 5.0
"""Seconds between asking a worker to stop and ending its whole process tree."""
POLL = 0.05
STDERR_LINES = 200


class Child:
    """A running child.

    Parameters
    ----------
    command : sequence of str
    patience : float
        Seconds that it gets to end by itself.

    Attributes
    ----------
    lines : queue of bytes or None
        What it writes to standard output, a line each; None after the last.

    Raises
    ------
    DependencyError
        It can't be started.
    """

    def __init__(self, command: Sequence[str], patience: float = PATIENCE) -> None:
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
        self.patience = patience
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._threads = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_events(self) -> None:
        for line in _pipe(self._child.stdout):
            self.lines.put(line)
        self.lines.put(None)

    def _read_stderr(self) -> None:
        for line in _pipe(self._child.stderr):
            self._stderr.append(line.decode("utf-8", "replace").rstrip())

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._child.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._child.poll()

    @property
    def stderr(self) -> str:
        """The last lines that it wrote to standard error."""
        return "\n".join(self._stderr)

    def event(self, line: bytes) -> dict[str, Any] | None:
        """Return the event on a line; another line counts as one of standard error."""
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, TypeError, KeyError):
            self._stderr.append(line.decode("utf-8", "replace").rstrip())
            return None
        found: dict[str, Any] = event
        return found

    def send(self, message: Mapping[str, Any]) -> None:
        """Write a JSON object on its standard input; OSError if it has gone."""
        line = json.dumps(dict(message)) + "\n"
        stdin = _pipe(self._child.stdin)
        stdin.write(line.encode("ascii"))
        stdin.flush()

    def wait(self, seconds: float) -> bool:
        """Wait for its end and return whether it came."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Ask it to end, then end it with all its children."""
        if self._child.stdin is not None:
            with suppress(OSError):  # it may have gone already
                self._child.stdin.close()
        if not self.wait(self.patience):
            end_tree(self._child)
        for thread in self._threads:
            thread.join(timeout=1.0)
        for pipe in (self._child.stdout, self._child.stderr):
            # A grandchild that holds a pipe keeps its thread: closing under it would block.
            if pipe is not None and not any(thread.is_alive() for thread in self._threads):
                pipe.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # Popen was told to make it
    return stream


def _environment() -> dict[str, str]:
    """Return this environment, with this package's folder where the child's Python finds it."""
    package = str(Path(__file__).resolve().parent.parent)
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != package]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, *others])}


def error_of(event: Mapping[str, Any], stderr: str) -> SpineSegError:
    """Return a worker's error as an object of the class that has its exit code."""
    kinds = (
        errors.InputError,
        errors.DependencyError,
        errors.WeightsError,
        errors.MemoryLimitError,
        errors.CancelledError,
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
