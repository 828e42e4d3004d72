"""The table of levels: numbers, codes, names and colours."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab
from spineseg import labels
from spineseg.labels import DISCS, SACRUM, STRUCTURES, USUAL_VERTEBRAE, VERTEBRAE, SubRegion

ALL = (*VERTEBRAE, SACRUM)
# Linear-RGB simulation of full dichromacy; Machado, Oliveira and Fernandes, IEEE TVCG 2009.
VISION = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "tritanopia": np.array(
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]
    ),
}


def difference(one: labels.Color, two: labels.Color, vision: str) -> float:
    """CIE76 distance of two colours as seen with a kind of colour vision."""
    rgb = np.array([one, two]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ VISION[vision].T, 0, 1)
    encoded = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(encoded[None])[0]
    return float(np.linalg.norm(lab[0] - lab[1]))


def test_order_and_verse_ids() -> None:
    names = [f"C{n}" for n in range(1, 8)] + [f"T{n}" for n in range(1, 14)]
    names += [f"L{n}" for n in range(1, 7)]
    assert [level.name for level in VERTEBRAE] == names
    ids = [*range(1, 20), 28, *range(20, 26)]
    assert [level.verse for level in VERTEBRAE] == ids
    assert SACRUM.verse == 26
    assert len(USUAL_VERTEBRAE) == 24
    assert {"T13", "L6"} == {v.name for v in VERTEBRAE} - {v.name for v in USUAL_VERTEBRAE}


@pytest.mark.parametrize("field", ["name", "verse", "tptbox", "totalsegmentator", "snomed"])
def test_every_numbering_is_a_bijection(field: str) -> None:
    values = [getattr(level, field) for level in ALL if getattr(level, field) is not None]
    assert len(values) == len(set(values))
    lacking = {level.name for level in ALL if getattr(level, field) is None}
    assert lacking == ({"T13", "L6"} if field in ("totalsegmentator", "snomed") else set())


def test_lookups_invert_the_table() -> None:
    for level in ALL:
        assert labels.by_name(level.name) is level
        assert labels.by_verse(level.verse) is level
        assert level.tptbox == level.verse
    with pytest.raises(KeyError):
        labels.by_name("T14")
    with pytest.raises(KeyError):
        labels.by_verse(27)


def test_totalsegmentator_translates_to_verse() -> None:
    to_verse = labels.TOTALSEGMENTATOR_TO_VERSE
    assert [to_verse[n] for n in range(27, 51)] == [v.verse for v in USUAL_VERTEBRAE[::-1]]
    assert to_verse[25] == to_verse[26] == SACRUM.verse
    assert len(to_verse) == 26


def test_codes_are_those_of_the_dicom_standard() -> None:
    from pydicom.sr.codedict import codes

    for level in VERTEBRAE:
        if level.snomed is not None:
            assert getattr(codes.SCT, f"{level.name}Vertebra").value == level.snomed
    assert codes.SCT.Sacrum.value == SACRUM.snomed
    for disc in DISCS:
        keyword = disc.name.replace("/", "").replace(" disc", "Disc")
        assert getattr(codes.SCT, keyword).value == disc.snomed
    assert (codes.SCT.Vertebra.value, codes.SCT.Vertebra.meaning) == labels.SNOMED_VERTEBRA
    keywords = {
        SubRegion.ARCH: "ArchOfVertebra",
        SubRegion.SPINOUS: "SpinousProcessOfVertebra",
        SubRegion.SUPERIOR_ARTICULAR_LEFT: "SuperiorArticularProcessOfVertebra",
        SubRegion.INFERIOR_ARTICULAR_RIGHT: "InferiorArticularProcessOfVertebra",
        SubRegion.CORD: "SpinalCord",
        SubRegion.CANAL: "VertebralCanal",
        SubRegion.RIB_LEFT: "Rib",
    }
    for region, keyword in keywords.items():
        assert STRUCTURES[region].snomed == getattr(codes.SCT, keyword).value


def test_discs_lie_between_neighbours() -> None:
    assert (DISCS[0].name, DISCS[-1].name) == ("C2/C3 disc", "L5/S1 disc")
    assert len(DISCS) == 23
    for disc in DISCS:
        upper = labels.by_name(disc.name.split("/")[0])
        assert disc.label == 100 + upper.verse
    assert len({disc.snomed for disc in DISCS}) == len(DISCS)


def test_every_sub_region_has_its_row() -> None:
    assert set(STRUCTURES) == set(SubRegion)
    assert len({s.name for s in STRUCTURES.values()}) == len(SubRegion)
    assert len({s.color for s in STRUCTURES.values()}) == len(SubRegion)
    for region, structure in STRUCTURES.items():
        assert structure.label == region
        assert ("left" in structure.name) == region.name.endswith("LEFT")
        assert ("right" in structure.name) == region.name.endswith("RIGHT")


@given(st.integers(0, 255))
def test_every_label_has_a_name_and_a_colour(label: int) -> None:
    assert labels.label_by_display_name(labels.display_name(label)) == label
    assert labels.display_name(np.uint8(label)) == labels.display_name(label)
    assert all(0 <= part <= 255 and isinstance(part, int) for part in labels.color_of(label))


def test_display_names() -> None:
    names = {0: "background", 20: "L1", 28: "T13", 26: "sacrum", 100: "spine bone"}
    names |= {101: "unsure 1", 103: "unsure 3", 77: "label 77", 300: "label 300"}
    assert {label: labels.display_name(label) for label in names} == names
    with pytest.raises(KeyError):
        labels.label_by_display_name("coccyx")


def test_which_labels_are_vertebrae() -> None:
    vertebrae = {label for label in range(256) if labels.is_vertebra(label)}
    assert vertebrae == {v.verse for v in VERTEBRAE} | set(range(101, 256))


def test_snomed_falls_back_to_vertebra() -> None:
    assert labels.snomed_of(20) == ("66794005", "L1 vertebra")
    assert labels.snomed_of(26) == ("54735007", "Sacrum")
    for label in (25, 28, 100, 101, 120):
        assert labels.snomed_of(label) == labels.SNOMED_VERTEBRA
    for label in (0, 27, 77):
        with pytest.raises(KeyError):
            labels.snomed_of(label)


@pytest.mark.parametrize("vision", VISION)
def test_neighbours_differ_for_every_eye(vision: str) -> None:
    chains = [[*VERTEBRAE, SACRUM], [*USUAL_VERTEBRAE, SACRUM]]
    pairs = [pair for chain in chains for pair in pairwise(level.color for level in chain)]
    unsure = [labels.color_of(label) for label in range(101, 130)]
    for one, two in [*pairs, *pairwise(unsure)]:
        # About 2.3 is just visible side by side; 20 is told apart at a glance.
        assert difference(one, two, vision) > 20, (one, two)


def test_no_two_levels_share_a_colour() -> None:
    colors = [level.color for level in ALL]
    assert len(set(colors)) == len(colors)
