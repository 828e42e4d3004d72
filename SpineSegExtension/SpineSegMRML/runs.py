"""One piece of work at a time, and a way to stop it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spineseg.errors import CancelledError, InputError
from spineseg.progress import CancelToken

from SpineSegMRML import volumes
from SpineSegMRML.i18n import tr as _

__all__ = ["Runs"]


class Runs:
    """The run that is under way, if there is one."""

    def __init__(self) -> None:
        self._token: CancelToken | None = None

    @property
    def running(self) -> bool:
        """Whether there is one."""
        return self._token is not None

    def cancel(self) -> None:
        """Ask it to stop; nothing happens if there is none."""
        if self._token is not None:
            self._token.cancel()

    def requireNone(self) -> None:
        """Raise InputError if there is one."""
        if self.running:
            raise InputError(_("A run is under way."), _("Wait for its end, or cancel it."))

    @contextmanager
    def on(self, inputNode: Any) -> Iterator[CancelToken]:
        """Run the block on a volume node, and refuse its result if the node changed meanwhile.

        Raises
        ------
        InputError
            Another run is under way, or the volume has another place or grid at the block's end.
        CancelledError
            `cancel` was called, or the volume was closed.
        """
        self.requireNone()
        scene = inputNode.GetScene()
        grid = volumes.gridFromNode(inputNode)
        token = self._token = CancelToken()
        try:
            yield token
            token.check()
        finally:
            self._token = None
        if inputNode.GetScene() is not scene:
            raise CancelledError(_("The volume was closed while it was worked on."))
        if not volumes.gridFromNode(inputNode).same_as(grid):
            raise InputError(
                _("The volume was moved or changed while it was worked on."),
                _("Start again."),
            )
