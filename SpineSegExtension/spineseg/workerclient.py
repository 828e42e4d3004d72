"""Starting a worker process, following it and ending it."""

from __future__ import annotations

import json
import queue
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spineseg.childprocess import PATIENCE, POLL, Child, error_of
from spineseg.errors import SpineSegError
from spineseg.progress import Progress


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
        return _Worker(Child(line, patience)).follow(progress)


class _Worker:
    """A child that does one job; its events are handled by the caller's thread."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._result: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self._last: tuple[str, float, str] = ("start", 0.0, "")

    def follow(self, progress: Progress) -> JobResult:
        """Relay events until the child ends; end it if the caller cancels or fails."""
        try:
            while True:
                try:
                    line = self._child.lines.get(timeout=POLL)
                except queue.Empty:
                    progress(*self._last)
                    continue
                if line is None:
                    break
                self._handle(line, progress)
            # A child that has closed its output but hangs is ended like a cancelled one.
            self._child.wait(self._child.patience)
        finally:
            self._child.stop()
        return self._outcome()

    def _handle(self, line: bytes, progress: Progress) -> None:
        event = self._child.event(line)
        if event is None:
            return
        if event["event"] == "progress":
            self._last = (str(event["stage"]), float(event["fraction"]), str(event["text"]))
            progress(*self._last)
        elif event["event"] == "result":
            self._result = event
        elif event["event"] == "error":
            self._error = event

    def _outcome(self) -> JobResult:
        code, details = self._child.code, self._child.stderr
        if self._error is not None:
            raise error_of(self._error, details)
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
