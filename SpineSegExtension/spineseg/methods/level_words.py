"""Says a naming in words: short for a user, and the same words for the same naming."""

from __future__ import annotations

from collections.abc import Sequence

from spineseg.labels import VERTEBRAE

__all__ = ["remarks", "skips", "spell", "unsure"]

POSSIBLE = 0.005
"""Other namings are stated from this probability on."""

_MOST = 3
_PLACE = {level.name: n for n, level in enumerate(VERTEBRAE)}
_RARE = ("T13", "L6")


def spell(names: Sequence[str]) -> str:
    """Return a naming in short, such as "T3–L4 with T13" or "T9–L5 without T12".

    Parameters
    ----------
    names : sequence of str
        From the top; levels that a spine need not have are said, and levels left out.
    """
    if not names:
        return "nothing"
    text = names[0] if len(names) == 1 else f"{names[0]}–{names[-1]}"
    places = [_PLACE[name] for name in names if name in _PLACE]
    between = VERTEBRAE[min(places, default=0) : max(places, default=-1) + 1]
    rare = [name for name in _RARE if name in names]
    out = [v.name for v in between if v.name not in names and v.name not in _RARE]
    text += f" with {' and '.join(rare)}" if rare else ""
    return text + (f" without {' and '.join(out)}" if out else "")


def skips(names: Sequence[str]) -> list[int]:
    """Indices of the vertebrae whose lower neighbour is missing from a naming."""
    result = []
    for n, (upper, lower) in enumerate(zip(names[:-1], names[1:], strict=True)):
        follows = {
            "C7": ("T1",), "T11": ("T12", "L1"), "T12": ("L1", "T13"), "T13": ("L1",)
        }.get(upper, (f"{upper[0]}{int(upper[1:]) + 1}",))  # fmt: skip
        if lower not in follows:
            result.append(n)
    return result


def remarks(
    names: Sequence[str],
    overlooked: Sequence[int],
    alternatives: Sequence[tuple[list[str], float]],
) -> list[str]:
    """Return what a user should know of a naming that is given."""
    said = [f"Between {names[n]} and {names[n + 1]} a vertebra was not found." for n in overlooked]
    rare = [name for name in names if name in _RARE]
    if rare:
        said.append(
            f"The spine seems to have an additional vertebra ({', '.join(rare)}): "
            "check the count before any use."
        )
    below = dict(zip(names[:-1], names[1:], strict=True))
    if below.get("T11") == "L1":
        said.append("The spine seems to have only 11 thoracic vertebrae: check the count.")
    others = [(other, chance) for other, chance in alternatives[1:] if chance >= POSSIBLE]
    if others:
        text = ", or ".join(f"{spell(other)} ({chance:.0%})" for other, chance in others[:_MOST])
        said.append(f"Instead of {spell(names)}, this is possible too: {text}.")
    return said


def unsure(
    alternatives: Sequence[tuple[list[str], float]],
    missing: Sequence[str],
    named: Sequence[str] = (),
) -> str:
    """Say why no name is given, or only some are, and what the names could be."""
    likely = [a for n, a in enumerate(alternatives[:_MOST]) if n < 2 or a[1] >= POSSIBLE]
    options = " or ".join(f"{spell(names)} ({chance:.0%})" for names, chance in likely)
    because = f": {', '.join(missing)}" if missing else ""
    if named:
        return f"Only {spell(named)} can be named{because}; together it could be {options}."
    return f"The levels are unsure, so no vertebra is named{because}; it could be {options}."
