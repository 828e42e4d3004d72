"""Rendered films: what they show, and that their landmarks are where it is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.io.film_tables import find_film_truths
from spineseg.io.films import read_film
from spineseg.labels import USUAL_VERTEBRAE, by_name
from spineseg.measure.sagittal import sagittal_angles
from spineseg.phantom.answers import coronal_tilt
from spineseg.phantom.chain import build_chain
from spineseg.phantom.codes import Tissue
from spineseg.phantom.film import FilmField, random_field, render_film, sagittal_truth
from spineseg.phantom.film_beam import Beam, beam_canvas, shadow
from spineseg.phantom.film_corners import film_corners
from spineseg.phantom.film_files import film_patient, make_films, write_film
from spineseg.phantom.film_matter import Matter
from spineseg.phantom.generate import draw, spine_canvas
from spineseg.phantom.settings import PhantomSettings

PARALLEL = {view: Beam(view, np.inf, (0.0, 0.0), 0.0, 1.0) for view in ("ap", "lateral")}


def _chain(seed=0, **settings):
    return build_chain(PhantomSettings(**settings), np.random.default_rng([seed, 1]))


def _small(settings, seed, view):
    """A field like the seed's own, of few pixels."""
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    return replace(random_field(np.random.default_rng(seed), chain, view), rows=320)


@pytest.mark.parametrize("view", ["ap", "lateral"])
def test_corners_lie_at_the_ends_of_the_drawn_bodies(view):
    """To a millimetre on average, also for a scoliotic spine and a beam that spreads."""
    settings = PhantomSettings(
        spacing_mm=1.0, cobb_deg=45, degeneration=0, levels=("T7", "L2"), margin_mm=(35, 45, 10)
    )
    chain = _chain(3, cobb_deg=45, degeneration=0.0, levels=("T7", "L2"))
    beam = Beam(view, 1800.0, (10.0, -300.0), -200.0, 1.0)
    levels, corners = film_corners(chain, beam)
    canvas = spine_canvas(chain, settings)
    draw(canvas, chain, settings, 3, spine_only=True)
    errors = []
    for name in ("T8", "T10", "T12", "L1"):
        body, four = chain.bodies[chain.index(name)], corners[levels.index(name)]
        drawn = np.isin(canvas.tissue, (49, 50)) & (canvas.ids == by_name(name).verse)
        places = np.argwhere(drawn & (canvas.depth <= 0))[:, ::-1] + canvas.origin
        rise = (places - body.centre) @ body.rotation[:, 2]
        for row, near in ((0, rise > body.heights[1] / 2 - 3), (2, rise < 3 - body.heights[1] / 2)):
            way = four[row + 1] - four[row]
            along = (beam.project(places[near]) - four[row]) @ way / np.linalg.norm(way)
            # Half a voxel lies beyond the middle of the outermost.
            errors += [along.min() - 0.5, along.max() + 0.5 - np.linalg.norm(way)]
    assert np.abs(errors).mean() < 1.0
    assert np.abs(errors).max() < 3.0


def test_frontal_corners_have_the_tilts_of_the_endplates():
    chain = _chain(5, cobb_deg=50, kyphosis_deg=10, lordosis_deg=10)
    levels, corners = film_corners(chain, PARALLEL["ap"])
    for name in ("T6", "T9", "L2"):
        body, four = chain.bodies[chain.index(name)], corners[levels.index(name)]
        for upper, row in ((True, 0), (False, 2)):
            right, down = four[row + 1] - four[row]
            # Tilted to the patient's right is down on the left of the picture.
            tilt = -np.degrees(np.arctan2(down, right))
            assert tilt == pytest.approx(coronal_tilt(body.endplate(upper)[1]), abs=2.5)


def test_lateral_corners_give_the_true_kyphosis_and_lordosis():
    for seed, kyphosis, lordosis in ((1, 25, 40), (2, 70, 75)):
        chain = _chain(seed, cobb_deg=0, kyphosis_deg=kyphosis, lordosis_deg=lordosis)
        levels, corners = film_corners(chain, PARALLEL["lateral"])
        found = sagittal_angles(dict(zip(levels, corners, strict=True)))
        truth = sagittal_truth(chain)
        assert found.kyphosis_deg == pytest.approx(truth[0], abs=1.0)
        assert found.lordosis_deg == pytest.approx(truth[1], abs=1.0)
        assert found.faces == "right"


@pytest.mark.parametrize(("view", "place"), [("ap", (-40.0, 5.0, 60.0)), ("lateral", (5, 40, 60))])
def test_the_patients_left_and_front_are_on_the_right_of_the_picture(view, place):
    beam = Beam(view, 1500.0, (0.0, 0.0), -150.0, 1.0)
    field = FilmField(beam, (-100.0, -100.0), (200.0, 200.0), 100)
    canvas = beam_canvas(np.full(3, -90.0), np.full(3, 90.0), 2.0, 3.0, beam.axis)
    box = canvas.world_box(np.array(place) - 4, np.array(place) + 4)
    canvas.overlay[box] = Tissue.METAL
    u = -100 + (np.arange(100) + 0.5) * 2
    slab = Matter(0.0, np.random.default_rng(0)).spine(canvas, beam.axis)
    _, mineral = shadow(beam, canvas, slab, u, u, 3.0)
    rows, columns = np.nonzero(mineral > mineral.max() / 2)
    expected = field.pixels(beam.project(np.array(place)))
    assert (columns.mean(), rows.mean()) == pytest.approx(tuple(expected), abs=1.0)
    assert columns.mean() > 50 > rows.mean()


def test_a_film_shows_bone_at_its_landmarks_and_is_the_same_again(tmp_path):
    settings = PhantomSettings(cobb_deg=30, degeneration=0.1)
    field = _small(settings, 2, "ap")
    film = render_film(settings, 2, "ap", field)
    again = render_film(settings, 2, "ap", field)
    np.testing.assert_array_equal(film.pixels, again.pixels)
    assert film.pixels.shape == (320, field.columns)
    assert {"T1", "L5"} <= set(film.levels)
    assert film.pixels.std() > 20
    # In the chest the bodies are brighter than the lungs on both sides.
    four = film.corners[film.levels.index("T7")]
    x, y = four.mean(axis=0).round().astype(int)
    across = int(four[:, 0].max() - four[:, 0].min())
    spine = film.pixels[y - 2 : y + 3, x - 2 : x + 3].mean()
    for side in (-1, 1):
        beside = x + side * 2 * across
        assert spine > film.pixels[y - 2 : y + 3, beside - 2 : beside + 3].mean() + 15
    write_film(film, tmp_path)
    truth = find_film_truths(tmp_path)[0]
    trunk = slice(film.levels.index("T1"), film.levels.index("L5") + 1)
    np.testing.assert_allclose(truth.corners_px, film.corners[trunk], atol=0.01)
    np.testing.assert_array_equal(read_film(truth.path).array, film.pixels)


def test_a_folder_of_films_is_read_kept_and_not_mixed(tmp_path, monkeypatch):
    """Films that are there are not rendered again, and other ones are refused."""
    from spineseg.phantom import film_files

    def quick(settings, seed, view, whole):
        return render_film(settings, seed, view, _small(settings, seed, view))

    monkeypatch.setattr(film_files, "render_film", quick)
    folder = make_films(tmp_path / "films", 1, "lateral", seed=4)
    truth = find_film_truths(folder)[0]
    assert truth.view == "lateral"
    assert len(truth.levels) == len(truth.corners_px) == 24
    known = np.isfinite(truth.corners_px).all(axis=2)
    assert known.sum() == 92
    assert (truth.corners_px[1:, 1, 0] > truth.corners_px[1:, 0, 0]).mean() > 0.8
    monkeypatch.setattr(film_files, "render_film", lambda *_: pytest.fail("rendered again"))
    make_films(folder, 1, "lateral", seed=4)
    with pytest.raises(InputError, match="other things"):
        make_films(folder, 1, "lateral", seed=5)


def test_whole_frontal_films_carry_all_24_levels(tmp_path, monkeypatch):
    """From C1, which lies above C2, to L5; a lateral film is whole anyway."""
    from spineseg.phantom import film_files

    def quick(settings, seed, view, whole):
        chain = build_chain(settings, np.random.default_rng([seed, 1]))
        field = random_field(np.random.default_rng(seed), chain, view, whole)
        return render_film(settings, seed, view, replace(field, rows=320), whole=whole)

    monkeypatch.setattr(film_files, "render_film", quick)
    truth = find_film_truths(make_films(tmp_path / "films", 1, "ap", seed=6, whole=True))[0]
    assert truth.levels == tuple(level.name for level in USUAL_VERTEBRAE)
    assert truth.known.all()
    middles = np.nanmean(truth.corners_px, axis=1)
    assert (np.diff(middles[:, 1]) > 0).all()
    assert (middles > 0).all()
    with pytest.raises(InputError, match="anyway"):
        make_films(tmp_path / "other", 1, "lateral", seed=6, whole=True)


def test_sampled_patients_differ():
    rng = np.random.default_rng(0)
    patients = [film_patient(rng, "ap") for _ in range(60)]
    cobb = np.array([p.cobb_deg for p in patients])
    assert cobb.min() < 10
    assert cobb.max() > 50
    assert any(p.metal for p in patients)
    assert any(p.fractures for p in patients)


def test_an_unknown_view_is_refused(tmp_path):
    with pytest.raises(InputError, match="oblique"):
        render_film(view="oblique")
    with pytest.raises(InputError, match="oblique"):
        make_films(tmp_path / "x", 1, "oblique")
    assert not (tmp_path / "x").exists()
