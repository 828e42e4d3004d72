"""``spineseg label``: levels on films as files, with drawn films and networks of a moment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spineseg import registry
from spineseg.cli import app
from spineseg.cobb_pictures import levels_png
from spineseg.errors import InputError
from spineseg.film_labelling import LEVELS, PARTS, PICTURE, label_films
from spineseg.io.films import read_film
from spineseg.methods.film_result import FilmLevels
from spineseg.progress import Progress
from spineseg.training.film_label_plans import Plan
from spineseg.training.film_labels import fit
from tinyfilm import film_folder
from typer.testing import CliRunner

TINY = Plan(canvas=(128, 64), filters=(8, 16, 16, 16, 16), stride=2, hidden=32, films=2)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_folder(tmp_path_factory.mktemp("films"), 3)


@pytest.fixture(scope="module")
def settings(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Weights of a moment, which see next to nothing: every film is taken for a spine."""
    output = tmp_path_factory.mktemp("out")
    plan = replace(TINY, metal=0.0, wrong=0.0)
    fit(films, {"output": output, "hours": 1 / 3600, "plan": plan, "view": "ap"}, Progress())
    return {"models": str(output / "models"), "view": "ap", "nothing": 0.0}


def test_a_film_gets_levels_a_picture_and_a_manifest(films, settings, tmp_path) -> None:
    film = sorted((films / "images").iterdir())[0]
    done = label_films(film, tmp_path / "one", settings)
    content = json.loads((tmp_path / "one" / LEVELS).read_text(encoding="utf-8"))
    found = done.films[film.name]
    assert [row["level"] for row in content["levels"]] == list(found.levels)
    np.testing.assert_allclose(
        [row["centre_px"] for row in content["levels"]], found.centres_px, atol=0.01
    )
    assert (tmp_path / "one" / PICTURE).read_bytes().startswith(b"\x89PNG")
    manifest = json.loads((tmp_path / "one" / "run.json").read_text(encoding="utf-8"))
    assert manifest["method"] == registry.FILM_LABELS
    assert set(manifest["outputs"]) == set(PARTS)


def test_a_folder_goes_on_past_a_bad_film(films, settings, tmp_path) -> None:
    source = tmp_path / "films"
    source.mkdir()
    for path in sorted((films / "images").iterdir())[:2]:
        (source / path.name).write_bytes(path.read_bytes())
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    done = label_films(source, tmp_path / "out", settings)
    assert len(done.films) == 2
    assert [failed.name for failed in done.failed] == ["broken.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        Path(name).stem for name in done.films
    )
    with pytest.raises(InputError, match="no film"):
        label_films(tmp_path / "out", tmp_path / "other", settings)
    assert not (tmp_path / "other").exists()


def test_unsure_levels_are_drawn_otherwise(films) -> None:
    film = read_film(sorted((films / "images").iterdir())[0])
    middle = np.array([[film.width_px / 2, film.height_px / 2]])
    sure, unsure = (
        levels_png(FilmLevels(("T8",), middle, (confidence,)), film) for confidence in (0.9, 0.1)
    )
    assert sure != unsure


def test_the_command_says_what_is_wrong(tmp_path) -> None:
    result = CliRunner().invoke(app, ["label", str(tmp_path / "none.png"), "-o", str(tmp_path)])
    assert result.exit_code == 2
    assert "There is no file or folder" in " ".join(result.output.split())
