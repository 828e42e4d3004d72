"""Every shipped model has a whole card, its own weights, and is small."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
from project_tree import LIBRARY, name_of
from spineseg import registry, weights
from spineseg.errors import WeightsError

MODELS = LIBRARY / "models"
CARDS = sorted(MODELS.glob("*.json"))
LIMIT_BYTES = 10_000_000

# The card's schema: type, and for lists and objects what each holds.
SCHEMA: dict[str, type] = {
    "name": str,
    "method": str,
    "version": str,
    "description": str,
    "created": str,
    "commit": str,
    "command": str,
    "training_data": list,
    "inputs": dict,
    "outputs": dict,
    "architecture": dict,
    "results": list,
    "limits": list,
    "sha256": str,
    "size_bytes": int,
    "not_a_medical_device": str,
}
INSIDE = {
    "training_data": {"name", "terms", "n"},
    "results": {"data", "metric", "value", "n"},
    "inputs": {"spacing_mm", "intensity", "patch"},
    "outputs": {"classes"},
    "architecture": {"name", "params"},
}

shipped = pytest.mark.parametrize("path", CARDS, ids=name_of)


def read(path: Path) -> dict[str, object]:
    card = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(card, dict)
    return card


def test_the_library_reads_this_schema() -> None:
    assert {f.name for f in fields(weights.ModelCard)} == set(SCHEMA)


def test_there_is_a_model_for_every_method() -> None:
    wanted = {model for method in registry.METHODS for model in method.models}
    assert wanted
    assert wanted <= {path.stem for path in CARDS}


@shipped
def test_card_follows_the_schema(path: Path) -> None:
    card = read(path)
    assert set(card) == set(SCHEMA)
    for key, kind in SCHEMA.items():
        assert isinstance(card[key], kind), key
        assert card[key], f"{key} is empty"
    for key, wanted in INSIDE.items():
        value = card[key]
        for part in value if isinstance(value, list) else [value]:
            assert wanted <= set(part), key
    assert set(card["inputs"]["intensity"]) >= {"window", "unit", "mapping"}  # type: ignore[index]


@shipped
def test_card_tells_how_to_train_it_again(path: Path) -> None:
    card = read(path)
    method = str(card["method"])
    assert method in registry.names()
    users = {row.name for row in registry.METHODS if path.stem in row.models}
    assert users
    assert method in users or path.stem == "cobb-trunk"  # a part of another method's network
    assert str(card["command"]).startswith(("spineseg train ", "torchrun "))
    assert method in str(card["command"])
    assert re.fullmatch(r"[0-9a-f]{7,40}", str(card["commit"]))
    date.fromisoformat(str(card["created"])[:10])
    assert "not a medical device" in str(card["not_a_medical_device"]).lower()


@shipped
def test_weights_are_the_cards_and_small(path: Path) -> None:
    card, data = read(path), path.with_suffix(".safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    assert len(data) == card["size_bytes"]
    assert len(data) < LIMIT_BYTES


def test_no_weights_without_a_card() -> None:
    assert {p.stem for p in MODELS.glob("*.safetensors")} == {p.stem for p in CARDS}
    assert not [p.name for p in LIBRARY.rglob("*") if p.suffix in {".pt", ".pth", ".pkl", ".ckpt"}]


@shipped
def test_a_changed_byte_is_noticed(path: Path, tmp_path: Path) -> None:
    (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray(path.with_suffix(".safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / path.with_suffix(".safetensors").name).write_bytes(data)
    with pytest.raises(WeightsError):
        weights.load_state(path.stem, tmp_path)
