"""CTK's widgets, as far as the panels use them, on PySide6."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

BUTTON_HEIGHT = 24


def stored(kind: Any, name: str, default: Any, after: str = "") -> Any:
    """Return a property that is kept in the object; `after` names a method called on a change."""

    def read(self: Any) -> Any:
        return self.__dict__.get(f"_{name}", default)

    def write(self: Any, value: Any) -> None:
        self.__dict__[f"_{name}"] = value
        if after:
            getattr(self, after)()

    return QtCore.Property(kind, read, write)


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A title that hides what is below it."""

    contentsCollapsed = QtCore.Signal(bool)
    collapsedHeight = stored(int, "collapsedHeight", 10)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._folded = False
        self._busy = False
        self._shown: dict[QtWidgets.QWidget, bool] = {}
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, BUTTON_HEIGHT, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(lambda on: self._fold(not on))

    def _isCollapsed(self) -> bool:
        return self._folded

    def _setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _isCollapsed, _setCollapsed)

    def _fold(self, folded: bool) -> None:
        if folded == self._folded:
            return
        self._folded = folded
        self._busy = True
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            if folded:
                self._shown[child] = not child.isHidden()
                child.hide()
            else:
                child.setVisible(self._shown.get(child, not child.isHidden()))
        self._busy = False
        self.setMaximumHeight(BUTTON_HEIGHT if folded else 16777215)
        self.updateGeometry()
        self.contentsCollapsed.emit(folded)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """Watch whether others show or hide a child."""
        child = event.child()
        if event.added() and child.isWidgetType():
            child.installEventFilter(self)
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Remember that a child is to be seen, and keep it hidden while collapsed."""
        if event.type() == QtCore.QEvent.ShowToParent and self._folded and not self._busy:
            self._busy = True
            self._shown[child] = True
            child.hide()
            self._busy = False
        return False

    def sizeHint(self) -> QtCore.QSize:
        """Return room for the title and, if unfolded, the rest."""
        layout = self.layout()
        if self._folded or layout is None:
            return QtCore.QSize(200, BUTTON_HEIGHT)
        return layout.sizeHint() + QtCore.QSize(0, BUTTON_HEIGHT)

    def minimumSizeHint(self) -> QtCore.QSize:
        """Return the same as `sizeHint` in height."""
        layout = self.layout()
        if self._folded or layout is None:
            return QtCore.QSize(80, BUTTON_HEIGHT)
        return layout.minimumSize() + QtCore.QSize(0, BUTTON_HEIGHT)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Draw the title."""
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), BUTTON_HEIGHT - 2)
        option.text = f"{'▸' if self._folded else '▾'} {self.text()}"
        painter = QtWidgets.QStylePainter(self)
        painter.drawControl(QtWidgets.QStyle.CE_PushButton, option)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box over one number, which is rounded to the spin box's decimals."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    pageStep = stored(float, "pageStep", 10.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._slider.setRange(0, 1000)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider)
        row.addWidget(self._spin)
        self._spin.valueChanged.connect(self._onValue)
        self._slider.valueChanged.connect(self._onSlider)

    def _onValue(self, value: float) -> None:
        self._follow()
        self.valueChanged.emit(value)

    def _follow(self) -> None:
        """Put the slider to where the number is in its range."""
        low, span = self._spin.minimum(), self._spin.maximum() - self._spin.minimum()
        self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (self._spin.value() - low) / span) if span else 0)
        self._slider.blockSignals(False)

    def _setEnd(self, setter: Callable[[float], None], end: float) -> None:
        setter(end)
        self._follow()

    def _onSlider(self, position: int) -> None:
        span = self._spin.maximum() - self._spin.minimum()
        self._spin.setValue(self._spin.minimum() + span * position / 1000)

    def setValue(self, value: float) -> None:
        """Set the number; it is brought into the range."""
        self._spin.setValue(value)

    def reset(self) -> None:
        """Set it to zero."""
        self._spin.setValue(0.0)

    def setSpinBoxVisible(self, visible: bool) -> None:
        """Show or hide the spin box."""
        self._spin.setVisible(visible)

    decimals = QtCore.Property(int, lambda s: s._spin.decimals(), lambda s, v: _decimals(s, v))
    maximum = QtCore.Property(
        float, lambda s: s._spin.maximum(), lambda s, v: s._setEnd(s._spin.setMaximum, v)
    )
    minimum = QtCore.Property(
        float, lambda s: s._spin.minimum(), lambda s, v: s._setEnd(s._spin.setMinimum, v)
    )
    singleStep = QtCore.Property(
        float, lambda s: s._spin.singleStep(), lambda s, v: s._spin.setSingleStep(v)
    )
    value = QtCore.Property(float, lambda s: s._spin.value(), setValue)
    spinBoxVisible = QtCore.Property(bool, lambda s: not s._spin.isHidden(), setSpinBoxVisible)
    prefix = QtCore.Property(str, lambda s: s._spin.prefix(), lambda s, v: s._spin.setPrefix(v))
    suffix = QtCore.Property(str, lambda s: s._spin.suffix(), lambda s, v: s._spin.setSuffix(v))


def _decimals(widget: Any, decimals: int) -> None:
    for spin in widget.findChildren(QtWidgets.QDoubleSpinBox):
        spin.setDecimals(decimals)


class ctkRangeWidget(QtWidgets.QWidget):
    """Two numbers inside a range, the lower one first."""

    valuesChanged = QtCore.Signal(float, float)
    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)
    rangeChanged = QtCore.Signal(float, float)
    symmetricMoves = stored(bool, "symmetricMoves", False)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._low = QtWidgets.QDoubleSpinBox(self)
        self._high = QtWidgets.QDoubleSpinBox(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for spin in (self._low, self._high):
            row.addWidget(spin)
            spin.valueChanged.connect(self._onSpin)
        self._values = (0.0, 0.0)

    def _onSpin(self) -> None:
        # The end that is moved stops at the other one.
        low, high = self._low.value(), self._high.value()
        if low > high:
            low, high = (high, high) if self.sender() is self._low else (low, low)
        self.setValues(low, high)

    def setValues(self, low: float, high: float) -> None:
        """Set both; one signal tells of it."""
        for spin, value in ((self._low, min(low, high)), (self._high, max(low, high))):
            spin.blockSignals(True)
            spin.setValue(value)
            spin.blockSignals(False)
        values, before = (self._low.value(), self._high.value()), self._values
        if values == before:
            return
        self._values = values
        if values[0] != before[0]:
            self.minimumValueChanged.emit(values[0])
        if values[1] != before[1]:
            self.maximumValueChanged.emit(values[1])
        self.valuesChanged.emit(*values)

    def setMinimumValue(self, value: float) -> None:
        """Set the lower one."""
        self.setValues(min(value, self._high.value()), self._high.value())

    def setMaximumValue(self, value: float) -> None:
        """Set the upper one."""
        self.setValues(self._low.value(), max(value, self._low.value()))

    def reset(self) -> None:
        """Set both to zero."""
        self.setValues(0.0, 0.0)

    def _setEnd(self, low: float, high: float) -> None:
        for spin in (self._low, self._high):
            spin.blockSignals(True)
            spin.setRange(low, high)
            spin.blockSignals(False)
        self.rangeChanged.emit(low, high)
        self.setValues(self._low.value(), self._high.value())

    def _each(self, call: Callable[[QtWidgets.QDoubleSpinBox], Any]) -> None:
        for spin in (self._low, self._high):
            call(spin)

    decimals = QtCore.Property(int, lambda s: s._low.decimals(), lambda s, v: _decimals(s, v))
    minimum = QtCore.Property(
        float, lambda s: s._low.minimum(), lambda s, v: s._setEnd(v, s._low.maximum())
    )
    maximum = QtCore.Property(
        float, lambda s: s._low.maximum(), lambda s, v: s._setEnd(s._low.minimum(), v)
    )
    minimumValue = QtCore.Property(float, lambda s: s._low.value(), setMinimumValue)
    maximumValue = QtCore.Property(float, lambda s: s._high.value(), setMaximumValue)
    singleStep = QtCore.Property(
        float, lambda s: s._low.singleStep(), lambda s, v: s._each(lambda b: b.setSingleStep(v))
    )
    prefix = QtCore.Property(
        str, lambda s: s._low.prefix(), lambda s, v: s._each(lambda b: b.setPrefix(v))
    )
    suffix = QtCore.Property(
        str, lambda s: s._low.suffix(), lambda s, v: s._each(lambda b: b.setSuffix(v))
    )


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path, with a button that would open a file dialog."""

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    filters = stored(int, "filters", 0)
    label = stored(str, "label", "")
    minimumContentsLength = stored(int, "minimumContentsLength", 0)
    nameFilters = stored("QStringList", "nameFilters", [])
    settingKey = stored(str, "settingKey", "")
    showBrowseButton = stored(bool, "showBrowseButton", True)
    showHistoryButton = stored(bool, "showHistoryButton", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._line = QtWidgets.QLineEdit(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line)
        row.addWidget(QtWidgets.QToolButton(self, text="…"))
        self._line.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        """Set the path."""
        self._line.setText(path)

    currentPath = QtCore.Property(str, lambda s: s._line.text(), setCurrentPath)


class ctkMessageBox(QtWidgets.QDialog):
    """A question or a message, which is kept for the test in place of being shown."""

    detailedText = stored(str, "detailedText", "")
    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")
    icon = stored("QVariant", "icon", None)
    informativeText = stored(str, "informativeText", "")
    standardButtons = stored("QVariant", "standardButtons", None)
    text = stored(str, "text", "")
    shown: list[dict[str, Any]] = []
    answers: list[Any] = []

    def exec_(self) -> Any:
        """Return the next answer; a message with one button needs none."""
        buttons = self.property("standardButtons")
        kept = {name: self.property(name) for name in ("text", "detailedText", "icon")}
        ctkMessageBox.shown.append(kept)
        if buttons in (None, QtWidgets.QMessageBox.Ok):
            return QtWidgets.QMessageBox.Ok
        if not ctkMessageBox.answers:
            raise AssertionError(f"a question that the test did not expect: {kept['text']}")
        return ctkMessageBox.answers.pop(0)
