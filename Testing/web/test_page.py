"""What the page is told of work: one thing at a time, and every error as a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from spineseg.errors import CancelledError, InputError
from SpineSegWeb.page import Page
from SpineSegWeb.waiting import wait_for


class State(SimpleNamespace):
    """Stands for trame's state: attributes, `update`, and a block that sends what changed."""

    def update(self, values: dict[str, Any]) -> None:
        vars(self).update(values)

    def __enter__(self) -> State:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Tried(Page):
    """A page that counts how often it was brought up to date, with actions to try."""

    refreshed = 0

    def _refresh(self) -> None:
        self.refreshed += 1

    async def breaks(self) -> None:
        raise ZeroDivisionError("inside\nwith more lines")


def run(work: Callable[[Tried], Awaitable[Any]]) -> tuple[Tried, Any]:
    """Run something on a page's own loop."""

    async def all_of_it() -> tuple[Tried, Any]:
        page = Tried(State())
        return page, await work(page)

    return asyncio.run(asyncio.wait_for(all_of_it(), 20))


def failing(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_work_gives_its_result_and_frees_the_page() -> None:
    page, outcome = run(lambda page: page._work("segment", lambda: 42))
    assert outcome == (True, 42)
    assert (page.state.busy, page.state.message_open, page.refreshed) == ("", False, 1)


def test_errors_become_one_sentence_and_free_the_page() -> None:
    for error, kind, sentence in (
        (InputError("It is empty.", "Choose another."), "error", "It is empty. Choose another."),
        (CancelledError(), "note", "The work was cancelled."),
        (ZeroDivisionError("a\nb"), "error", "Something unexpected went wrong"),
    ):
        page, outcome = run(lambda page, error=error: page._work("open", failing(error)))
        assert outcome == (False, None)
        assert page.state.message.startswith(sentence)
        assert "\n" not in page.state.message
        assert (page.state.message_kind, page.state.busy) == (kind, "")
        assert page.state.message_open
        assert page.refreshed == 1


def test_one_thing_is_done_at_a_time() -> None:
    async def two(page: Tried) -> list[tuple[bool, Any]]:
        first = asyncio.ensure_future(
            page._work("segment", lambda: wait_for(asyncio.sleep(0.05, "first")))
        )
        await asyncio.sleep(0.01)
        assert page.state.busy == "segment"
        return [await page._work("export", lambda: "second"), await first]

    page, outcomes = run(two)
    assert outcomes == [(False, None), (True, "first")]
    assert page.refreshed == 1


def test_an_action_that_breaks_is_told_too() -> None:
    async def act(page: Tried) -> None:
        page._action("breaks")()
        await asyncio.sleep(0.05)

    page, _ = run(act)
    assert "ZeroDivisionError: inside" in page.state.message
    assert "Traceback" not in page.state.message
