"""The worker that stays: networks and a scan are loaded once, and clicks answered one by one.

``python -m spineseg.worker --serve`` reads requests from standard input, one JSON object a line,
and answers on standard output as `spineseg.worker` does; each event has the request's ``id``.

- ``{"id": 1, "do": "open", "file": NPY, "affine": 4×4, "settings": {…}}`` takes a scan (array
  (k, j, i), affine to RAS mm) in place of the last one → ``{"event": "result", "id": 1,
  "warnings": […]}``
- ``{"id": 2, "do": "click", "folder": …, "point": [R, A, S], "target": …, "level": …,
  "known": {"file": NPY or null, "affine": 4×4, "parts": {LABEL: [R, A, S, mm³]}}}`` →
  ``{"event": "result", "id": 2, "file": NPY, "affine": 4×4, "label": …, …}``
- ``{"do": "cancel", "id": 2}`` stops that request, which then ends with an error event

Arrays pass as ``.npy`` files in a folder of the caller's, which also takes them away. Closing
standard input, or SIGTERM, ends the process.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from spineseg.clicking import ClickResult, ClickSession
from spineseg.errors import CancelledError, InputError, SpineSegError
from spineseg.jobs import readable
from spineseg.methods.click import Settings
from spineseg.methods.known import Known, Part
from spineseg.progress import CancelToken, Progress
from spineseg.volume import Volume

__all__ = ["click_request", "open_request", "result_of", "serve"]

Emit = Callable[[dict[str, Any]], None]
Request = dict[str, Any]

SCAN, KNOWN, MASK = "scan.npy", "known.npy", "mask.npy"


def open_request(volume: Volume, settings: Settings, folder: Path) -> Request:
    """Return the request that hands a scan over in a folder."""
    return {"do": "open", **_written(volume, folder / SCAN), "settings": asdict(settings)}


def click_request(
    point: np.ndarray[Any, Any], target: str, level: str | None, known: Known, folder: Path
) -> Request:
    """Return the request for a click; what is known is handed over in a folder."""
    near = {"file": None} if known.near is None else _written(known.near, folder / KNOWN)
    parts = {str(n): [*part.center, part.mm3] for n, part in known.parts.items()}
    return {
        "do": "click", "folder": str(folder), "point": point.tolist(), "target": target,
        "level": level, "known": {**near, "parts": parts},
    }  # fmt: skip


def result_of(event: Mapping[str, Any]) -> ClickResult:
    """Return what a click's result event tells; its file must still be there."""
    names = {f.name for f in fields(ClickResult)} - {"mask", "center"}
    told = {name: event[name] for name in names}
    x, y, z = event["center"]
    return ClickResult(mask=_read(event), center=(x, y, z), **told)


def serve(emit: Emit) -> int:
    """Answer requests until standard input closes; return the exit code."""
    return _Server(emit).run()


class _Server:
    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        # Safe to use from a signal's handler, which may interrupt this very queue.
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._session: ClickSession | None = None
        self._tokens: dict[Any, CancelToken] = {}
        self._lock = threading.Lock()

    def run(self) -> int:
        threading.Thread(target=self._listen, name="stdin", daemon=True).start()
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, lambda *_: self._end())
        while (request := self._requests.get()) is not None:
            self._answer(request)
        return 0

    def _end(self) -> None:
        for token in list(self._tokens.values()):
            token.cancel()
        self._requests.put(None)

    def _listen(self) -> None:
        rest = b""
        try:
            # The descriptor itself: a thread inside sys.stdin.read would block the exit.
            while chunk := os.read(0, 65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._hear(line)
        except OSError:
            pass
        self._end()

    def _hear(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            number = request["id"]
        except (ValueError, TypeError, KeyError):
            self._fail(None, InputError("A request is no JSON object with an id."))
            return
        with self._lock:
            if request.get("do") == "cancel":
                if number in self._tokens:
                    self._tokens[number].cancel()
                return
            self._tokens[number] = CancelToken()
        self._requests.put(request)

    def _answer(self, request: Request) -> None:
        number = request["id"]
        token = self._tokens[number]
        try:
            token.check()
            progress = Progress(self._reporter(number), token)
            kind = request.get("do")
            if kind == "open":
                answer = self._open(request, progress)
            elif kind == "click":
                answer = self._click(request, progress)
            else:
                raise InputError(f"There is no request “{kind}”.", "Use open, click or cancel.")
            self._emit({"event": "result", "id": number, **answer})
        except BaseException as caught:  # noqa: BLE001  the caller must learn of anything
            self._fail(number, CancelledError() if token.cancelled else readable(caught))
        finally:
            with self._lock:
                del self._tokens[number]

    def _open(self, request: Request, progress: Progress) -> dict[str, Any]:
        progress("open", 0.0, "reading the scan")
        self._session = None  # two scans at once may not fit into memory
        scan = _read(request)
        progress("open", 0.3, "loading the network")
        self._session = ClickSession(scan, Settings(**request.get("settings", {})))
        progress("open", 1.0)
        return {"warnings": self._session.warnings}

    def _click(self, request: Request, progress: Progress) -> dict[str, Any]:
        if self._session is None:
            raise InputError("No scan is open.", "Open one first.")
        told = request["known"]
        parts = {int(n): Part((x, y, z), mm3) for n, (x, y, z, mm3) in told["parts"].items()}
        known = Known(None if told["file"] is None else _read(told), parts)
        result = self._session.click(
            request["point"], request["target"], known, request["level"], progress
        )
        rest = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "mask"}
        return {**_written(result.mask, Path(request["folder"]) / MASK), **rest}

    def _reporter(self, number: Any) -> Callable[[str, float, str], None]:
        def report(stage: str, fraction: float, text: str) -> None:
            self._emit({
                "event": "progress", "id": number, "stage": stage,
                "fraction": round(fraction, 4), "text": text,
            })  # fmt: skip

        return report

    def _fail(self, number: Any, error: SpineSegError) -> None:
        self._emit({
            "event": "error", "id": number, "cause": error.cause, "remedy": error.remedy,
            "details": error.details, "code": int(error.exit_code),
        })  # fmt: skip


def _written(volume: Volume, path: Path) -> dict[str, Any]:
    np.save(path, volume.array, allow_pickle=False)
    return {"file": str(path), "affine": volume.affine.tolist()}


def _read(told: Mapping[str, Any]) -> Volume:
    return Volume(np.load(told["file"], allow_pickle=False), told["affine"])
