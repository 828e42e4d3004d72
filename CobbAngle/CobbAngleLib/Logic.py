"""Angles of a spine, from a film or from a segmentation. It knows no windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from SpineSegMRML.cobbjobs import FilmFound, SpineFound, filmInChild, spineInChild
from SpineSegMRML.runs import Runs

from CobbAngleLib.Films import ANGLES_ROLE, PLATES_ROLE, FilmLogic
from CobbAngleLib.Spines import LEVELS_ROLE, SpineLogic

__all__ = ["CobbLogic"]


class CobbLogic:
    """What the module does; the same for its panel, a script and the browser app.

    Parameters
    ----------
    filmRunner : callable
        Finds the endplates on films, called as `filmInChild` is; by default in a child process.
    spineRunner : callable
        Measures label maps, called as `spineInChild` is.

    Attributes
    ----------
    films : FilmLogic
    spines : SpineLogic
    """

    def __init__(
        self,
        filmRunner: Callable[..., FilmFound] = filmInChild,
        spineRunner: Callable[..., SpineFound] = spineInChild,
    ) -> None:
        self._runs = Runs()
        self.films = FilmLogic(self._runs, filmRunner)
        self.spines = SpineLogic(self._runs, spineRunner)

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        return self._runs.running

    def cancel(self) -> None:
        """Ask what is under way to stop; nothing happens if there is nothing."""
        self._runs.cancel()

    def tablesOf(self, node: Any) -> tuple[Any, Any]:
        """Return the tables of a film or of a segmentation; None where it has none yet.

        Returns
        -------
        (vtkMRMLTableNode or None, vtkMRMLTableNode or None)
            Of the angles, and of the endplates or vertebrae.
        """
        if node is None:
            return None, None
        rows = node.GetNodeReference(PLATES_ROLE) or node.GetNodeReference(LEVELS_ROLE)
        return node.GetNodeReference(ANGLES_ROLE), rows

    def close(self) -> None:
        """Stop what is under way, and follow no film any more: the scene or the panel closes."""
        self._runs.cancel()
        self.films.watch.stop()

    def follow(
        self,
        filmNode: Any,
        onChange: Callable[[], None],
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Tell of each change to a film's endplates; see `MarkupsWatch.follow`."""
        self.films.watch.follow(filmNode, onChange, later)
