"""Levels counted from a vertebra whose level a user has named."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from spineseg.errors import InputError
from spineseg.labels import FIRST_UNSURE, LAST_UNSURE, VERTEBRAE, by_name
from spineseg.methods.slips import Slip

__all__ = ["checked_level", "column_of", "count_from"]

_RARE = ("T13", "L6")


def checked_level(name: str) -> str:
    """Return a level's name as the table has it.

    Raises
    ------
    InputError
        No vertebra is called so.
    """
    known = {level.name.upper(): level.name for level in VERTEBRAE}
    found = known.get(name.strip().upper())
    if found is None:
        raise InputError(
            f"There is no vertebra called “{name}”.",
            f"Choose one from {VERTEBRAE[0].name} to {VERTEBRAE[-1].name}.",
        )
    return found


def column_of(named: Collection[str], no_t12: bool = False) -> list[str]:
    """Return a spine's levels from the top.

    T13 and L6 are in it only where they are among `named`; T12 is not where `no_t12`.
    """
    names = [level.name for level in VERTEBRAE]
    return [
        name
        for name in names
        if (name not in _RARE or name in named) and not (no_t12 and name == "T12")
    ]


def count_from(
    column: Sequence[str], start: int, level: str, n: int, slips: Sequence[Slip] = ()
) -> tuple[list[int], list[str]]:
    """Number vertebrae by counting from one of them.

    Parameters
    ----------
    column : sequence of str
        From `column_of`; holds `level`.
    start : int
        Index of the vertebra that is counted from.
    level : str
        Its name.
    n : int
        How many vertebrae there are, from the top.
    slips : sequence of Slip
        Gaps in which vertebrae are missing: their levels are left out.

    Returns
    -------
    labels : list of int
        VerSe ids; 101 … (by the place from the top) beyond the column's ends.
    warnings : list of str
    """
    step = [1] * max(n - 1, 0)
    for slip in slips:
        step[slip.upper] += max(slip.missing, 0)
    place = [0] * n
    place[start] = column.index(level)
    for index in range(start + 1, n):
        place[index] = place[index - 1] + step[index - 1]
    for index in range(start - 1, -1, -1):
        place[index] = place[index + 1] - step[index]
    labels, warnings = [], []
    for index, at in enumerate(place):
        inside = 0 <= at < len(column)
        unsure = min(FIRST_UNSURE + index, LAST_UNSURE)
        labels.append(by_name(column[at]).verse if inside else unsure)
    over = [
        (sum(at < 0 for at in place), "above", column[0]),
        (sum(at >= len(column) for at in place), "below", column[-1]),
    ]
    for count, where, last in over:
        if count:
            what = "a vertebra lies" if count == 1 else f"{count} vertebrae lie"
            warnings.append(
                f"Counting from {level}, {what} {where} {last} and got no name: check {level}, or"
                " name the additional vertebra (T13 or L6)."
            )
    for slip in slips:
        if slip.missing > 0:
            what = "one vertebra" if slip.missing == 1 else "two vertebrae"
            warnings.append(
                f"Between two vertebrae there is room for {what} not found ({slip.chance:.0%}):"
                " the count leaves it out."
            )
    return labels, warnings
