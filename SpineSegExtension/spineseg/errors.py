"""The errors a user may meet, and the exit code of each.

An error is one sentence (what went wrong, then what to do about it) with optional details that
a front end shows folded.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

__all__ = [
    "CancelledError",
    "DependencyError",
    "ExitCode",
    "InputError",
    "MemoryLimitError",
    "SpineSegError",
    "WeightsError",
]


class ExitCode(IntEnum):
    """Exit codes of every command and of the worker."""

    OK = 0
    UNEXPECTED = 1
    INPUT = 2
    DEPENDENCY = 3
    WEIGHTS = 4
    MEMORY = 5
    CANCELLED = 6


class SpineSegError(Exception):
    """Base of all errors that this library raises on purpose.

    Parameters
    ----------
    cause : str
        What went wrong, in words of the user.
    remedy : str
        What to do about it; may be empty.
    details : str
        Technical details (paths, numbers, a traceback); not part of ``str(error)``.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED

    def __init__(self, cause: str, remedy: str = "", details: str = "") -> None:
        self.cause = cause.strip()
        self.remedy = remedy.strip()
        self.details = details.strip()
        # All three are arguments of Exception so that the error survives pickling unchanged.
        super().__init__(self.cause, self.remedy, self.details)

    def __str__(self) -> str:
        return " ".join(part for part in (self.cause, self.remedy) if part)


class InputError(SpineSegError):
    """The input, an argument or the output folder is not usable."""

    exit_code = ExitCode.INPUT


class DependencyError(SpineSegError):
    """A package or system library that the work needs is missing."""

    exit_code = ExitCode.DEPENDENCY


class WeightsError(SpineSegError):
    """Trained weights or their card are missing, damaged or of another kind."""

    exit_code = ExitCode.WEIGHTS


class MemoryLimitError(SpineSegError):
    """The work would need, or has needed, more memory than there is."""

    exit_code = ExitCode.MEMORY


class CancelledError(SpineSegError):
    """The user stopped the work; nothing is left half-written."""

    exit_code = ExitCode.CANCELLED

    def __init__(
        self, cause: str = "The work was cancelled.", remedy: str = "", details: str = ""
    ) -> None:
        super().__init__(cause, remedy, details)
