"""Model files: whole, checked, safe to load; and the choice of device."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from spineseg import device, weights
from spineseg.errors import InputError, WeightsError
from spineseg.weights import ModelCard


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="tiny",
        method="vertebra-unet",
        version="1",
        description="A tiny model of the tests.",
        created="2025-01-01",
        commit="0" * 40,
        command="spineseg train vertebra-unet",
        training_data=[{"name": "digital spines", "terms": "Apache-2.0", "n": 3}],
        inputs={
            "spacing_mm": 2.0,
            "intensity": {"window": [-200, 1000], "unit": "HU", "mapping": "linear to 0–1"},
            "patch": [8, 8, 8],
        },
        outputs={"classes": ["background", "bone"]},
        architecture={"name": "unet", "params": {}},
        results=[{"data": "digital spines", "metric": "Dice", "value": 0.5, "n": 1}],
        limits=["knows nothing"],
    )


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(4, 3)
    # A view of another weight and an integer buffer: safetensors takes neither silently.
    return {"weight": weight, "tied": weight[:2], "steps": torch.tensor(7)}


def test_save_then_load(tmp_path: Path, card: ModelCard) -> None:
    written = weights.save_model("tiny", state(), card, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.json", "tiny.safetensors"]
    assert written.size_bytes == (tmp_path / "tiny.safetensors").stat().st_size
    assert written.sha256 == weights.sha256_of(tmp_path / "tiny.safetensors")
    loaded = weights.load_state("tiny", tmp_path)
    assert loaded["steps"] == 7
    for key in ("weight", "tied"):
        assert loaded[key].dtype == torch.float32
        torch.testing.assert_close(loaded[key], state()[key].half().float(), rtol=0, atol=0)
    assert weights.load_card("tiny", tmp_path) == written
    assert weights.list_models(tmp_path) == [written]
    assert weights.verify(tmp_path) == [("tiny", True, "ok")]
    assert "Not a medical device" in written.not_a_medical_device


def test_the_folder_comes_from_the_environment(
    tmp_path: Path, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.save_model("tiny", state(), card, tmp_path)
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path))
    assert [model.name for model in weights.list_models()] == ["tiny"]
    assert weights.load_state("tiny").keys() == state().keys()
    assert weights.models_folder(tmp_path / "other") == tmp_path / "other"
    monkeypatch.delenv("SPINESEG_MODELS")
    assert weights.models_folder() == Path(weights.__file__).parent / "models"


def test_changed_weights_are_refused(tmp_path: Path, card: ModelCard) -> None:
    weights.save_model("tiny", state(), card, tmp_path)
    path = tmp_path / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not those its card describes"):
        weights.load_state("tiny", tmp_path)
    [(name, ok, text)] = weights.verify(tmp_path)
    assert (name, ok) == ("tiny", False)
    assert "not those" in text
    path.unlink()
    with pytest.raises(WeightsError, match="missing"):
        weights.load_state("tiny", tmp_path)


def test_bytes_that_are_no_safetensors_are_refused(tmp_path: Path, card: ModelCard) -> None:
    path = tmp_path / "tiny.safetensors"
    torch.save(state(), path)
    pickled = dataclasses.replace(
        card, sha256=weights.sha256_of(path), size_bytes=path.stat().st_size
    )
    (tmp_path / "tiny.json").write_text(json.dumps(pickled.to_dict()))
    with pytest.raises(WeightsError, match="can't be read"):
        weights.load_state("tiny", tmp_path)


def edited(card: ModelCard, change: dict[str, Any]) -> str:
    values = {**card.to_dict(), **change}
    return json.dumps({key: value for key, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limits": None}, "limits"),
        ({"mood": "good"}, "mood"),
        ({"limits": "none"}, "limits is not of type list"),
        ({"size_bytes": "12"}, "size_bytes is not of type int"),
        ({"inputs": {"spacing_mm": 1, "patch": [1, 1, 1]}}, "intensity"),
        ({"training_data": [{"name": "x", "n": 1}]}, "terms"),
        ({"results": [3]}, "results\\[0\\] is not an object"),
        ({"outputs": {}}, "classes"),
    ],
)
def test_an_incomplete_card_is_refused(
    tmp_path: Path, card: ModelCard, change: dict[str, Any], words: str
) -> None:
    (tmp_path / "tiny.json").write_text(edited(card, change))
    with pytest.raises(WeightsError) as caught:
        weights.load_card("tiny", tmp_path)
    assert caught.match("card of model 'tiny'")
    assert re.search(words, caught.value.details)
    assert caught.value.remedy
    assert weights.verify(tmp_path)[0][1] is False


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_damaged_card_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tiny.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError):
        weights.load_card("tiny", tmp_path)


def test_cards_and_weights_without_the_other_are_reported(tmp_path: Path, card: ModelCard) -> None:
    weights.save_model("tiny", state(), card, tmp_path)
    (tmp_path / "tiny.json").rename(tmp_path / "other.json")
    found = {name: text for name, ok, text in weights.verify(tmp_path) if not ok}
    assert set(found) == {"other", "tiny"}
    assert "no model 'tiny'" in found["tiny"]
    assert "'other' is 'tiny''s" in found["other"]


def test_bad_models_are_not_saved(tmp_path: Path, card: ModelCard) -> None:
    with pytest.raises(WeightsError, match="finite"):
        weights.save_model("tiny", {"a": torch.tensor([1e9])}, card, tmp_path)
    with pytest.raises(WeightsError, match="not complete"):
        weights.save_model("tiny", state(), dataclasses.replace(card, outputs={}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_models_is_an_empty_list(tmp_path: Path) -> None:
    assert weights.list_models(tmp_path / "none") == []
    assert weights.verify(tmp_path / "none") == []
    with pytest.raises(WeightsError, match="no model 'tiny'"):
        weights.load_state("tiny", tmp_path)


def test_shipped_models_are_small_and_sound() -> None:
    folder = Path(weights.__file__).parent / "models"
    for name, ok, text in weights.verify(folder):
        assert ok, f"{name}: {text}"
        assert weights.load_card(name, folder).size_bytes < weights.MAX_BYTES


def test_devices() -> None:
    assert device.choose_device("cpu") == torch.device("cpu")
    assert device.choose_device().type in ("cpu", "cuda")
    for name in ("warp", "cuda:99", "meta"):
        with pytest.raises(InputError) as caught:
            device.choose_device(name)
        assert caught.value.remedy
    facts = device.describe()
    assert facts["torch"] == torch.__version__
    assert facts["device"] == str(device.choose_device())


@pytest.mark.parametrize("quick", [True, False])
def test_bf16_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: quick)
    layer = torch.nn.Linear(4, 4)
    with device.autocast(torch.device("cpu")):
        result = layer(torch.ones(1, 4))
    assert result.dtype == (torch.bfloat16 if quick else torch.float32)
