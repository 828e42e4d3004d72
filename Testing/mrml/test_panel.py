"""What the modules' panels share, on stand-ins for widgets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from spineseg.errors import CancelledError, InputError
from SpineSegMRML.jobs import Report
from SpineSegMRML.panel import Application, Panel


class Made:
    """A panel over widgets that only remember, and what it asked of the application."""

    def __init__(self, ready=True):
        names = ("applyButton", "progressBar", "statusLabel", "inputsCollapsibleButton")
        self.ui = SimpleNamespace(**{
            name: SimpleNamespace(enabled=True, visible=True, text="", toolTip="", value=0)
            for name in names
        })  # fmt: skip
        self.logic = SimpleNamespace(running=False, cancelled=0)
        self.logic.cancel = lambda: setattr(self.logic, "cancelled", self.logic.cancelled + 1)
        self.errors, self.updates, self.events = [], [], []
        application = Application(lambda: ready, self.errors.append, lambda: self.events.append(1))
        self.panel = Panel(
            self.ui, self.logic, application, ("inputs",), "Measure", lambda: self.updates.append(1)
        )


@pytest.fixture
def made():
    return Made()


def outcome(text="40°."):
    return SimpleNamespace(summary=lambda: text, warnings=["Look at T4."])


def test_a_run_opens_and_closes_the_panel_and_shows_its_outcome(made):
    seen, ui = [], made.ui

    def work():
        seen.append((ui.applyButton.text, ui.applyButton.enabled, ui.progressBar.visible,
                     ui.inputsCollapsibleButton.enabled))  # fmt: skip
        made.panel.onProgress(Report("find", 0.5, "looking", 1.0, 3.0))
        seen.append((ui.progressBar.value, ui.statusLabel.text))
        return outcome()

    taken = []
    assert made.panel.run(work, taken.append).summary() == "40°."
    assert seen == [("Cancel", True, True, False), (50, "looking – about 3 s left")]
    assert (ui.applyButton.text, ui.progressBar.visible) == ("Measure", False)
    assert ui.inputsCollapsibleButton.enabled
    assert ui.statusLabel.text == "40°.\nLook at T4."
    assert len(taken) == len(made.updates) == len(made.events) == 1


def test_cancel_is_said_at_once_and_at_the_end(made):
    def work():
        made.panel.cancel()
        assert (made.ui.statusLabel.text, made.ui.applyButton.enabled) == ("Cancelling…", False)
        made.panel.onProgress(Report("find", 0.5, "looking", 1.0, None))
        assert made.ui.statusLabel.text == "Cancelling…"
        raise CancelledError()

    assert made.panel.run(work) is None
    assert made.logic.cancelled == 1
    assert made.ui.statusLabel.text == str(CancelledError())
    assert made.errors == []


def test_an_error_frees_the_panel_and_is_shown_with_its_details(made):
    def work():
        raise ZeroDivisionError("by zero")

    assert made.panel.run(work) is None
    assert made.ui.applyButton.text == "Measure"
    assert "ZeroDivisionError: by zero" in made.ui.statusLabel.text
    assert "Traceback" in made.errors[0].details
    made.panel.attempt(work)
    assert len(made.errors) == 2


def test_short_actions_say_what_there_is_to_say(made):
    made.panel.attempt(lambda: ["Written.", "All of it."])
    assert made.ui.statusLabel.text == "Written.\nAll of it."

    def refused():
        raise InputError("No.", "Do this.")

    made.panel.attempt(refused)
    assert made.ui.statusLabel.text == "No. Do this."
    assert made.errors == []


def test_a_button_says_why_it_cannot_be_pressed(made):
    button = SimpleNamespace(enabled=None, toolTip="")
    Panel.offer(button, "Choose a film.", "Measure it.")
    assert (button.enabled, button.toolTip) == (False, "Choose a film.")
    Panel.offer(button, "", "Measure it.")
    assert (button.enabled, button.toolTip) == (True, "Measure it.")


def test_nothing_runs_without_its_packages():
    made = Made(ready=False)
    assert made.panel.run(lambda: pytest.fail("ran")) is None
    assert made.ui.applyButton.text == "Measure"


def test_a_panel_that_was_closed_during_a_run_is_left_alone(made):
    def work():
        made.panel.close()
        made.panel.onProgress(Report("find", 0.5, "looking", 1.0, None))
        return outcome()

    before = made.ui.statusLabel.text
    made.panel.run(work)
    assert made.ui.statusLabel.text == before
    assert made.updates == []
