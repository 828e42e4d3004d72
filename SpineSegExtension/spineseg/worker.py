"""A child process that does one job: ``python -m spineseg.worker job.json``.

The job file is a JSON object with the fields of `spineseg.jobs.SegmentJob`,
or of another job of `spineseg.jobs.JOBS` that its field “task” names. Standard output
carries one JSON object a line:

- ``{"event": "progress", "stage": …, "fraction": 0–1, "text": …}``
- ``{"event": "result", "folder": …, "files": […], "vertebrae": […], "warnings": […],
  "timings": {…}}``, once, at the end; of a measured film also ``"found"``, what its method found
- ``{"event": "error", "cause": …, "remedy": …, "details": …, "code": …}``, once, instead

The exit code is that of `spineseg.errors.ExitCode`. Closing the child's standard input cancels the
job, which also ends a child whose parent has gone. So do SIGINT and SIGTERM.

``python -m spineseg.worker --serve`` stays and answers one request after the other: see
`spineseg.resident`.

What libraries print goes to standard error, whether they print through Python or not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from spineseg.errors import CancelledError, InputError
from spineseg.jobs import Done, job_of, readable, run
from spineseg.manifest import plain
from spineseg.progress import CancelToken, Progress

Emit = Callable[[dict[str, Any]], None]


def main(arguments: list[str] | None = None) -> int:
    """Do the job that the one argument names and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with _private_stdout() as stream:
        emit = _emitter(stream)
        if arguments == ["--serve"]:
            from spineseg.resident import serve

            return serve(emit)
        token = CancelToken()
        _watch(token)
        try:
            if len(arguments) != 1:
                raise InputError("Name one job file: python -m spineseg.worker job.json")
            done = run(job_of(_load(Path(arguments[0]))), Progress(_reporter(emit), token))
            emit(_result_event(done))
            return 0
        except BaseException as caught:  # noqa: BLE001  the parent must learn of anything
            error = CancelledError() if token.cancelled else readable(caught)
            emit(
                {
                    "event": "error",
                    "cause": error.cause,
                    "remedy": error.remedy,
                    "details": error.details,
                    "code": int(error.exit_code),
                }
            )
            return int(error.exit_code)


def _private_stdout() -> TextIO:
    """Return standard output for events only, and lead everybody else's to standard error."""
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(private, "w", encoding="utf-8", newline="\n")


def _emitter(stream: TextIO) -> Emit:
    lock = threading.Lock()

    def emit(event: dict[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=True, default=plain) + "\n"
        try:
            with lock:
                stream.write(line)
                stream.flush()
        except (BrokenPipeError, OSError):
            # Nobody listens any more; the closed standard input cancels the work.
            return

    return emit


def _reporter(emit: Emit) -> Callable[[str, float, str], None]:
    def report(stage: str, fraction: float, text: str) -> None:
        emit({"event": "progress", "stage": stage, "fraction": round(fraction, 4), "text": text})

    return report


def _watch(token: CancelToken) -> None:
    """Cancel when standard input closes or the process is asked to end."""

    def wait() -> None:
        try:
            # The descriptor itself: a thread inside sys.stdin.read would block the exit.
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        token.cancel()

    threading.Thread(target=wait, name="stdin", daemon=True).start()
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, lambda *_: token.cancel())


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The job file {path} can't be read.", "", str(error)) from error


def _result_event(done: Done) -> dict[str, Any]:
    from spineseg.cobb import PARTS as MEASURED
    from spineseg.fracture import PARTS as GRADED
    from spineseg.fracturelookjob import PARTS as LOOKED
    from spineseg.manifest import FILE_NAME
    from spineseg.pipeline import PARTS
    from spineseg.result import MeasureResult

    known = dict.fromkeys((*PARTS, *MEASURED, *GRADED, *LOOKED, FILE_NAME))
    files = [name for name in known if (done.folder / name).exists()]
    found = {"found": done.result.found} if isinstance(done.result, MeasureResult) else {}
    return {
        **found,
        "event": "result",
        "folder": str(done.folder.absolute()),
        "files": files,
        "vertebrae": [asdict(vertebra) for vertebra in done.result.vertebrae],
        "warnings": done.result.warnings,
        "timings": dict(done.result.timings),
    }


if __name__ == "__main__":
    sys.exit(main())
