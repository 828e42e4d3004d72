"""Pictures of the panels on digital patients and films, and how what is on them lies.

What a run finds is what was drawn: these pictures show panels, not how good a method is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fracturecases
import numpy as np
from panelcases import FractureCase, SegmentCase, Steps, TranslateCase
from PySide6 import QtCore, QtGui, QtWidgets
from spineseg import labels
from spineseg.io.films import Film
from spineseg.measure.heights import measure_vertebrae
from spineseg.methods.film_result import FilmResult
from spineseg.phantom import PhantomSettings
from spineseg.phantom.film import render_film
from spineseg.phantom.magnetic import as_mr, bodies_of
from spineseg.result import Vertebra
from spineseg.volume import Volume
from SpineSegMRML import films, segmentations, stale, volumes
from SpineSegMRML.cobbjobs import FilmFound
from SpineSegMRML.jobs import JobOutcome, TranslationOutcome
from standin.ctkwidgets import BUTTON_HEIGHT

WIDTH = 640
SECONDS = 30
MARGIN = 12
FILM_CURVE_DEG = 42.0


def vertebrae() -> list[Vertebra]:
    """Return the digital patient's vertebrae, measured."""
    truth = fracturecases.patient().vertebrae
    found = []
    for body in fracturecases.patient().chain.bodies:
        verse = labels.by_name(body.name).verse
        if (truth.array == verse).any():
            centre = tuple(float(x) for x in body.centre)
            cut = body.name in fracturecases.CUT
            found.append(Vertebra(verse, body.name, centre, complete=not cut, confidence=0.97))
    return measure_vertebrae(truth, found)


def segmented(volume: Volume) -> JobOutcome:
    """Answer a run with what was drawn."""
    truth = fracturecases.patient().vertebrae
    return JobOutcome(volume.like(truth.array), vertebrae(), seconds=SECONDS)


def translated(volume: Volume) -> TranslationOutcome:
    """Answer a translation with the CT that the MR was made of."""
    patient = fracturecases.patient()
    return TranslationOutcome(
        volume.like(patient.vertebrae.array),
        vertebrae(),
        seconds=SECONDS,
        syntheticCt=volume.like(patient.ct.array),
        bodies=volume.like(bodies_of(patient).array),
        confidence=volume.like(np.full(volume.shape, 90, np.uint8)),
    )


@functools.cache
def film() -> tuple[Film, FilmResult]:
    """Return a digital film of a scoliosis, and its endplates as drawn."""
    drawn = render_film(PhantomSettings(levels=("T1", "L5"), cobb_deg=FILM_CURVE_DEG), 5, "ap")
    spacing = (drawn.spacing_mm, drawn.spacing_mm)
    shown = Film(drawn.pixels, spacing, magnified=True, view="ap", name="film.png")
    rows = [n for n, level in enumerate(drawn.levels) if level[0] in "TL"]
    names = tuple(drawn.levels[n] for n in rows)
    return shown, FilmResult(names, drawn.corners[rows], confidence=(0.95,) * len(rows))


def segmentPanel(panel: Any, scene: Any) -> None:
    """A run, with a vertebra chosen for the brush."""
    ct = volumes.addVolumeNode(scene, fracturecases.patient().ct, "ct")
    panel._parameterNode.inputVolume = ct
    SegmentCase.setRunner(panel, Steps(segmented))
    panel.ui.applyButton.click()
    panel.ui.editCollapsibleButton.collapsed = False
    panel.ui.exportCollapsibleButton.collapsed = False
    panel.ui.segmentEditorWidget.setCurrentSegmentID("L1")


def translatePanel(panel: Any, scene: Any) -> None:
    """A run on an MR."""
    mr = volumes.addVolumeNode(scene, as_mr(fracturecases.patient(), "t2"), "mr")
    panel._parameterNode.inputVolume = mr
    TranslateCase.setRunner(panel, Steps(translated))
    panel.ui.applyButton.click()
    panel.ui.thresholdCollapsibleButton.collapsed = False


def cobbPanel(panel: Any, scene: Any) -> None:
    """A film that was measured."""
    shown, found = film()
    panel._parameterNode.film = films.addFilmNode(scene, shown)
    panel.logic.films._runner = Steps(lambda _: FilmFound("as drawn", found))
    panel.ui.applyButton.click()
    panel.ui.exportCollapsibleButton.collapsed = False


def fracturePanel(panel: Any, scene: Any) -> None:
    """A search, with the row of the crushed vertebra chosen."""
    ct, drawn = fracturecases.addPatient(scene)
    panel._parameterNode.inputVolume, panel._parameterNode.segmentation = ct, drawn
    FractureCase.setRunner(panel, Steps(None))
    panel.ui.applyButton.click()
    model = qtOf(panel.ui.tableView).model()
    rows = [model.index(row, 0).data() for row in range(model.rowCount())]
    panel.ui.tableView.selectRow(rows.index("L1"))


def homePanel(panel: Any, scene: Any) -> None:
    """A case that is measured, and not exported yet."""
    ct = volumes.addVolumeNode(scene, fracturecases.patient().ct, "ct")
    truth = fracturecases.patient().vertebrae
    node = segmentations.addSegmentationNode(truth, ct, "ct vertebrae")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "ct fractures")
    stale.madeFrom(table, node, "FractureDetect")
    panel.ui.scanSelector.setCurrentNode(ct)
    panel.ui.folderPathLineEdit.currentPath = "case"
    panel.ui.environmentCollapsibleButton.collapsed = True  # it differs from computer to computer


SHOWN: dict[str, Callable[[Any, Any], None]] = {
    "SpineSegExtension": homePanel,
    "VertebraSegment": segmentPanel,
    "CycleGANTranslate": translatePanel,
    "CobbAngle": cobbPanel,
    "FractureDetect": fracturePanel,
}
"""For each module what brings its panel to what its picture shows."""


def qtOf(widget: Any) -> Any:
    """Return what Qt itself knows of a widget."""
    return widget.__dict__["_qt"]


def unfold(panel: Any) -> None:
    """Open every section of a panel."""
    for widget in vars(panel.ui).values():
        if widget.className() == "ctkCollapsibleButton":
            widget.collapsed = False


def laidOut(panel: Any, width: int = WIDTH) -> Any:
    """Give a panel a width, and the height that it then asks for; return it as Qt knows it."""
    qt = qtOf(panel.parent)
    for view in qt.findChildren(QtWidgets.QTableView):
        view.resizeColumnsToContents()
    for _ in range(3):  # texts that wrap ask for their height once they have their width
        height = qt.layout().totalHeightForWidth(width)
        qt.resize(width, max(height, qt.layout().totalMinimumSize().height()))
        QtWidgets.QApplication.processEvents()
    return qt


def placeOf(qt: Any, widget: Any) -> QtCore.QRect:
    """Return where a widget lies on a panel; of a section, its title."""
    place = QtCore.QRect(widget.mapTo(qt, QtCore.QPoint(0, 0)), widget.size())
    if widget.inherits("ctkCollapsibleButton"):
        place.setHeight(BUTTON_HEIGHT)
    return place


def picture(panel: Any, width: int = WIDTH) -> QtGui.QImage:
    """Return what a panel looks like, from its top to the last thing on it."""
    qt = laidOut(panel, width)
    form = next(w for w in qt.children() if w.isWidgetType() and w.isVisible())
    parts = [w for w in form.children() if w.isWidgetType() and w.isVisible()]
    low = max(w.mapTo(qt, w.rect().bottomLeft()).y() for w in parts) + MARGIN
    image = qt.grab().toImage()
    return image.copy(0, 0, image.width(), min(image.height(), low))


@contextmanager
def dark() -> Iterator[None]:
    """Dark colours, as in an application that is set so."""
    app = QtWidgets.QApplication.instance()
    before = app.palette()
    palette = QtGui.QPalette(QtGui.QColor(53, 53, 57))
    for role, colour in (
        (QtGui.QPalette.Base, QtGui.QColor(35, 35, 38)),
        (QtGui.QPalette.Highlight, QtGui.QColor(47, 140, 198)),
    ):
        palette.setColor(role, colour)
    for role in (QtGui.QPalette.ButtonText, QtGui.QPalette.WindowText, QtGui.QPalette.Text):
        palette.setColor(QtGui.QPalette.Disabled, role, QtGui.QColor(125, 125, 125))
    app.setPalette(palette)
    try:
        yield
    finally:
        app.setPalette(before)


@contextmanager
def largerText(scale: float) -> Iterator[None]:
    """Letters of another size, as some have them on large screens; for panels opened then."""
    app = QtWidgets.QApplication.instance()
    before = app.font()
    font = QtGui.QFont(before)
    font.setPointSizeF(scale * before.pointSizeF())
    app.setFont(font)
    try:
        yield
    finally:
        app.setFont(before)


def cutOff(qt: Any) -> list[str]:
    """Return the texts that do not fit into their widgets, but for those that are shortened."""
    found = []
    for widget in qt.findChildren(QtWidgets.QWidget):
        if not widget.isVisibleTo(qt):
            continue
        needed = widget.sizeHint()
        if isinstance(widget, QtWidgets.QLabel) and widget.wordWrap():
            fits = widget.height() >= widget.heightForWidth(widget.width())
        elif isinstance(widget, (QtWidgets.QLabel, QtWidgets.QAbstractButton)):
            fits = widget.width() >= needed.width() or widget.inherits("ctkCollapsibleButton")
        elif isinstance(widget, QtWidgets.QComboBox) and type(widget) is QtWidgets.QComboBox:
            option = QtWidgets.QStyleOptionComboBox()
            widget.initStyleOption(option)
            part = QtWidgets.QStyle.SC_ComboBoxEditField
            style = widget.style()
            room = style.subControlRect(QtWidgets.QStyle.CC_ComboBox, option, part, widget)
            fits = option.fontMetrics.horizontalAdvance(option.currentText) <= room.width()
        else:
            fits = True
        if not fits:
            found.append(f"{widget.objectName()}: {widget.property('text') or needed}")
    return found


def overlapping(qt: Any) -> list[str]:
    """Return pairs of neighbours on a panel that lie on each other, or outside of it."""
    found = []
    for parent in [qt, *qt.findChildren(QtWidgets.QWidget)]:
        if parent.layout() is None or not parent.isVisibleTo(qt):
            continue
        inside = [w for w in parent.children() if w.isWidgetType() and w.isVisibleTo(qt)]
        for n, one in enumerate(inside):
            if not parent.rect().contains(one.geometry()):
                found.append(f"{one.objectName()} outside of {parent.objectName()}")
            found += [
                f"{one.objectName()} on {other.objectName()}"
                for other in inside[n + 1 :]
                if one.geometry().intersects(other.geometry())
            ]
    return found
