"""Corrected cases as training pairs: saved, found again, learned from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.io.images import read_volume
from spineseg.training import pool as pools
from spineseg.training.corrections import correction_sources, write_pair
from spineseg.training.export import command_of, training_data
from spineseg.training.real import add_real
from spineseg.training.vertebra import TrainSettings
from spineseg.volume import Volume

AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])


def case(seed: int = 0) -> tuple[Volume, Volume]:
    labels = np.zeros((40, 60, 50), np.uint8)
    labels[22:38, 26:48, 12:38], labels[2:18, 26:48, 12:38] = 20, 21
    noise = np.random.default_rng(seed).integers(-20, 20, labels.shape)
    return Volume((np.where(labels > 0, 400, 0) + noise).astype(np.int16), AFFINE), Volume(
        labels, AFFINE
    )


def test_a_pair_is_saved_whole_and_a_case_has_one(tmp_path: Path) -> None:
    scan, labels = case()
    folder = write_pair(tmp_path, scan, labels, ["L1"])
    assert np.array_equal(read_volume(folder / "ct.nii.gz").array, scan.array)
    back = read_volume(folder / "labels.nii.gz")
    assert np.array_equal(back.array, labels.array)
    assert np.allclose(back.affine, AFFINE)
    about = json.loads((folder / "pair.json").read_text())
    assert about["corrected"] == ["L1"]
    assert about["labels"] == [20, 21]
    again = labels.array.copy()
    again[0:2, 26:48, 12:38] = 21
    assert write_pair(tmp_path, scan, labels.like(again)) == folder
    assert np.array_equal(read_volume(folder / "labels.nii.gz").array, again)
    other = write_pair(tmp_path, *case(1))
    assert other != folder
    assert [s.name for s in correction_sources(tmp_path)] == sorted([folder.name, other.name])
    held = correction_sources(tmp_path, (other.name,))
    assert [s.name for s in held] == [folder.name]


def test_what_can_not_be_learned_from_is_refused(tmp_path: Path) -> None:
    scan, labels = case()
    for array, match in (
        (np.where(labels.array == 21, 101, labels.array), "unsure 1 is unsure"),
        (np.zeros_like(labels.array), "no vertebra"),
    ):
        with pytest.raises(InputError, match=match):
            write_pair(tmp_path, scan, labels.like(array.astype(np.uint8)))
    with pytest.raises(InputError, match="grid"):
        write_pair(tmp_path, scan, Volume(labels.array, np.diag([1.0, 1.0, 2.0, 1.0])))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no corrected case"):
        correction_sources(tmp_path)
    folder = write_pair(tmp_path, scan, labels)
    (folder / "ct.nii.gz").unlink()
    with pytest.raises(InputError, match=r"has no ct\.nii\.gz"):
        correction_sources(tmp_path)


def test_windows_of_a_pair_are_of_its_own_voxels(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "cases", *case())
    (source,) = correction_sources(tmp_path / "cases")
    names = list(add_real(tmp_path / "pool", [source], 2, shape=(32, 32, 32)))
    assert names == [f"{folder.name}_{n:03d}" for n in range(2)]
    item = pools.load_item(pools.item_paths(tmp_path / "pool")[0])
    assert item.image is not None
    inside = item.layers[1] > 0
    assert inside.any()
    assert item.image[inside].mean() > 250 > 100 > item.image[~inside].mean()


def test_a_training_learns_from_them_and_its_card_says_so(tmp_path: Path, monkeypatch) -> None:
    from spineseg.cli import app
    from spineseg.training import vertebra
    from typer.testing import CliRunner

    write_pair(tmp_path / "cases", *case())
    seen: dict = {}
    monkeypatch.setattr(vertebra, "fit", lambda data, options, progress: seen.update(options))
    words = ["train", "vertebra-unet", "-o", str(tmp_path / "out")]
    runner = CliRunner()
    result = runner.invoke(app, [*words, "--from-corrections", str(tmp_path / "cases")])
    assert result.exit_code == 0, result.output
    settings, _, _ = vertebra.chosen_settings(seen)
    assert settings.corrections == tmp_path / "cases"
    assert "--from-corrections CASES" in command_of(settings, False)
    row = training_data("fine", 1, {"case_00112233": 40})[1]
    assert row["n"] == 40
    assert "user" in row["terms"]
    other = runner.invoke(app, ["train", "cascade", "-o", "x", "--from-corrections", "y"])
    assert other.exit_code == 2
    assert "has no --from-corrections" in other.output


def test_a_folder_without_cases_ends_the_training_at_once(tmp_path: Path) -> None:
    from spineseg.training import vertebra

    options = {"output": tmp_path / "out", "corrections": tmp_path, "hours": 1.0}
    with pytest.raises(InputError, match="no corrected case"):
        vertebra.fit(None, options)
    assert not (tmp_path / "out").exists()


def test_the_pool_gets_them_besides_digital_patients(tmp_path: Path) -> None:
    from spineseg.progress import Progress
    from spineseg.training import vertebra

    write_pair(tmp_path / "cases", *case())
    vertebra.SCAN_WINDOWS, before = 1, vertebra.SCAN_WINDOWS
    try:
        vertebra.fill_corrections(
            tmp_path / "pool", tmp_path / "cases", TrainSettings(), Progress()
        )
    finally:
        vertebra.SCAN_WINDOWS = before
    (path,) = pools.item_paths(tmp_path / "pool")
    assert path.name.startswith("case_")
    assert not pools.is_drawn(path)
