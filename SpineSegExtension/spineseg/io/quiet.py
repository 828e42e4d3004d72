"""Keeping C++ libraries' chatter off the terminal.

ITK's readers write to the process's standard error themselves. What they say reaches the user as
one sentence of an `InputError`, with the exception's text as its details.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_stderr"]

_lock = threading.Lock()
_inside = 0
_kept = -1


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere inside the block.

    Blocks may overlap in several threads: the first to enter silences, the last to leave
    restores. Python's own messages from other threads are lost meanwhile, so keep it short.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            _kept = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        except OSError:  # a process without a standard error, as a window on Windows
            _kept = -1


def _leave() -> None:
    global _inside, _kept
    with _lock:
        _inside -= 1
        if _inside == 0 and _kept >= 0:
            os.dup2(_kept, 2)
            os.close(_kept)
            _kept = -1
