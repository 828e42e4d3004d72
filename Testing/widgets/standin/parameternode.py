"""Slicer's parameter node wrapper, as far as the panels use it, written from its documentation.

Values are kept in the node as Slicer keeps them, and are cached and validated as there. As in
Slicer 5.10, `connectGui` returns nothing that could be given to `disconnectGui`, and what it
observes stays observed (github.com/Slicer/Slicer/issues/7547).
"""

from __future__ import annotations

import enum
import pathlib
import typing
import weakref
from typing import Any

import slicer
import vtk

PROPERTY = "SlicerParameterName"


class Validator:
    """Refuses a value."""

    def check(self, value: Any) -> None:
        """Raise ValueError where the value is refused."""


class _Bounds(Validator):
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


class WithinRange(_Bounds):
    """A number from `minimum` to `maximum`."""

    def check(self, value: Any) -> None:
        """Refuse a number outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within [{self.minimum}, {self.maximum}], is {value}")


class RangeBounds(_Bounds):
    """A range inside `minimum` to `maximum`."""

    def check(self, value: Any) -> None:
        """Refuse a range that reaches beyond."""
        if not (self.minimum <= value.minimum and value.maximum <= self.maximum):
            raise ValueError(f"Range must be within [{self.minimum}, {self.maximum}], is {value}")


class Choice(Validator):
    """One of a list."""

    def __init__(self, choices: list[Any]) -> None:
        self.choices = choices

    def check(self, value: Any) -> None:
        """Refuse what is not on the list."""
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


class Default:
    """The value of a parameter that was never set."""

    def __init__(self, value: Any) -> None:
        self.value = value


class FloatRange:
    """Two numbers in order."""

    def __init__(self, minimum: float = 0, maximum: float = 0) -> None:
        if not minimum <= maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")
        self.minimum, self.maximum = minimum, maximum

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FloatRange) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"FloatRange(minimum={self.minimum}, maximum={self.maximum})"


def _isNode(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


class _Parameter:
    """One parameter: how it is kept in a node."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.name, self.annotated = name, annotated
        self.kind, *notes = (
            typing.get_args(annotated)
            if typing.get_origin(annotated) is typing.Annotated
            else (annotated,)
        )
        self.validators = [n for n in notes if isinstance(n, Validator)]
        known = (bool, int, float, str, pathlib.Path, FloatRange)
        if not (self.kind in known or _isNode(self.kind) or self._isEnum()):
            raise NotImplementedError(f"the stand-in keeps no {self.kind} in a parameter node")
        given = [n.value for n in notes if isinstance(n, Default)]
        if hasattr(owner, name):
            self.default = getattr(owner, name)
        else:
            self.default = given[0] if given else self._plainDefault()
        self.write(None, self.default)  # a default that is refused is an error at once

    def _isEnum(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)

    def _plainDefault(self) -> Any:
        if _isNode(self.kind):
            return None
        return next(iter(self.kind)) if self._isEnum() else self.kind()

    def isIn(self, node: Any) -> bool:
        if self.kind is FloatRange:
            return bool(node.HasParameter(f"{self.name}.minimum"))
        return bool(node.HasParameter(self.name))

    def read(self, node: Any) -> Any:
        if not self.isIn(node):
            self.write(node, self.default)
        if _isNode(self.kind):
            return node.GetNodeReference(self.name)
        if self.kind is FloatRange:
            ends = (node.GetParameter(f"{self.name}.{end}") for end in ("minimum", "maximum"))
            return FloatRange(*(float(end) for end in ends))
        text = node.GetParameter(self.name)
        if self._isEnum():
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)

    def write(self, node: Any, value: Any) -> None:
        kinds = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kinds) and not (value is None and _isNode(self.kind)):
            raise TypeError(f"{self.name} must be of type {self.kind}, is {value!r}")
        for validator in self.validators:
            validator.check(value)
        if node is None:
            return
        if _isNode(self.kind):
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        elif self.kind is FloatRange:
            with slicer.util.NodeModify(node):
                node.SetParameter(f"{self.name}.minimum", str(value.minimum))
                node.SetParameter(f"{self.name}.maximum", str(value.maximum))
        else:
            node.SetParameter(self.name, value.name if self._isEnum() else str(value))


class _Cached:
    """A parameter in a node, read again when the node changes."""

    def __init__(self, parameter: _Parameter, node: Any) -> None:
        self.parameter, self.node = parameter, node
        self.value = parameter.read(node)
        self.writing = False
        ref = weakref.ref(self)

        def onModified(caller: Any, event: str) -> None:
            cached = ref()
            if cached is not None and not cached.writing:
                cached.value = cached.parameter.read(cached.node)

        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, onModified)

    def __del__(self) -> None:
        self.node.RemoveObserver(self._tag)

    def read(self) -> Any:
        if self.parameter.kind is FloatRange:  # can be changed in place, so it is not cached
            return self.parameter.read(self.node)
        return self.value

    def write(self, value: Any) -> None:
        self.writing = True
        try:
            # The new value is there before any observer asks for it.
            with slicer.util.NodeModify(self.node):
                self.parameter.write(self.node, value)
                self.value = self.parameter.read(self.node)
        finally:
            self.writing = False


class _Wrapped:
    """What the decorator adds to a class."""

    allParameters: dict[str, _Parameter] = {}

    def __init__(self, node: Any, prefix: str | None = None) -> None:
        if prefix is not None:
            raise NotImplementedError("the stand-in has no prefixes of parameters")
        self.parameterNode = node
        self._connected: dict[int, dict[str, Any]] = {}
        self._next = 0
        self._showing = False
        for name, parameter in self.allParameters.items():
            self.__dict__[f"_{name}_impl"] = _Cached(parameter, node)

    def getValue(self, name: str) -> Any:
        """Return a parameter."""
        return self.__dict__[f"_{name}_impl"].read()

    def setValue(self, name: str, value: Any) -> None:
        """Set a parameter."""
        self.__dict__[f"_{name}_impl"].write(value)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets to parameters by name; the number returned is for `disconnectGui`."""
        from standin.connectors import makeConnector

        for name in mapping:
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
        connectors = {
            name: makeConnector(widget, self.allParameters[name])
            for name, widget in mapping.items()
        }
        tag, self._next = self._next, self._next + 1
        self._connected[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._toParameter(name, connector))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._toGui())
        return tag

    def _toParameter(self, name: str, connector: Any) -> Any:
        def callback() -> None:
            with slicer.util.NodeModify(self):
                if not self._showing:
                    self.setValue(name, connector.read())

        return callback

    def _toGui(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._connected.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._showing = False

    def connectGui(self, gui: Any) -> None:
        """Bind the widgets of a panel that name a parameter; see the module's docstring."""
        named = {w.property(PROPERTY): w for w in gui.__dict__.values() if w.property(PROPERTY)}
        self.connectParametersToGui(named)

    def disconnectGui(self, tag: int | None) -> None:
        """Take back what `connectParametersToGui` bound; any other number does nothing."""
        for connector in self._connected.pop(tag, {}).values():  # type: ignore[arg-type]
            connector.onChanged(None)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        """Observe the node."""
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        """Observe it no more."""
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        """Hold the node's events back."""
        return int(self.parameterNode.StartModify())

    def EndModify(self, wasModifying: int) -> None:
        """Send them."""
        self.parameterNode.EndModify(wasModifying)

    def Modified(self) -> None:
        """Tell that the node has changed."""
        self.parameterNode.Modified()


def _property(name: str) -> property:
    return property(
        lambda self: self.getValue(name), lambda self, value: self.setValue(name, value)
    )


def parameterNodeWrapper(described: type) -> type:
    """Make a typed view of a parameter node from a class that describes it."""
    hints = typing.get_type_hints(described, include_extras=True)
    parameters = {name: _Parameter(described, name, hint) for name, hint in hints.items()}
    for name in parameters:
        if hasattr(_Wrapped, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    body = {name: _property(name) for name in parameters}
    body |= {"allParameters": parameters, "__module__": described.__module__}  # type: ignore[dict-item]
    return type(described.__name__, (_Wrapped,), {**body, "__doc__": described.__doc__})
