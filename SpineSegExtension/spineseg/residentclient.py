"""Clicks answered by a child process that keeps its networks and its scan."""

from __future__ import annotations

import queue
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from spineseg.childprocess import PATIENCE, POLL, Child, error_of
from spineseg.clicking import ClickResult, check_click
from spineseg.errors import InputError, SpineSegError
from spineseg.jobs import readable
from spineseg.methods.click import Settings
from spineseg.methods.known import Known
from spineseg.progress import Progress
from spineseg.resident import click_request, open_request, result_of
from spineseg.volume import Volume

__all__ = ["ResidentWorker"]

Answer = TypeVar("Answer")


class ResidentWorker:
    """A worker that stays between clicks; it is started when it is first needed.

    One call at a time. A worker that has died is started again, with its scan, by the next call.
    It ends with `close`, with the block of a ``with`` statement, or with this process.

    Parameters
    ----------
    python : str, optional
        Interpreter that can import spineseg; by default this one. In 3D Slicer pass PythonSlicer.
    command : sequence of str, optional
        The whole command; by default the worker.
    settings : spineseg.methods.click.Settings, optional
    patience : float
        Seconds that a cancelled request gets before the worker is ended.
    """

    def __init__(
        self,
        *,
        python: str | None = None,
        command: Sequence[str] | None = None,
        settings: Settings | None = None,
        patience: float = PATIENCE,
    ) -> None:
        own = [python or sys.executable, "-m", "spineseg.worker", "--serve"]
        self._command = list(command or own)
        self._settings = settings or Settings()
        self._patience = patience
        self._child: Child | None = None
        self._ending: weakref.finalize[..., Any] | None = None
        self._volume: Volume | None = None
        self._warnings: list[str] = []
        self._number = 0
        self._busy = False

    def __enter__(self) -> ResidentWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def warnings(self) -> list[str]:
        """What makes the open scan itself doubtful."""
        return list(self._warnings)

    @property
    def pid(self) -> int | None:
        """The worker's process number; None while there is none."""
        return self._child.pid if self._child is not None and self._child.code is None else None

    def open(self, volume: Volume, progress: Progress | None = None) -> None:
        """Hand a scan over, unless it is the one that is open: the same array on the same grid.

        Raises
        ------
        SpineSegError
            As `spineseg.clicking.ClickSession` says, of the same class; or the worker died.
        CancelledError
            The token of `progress` was cancelled.
        """
        if self.pid is not None and self._volume is not None and _same(volume, self._volume):
            return
        self._volume = None
        self._warnings = self._ask(
            lambda folder: open_request(volume, self._settings, folder),
            progress,
            lambda event: list(event["warnings"]),
        )
        self._volume = volume

    def click(
        self,
        point: ArrayLike,
        target: str = "vertebra",
        known: Volume | None = None,
        level: str | None = None,
        progress: Progress | None = None,
    ) -> ClickResult:
        """Segment the vertebra at a point of the open scan; see `ClickSession.click`.

        Raises
        ------
        SpineSegError
            As there, of the same class; no scan is open; or the worker died.
        CancelledError
            The token of `progress` was cancelled. The scan stays open.
        """
        volume, progress = self._volume, progress or Progress()
        if volume is None:
            raise InputError("No scan is open.", "Open one first.")
        at, level = check_click(volume.grid, point, target, level)
        near = Known.around(known, volume.grid, at)
        self.open(volume, progress.part(0.0, 0.1))  # does nothing unless the worker has died
        return self._ask(
            lambda folder: click_request(at, target, level, near, folder),
            progress.part(0.1, 1.0),
            result_of,
        )

    def close(self) -> None:
        """End the worker, if there is one."""
        self._volume = None
        if self._ending is not None:
            self._ending()
        self._child = self._ending = None

    def _ask(
        self,
        request: Callable[[Path], dict[str, Any]],
        progress: Progress | None,
        read: Callable[[Mapping[str, Any]], Answer],
    ) -> Answer:
        """Send a request and return what `read` makes of its result event.

        `request` is given a folder for its arrays, which is gone afterwards.
        """
        if self._busy:
            raise InputError("The worker is busy with another click.", "Wait for it or cancel it.")
        progress = progress or Progress()
        progress("start", 0.0)
        self._busy = True
        try:
            with tempfile.TemporaryDirectory(prefix="spineseg-") as name:
                self._number += 1
                message = {"id": self._number, **request(Path(name))}
                child = self._started()
                with suppress(OSError):  # its end is noticed in the answer
                    child.send(message)
                return read(self._answer(child, self._number, progress))
        except OSError as error:
            raise readable(error) from error
        finally:
            self._busy = False

    def _started(self) -> Child:
        if self.pid is None or self._child is None:
            self._drop()
            self._child = Child(self._command, self._patience)
            self._ending = weakref.finalize(self, self._child.stop)
        return self._child

    def _drop(self) -> None:
        if self._ending is not None:
            self._ending()
        self._child = self._ending = None

    def _answer(self, child: Child, number: int, progress: Progress) -> Mapping[str, Any]:
        """Relay progress until the result comes; raise the request's error, or a cancelled one."""
        last: tuple[str, float, str] = ("start", 0.0, "")
        try:
            while True:
                event = self._next(child, number, POLL)
                if event is None:
                    progress(*last)
                elif event["event"] == "progress":
                    last = (str(event["stage"]), float(event["fraction"]), str(event["text"]))
                    progress(*last)
                else:
                    break
        except BaseException:
            # Also where the caller's own progress fails: nobody waits for this request any more.
            if child.code is None:
                self._cancel(child, number)
            else:
                self._drop()
            raise
        if event["event"] == "error":
            raise error_of(event, "")
        return event

    def _next(self, child: Child, number: int, seconds: float) -> dict[str, Any] | None:
        """Return the request's next event, or None if there is none yet.

        Raises
        ------
        SpineSegError
            The worker has ended.
        """
        try:
            line = child.lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            child.wait(self._patience)
            raise SpineSegError(
                f"The segmentation process ended with code {child.code}.",
                "Click again; if it happens again, the computer may have too little memory.",
                child.stderr,
            )
        event = child.event(line)
        return event if event is not None and event.get("id") == number else None

    def _cancel(self, child: Child, number: int) -> None:
        """Stop a request, by ending the worker if it does not listen."""
        until = monotonic() + self._patience
        try:
            child.send({"do": "cancel", "id": number})
            while monotonic() < until:
                event = self._next(child, number, POLL)
                if event is not None and event["event"] != "progress":
                    return
        except (OSError, SpineSegError):
            pass
        child.patience = POLL
        self._drop()


def _same(one: Volume, other: Volume) -> bool:
    a, b = one.array, other.array
    where = [(x.__array_interface__["data"], x.shape, x.strides, x.dtype) for x in (a, b)]
    return where[0] == where[1] and bool(np.array_equal(one.affine, other.affine))
