"""Qt objects as PythonQt shows them to Slicer's Python code.

PythonQt and PySide6 differ in what a name on an object means. Here a name is looked up as
PythonQt does: property (its value), method, signal, dynamic property, child of that object name.
What is not on the list of the real classes' interface (`interfaces.json`) does not exist.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import shiboken6
from PySide6 import QtCore

from standin import interfaces

TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool, int),
    "int": (int,),
    "double": (int, float),
    "string": (str,),
    "strings": (list, tuple),
    "size": (QtCore.QSize,),
}
_CLASSES: dict[str, type[Wrapper]] = {}
_FACTORIES: dict[str, Callable[..., QtCore.QObject]] = {}
_KNOWN: dict[int, QtCore.QObject] = {}


class Wrapper:
    """A Qt object as PythonQt shows it; its subclasses are the classes of `qt`, `ctk`, `slicer`."""

    qtClass = "QObject"

    def __init__(self, *arguments: Any) -> None:
        factory = _FACTORIES.get(self.qtClass)
        if factory is None:
            raise NotImplementedError(f"the stand-in can't make a {self.qtClass}")
        self.__dict__["_qt"] = factory(*[unwrap(a) for a in arguments])

    def _alive(self, doing: str) -> QtCore.QObject:
        qt: QtCore.QObject = self.__dict__["_qt"]
        if not shiboken6.isValid(qt):
            raise ValueError(f"Trying to {doing} a destroyed {self.qtClass} object")
        return qt

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        qt = self._alive(f"access '{name}' of")
        kind = interfaces.kindOf(self.qtClass, name)
        if kind == "property":
            return _python(qt.property(interfaces.ALIASES.get(name, name)))
        if kind == "method":
            return Slot(self, name)
        if kind == "signal":
            return Signal(self, name)
        if name.encode() in [bytes(p.data()) for p in qt.dynamicPropertyNames()]:
            return _python(qt.property(name))
        for child in qt.children():
            if child.objectName() == name:
                return wrap(child)
        raise AttributeError(f"{self.qtClass} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        qt = self._alive(f"set '{name}' of")
        name = interfaces.ALIASES.get(name, name)
        kind = interfaces.kindOf(self.qtClass, name)
        if kind == "property":
            self._setProperty(qt, name, value)
        elif kind:
            raise AttributeError(f"{kind} '{name}' can not be overwritten on {self.qtClass} object")
        elif qt.property(name) is not None:
            qt.setProperty(name, value)
        else:
            raise AttributeError(
                f"'{name}' does not exist on {self.qtClass} and creating new attributes on C++ "
                "objects is not allowed"
            )

    def _setProperty(self, qt: QtCore.QObject, name: str, value: Any) -> None:
        kind, _, access = interfaces.properties(self.qtClass)[name].partition(":")
        if access:
            raise AttributeError(f"Property '{name}' of {self.qtClass} object is not writable")
        if kind in TYPES and not isinstance(value, TYPES[kind]):
            raise AttributeError(
                f"Property '{name}' of type '{kind}' does not accept an object of type "
                f"{type(value).__name__}"
            )
        if isinstance(value, bool) and kind in {"int", "double", "string"}:
            raise AttributeError(f"Property '{name}' of type '{kind}' does not accept a bool")
        if kind == "double":
            value = float(value)
        if kind == "bool":
            value = bool(value)
        if qt.metaObject().indexOfProperty(name) < 0:
            raise NotImplementedError(f"the stand-in has no {self.qtClass}.{name}")
        if not qt.setProperty(name, value):
            raise AttributeError(f"Property '{name}' of {self.qtClass} does not accept {value!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapper) and self.__dict__["_qt"] is other.__dict__["_qt"]

    def __hash__(self) -> int:
        return hash(id(self.__dict__["_qt"]))

    def __bool__(self) -> bool:
        return shiboken6.isValid(self.__dict__["_qt"])

    def __repr__(self) -> str:
        qt = self.__dict__["_qt"]
        where = f"at {id(qt):#x}" if shiboken6.isValid(qt) else "that is destroyed"
        return f"{self.qtClass} (stand-in, {where})"

    # What PythonQt adds to every QObject, in its own way.

    def connect(self, signature: str, slot: Callable[..., Any]) -> bool:
        """Connect a signal by its signature, such as ``clicked(bool)``."""
        self._alive("connect")
        name, count = interfaces.resolveSignal(self.qtClass, signature)
        return Signal(self, name, count).connect(slot)

    def disconnect(self, signature: str, slot: Callable[..., Any]) -> bool:
        """Take a connection back."""
        self._alive("disconnect")
        name, count = interfaces.resolveSignal(self.qtClass, signature)
        return Signal(self, name, count).disconnect(slot)

    def className(self) -> str:
        """Return the name of the C++ class."""
        return self.qtClass

    def findChildren(self, kind: type[Wrapper], name: str = "") -> list[Any]:
        """Return the children of a class, at any depth."""
        found = self._alive("search").findChildren(QtCore.QObject)
        wrapped = [wrap(child) for child in found]
        return [w for w in wrapped if isinstance(w, kind) and name in ("", w.objectName)]


class Slot:
    """A method of a Qt object."""

    def __init__(self, owner: Wrapper, name: str) -> None:
        self._owner, self._name = owner, name

    def __call__(self, *arguments: Any) -> Any:
        qt = self._owner._alive(f"call '{self._name}' of")
        method = getattr(qt, self._name, None)
        if method is None:
            raise NotImplementedError(f"the stand-in has no {self._owner.qtClass}.{self._name}()")
        return _python(method(*[unwrap(a) for a in arguments]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slot) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._owner, self._name))


class Signal:
    """A signal of a Qt object, with all or `count` of its arguments; calling it emits it."""

    def __init__(self, owner: Wrapper, name: str, count: int | None = None) -> None:
        self._owner, self._name, self._count = owner, name, count

    def _bound(self) -> Any:
        qt = self._owner._alive(f"connect '{self._name}' of")
        signal = getattr(qt, self._name, None)
        if signal is None:
            raise NotImplementedError(f"the stand-in has no {self._owner.qtClass}.{self._name}")
        return signal

    def connect(self, slot: Callable[..., Any]) -> bool:
        """Call `slot` with as many of the signal's arguments as it takes."""
        if not callable(slot):
            raise TypeError(f"{self._name} can't be connected to {slot!r}")
        relay = _relay(slot, self._count)
        self._bound().connect(relay)
        self._relays().append((self._name, slot, relay))
        return True

    def disconnect(self, slot: Callable[..., Any]) -> bool:
        """Take a connection back; whether there was one."""
        relays = self._relays()
        for row in relays:
            if row[0] == self._name and row[1] == slot:
                self._bound().disconnect(row[2])
                relays.remove(row)
                return True
        return False

    def __call__(self, *arguments: Any) -> None:
        self._bound().emit(*[unwrap(a) for a in arguments])

    def _relays(self) -> list[tuple[str, Any, Any]]:
        # Connections live as long as the object that sends.
        relays: list[Any] = self._owner.__dict__["_qt"].__dict__.setdefault("_relays", [])
        return relays


def _relay(slot: Callable[..., Any], count: int | None = None) -> Callable[..., None]:
    """Return what calls Python from a signal as PythonQt does; errors go to `sys.excepthook`."""
    takes = _argumentsOf(slot)

    # A function, for PySide6 forgets a method whose object nobody else holds.
    def call(*arguments: Any) -> None:
        wrapped = [_python(a) for a in arguments]
        try:
            slot(*wrapped[:count][:takes])
        # Slicer prints the error and goes on; the tests want to know of it.
        except Exception:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]

    return call


def _argumentsOf(slot: Callable[..., Any]) -> int | None:
    """Return how many arguments PythonQt gives at most; None for all."""
    function = slot.__func__ if isinstance(slot, MethodType) else slot
    if not isinstance(function, FunctionType) or function.__code__.co_flags & 0x04:
        return None
    return function.__code__.co_argcount - isinstance(slot, MethodType)


def later(milliseconds: int, slot: Callable[..., Any]) -> None:
    """Stand in for QTimer.singleShot."""
    QtCore.QTimer.singleShot(milliseconds, _relay(slot))


def wrap(qt: QtCore.QObject | None) -> Any:
    """Return the PythonQt view of a Qt object."""
    if qt is None:
        return None
    # PySide6's own object must stay the same as long as Qt's does.
    pointer = shiboken6.getCppPointer(qt)[0]
    known = _KNOWN.get(pointer)
    qt = _KNOWN[pointer] = known if known is not None and shiboken6.isValid(known) else qt
    wrapper = _classOf(qt).__new__(_classOf(qt))
    wrapper.__dict__["_qt"] = qt
    return wrapper


def forget() -> None:
    """Let go of all Qt objects."""
    _KNOWN.clear()


def unwrap(value: Any) -> Any:
    """Return the Qt object behind a wrapper; anything else as it is."""
    if isinstance(value, Wrapper):
        return value._alive("use")
    return value


def _python(value: Any) -> Any:
    if isinstance(value, QtCore.QObject):
        return wrap(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_python(v) for v in value)
    if isinstance(value, QtCore.QByteArray):
        return bytes(value.data())
    return value


def classNamed(name: str, factory: Callable[..., QtCore.QObject] | None = None) -> type[Wrapper]:
    """Return the Python class of a Qt class on the list."""
    if factory is not None:
        _FACTORIES[name] = factory
    if name not in _CLASSES:
        extends = interfaces.classes()[name].get("extends")
        base = classNamed(extends) if extends else Wrapper
        _CLASSES[name] = type(name, (base,), {"qtClass": name})
    return _CLASSES[name]


def _classOf(qt: QtCore.QObject) -> type[Wrapper]:
    """Return the class that is nearest to what an object is."""
    meta = qt.metaObject()
    while meta is not None:
        if meta.className() in interfaces.classes():
            return classNamed(meta.className())
        meta = meta.superClass()
    return classNamed("QObject")
