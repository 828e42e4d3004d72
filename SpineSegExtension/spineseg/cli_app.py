"""The command ``spineseg app``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from spineseg.cli_common import Debug, note, work
from spineseg.errors import DependencyError

GROUP = "spineseg.app"
"""Entry points of this group are called with a port, and with what to do once it listens."""


def app_command(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Open the browser app: segment, correct, measure and export a scan without 3D Slicer.

    It listens on this computer alone, and its address holds a token. Ctrl-C ends it.
    """
    with work(debug) as progress:

        def ready(address: str) -> None:
            progress.token.check()
            print(address, flush=True)
            if not no_browser:
                import webbrowser

                note("Opening the browser; Ctrl-C here ends the app.")
                webbrowser.open(address)

        # While it serves, Ctrl-C ends it well.
        _front()(port, ready)


def _front() -> Callable[..., None]:
    """Return what starts the app: it is above the library, which finds it by its entry point."""
    from importlib.metadata import entry_points

    for found in entry_points(group=GROUP):
        front: Callable[..., None] = found.load()
        return front
    raise DependencyError(
        "The browser app is not installed.", 'Install it: pip install "spineseg[app]"'
    )
