"""Work that waits, on the thread of the event loop, without stopping the loop.

The Logic of layer 2 is written for a program that handles its events while it waits: in Slicer, a
callback does. Here the loop itself must run on, and nodes may be touched by its thread alone. So
the work runs in a greenlet of that thread: where it waits for a child process, it is set aside,
and the loop goes on (docs/adr/0003).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

__all__ = ["breathe", "in_thread", "on_loop", "wait_for"]

T = TypeVar("T")


async def on_loop(work: Callable[[], T]) -> T:
    """Run `work` on this thread and return its result; while it waits, the loop goes on.

    It waits by `wait_for`, however deep below. Its error is raised here.
    """
    inner = greenlet(work)
    asked = inner.switch()
    while not inner.dead:
        try:
            answer = await asked
        # Whatever went wrong belongs to the work, which knows what to do about it.
        except BaseException as error:  # noqa: BLE001
            asked = inner.throw(error)
        else:
            asked = inner.switch(answer)
    result: T = asked
    return result


def wait_for(awaitable: Awaitable[T]) -> T:
    """Wait for an awaitable inside of work that `on_loop` runs, and return its result.

    Raises
    ------
    RuntimeError
        The caller is not run by `on_loop`.
    """
    outer = getcurrent().parent
    if outer is None:
        raise RuntimeError("only work that on_loop runs can wait")
    answer: T = outer.switch(awaitable)
    return answer


def in_thread(function: Callable[..., T]) -> Callable[..., T]:
    """Return a function that calls `function` in a thread and waits for it.

    For functions that touch no node: the work on files and with child processes.
    """

    def waiting(*arguments: Any, **named: Any) -> T:
        return wait_for(asyncio.to_thread(function, *arguments, **named))

    return waiting


def breathe(*_: Any) -> None:
    """Let the loop handle what has happened meanwhile; for the progress of work on nodes."""
    wait_for(asyncio.sleep(0))
