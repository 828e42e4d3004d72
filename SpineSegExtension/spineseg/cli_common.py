"""What the commands share: options, progress, messages and errors.

Progress and messages go to standard error. Exit codes are in `spineseg.errors.ExitCode`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from spineseg.errors import CancelledError, ExitCode, SpineSegError
from spineseg.jobs import readable
from spineseg.progress import CancelToken, Progress

LINE_EVERY = 0.1  # of the work: how often a line is printed where there is no terminal

Debug = Annotated[
    bool, typer.Option("--debug", help="Show the details of an error, and the traceback.")
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the result.")]


def note(text: str) -> None:
    """Print a line for people, on standard error."""
    print(text, file=sys.stderr, flush=True)


def vertebrae(count: int) -> str:
    """Return a number of vertebrae in words."""
    return "1 vertebra" if count == 1 else f"{count} vertebrae"


@contextmanager
def work(debug: bool) -> Iterator[Progress]:
    """Show progress, let Ctrl-C cancel, and turn every error into a sentence and an exit code."""
    token = CancelToken()
    try:
        with _cancelling(token), _shown(token) as progress:
            yield progress
    except (typer.Exit, SystemExit):
        raise
    except BaseException as caught:  # noqa: BLE001  users never see a traceback
        error = CancelledError() if token.cancelled else readable(caught)
        _tell(error, debug)
        raise typer.Exit(int(error.exit_code)) from None


def _tell(error: SpineSegError, debug: bool) -> None:
    note(f"Error: {error}" if error.exit_code != ExitCode.CANCELLED else str(error))
    if debug and error.details:
        note(error.details)
    elif error.details and error.exit_code == ExitCode.UNEXPECTED:
        note("The option --debug shows the details.")


@contextmanager
def _cancelling(token: CancelToken) -> Iterator[None]:
    """Make the first Ctrl-C (or SIGTERM) cancel at the next step, and the second at once."""

    def stop(number: int, frame: object) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()
        # Not print: a signal may arrive while a line is being printed.
        os.write(2, b"\nStopping ...\n")

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # nohup and some shells' background jobs start a program with a signal ignored: keep that.
    before = {n: signal.signal(n, stop) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shown(token: CancelToken) -> Iterator[Progress]:
    """Give a `Progress` that is a bar on a terminal, and plain lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress(Lines(), token)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("start", total=1.0, visible=False)

        def show(stage: str, fraction: float, text: str) -> None:
            bar.update(task, completed=fraction, description=text or stage, visible=True)

        yield Progress(show, token)


class Lines:
    """Prints a line at each new stage and at each tenth of the work."""

    def __init__(self) -> None:
        self._stage = ""
        self._tenth = -1
        self._started = time.monotonic()

    def __call__(self, stage: str, fraction: float, text: str) -> None:
        tenth = int(fraction / LINE_EVERY)
        if stage == self._stage and tenth == self._tenth:
            return
        self._stage, self._tenth = stage, tenth
        seconds = time.monotonic() - self._started
        note(f"{100 * fraction:3.0f} % {seconds:5.0f} s  {stage}" + (f": {text}" if text else ""))
