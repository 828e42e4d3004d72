"""Work that waits on the loop's own thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from SpineSegWeb.waiting import breathe, in_thread, on_loop, wait_for


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 20))


def test_the_loop_goes_on_while_work_waits_and_nodes_see_one_thread() -> None:
    seen: list[str] = []
    threads: list[threading.Thread] = []

    def slow(number: int) -> int:
        threads.append(threading.current_thread())
        time.sleep(0.1)
        return number + 1

    def work() -> int:
        threads.append(threading.current_thread())
        result = in_thread(slow)(41)
        threads.append(threading.current_thread())
        return result

    async def both() -> int:
        async def tick() -> None:
            while True:
                seen.append("tick")
                await asyncio.sleep(0.01)

        ticking = asyncio.ensure_future(tick())
        result = await on_loop(work)
        ticking.cancel()
        return int(result)

    assert run(both) == 42
    assert len(seen) > 2
    before, other, after = threads
    assert before is after is threading.main_thread()
    assert other is not before


def test_errors_of_the_thread_reach_the_work_and_its_own_reach_the_caller() -> None:
    def fails() -> None:
        raise ValueError("in the thread")

    caught: list[str] = []

    def work() -> None:
        try:
            in_thread(fails)()
        except ValueError as error:
            caught.append(str(error))
        raise KeyError("of the work")

    with pytest.raises(KeyError, match="of the work"):
        run(lambda: on_loop(work))
    assert caught == ["in the thread"]


def test_two_pieces_of_work_wait_side_by_side() -> None:
    order: list[str] = []

    def work(name: str, seconds: float) -> None:
        order.append(f"{name} begins")
        wait_for(asyncio.sleep(seconds))
        breathe()
        order.append(f"{name} ends")

    async def both() -> None:
        await asyncio.gather(
            on_loop(lambda: work("long", 0.2)), on_loop(lambda: work("short", 0.01))
        )

    run(both)
    assert order == ["long begins", "short begins", "short ends", "long ends"]


def test_waiting_elsewhere_is_refused() -> None:
    done = asyncio.sleep(0)
    try:
        with pytest.raises(RuntimeError, match="on_loop"):
            wait_for(done)
    finally:
        done.close()
