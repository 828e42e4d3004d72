"""What a .ui file asks for, held against the list of the real classes' interfaces. Needs no Qt."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from standin import interfaces

# Not looked at by name: Qt sets them itself.
PASSIVE = {"geometry", "sizeHint", "orientation", "sizePolicy"}


class FormError(Exception):
    """A form asks for what the real classes do not have."""


def checkForm(root: ElementTree.Element) -> list[str]:
    """Return what a form asks for that the real classes do not have."""
    problems = []
    kinds = {}
    for widget in root.iter("widget"):
        kind, name = widget.get("class", ""), widget.get("name", "")
        kinds[name] = kind
        if kind not in interfaces.classes():
            problems.append(f"{name}: no class {kind}")
            continue
        for prop in widget.findall("property"):
            problems += _checkProperty(kind, name, prop)
    for row in root.iter("connection"):
        part = {p.tag: p.text or "" for p in row}
        sender, receiver = kinds.get(part["sender"], ""), kinds.get(part["receiver"], "")
        signal, slot = part["signal"], part["slot"]
        name = signal.partition("(")[0]
        if not sender or signal not in interfaces.signals(sender).get(name, []):
            problems.append(f"{part['sender']}: no signal {signal}")
        if not receiver or slot.partition("(")[0] not in interfaces.methods(receiver):
            problems.append(f"{part['receiver']}: no slot {slot}")
    return problems


def _checkProperty(kind: str, name: str, prop: ElementTree.Element) -> list[str]:
    key = prop.get("name", "")
    if prop.get("stdset") == "0" or key in PASSIVE:
        return []
    if key not in interfaces.properties(kind):
        return [f"{name}: {kind} has no property {key}"]
    value = prop.find("enum") if prop.find("enum") is not None else prop.find("set")
    if value is None:
        return []
    words = (value.text or "").split("|")
    return [f"{name}: {key} can't be {w}" for w in words if w not in interfaces.enums(kind, key)]
