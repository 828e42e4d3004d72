"""What the page shows of any work: that it is under way, how far it is, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from spineseg.errors import CancelledError
from spineseg.jobs import readable
from SpineSegMRML import names
from SpineSegMRML.jobs import Report, describe
from trame_server.utils import asynchronous

from SpineSegWeb.waiting import on_loop

__all__ = ["START", "Page"]

START: dict[str, Any] = {
    "busy": "", "can_cancel": True, "cancelling": False, "progress": 0, "progress_text": "",
    "scan_name": "", "scan_info": "", "notes": [], "shown_as": "bone", "upload_percent": -1,
    "summary": "", "warnings": [], "segments": [], "active": "", "levels": list(names.levelNames()),
    "tool": "look", "brush_mm": 8, "sphere": True, "hint": "", "can_undo": False,
    "can_redo": False, "measured": [], "doubts": [], "stale": "", "tables": [],
    "show_tables": False,
    "message": "", "message_kind": "", "message_open": False, "ask_path": False, "path": "",
    "ask_replace": False, "ask_replace_text": "", "revision": 0,
}  # fmt: skip


class Page:
    """One piece of work at a time, each error a sentence.

    Made inside of the running event loop.

    Parameters
    ----------
    state : trame State
    """

    def __init__(self, state: Any) -> None:
        self.state = state
        self._loop = asyncio.get_running_loop()
        state.update(START)

    def _start(self) -> None:
        """Work begins."""

    def _refresh(self) -> None:
        """Bring what is shown up to date: work has ended."""
        raise NotImplementedError

    def _action(self, name: str) -> Callable[..., None]:
        """Return the handler of an action, for the page.

        The websocket waits for a handler, so each action is a task of its own.
        """

        async def safely(*arguments: Any) -> None:
            try:
                await getattr(self, name)(*arguments)
            # Whatever goes wrong must reach the user as a sentence.
            except Exception as error:  # noqa: BLE001
                self.say(str(readable(error)))

        def handle(*arguments: Any) -> None:
            asynchronous.create_task(safely(*arguments))

        return handle

    async def _work(
        self, name: str, work: Callable[[], Any], can_cancel: bool = True
    ) -> tuple[bool, Any]:
        """Do one thing at a time, show how far it is, and turn an error into a sentence."""
        if self.state.busy:
            return False, None
        with self.state as state:
            state.update(
                {"busy": name, "can_cancel": can_cancel, "cancelling": False, "progress": 0,
                 "progress_text": "", "message_open": False}
            )  # fmt: skip
        self._start()
        try:
            return True, await on_loop(work)
        except CancelledError as error:
            self.say(str(error), "note")
        # As above; and it must free the page.
        except Exception as error:  # noqa: BLE001
            self.say(str(readable(error)))
        finally:
            with self.state as state:
                state.busy = ""
                self._refresh()
        return False, None

    def say(self, text: str, kind: str = "error") -> None:
        """Show a sentence in the corner."""
        with self.state as state:
            state.message, state.message_kind, state.message_open = text, kind, True

    def _progress(self, report: Report) -> None:
        """Show how far the work is; called in any thread."""
        self._loop.call_soon_threadsafe(self._show_progress, report)

    def _show_progress(self, report: Report) -> None:
        percent, text = int(100 * report.fraction), describe(report)
        if (percent, text) != (self.state.progress, self.state.progress_text):
            with self.state as state:
                state.progress, state.progress_text = percent, text
