"""The app: what the page's actions do, and what the page shows."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spineseg.jobs import readable
from spineseg.phantom.settings import PhantomSettings
from SpineSegMRML import cases
from SpineSegMRML.jobs import Report
from trame.app import get_server
from trame_server.utils import asynchronous
from trame_slicer import module as trame_slicer_module
from trame_slicer.core import SlicerApp
from vtkmodules.vtkCommonCore import vtkLogger, vtkOutputWindow

from SpineSegWeb import panel
from SpineSegWeb.brush import ERASE, PAINT, Brush
from SpineSegWeb.page import START, Page
from SpineSegWeb.views import Views
from SpineSegWeb.waiting import breathe, on_loop
from SpineSegWeb.workspace import Workspace

__all__ = ["PATIENT", "App"]

RESOURCES = Path(__file__).with_name("resources")
PATIENT = PhantomSettings(spacing_mm=2.0, levels=("T10", "L5"), cobb_deg=24.0)
SEED = 3
SETTLE_SECONDS = 0.25
"""Pause after a stroke before its surfaces are made anew, so that the next one is not held up."""
HINTS = {
    "click": "Click a vertebra in a slice.",
    "paint": "Draw on a vertebra. Its neighbours are protected.",
    "erase": "Draw over what does not belong to the vertebra.",
}


class App(Page):
    """One case, one page; however many tabs show it, they show the same.

    Made inside of the running event loop.

    Parameters
    ----------
    patient : PhantomSettings
        Of the digital patient that it starts on.
    more : mapping
        Parameters of `Workspace`.
    """

    def __init__(self, patient: PhantomSettings = PATIENT, **more: Any) -> None:
        self._patient = patient
        self.server = get_server("spineseg", client_type="vue3")
        super().__init__(self.server.state)
        self.folder = tempfile.TemporaryDirectory(prefix="spineseg-app-")
        self._uploads = 0
        self._slicer = SlicerApp()
        # VTK's warnings, of a display that is not there and the like, help nobody.
        vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
        vtkOutputWindow.GetInstance().SetDisplayModeToNever()
        self._slicer.scene.Clear()  # or the first stroke of a brush fails
        self.workspace = Workspace(self._slicer.scene, **more)
        self.server.enable_module(trame_slicer_module)
        self.server.enable_module(
            {"serve": {"spineseg": str(RESOURCES)}, "scripts": ["spineseg/app.js"]}
        )
        icon = base64.b64encode((RESOURCES / "icon.svg").read_bytes()).decode()
        self.state.trame__favicon = f"data:image/svg+xml;base64,{icon}"
        self.state.trame__title = "SpineSeg"
        self.state.trame__vuetify3_config = {
            "theme": {
                "themes": {
                    "dark": {"dark": True, "colors": {"primary": "#4f9dde", "surface": "#1b2530"}}
                }
            }
        }
        self.views = Views(self.server, self._slicer, self._clicked)
        self._brush = Brush(self._slicer.segmentation_editor, self._stroke, self.views.slice_ids())
        self._surfaces: asyncio.TimerHandle | None = None
        self.exported: Path | None = None
        panel.build(
            self.server,
            self.views,
            self._action,
            (RESOURCES / "app.css").read_text(encoding="utf-8"),
        )
        self.state.change("tool", "brush_mm", "sphere")(self._tool_changed)
        self.state.change("shown_as")(self._window_changed)
        self.server.trigger("spineseg_upload_failed")(self.say)

    def begin(self) -> None:
        """Start on the digital patient; the page is there meanwhile."""
        asynchronous.create_task(self.open_patient())

    def open_upload(self, path: Path) -> None:
        """Open a file that was uploaded, and remove it."""

        async def opened() -> None:
            await self.open_path(str(path))
            shutil.rmtree(path.parent, ignore_errors=True)

        asynchronous.create_task(opened())

    def close(self) -> None:
        """End child processes and remove temporary files."""
        self.workspace.close()
        self.folder.cleanup()

    # The page's actions

    async def open_patient(self) -> None:
        """Begin with a digital patient."""
        await self._open(
            lambda: self.workspace.open_patient(self._patient, SEED, self._progress), False
        )

    async def open_path(self, path: str) -> None:
        """Open a file or folder of this computer, or what was uploaded."""
        if not path.strip():
            return
        self.state.ask_path = False
        self._uploads += 1
        folder = Path(self.folder.name) / f"unpacked-{self._uploads}"
        await self._open(lambda: self.workspace.open(path.strip(), folder, self._progress))

    async def _open(self, work: Callable[[], list[str]], can_cancel: bool = True) -> None:
        done, notes = await self._work("open", work, can_cancel)
        if not done:
            return
        node = self.workspace.volume
        with self.state as state:
            # What was said of the scan before is not true of this one.
            state.update({key: START[key] for key in ("summary", "warnings", "measured", "doubts")})
            state.tables, state.active, state.tool = [], "", "look"
            state.scan_name, state.notes = self.workspace.name, notes
            state.scan_info = _about(node)
            state.shown_as = "bone" if cases.isCt(node) else "auto"
            self.views.show(node)
            self._refresh()

    async def segment(self) -> None:
        """Segment all vertebrae; ask first where that replaces a user's work."""
        edited = await on_loop(self.workspace.edited)
        if edited and not self.state.busy:
            with self.state as state:
                state.ask_replace_text = (
                    f"A new segmentation replaces what you have changed: {', '.join(edited)}."
                )
                state.ask_replace = True
            return
        await self.segment_anyway()

    async def segment_anyway(self) -> None:
        """Segment all vertebrae."""
        self.state.ask_replace = False
        done, outcome = await self._work("segment", lambda: self.workspace.segment(self._progress))
        if done:
            self._changed(outcome)
            self.views.fit_surfaces()
            found = self.state.segments
            if found:  # the slices may show anything, but the spine is meant
                await self.choose(found[len(found) // 2]["id"])

    async def click(self, point: tuple[float, float, float]) -> None:
        """Segment the vertebra at a point."""
        first = self.workspace.segmentation is None
        done, outcome = await self._work(
            "click", lambda: self.workspace.click(point, self._progress)
        )
        if done:
            self._changed(outcome)
            with self.state as state:
                state.active = outcome.segmentId
            if first:
                self.views.fit_surfaces()
            elif not outcome.replaced:
                self.views.include_surfaces()

    def _changed(self, outcome: Any) -> None:
        """Show what a run has made, and what it says."""
        with self.state as state:
            state.summary, state.warnings = outcome.summary(), outcome.warnings
            self._refresh()

    async def cancel(self) -> None:
        """Stop what is under way."""
        with self.state as state:
            state.cancelling = True
        self.workspace.cancel()

    async def undo(self) -> None:
        """Take the last change back."""
        self._edit(self.workspace.undo)

    async def redo(self) -> None:
        """Do it again."""
        self._edit(self.workspace.redo)

    async def rename(self, segment: str, level: str) -> None:
        """Give a vertebra another level."""
        logic, node = self.workspace.logic.clicks, self.workspace.segmentation
        for sentence in self._edit(lambda: logic.rename(node, segment, level)) or ():
            self.say(sentence, "note")

    async def remove(self, segment: str) -> None:
        """Remove a vertebra."""
        self._edit(lambda: self.workspace.remove(segment))

    async def choose(self, segment: str) -> None:
        """Make a vertebra the active one, and go there."""
        with self.state as state:
            state.active = segment
        place = self.workspace.center(segment)
        if place is not None:
            self.views.go_to(place)

    async def toggle(self, segment: str) -> None:
        """Show or hide a vertebra."""
        display = self.workspace.segmentation.GetDisplayNode()
        display.SetSegmentVisibility(segment, not display.GetSegmentVisibility(segment))
        with self.state:
            self._refresh()

    async def measure(self) -> None:
        """Measure the angles, and grade fractures."""
        done, outcome = await self._work("measure", lambda: self.workspace.measure(self._progress))
        if done:
            with self.state as state:
                state.measured, state.doubts = outcome
                self._refresh()

    async def export(self) -> None:
        """Make the archive, and let the browser fetch it."""
        target = Path(self.folder.name) / f"{_file_name(self.workspace.name)}.zip"

        def progress(report: Report) -> None:
            self._progress(report)
            breathe()

        done, _ = await self._work("export", lambda: self.workspace.export(target, progress))
        if done:
            self.exported = target
            self.server.controller.download(f"export/{target.name}")

    # How they are done

    def _edit(self, change: Callable[[], Any]) -> Any:
        """Do something short that changes the segmentation, and show it."""
        if self.state.busy:
            return None
        result = None
        try:
            result = change()
        # Whatever goes wrong must reach the user as a sentence.
        except Exception as error:  # noqa: BLE001
            self.say(str(readable(error)))
        with self.state:
            self._refresh()
        self._later_surfaces()
        return result

    def _start(self) -> None:
        self._brush.set_tool("")

    def _refresh(self) -> None:
        """Bring the list of vertebrae, the tables and the buttons up to date."""
        state, history = self.state, self.workspace.logic.clicks.history
        state.segments = self.workspace.listed()
        ids = [one["id"] for one in state.segments]
        if state.active not in ids:
            state.active = ids[0] if ids else ""
        state.can_undo, state.can_redo = history.canUndo, history.canRedo
        tables = self.workspace.tables()
        old = [name for name, node in tables.items() if self.workspace.is_old(node)]
        state.stale = ", ".join(old).lower()
        state.tables = [_shown(name, node, name in old) for name, node in tables.items()]
        state.revision += 1
        if self.workspace.segmentation is not None:
            self._brush.bind(self.workspace.segmentation, self.workspace.volume)
        else:
            self._brush.release()
        self._use_tool()
        self.views.render()

    # Tools

    @property
    def _tool(self) -> str:
        return "" if self.state.busy else str(self.state.tool)

    def _use_tool(self) -> None:
        self.state.hint = HINTS.get(self._tool, "")
        self._brush.set_tool(self._tool, float(self.state.brush_mm), bool(self.state.sphere))
        self._brush.choose(self.state.active)

    def _tool_changed(self, tool: str, **_: Any) -> None:
        self._use_tool()
        if tool == "click" and self.workspace.volume is not None and not self.state.busy:
            asynchronous.create_task(on_loop(self.workspace.prepare))

    def _window_changed(self, shown_as: str, **_: Any) -> None:
        if self.workspace.volume is not None:
            cases.setWindow(self.workspace.volume, shown_as)
            self.views.render()

    def _clicked(self, point: tuple[float, float, float]) -> None:
        """A slice was clicked."""
        if self.workspace.volume is None or self._tool in (PAINT, ERASE, ""):
            return
        if self._tool == "click":
            asynchronous.create_task(self.click(point))
            return
        self.views.go_to(point)

    def _stroke(self, point: tuple[float, float, float], apply: Callable[[], None]) -> None:
        """A brush has drawn: change the vertebra where it began, or else the active one."""
        segment = self.workspace.segment_at(point) or self.state.active
        if not segment or self.state.busy:
            return
        with self.state as state:
            state.active = segment
        self._brush.choose(segment)
        self._edit(lambda: self.workspace.stroke(segment, apply))

    def _later_surfaces(self) -> None:
        if self._surfaces is not None:
            self._surfaces.cancel()
        self._surfaces = self._loop.call_later(SETTLE_SECONDS, self.workspace.show_surfaces)


def _shown(name: str, table_node: Any, old: bool) -> dict[str, Any]:
    """Return a table for the page; what is not known is a dash."""
    titles, rows = cases.rowsOf(table_node)
    cells = [[cell or "–" for cell in row] for row in rows]
    return {"name": name, "titles": titles, "rows": cells, "old": old}


def _about(volume_node: Any) -> str:
    """Return a line with the size of a volume."""
    i, j, k = volume_node.GetImageData().GetDimensions()
    spacing = " × ".join(f"{s:.3g}" for s in volume_node.GetSpacing())
    return f"{i} × {j} × {k} voxels of {spacing} mm"


def _file_name(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "_" for c in name).strip("_")
    return f"{kept or 'case'}-spineseg"
