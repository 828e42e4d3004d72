"""What the real classes have: properties, signals and methods, from `interfaces.json`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[1] / "interfaces.json"
# PythonQt's own name for it on every object.
ALIASES = {"name": "objectName"}


@functools.cache
def classes() -> dict[str, dict[str, Any]]:
    """Return what the file says of each class."""
    content: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))["classes"]
    return content


def lineage(name: str) -> list[str]:
    """Return a class and its bases, itself first."""
    found = []
    while name:
        found.append(name)
        name = classes()[name].get("extends", "")
    return found


@functools.cache
def properties(name: str) -> dict[str, str]:
    """Return the type of each property of a class, with ``:read`` where it can't be set."""
    return {p: kind for c in reversed(lineage(name)) for p, kind in _part(c, "properties")}


def _part(name: str, part: str) -> list[tuple[str, str]]:
    return list(classes()[name].get(part, {}).items())


@functools.cache
def signals(name: str) -> dict[str, list[str]]:
    """Return the signatures of each signal of a class, such as ``clicked(bool)``."""
    found: dict[str, list[str]] = {}
    for base in reversed(lineage(name)):
        for signature in classes()[base].get("signals", []):
            found.setdefault(signature.partition("(")[0], []).append(signature)
    return found


@functools.cache
def methods(name: str) -> frozenset[str]:
    """Return the methods and slots of a class that Python can call."""
    return frozenset(m for c in lineage(name) for m in classes()[c].get("methods", []))


def enums(name: str, prop: str) -> list[str]:
    """Return the values that a form may give to a property; empty where none are listed."""
    for base in lineage(name):
        if prop in classes()[base].get("enums", {}):
            return list(classes()[base]["enums"][prop])
    return []


def kindOf(name: str, attribute: str) -> str:
    """Return "property", "signal" or "method", in the order that PythonQt looks; "" if none."""
    attribute = ALIASES.get(attribute, attribute)
    if attribute in properties(name):
        return "property"
    if attribute in methods(name):
        return "method"
    return "signal" if attribute in signals(name) else ""


def resolveSignal(name: str, signature: str) -> tuple[str, int]:
    """Return the name of the signal with a signature, and how many arguments it then gives.

    Raises
    ------
    ValueError
        The class has no such signal.
    """
    signal, _, rest = signature.replace(" ", "").partition("(")
    wanted = [a for a in rest.removesuffix(")").split(",") if a]
    for known in signals(name).get(signal, []):
        has = [a for a in known.partition("(")[2].removesuffix(")").split(",") if a]
        # Qt makes a second signature of a signal whose arguments have defaults; clicked() is one.
        if wanted == has or (not wanted and signal in {"clicked", "triggered", "finished"}):
            return signal, len(wanted)
    raise ValueError(f"{name} has no signal {signature}")
