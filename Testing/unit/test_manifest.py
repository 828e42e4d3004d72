"""The run manifest: inputs, outputs and what identifies them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import spineseg
from spineseg.errors import InputError
from spineseg.manifest import RunManifest, foreign_files, machine, now, output_hashes, sha256_of


def test_round_trip(tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii"
    scan.write_bytes(b"abc")
    manifest = RunManifest(
        "segment", "tiny", [sha256_of(scan)], {"size": np.int64(3), "at": tmp_path, "w": (1, 2)},
        grid={"affine_ras": np.eye(4)}, created=now(), machine=machine(),
    )  # fmt: skip
    manifest.write(tmp_path / "run.json")
    read = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert read["version"] == spineseg.__version__
    assert read["inputs"][0]["sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert read["inputs"][0]["size"] == 3
    assert read["settings"] == {"size": 3, "at": str(tmp_path), "w": [1, 2]}
    assert read["grid"]["affine_ras"] == np.eye(4).tolist()
    assert read["created"].endswith("+00:00")
    assert "numpy" in read["machine"]["packages"]


def test_a_folder_has_a_hash_that_names_and_order_do_not_change(tmp_path: Path) -> None:
    for name, order in (("one", "ab"), ("two", "ba")):
        (tmp_path / name).mkdir()
        for number, letter in enumerate(order):
            (tmp_path / name / f"{number}.dcm").write_text(letter)
    one, two = (sha256_of(tmp_path / name) for name in ("one", "two"))
    assert one.sha256 == two.sha256
    assert (one.files, one.size) == (2, 2)
    part = sha256_of(tmp_path / "one", [tmp_path / "one" / "0.dcm"])
    assert part.files == 1
    assert part.sha256 != one.sha256


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.nii"):
        sha256_of(tmp_path / "gone.nii")


def test_foreign_files(tmp_path: Path) -> None:
    names = ["a", "models", "run.json"]
    assert foreign_files(tmp_path, names) == []
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m").write_text("m")
    (tmp_path / "a").write_text("a")
    assert foreign_files(tmp_path, names) == ["a", "models/m"]
    manifest = RunManifest("segment", "tiny", outputs=output_hashes(tmp_path))
    manifest.write(tmp_path / "run.json")
    assert foreign_files(tmp_path, names) == []
    (tmp_path / "a").write_text("edited")
    assert foreign_files(tmp_path, names) == ["a"]
    (tmp_path / "a").unlink()
    assert foreign_files(tmp_path, names) == []


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": "else", "outputs": {}}'])
def test_a_run_json_of_another_program_is_foreign(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert foreign_files(tmp_path, ["run.json"]) == ["run.json"]
