"""Films: their endplates as lines, the angles that follow them, and files of all that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spineseg import cobb, cobb_tables, registry
from spineseg.errors import InputError, SpineSegError
from spineseg.io.film_corners import read_corners
from spineseg.io.films import Film, read_film
from spineseg.measure.film import measure_film
from spineseg.methods.film_result import FilmResult
from SpineSegMRML import endplates, films, segmentations, tables
from SpineSegMRML.choices import AUTOMATIC, deviceSettings
from SpineSegMRML.cobbjobs import FilmFound, filmInChild
from SpineSegMRML.endplates import Key
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report
from SpineSegMRML.markupswatch import MarkupsWatch
from SpineSegMRML.runs import Runs

from CobbAngleLib.Drawing import drawCurves
from CobbAngleLib.FilmState import FOUND, VIEW, FilmOutcome, FilmState, predictedOn, stateOf
from CobbAngleLib.Marks import drawMarks

__all__ = ["FilmLogic"]

ANGLES_ROLE, PLATES_ROLE = "SpineSegAngles", "SpineSegEndplates"
UNDO_LIMIT = 20


class FilmLogic:
    """Measures films and follows their endplates.

    Parameters
    ----------
    runs : Runs
        Shared with the rest of the module.
    runner : callable
        Finds endplates, called as `filmInChild` is.
    """

    def __init__(self, runs: Runs, runner: Callable[..., FilmFound] = filmInChild) -> None:
        self._runs = runs
        self._runner = runner
        self._undo: list[tuple[Any, str | None, Mapping[Key, Any]]] = []
        self._last: tuple[Any, Film | None] = (None, None)
        self.watch = MarkupsWatch(endplates.linesOf, "vtkMRMLMarkupsLineNode")
        self.showCurves = True
        self.showNames = False

    # Before a measurement

    def load(self, scene: Any, path: str | Path) -> Any:
        """Read a film from a file into a new volume node.

        Raises
        ------
        InputError
            As `spineseg.io.films.read_film`; the scene stays as it is.
        """
        return films.addFilmNode(scene, read_film(path))

    def validateFile(self, path: Path | None) -> str:
        """Return why no film can be loaded now, in one sentence; "" if it can."""
        # An empty path widget gives the current folder, which nobody has chosen.
        if path is None or not Path(path).is_file():
            return _("Choose the file of a radiograph (DICOM, PNG, JPEG or TIFF).")
        return ""

    def validateCorners(self, path: Path | None) -> str:
        """Return why no endplates can be loaded, in one sentence; "" if they can."""
        if path is None or not Path(path).is_file():
            return _("Choose a result.json of spineseg cobb, or a landmarks.csv.")
        return ""

    def problem(self, filmNode: Any) -> str:
        """Return why a node holds no film, in one sentence; "" if it does."""
        if filmNode is None:
            return _("Choose a film.")
        try:
            self._film(filmNode)
        except SpineSegError as error:
            return str(error)
        return ""

    def _film(self, filmNode: Any) -> Film:
        """Return the film that a node holds; while an endplate is dragged, it is not read anew."""
        image = filmNode.GetImageData()
        key = (filmNode, filmNode.GetMTime(), None if image is None else image.GetMTime())
        if self._last[0] != key or self._last[1] is None:
            self._last = (key, films.filmFromNode(filmNode))
        film = self._last[1]
        assert film is not None
        return film

    def notes(self, filmNode: Any) -> list[str]:
        """Return a sentence for each thing that was chosen or assumed on reading a film."""
        return list(self._film(filmNode).notes)

    def validate(self, filmNode: Any, method: str = "") -> str:
        """Return why no endplates can be looked for, in one sentence; "" if they can."""
        self._last = (None, None)  # what the subject hierarchy says of it may have changed
        problem = self.problem(filmNode)
        if problem:
            return problem
        try:
            cobb.method_for_films(method or None)
        except SpineSegError as error:
            if not registry.names(registry.COBB):
                return _("No method that finds endplates is installed: place them by hand below,"
                         " or load landmarks.")  # fmt: skip
            return str(error)
        return ""

    # Measuring

    def measure(
        self,
        filmNode: Any,
        method: str = "",
        keepEdits: bool = True,
        anglesNode: Any = None,
        platesNode: Any = None,
        view: str | None = None,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
    ) -> FilmOutcome:
        """Find the endplates on a film, put a line on each, and measure.

        The scene is touched only when the result is there: after an error or a cancel it is as it
        was.

        Parameters
        ----------
        filmNode : vtkMRMLScalarVolumeNode
            See `SpineSegMRML.films`.
        method : str
            Row of the registry; empty for the default.
        keepEdits : bool
            Whether lines that the user has placed or moved stay where they are.
        anglesNode, platesNode : vtkMRMLTableNode, optional
            Take the tables; by default those of the film do, or new ones.
        view : str, optional
            "ap" or "lateral"; by default the method tells.
        device : str
            "auto", "cpu" or "cuda".
        onProgress : callable, optional
            Called in this thread about every 50 ms with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; `CancelledError` after `cancel`.
        """
        self._runs.requireNone()
        reason = self.validate(filmNode, method)
        if reason:
            raise InputError(reason)
        settings = {**deviceSettings(device), **({"view": view} if view else {})}
        with self._runs.on(filmNode) as token:
            found = self._runner(
                self._film(filmNode),
                method,
                settings=settings,
                onProgress=onProgress,
                token=token,
            )
        self._useTables(filmNode, anglesNode, platesNode)
        self._take(filmNode, found.method, found.result, keepEdits)
        return replace(self.refresh(filmNode), seconds=found.seconds)

    def loadCorners(self, filmNode: Any, path: str | Path, keepEdits: bool = True) -> FilmOutcome:
        """Take the endplates from a file; see `spineseg.io.film_corners.read_corners`.

        Raises
        ------
        InputError
            The node is no film, or the file has no corners for it; the scene stays as it is.
        """
        self._runs.requireNone()
        film = self._film(filmNode)
        self._take(filmNode, Path(path).name, read_corners(path, film), keepEdits)
        return self.refresh(filmNode)

    def _take(self, filmNode: Any, method: str, result: FilmResult, keepEdits: bool) -> None:
        """Show what was found; if that fails, put back what was there."""
        measured = measure_film(
            result, self._film(filmNode)
        )  # which says if there is nothing to measure
        keep = self.state(filmNode).edited if keepEdits else frozenset()
        before = (filmNode, filmNode.GetAttribute(FOUND), endplates.remember(filmNode))
        plates: dict[Key, Any] = {}
        if measured.corners_px is not None:
            plates = endplates.platesOf(measured.levels, measured.corners_px)
        with self.watch.unnoticed():
            try:
                found = {**result.to_json(), "method": method}
                filmNode.SetAttribute(FOUND, json.dumps(found))
                endplates.setLines(filmNode, plates, keep)
            except Exception:
                self._putBack(*before)
                raise
        self._remember(before)

    # Undo

    @property
    def canUndo(self) -> bool:
        """Whether a run, a file or a return to what was found can be taken back."""
        self._undo = [one for one in self._undo if one[0].GetScene() is not None]
        return bool(self._undo)

    def undo(self) -> FilmOutcome:
        """Bring the endplates back to where they were before the last run or file.

        Raises
        ------
        InputError
            There is nothing to undo.
        """
        self._runs.requireNone()
        if not self.canUndo:
            raise InputError(_("There is nothing to undo."))
        before = self._undo.pop()
        with self.watch.unnoticed():
            self._putBack(*before)
        return self.refresh(before[0])

    def validateAsFound(self, filmNode: Any) -> str:
        """Return why nothing can be put back to where it was found, in one sentence."""
        if self.problem(filmNode) or not filmNode.GetAttribute(FOUND):
            return _("Nothing was found on this film yet.")
        return "" if self.state(filmNode).edited else _("Every endplate is where it was found.")

    def asFound(self, filmNode: Any) -> FilmOutcome:
        """Take back what the user has placed and moved: the endplates lie as they were found."""
        self._runs.requireNone()
        before = (filmNode, filmNode.GetAttribute(FOUND), endplates.remember(filmNode))
        with self.watch.unnoticed():
            endplates.setLines(filmNode, predictedOn(filmNode, self._film(filmNode))[2])
        self._remember(before)
        return self.refresh(filmNode)

    def _remember(self, before: tuple[Any, str | None, Mapping[Key, Any]]) -> None:
        self._undo.append(before)
        del self._undo[:-UNDO_LIMIT]

    @staticmethod
    def _putBack(filmNode: Any, found: str | None, lines: Mapping[Key, Any]) -> None:
        if found is None:
            filmNode.RemoveAttribute(FOUND)
        else:
            filmNode.SetAttribute(FOUND, found)
        endplates.restore(filmNode, lines)

    # By hand

    def place(self, filmNode: Any, level: str, which: str, view: str | None = None) -> Any:
        """Return the line of an endplate, ready to be placed; what it was before goes.

        Parameters
        ----------
        filmNode : vtkMRMLScalarVolumeNode
        level : str
        which : str
            "superior" or "inferior".
        view : str, optional
            "ap" or "lateral", of a film on which nothing was found; by default the file tells.

        Raises
        ------
        InputError
            The node is no film.
        """
        self._runs.requireNone()
        self._film(filmNode)
        if view:
            filmNode.SetAttribute(VIEW, view)
        key = (level, which)
        node = endplates.linesOf(filmNode).get(key)
        if node is None:
            node = endplates.addLine(filmNode, key)
        else:
            before = (filmNode, filmNode.GetAttribute(FOUND), endplates.remember(filmNode))
            self._remember(before)
            node.RemoveAllControlPoints()
        if self.watch.ownerNode is filmNode:
            with self.watch.unnoticed():
                pass  # which makes it look for new lines
        return node

    # What there is now

    def isMeasured(self, filmNode: Any) -> bool:
        """Whether there are endplates, or something else that was found on a film."""
        return bool(filmNode.GetAttribute(FOUND) or endplates.linesOf(filmNode))

    def state(self, filmNode: Any) -> FilmState:
        """Return a film as its lines are now; errors as `films.filmFromNode`."""
        return stateOf(filmNode, self._film(filmNode))

    def refresh(self, filmNode: Any) -> FilmOutcome:
        """Bring a film's tables, colours and curves up to date with its lines."""
        state = self.state(filmNode)
        measured = state.measured
        anglesNode, platesNode = self._tables(filmNode)
        angles = cobb_tables.film_angles(measured) if measured else []
        rows = cobb_tables.film_endplates(measured, state.edited) if measured else []
        tables.setRows(anglesNode, cobb_tables.ANGLES, angles)
        tables.setRows(platesNode, cobb_tables.FILM_ENDPLATES, rows)
        sure = dict(zip(state.result.levels, state.result.confidence, strict=False))
        with self.watch.unnoticed():
            endplates.colorLines(filmNode, sure, state.edited, self.showNames)
            drawCurves(filmNode, measured, self.showCurves)
            drawMarks(filmNode, state.result.marks, self.showCurves)
        return FilmOutcome(state, anglesNode, platesNode)

    def _useTables(self, filmNode: Any, anglesNode: Any, platesNode: Any) -> None:
        for role, node in ((ANGLES_ROLE, anglesNode), (PLATES_ROLE, platesNode)):
            if node is not None and node.GetScene() is filmNode.GetScene():
                filmNode.SetNodeReferenceID(role, node.GetID())

    @staticmethod
    def _tables(filmNode: Any) -> tuple[Any, Any]:
        """Return the film's tables; new ones where it has none."""
        found = []
        for role, text in ((ANGLES_ROLE, _("{film} angles")), (PLATES_ROLE, _("{film} endplates"))):
            node = filmNode.GetNodeReference(role)
            if node is None:
                name = text.format(film=filmNode.GetName())
                node = tables.addTableNode(filmNode.GetScene(), name)
                filmNode.SetNodeReferenceID(role, node.GetID())
                segmentations.placeBeside(node, filmNode)
            found.append(node)
        return found[0], found[1]

    # Files

    def validateExport(self, filmNode: Any, folder: Path | None) -> str:
        """Return why nothing can be written now, in one sentence; "" if it can."""
        problem = self.problem(filmNode)
        if problem:
            return problem
        state = self.state(filmNode)
        if state.measured is None:
            return state.problem
        # An empty path widget gives the current folder, which nobody has chosen.
        if folder is None or str(folder) in ("", "."):
            return _("Choose a folder for the files.")
        return ""

    def export(
        self, filmNode: Any, folder: str | Path, more: Mapping[str, bytes] | None = None
    ) -> Path:
        """Write what is measured now: all files, or none.

        ``result.json``, ``report.html`` and ``run.json`` as ``spineseg cobb`` writes them,
        ``angles.csv``, ``endplates.csv``, ``report.txt`` for a DICOM text field, ``picture.png``.

        Parameters
        ----------
        filmNode : vtkMRMLScalarVolumeNode
        folder : path
        more : mapping of str to bytes, optional
            Other files, by name: what a view shows, say.

        Raises
        ------
        InputError
            One sentence; nothing was written.
        """
        from spineseg.cobb_pictures import film_png

        reason = self.validateExport(filmNode, Path(folder))
        if reason:
            raise InputError(reason)
        state = self.state(filmNode)
        measured = state.measured
        assert measured is not None
        angles = cobb_tables.film_angles(measured)
        rows = cobb_tables.film_endplates(measured, state.edited)
        files = {
            "angles.csv": cobb_tables.csv_bytes(cobb_tables.ANGLES, angles),
            "endplates.csv": cobb_tables.csv_bytes(cobb_tables.FILM_ENDPLATES, rows),
            "report.txt": cobb_tables.film_text(measured, state.film, state.method, state.edited),
            "picture.png": film_png(measured, state.film),
        }
        done = cobb.FilmDone(state.method or _("by hand"), state.result, measured)
        return cobb.save_film(done, state.film, folder, more={**files, **(more or {})})
