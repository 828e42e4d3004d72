"""Table nodes of what was measured, a unit with every measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import slicer
import vtk
from spineseg import labels
from spineseg.cobb_tables import NUMBER, Column
from spineseg.result import Vertebra
from spineseg.validation import ValidationResult

from SpineSegMRML.i18n import tr as _

__all__ = [
    "addTableNode",
    "addVertebraTable",
    "confidencesIn",
    "replaced",
    "setRows",
    "setValidationTable",
    "setVertebraTable",
]


def setVertebraTable(tableNode: Any, vertebrae: Sequence[Vertebra]) -> None:
    """Fill a table node with a row for each vertebra, from the top to the bottom.

    Column names are for programs and stay as they are; titles are for people and are translated.
    A height that could not be measured is left empty.

    Parameters
    ----------
    tableNode : vtkMRMLTableNode
        What it held before is replaced.
    vertebrae : sequence of Vertebra
    """
    wasModified = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    _addColumn(tableNode, "Level", _("Level"), [labels.display_name(v.label) for v in vertebrae])
    _addColumn(tableNode, "Volume", _("Volume"), [_number(v.volume_ml) for v in vertebrae], "mL")
    heights = [v.heights_mm or {} for v in vertebrae]
    for key, name, title in (
        ("anterior", "AnteriorHeight", _("Anterior height")),
        ("middle", "MiddleHeight", _("Middle height")),
        ("posterior", "PosteriorHeight", _("Posterior height")),
    ):
        _addColumn(tableNode, name, title, [_number(h.get(key)) for h in heights], "mm")
    _addColumn(
        tableNode,
        "Complete",
        _("Complete"),
        [_("yes") if v.complete else _("cut") for v in vertebrae],
    )
    _addColumn(
        tableNode,
        "Confidence",
        _("Confidence"),
        [100 * _number(v.confidence) for v in vertebrae],
        "%",
    )
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.SetLocked(True)
    tableNode.EndModify(wasModified)


def addVertebraTable(scene: Any, vertebrae: Sequence[Vertebra], name: str) -> Any:
    """Add a vtkMRMLTableNode with a row for each vertebra to `scene`; see `setVertebraTable`."""
    node = slicer.vtkMRMLTableNode()
    node.SetName(scene.GenerateUniqueName(name))
    setVertebraTable(node, vertebrae)
    return scene.AddNode(node)


def replaced(tableNode: Any, vertebrae: Sequence[Vertebra]) -> Callable[[bool], None]:
    """Fill a table node as `setVertebraTable` does, and return how to take that back.

    Returns
    -------
    callable
        Called with True, it gives the table its former content; with False, the new one.
    """
    former, new = slicer.vtkMRMLTableNode(), slicer.vtkMRMLTableNode()
    former.CopyContent(tableNode)
    setVertebraTable(tableNode, vertebrae)
    new.CopyContent(tableNode)
    return lambda undone: tableNode.CopyContent(former if undone else new)


def confidencesIn(tableNode: Any) -> dict[str, float]:
    """Return the confidence (0 to 1) of each level that a table of vertebrae holds."""
    level, sure = (tableNode.GetColumnIndex(name) for name in ("Level", "Confidence"))
    if min(level, sure) < 0:
        return {}
    column = tableNode.GetTable().GetColumn(sure)
    values = [column.GetValue(row) for row in range(tableNode.GetNumberOfRows())]
    return {
        tableNode.GetCellText(row, level): math.nan if value == "" else float(value) / 100
        for row, value in enumerate(values)
    }


def setValidationTable(tableNode: Any, result: ValidationResult) -> None:
    """Fill a table node with a row for each vertebra that landmarks were registered to.

    Parameters
    ----------
    tableNode : vtkMRMLTableNode
        What it held before is replaced.
    result : spineseg.validation.ValidationResult
    """
    from spineseg.validation_files import table

    rows = table(result)
    wasModified = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    for key, name, title, unit in (
        ("level", "Level", _("Level"), ""),
        ("landmarks", "Landmarks", _("Landmarks"), ""),
        ("before_mean_mm", "Before", _("Mean before"), "mm"),
        ("mean_mm", "Mean", _("Mean"), "mm"),
        ("sd_mm", "SD", _("SD"), "mm"),
        ("max_mm", "Maximum", _("Maximum"), "mm"),
        ("rotation_deg", "Rotation", _("Rotation"), "°"),
        ("shift_r_mm", "ShiftR", _("Shift to the right"), "mm"),
        ("shift_a_mm", "ShiftA", _("Shift to the front"), "mm"),
        ("shift_s_mm", "ShiftS", _("Shift upwards"), "mm"),
    ):
        values = [row[key] if unit else str(row[key]) for row in rows]
        _addColumn(tableNode, name, title, values, unit)
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.SetLocked(True)
    tableNode.EndModify(wasModified)


def setRows(tableNode: Any, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """Fill a table node with rows of `spineseg.cobb_tables`.

    Column names are the keys; what is not known is left empty.

    Parameters
    ----------
    tableNode : vtkMRMLTableNode
        What it held before is replaced.
    columns : sequence of Column
    rows : sequence of mapping
    """
    wasModified = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    for column in columns:
        values = [row[column.key] for row in rows]
        if column.unit:
            values = [math.nan if value is None else float(value) for value in values]
        else:
            values = ["" if value is None else str(value) for value in values]
        _addColumn(tableNode, column.key, _(column.title), values, column.unit)
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.SetLocked(True)
    tableNode.EndModify(wasModified)


def addTableNode(scene: Any, name: str) -> Any:
    """Add an empty vtkMRMLTableNode to a scene."""
    node = slicer.vtkMRMLTableNode()
    node.SetName(scene.GenerateUniqueName(name))
    return scene.AddNode(node)


def _number(value: float | None) -> float:
    return math.nan if value is None else round(float(value), 2)


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _addColumn(
    tableNode: Any, name: str, title: str, values: Sequence[Any], unit: str = ""
) -> None:
    # A cell of numbers can't be empty: a view shows "nan". So numbers with gaps are text.
    gaps = bool(unit) and any(math.isnan(value) for value in values)
    array = vtk.vtkDoubleArray() if unit and not gaps else vtk.vtkStringArray()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(_text(value) if gaps else value)
    tableNode.AddColumn(array)
    shown = "" if unit == NUMBER else unit
    tableNode.SetColumnTitle(name, f"{title} ({shown})" if shown else title)
    if shown:
        tableNode.SetColumnUnitLabel(name, shown)
