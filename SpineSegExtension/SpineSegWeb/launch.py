"""Starting the app: what it needs, its address, and its end. The entry point of `spineseg app`."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from spineseg.errors import DependencyError, InputError

from SpineSegWeb.access import HOST, Access

__all__ = ["run"]

PACKAGES = ("slicer", "trame_slicer", "slicer_layer_dm", "trame", "greenlet")
INSTALL = 'pip install "spineseg[app]"'
GL_LINE = "apt-get install libgl1 libegl1 libgl1-mesa-dri"
PROBE_SECONDS = 120
PROBE = """
import vtkmodules.vtkRenderingOpenGL2
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray
from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow
window, renderer = vtkRenderWindow(), vtkRenderer()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
renderer.SetBackground(1.0, 0.0, 0.0)
window.AddRenderer(renderer)
window.Render()
pixels = vtkUnsignedCharArray()
window.GetPixelData(4, 4, 4, 4, 0, pixels, 0)
raise SystemExit(0 if pixels.GetNumberOfValues() and pixels.GetValue(0) == 255 else 1)
"""
ENVIRONMENT = {"WSLINK_READY_MSG": "", "TRAME_ARGS": "--server"}
"""What trame reads when it is imported: it prints nothing, and takes no arguments of ours."""
STOP_SECONDS = 2.0


def run(port: int, on_ready: Callable[[str], None], **more: Any) -> None:
    """Serve the app until it is interrupted.

    Parameters
    ----------
    port : int
        0 takes any free one.
    on_ready : callable
        Called with the address once the page can be opened.
    more : mapping
        Parameters of `SpineSegWeb.app.App`.

    Raises
    ------
    DependencyError
        A package is missing, or the graphics library.
    InputError
        The port is taken.
    """
    check_packages()
    listening = listen(port)
    try:
        probe = start_probe()
        try:
            # It takes seconds, and so does the probe.
            os.environ.update(ENVIRONMENT)
            importlib.import_module("SpineSegWeb.app")
        finally:
            check_graphics(probe)
        asyncio.run(_serve(listening, on_ready, more))
    except KeyboardInterrupt:  # where the loop can't handle signals
        pass
    finally:
        listening.close()


def check_packages() -> None:
    """Raise DependencyError if a package of the extra “app” is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"The browser app needs {', '.join(missing)}.", f"Install it: {INSTALL}"
        )


def start_probe(code: str = PROBE) -> subprocess.Popen[bytes]:
    """Begin to try whether VTK can draw; in a child, for without GL libraries it may crash."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", code], stdin=quiet, stdout=quiet, stderr=quiet)


def check_graphics(probe: subprocess.Popen[bytes]) -> None:
    """Raise DependencyError if a probe found that VTK can't draw."""
    try:
        code = probe.wait(PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        code = 1
    finally:
        probe.kill()
    if code:
        remedy = "Install a graphics driver with OpenGL 3.2."
        if sys.platform.startswith("linux"):
            remedy = f"On Debian and Ubuntu: {GL_LINE}"
        raise DependencyError("There is no working OpenGL, which the views need.", remedy)


def listen(port: int) -> socket.socket:
    """Return a socket that holds a port of the loopback address; InputError if it is taken."""
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
        taken.listen(128)
    except OSError as error:
        taken.close()
        raise InputError(
            f"Port {port} can't be used ({(error.strerror or 'refused').lower()}).",
            "Choose another one, or leave --port out.",
        ) from error
    return taken


async def _serve(
    listening: socket.socket, on_ready: Callable[[str], None], more: dict[str, Any]
) -> None:
    from SpineSegWeb.app import App
    from SpineSegWeb.transfer import add_routes

    access, end = Access(), asyncio.Event()
    app = App(**more)
    server = app.server

    def bind(web: Any) -> None:
        access.guard(web.app)
        add_routes(web.app, app)

    server.controller.on_server_bind.add(bind)
    with _ending(end):
        try:
            port = listening.getsockname()[1]
            listening.close()  # trame opens it itself
            task = server.start(
                port=port, host=HOST, thread=True, timeout=0, open_browser=False,
                show_connection_info=False, disable_logging=True, exec_mode="task",
            )  # fmt: skip
            await server.ready
            on_ready(access.address(port))
            app.begin()
            waiting = asyncio.ensure_future(end.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            app.close()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.stop(), STOP_SECONDS)


class _ending:
    """Sets an event at Ctrl-C and SIGTERM, where the loop can handle signals."""

    def __init__(self, end: asyncio.Event) -> None:
        self._end = end
        self._numbers = [signal.SIGINT, signal.SIGTERM]

    def __enter__(self) -> None:
        for number in self._numbers:
            with suppress(NotImplementedError, RuntimeError):  # Windows; not the main thread
                asyncio.get_running_loop().add_signal_handler(number, self._end.set)

    def __exit__(self, *error: object) -> None:
        for number in self._numbers:
            with suppress(NotImplementedError, RuntimeError):
                asyncio.get_running_loop().remove_signal_handler(number)
