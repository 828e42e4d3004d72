"""Reporting progress of long work and stopping it.

Long work takes a `Progress` and calls it at every patch. The call tells a front end how far the
work is and raises `CancelledError` when the user has asked to stop, so that one call does both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from spineseg.errors import CancelledError

__all__ = ["CancelToken", "Progress", "ProgressCallback"]

ProgressCallback = Callable[[str, float, str], None]
"""Called with the stage's name, the fraction done (0 to 1) and a short text."""


class CancelToken:
    """A flag that one thread sets and the working thread checks."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop; may be called from any thread and more than once."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `CancelledError` if the work was asked to stop."""
        if self.cancelled:
            raise CancelledError()


class Progress:
    """Where long work reports how far it is.

    Parameters
    ----------
    callback : callable, optional
        Receives ``(stage, fraction, text)``; fraction is of the whole work, 0 to 1. Without it
        the reports go nowhere, so ``Progress()`` is the silent default.
    token : CancelToken, optional
        Checked at each report. A new one is made if none is given.
    """

    def __init__(
        self, callback: ProgressCallback | None = None, token: CancelToken | None = None
    ) -> None:
        self._callback = callback
        self.token = CancelToken() if token is None else token
        self._start = 0.0
        self._stop = 1.0

    def __call__(self, stage: str, fraction: float, text: str = "") -> None:
        """Report `fraction` (0 to 1, clipped) of this part's work.

        Raises
        ------
        CancelledError
            If the token is cancelled, before or by the report.
        """
        self.token.check()
        if self._callback is not None:
            inside = min(max(float(fraction), 0.0), 1.0)
            # Interpolated this way round, 0 and 1 give the part's ends exactly.
            self._callback(stage, self._start * (1 - inside) + self._stop * inside, text)
            self.token.check()

    def part(self, start: float, stop: float) -> Progress:
        """Return a child whose 0–1 is `start`–`stop` of this one, with the same token."""
        if not 0 <= start <= stop <= 1:
            raise ValueError(f"a part must have 0 <= start <= stop <= 1, not {start}, {stop}")
        width = self._stop - self._start
        child = Progress(self._callback, self.token)
        child._start = self._start + start * width
        child._stop = self._start + stop * width
        return child
