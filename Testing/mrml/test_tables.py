"""Tables of results: a unit in each title, nothing that reads “nan”, and names of their own."""

from __future__ import annotations

import math

import pytest
from nodecases import ctVolume, labelVolume, obliqueAffine
from spineseg.cobb_tables import Column
from spineseg.labels import by_name
from spineseg.result import Vertebra
from SpineSegMRML import names, tables, volumes
from SpineSegMRML.jobs import JobOutcome
from VertebraSegmentLib.Logic import SegmentLogic

VERTEBRAE = [
    Vertebra(by_name("T12").verse, "T12", (0.0, 0.0, 0.0), 21.5, confidence=0.9),
    Vertebra(
        by_name("L1").verse, "L1", (0.0, 0.0, -30.0), 30.25,
        {"anterior": 24.0, "middle": 22.0, "posterior": 25.0}, confidence=0.0,
    ),
]  # fmt: skip


def cells(tableNode, name):
    column = tableNode.GetColumnIndex(name)
    return [tableNode.GetCellText(row, column) for row in range(tableNode.GetNumberOfRows())]


def test_what_could_not_be_measured_is_empty_and_units_are_in_the_titles(scene):
    node = tables.addVertebraTable(scene, VERTEBRAE, "rows")
    assert cells(node, "AnteriorHeight") == ["", "24"]
    assert cells(node, "Volume") == ["21.5", "30.25"]
    assert node.GetColumnTitle("AnteriorHeight") == "Anterior height (mm)"
    assert node.GetColumnUnitLabel("AnteriorHeight") == "mm"
    assert node.GetUseColumnTitleAsColumnHeader()
    texts = [
        cell
        for c in range(node.GetNumberOfColumns())
        for cell in cells(node, node.GetColumnName(c))
    ]
    assert "nan" not in texts


def test_confidences_are_read_back_where_there_are_some(scene):
    unsure = Vertebra(by_name("L2").verse, "L2", (0.0, 0.0, -60.0), confidence=math.nan)
    node = tables.addVertebraTable(scene, VERTEBRAE, "rows")
    assert tables.confidencesIn(node) == {"T12": 0.9, "L1": 0.0}
    found = tables.confidencesIn(tables.addVertebraTable(scene, [*VERTEBRAE, unsure], "rows"))
    assert (found["T12"], found["L1"]) == (0.9, 0.0)
    assert math.isnan(found["L2"])


def test_rows_with_gaps_are_text_and_others_numbers(scene):
    node = tables.addTableNode(scene, "rows")
    columns = (Column("a", "Angle", "°"), Column("b", "Height", "mm"), Column("c", "Why"))
    tables.setRows(
        node, columns, [{"a": 3.0, "b": None, "c": None}, {"a": 4.5, "b": 2.0, "c": "x"}]
    )
    assert cells(node, "a") == ["3", "4.5"]
    assert cells(node, "b") == ["", "2"]
    assert cells(node, "c") == ["", "x"]
    assert node.GetTable().GetColumn(0).IsA("vtkDoubleArray")
    assert node.GetColumnTitle("b") == "Height (mm)"


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 vertebra"), (0, "0 vertebrae"), (5, "5 vertebrae")]
)
def test_one_vertebra_is_one(count, text):
    assert names.counted(count) == text


def test_a_results_nodes_have_names_of_their_own(scene):
    ct = volumes.addVolumeNode(scene, ctVolume(obliqueAffine()), "ct")
    made = JobOutcome(labelVolume(obliqueAffine()), VERTEBRAE[:1], seconds=2.0)
    outcome = SegmentLogic(lambda *_, **__: made).segment(ct)
    assert outcome.segmentationNode.GetName() == "ct vertebrae"
    assert outcome.tableNode.GetName() == "ct heights and volumes"
    assert outcome.summary() == "1 vertebra in 2 s."
