"""The developer's example of a new system is run as it stands on its page."""

from __future__ import annotations

import ast
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from spineseg import registry
from spineseg.cobb import measure_radiograph
from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.phantom.film import render_film
from spineseg.progress import Progress
from spineseg.systems import system
from spineseg.training.film_data import FilmItem
from spineseg.training.film_systems import SystemBatches, SystemTraining, trunk_card
from spineseg.weights import ModelCard, load_card, load_state, save_model

PAGE = Path(__file__).parents[2] / "docs/cobb-systems.md"
_, CODE, ROW = re.findall(r"```\w*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def tenth(monkeypatch: pytest.MonkeyPatch) -> system.System:
    module = types.ModuleType("spineseg.systems.tenth")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(CODE, str(PAGE), "exec"), module.__dict__)
    name, title, _, summary = ast.literal_eval(ROW.strip().rstrip(","))
    assert name == module.SYSTEM.name
    row = registry.Method(name, title, registry.COBB, module.__name__, summary,
                          ("cobb-trunk", name))  # fmt: skip
    monkeypatch.setattr(registry, "METHODS", (*registry.METHODS, row))
    return module.SYSTEM


@pytest.fixture(scope="module")
def item() -> FilmItem:
    from spineseg.methods.film_picture import prepare

    made = render_film(seed=3, view="ap")
    film = Film(made.pixels, "made.png")
    picture = prepare(film)
    known = dict(zip(made.levels, made.corners, strict=True))
    corners = np.array([known[level] for level in system.LEVELS])
    return FilmItem("made", "made", picture, picture.from_film(corners))


def test_the_example_learns(tenth: system.System, item: FilmItem) -> None:
    torch.manual_seed(0)
    network = tenth.kind()
    network.trunk.load_state_dict({k: v.float() for k, v in load_state("cobb-trunk").items()})
    batches = SystemBatches(tenth, [item], SystemTraining(films=1))
    batch = batches.batch(0)
    assert batch["image"].shape == (1, 1, 512, 256)
    assert batch["points"].shape == (1, 68, 2)
    chosen = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(chosen, 3e-3)
    losses = []
    for _ in range(6):
        loss, _ = tenth.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_example_measures_a_film(tenth: system.System, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = {k: v for k, v in tenth.kind().state_dict().items() if not k.startswith("trunk.")}
    trunk = load_card("cobb-trunk")
    card = ModelCard.from_dict({
        **trunk.to_dict(), "name": tenth.name, "method": tenth.name,
        "inputs": {**trunk.inputs, "trunk": trunk.sha256},
        "architecture": {"name": tenth.kind.__name__, "params": {}},
    })  # fmt: skip
    save_model(tenth.name, own, card, tmp_path)
    made = render_film(seed=3, view="ap")
    film = Film(made.pixels, "made.png")
    done = measure_radiograph(film, tenth.name, settings={"models": str(tmp_path)})
    assert done.measurement.corners_px.shape == (17, 4, 2)
    assert set(done.measurement.angles_deg) == {"major", "upper", "lower"}
    assert done.result.models == ("cobb-trunk", tenth.name)
    with pytest.raises(InputError, match="lateral"):
        tenth.predict(Film(made.pixels, "side.png", view="lateral"),
                      system.Settings(models=str(tmp_path)), Progress())  # fmt: skip


def test_an_answer_and_its_mirror_image_are_one(tenth: system.System) -> None:
    corners = np.random.default_rng(0).uniform(0, 255, (17, 4, 2))
    answer = system.Answer(corners=corners, centreline=corners[:, 0], angles=np.arange(3.0))
    again = answer.mirrored(256).mirrored(256)
    np.testing.assert_allclose(again.corners, corners)
    np.testing.assert_allclose(again.centreline, corners[:, 0])
    once = answer.mirrored(256).corners
    np.testing.assert_allclose(once[:, 0, 0], 255 - corners[:, 1, 0])  # left and right change


def test_a_trunk_that_knows_the_films_is_refused() -> None:
    assert trunk_card(SystemTraining(fold=0))[0].name == "cobb-trunk"
    with pytest.raises(InputError, match="learned from films of fold 3"):
        trunk_card(SystemTraining(fold=3))
    with pytest.raises(InputError, match="no fold 7"):
        SystemTraining(fold=7)
