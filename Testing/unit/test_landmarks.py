"""Files of landmarks: every format gives the same points, and nonsense is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spineseg.errors import InputError
from spineseg.io.landmarks import Landmark, level_of, read_landmarks, write_landmarks

POINTS = [
    Landmark("T4", "T4 pedicle left", (10.5, -20.25, 300.0)),
    Landmark("L1", "L1 spinous process", (-3.0, 4.0, 5.0)),
    Landmark("101", "101 endplate", (1.0, 2.0, 3.0)),
]


def markups(points, system: str = "RAS") -> str:
    sign = -1 if system == "LPS" else 1
    control = [
        {"label": p.label, "position": [sign * p.position[0], sign * p.position[1], p.position[2]]}
        for p in points
    ]
    control.append({"label": "T5-1", "position": [0, 0, 0], "positionStatus": "undefined"})
    return json.dumps({"markups": [{"coordinateSystem": system, "controlPoints": control}]})


def fcsv(points, system: str = "0") -> str:
    sign = -1 if system in ("LPS", "1") else 1
    lines = [
        "# Markups fiducial file version = 4.11",
        f"# CoordinateSystem = {system}",
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
    ]
    for n, p in enumerate(points):
        x, y, z = p.position
        lines.append(f"{n},{sign * x},{sign * y},{z},0,0,0,1,1,1,0,{p.label},,")
    return "\n".join(lines)


def table(points, comment: str = "") -> str:
    sign = -1 if "LPS" in comment else 1
    lines = [comment, "level,label,x,y,z"] if comment else ["level,label,x,y,z"]
    for p in points:
        x, y, z = p.position
        lines.append(f"{p.level},{p.label},{sign * x},{sign * y},{z}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mrk.json", markups(POINTS)),
        ("b.mrk.json", markups(POINTS, "LPS")),
        ("a.fcsv", fcsv(POINTS)),
        ("b.fcsv", fcsv(POINTS, "LPS")),
        ("c.fcsv", fcsv(POINTS, "1")),
        ("a.csv", table(POINTS)),
        ("b.csv", table(POINTS, "# LPS, mm")),
    ],
)
def test_every_format_gives_the_same_points(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_landmarks(tmp_path / name) == POINTS


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_landmarks(POINTS, tmp_path / "points.csv")
    assert read_landmarks(tmp_path / "points.csv") == POINTS


@pytest.mark.parametrize(
    ("text", "level"),
    [("t10 pedicle", "T10"), ("L1_sp", "L1"), ("C7-2", "C7"), ("102 left", "102")],
)
def test_levels_are_read_from_names(text: str, level: str) -> None:
    assert level_of(text) == level


@pytest.mark.parametrize("text", ["F-1", "", "T14 x", "L11 x", "99 left", "pedicle T4"])
def test_names_without_a_level_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="names no vertebra"):
        level_of(text)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.csv", "level,x,y\nL1,1,2", "no column z"),
        ("a.csv", "level,label,x,y,z\nL1,a,1,2,here", "no three numbers"),
        ("a.csv", "level,label,x,y,z\nL1,a,1,2,nan", "no place in mm"),
        ("a.csv", "level,label,x,y,z\nL1,a,1,2,300000", "no place in mm"),
        ("a.csv", "level,label,x,y,z\n", "holds no landmark"),
        ("a.csv", "level,label,x,y,z\nQ1,a,1,2,3", "names no vertebra"),
        ("a.mrk.json", "{}", "no Markups file"),
        ("a.txt", "L1", "no file of landmarks"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(tmp_path, name, text, reason) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=reason):
        read_landmarks(tmp_path / name)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x81")
    for name in ("none.csv", "b.csv"):
        with pytest.raises(InputError, match="can't be read"):
            read_landmarks(tmp_path / name)
