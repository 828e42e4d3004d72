"""What the modules' panels share: long work behind one button, and buttons that say why not.

It knows widgets only by their names and opens no window itself: what needs the application is
given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from spineseg.errors import CancelledError, InputError, SpineSegError
from spineseg.jobs import readable

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report, describe

__all__ = ["Application", "Binding", "Panel", "forgetNode"]

PARAMETER_PROPERTY = "SlicerParameterName"
MODIFIED = "ModifiedEvent"
NO_PATH = "."
"""What Slicer shows of a path that nobody has chosen: pathlib's name for it."""


class Binding:
    """Widgets bound to the parameters that they name, both ways, until `end`.

    Slicer's `connectGui` can't be taken back: it returns nothing, and what it observes stays
    observed (https://github.com/Slicer/Slicer/issues/7547). Once the panel has let go of the
    parameters, Python frees what the node still calls, and the application crashes.

    A path that nobody has chosen leaves its line empty. Slicer writes a "." there, which also gets
    in the way of what a user types after emptying the line.

    Parameters
    ----------
    parameterNode : object
        Made by Slicer's `parameterNodeWrapper`.
    ui : object
        Its attributes are the widgets.
    """

    def __init__(self, parameterNode: Any, ui: Any) -> None:
        self._parameterNode = parameterNode
        self._tags: list[int] = []
        named = ((widget.property(PARAMETER_PROPERTY), widget) for widget in vars(ui).values())
        mapping = {name: widget for name, widget in named if name}
        self._lines = [w for w in mapping.values() if w.className() == "ctkPathLineEdit"]
        self._before: list[str] = []
        addObserver = parameterNode.AddObserver

        def noted(*arguments: Any) -> Any:
            self._tags.append(addObserver(*arguments))
            return self._tags[-1]

        parameterNode.AddObserver = noted
        try:
            self._gui = parameterNode.connectParametersToGui(mapping)
            # Before and after Slicer's own observer writes into the lines.
            parameterNode.AddObserver(MODIFIED, self._notePaths, 1.0)
            parameterNode.AddObserver(MODIFIED, self._clearPaths, -1.0)
        finally:
            del parameterNode.AddObserver
        self._before = [""] * len(self._lines)
        self._clearPaths()

    def end(self) -> None:
        """Let go of the widgets."""
        self._parameterNode.disconnectGui(self._gui)
        for tag in self._tags:
            self._parameterNode.RemoveObserver(tag)
        self._tags.clear()

    def _notePaths(self, caller: Any = None, event: Any = None) -> None:
        # Events may lie in each other: what counts is what stood there before the first.
        self._before = self._before or [line.currentPath for line in self._lines]

    def _clearPaths(self, caller: Any = None, event: Any = None) -> None:
        for line, before in zip(self._lines, self._before):
            # A "." that stood there before is a user's, who types.
            if line.currentPath == NO_PATH != before:
                line.currentPath = ""
        self._before = []


def forgetNode(parameterNode: Any, node: Any) -> None:
    """Let no parameter refer to a node that is about to be removed.

    A chooser goes on to the next node by itself when its own is removed: to one that nobody has
    chosen, and that the next run would overwrite.
    """
    for name in parameterNode.allParameters:
        if parameterNode.getValue(name) is node:
            parameterNode.setValue(name, None)


@dataclass(frozen=True)
class Application:
    """What a panel asks of the application.

    Attributes
    ----------
    ensureDependencies : callable
        Returns whether all packages are there; it may ask and install.
    showError : callable
        Shows a SpineSegError, its details folded.
    processEvents : callable
        Lets windows live for a moment.
    """

    ensureDependencies: Callable[[], bool]
    showError: Callable[[SpineSegError], None]
    processEvents: Callable[[], None]


class Panel:
    """A panel with a primary button that becomes Cancel, a progress bar and a line of text.

    Parameters
    ----------
    ui : object
        Has `applyButton`, `progressBar`, `statusLabel`, and a collapsible button a section.
    logic : object
        Has `running` and `cancel()`.
    application : Application
    sections : sequence of str
        Parts of the panel that are closed while work is under way, by the names of their
        collapsible buttons without that word.
    apply : str
        The primary button's text.
    update : callable
        Brings the panel up to date.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        application: Application,
        sections: tuple[str, ...],
        apply: str,
        update: Callable[[], None],
    ) -> None:
        self.ui: Any = ui
        self._logic = logic
        self._application = application
        self._sections = sections
        self._apply = apply
        self._update = update
        self.setRunning(False)

    def close(self) -> None:
        """Touch the widgets no more: they are going."""
        self.ui = None

    @staticmethod
    def offer(control: Any, reason: str, toolTip: str) -> None:
        """Enable a button or chooser, or let its tooltip say why it can't be used."""
        control.enabled = not reason
        control.toolTip = reason or toolTip

    def cancel(self) -> None:
        """Ask what is under way to stop, and say so."""
        self.ui.applyButton.enabled = False
        self.ui.statusLabel.text = _("Cancelling…")
        self._logic.cancel()

    def run(
        self,
        work: Callable[[], Any],
        take: Callable[[Any], None] | None = None,
        closed: Collection[str] | None = None,
        expected: type[Exception] | tuple[type[Exception], ...] = CancelledError,
        ensure: Callable[[], bool] | None = None,
    ) -> Any:
        """Do long work, show how it ended, and return its outcome; None if it failed.

        Parameters
        ----------
        work : callable
            Returns an outcome with `summary()` and `warnings`.
        take : callable, optional
            Called with the outcome before it is shown.
        closed : collection of str, optional
            Sections that are closed meanwhile; all by default.
        expected : exception or tuple of them
            Shown as a line of text, without a message box.
        ensure : callable, optional
            Returns whether the packages for this work are there; by default those of the
            application are looked for.
        """
        if not (ensure or self._application.ensureDependencies)():
            return None
        self.setRunning(True, closed)
        try:
            outcome = work()
            if take is not None:
                take(outcome)
        except expected as error:
            self.finish(str(error))
        # Whatever goes wrong must free the panel and reach the user as a sentence.
        except Exception as error:  # noqa: BLE001
            self.fail(error)
        else:
            self.finish("\n".join([outcome.summary(), *outcome.warnings]))
            return outcome
        return None

    def attempt(self, action: Callable[[], Any]) -> None:
        """Do something short and show what there is to say about it."""
        try:
            self.say("\n".join(action() or []))
        except (CancelledError, InputError) as error:
            self.say(str(error))
        # As above.
        except Exception as error:  # noqa: BLE001
            self.fail(error)
        if self.ui:
            self._update()

    def say(self, text: str) -> None:
        """Show a line of text."""
        if self.ui:
            self.ui.statusLabel.text = text

    def onProgress(self, report: Report) -> None:
        """Show how far the work is."""
        if self.ui:
            self.ui.progressBar.value = int(100 * report.fraction)
            if self.ui.applyButton.enabled:
                self.ui.statusLabel.text = describe(report)
        self._application.processEvents()

    def setRunning(self, running: bool, closed: Collection[str] | None = None) -> None:
        """Open or close the parts of the panel, and make the primary button what it is now."""
        self.ui.applyButton.text = _("Cancel") if running else self._apply
        if running:
            self.ui.applyButton.enabled = True
            self.ui.applyButton.toolTip = _("Stop; the scene stays as it is.")
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = running
        for part in self._sections if closed is None or not running else closed:
            getattr(self.ui, f"{part}CollapsibleButton").enabled = not running

    def finish(self, text: str) -> None:
        """Free the panel and show a text."""
        # The panel may have been closed, or the module reloaded, during the run.
        if not self.ui:
            return
        self.setRunning(False)
        self.ui.statusLabel.text = text
        self._update()

    def fail(self, error: BaseException) -> None:
        """Free the panel and show an error."""
        known = readable(error)
        self.finish(str(known))
        self._application.showError(known)
