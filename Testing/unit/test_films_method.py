"""Landmarks on films: chains, windows, warps, and checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spineseg.io.films import Film
from spineseg.measure.cobb import challenge_angles
from spineseg.measure.film import measure_film
from spineseg.measure.sagittal import sagittal_angles
from spineseg.methods import cobb_landmarks
from spineseg.methods.film_chain import LEVELS, Frames, best_chain, frames_of, smoothed
from spineseg.methods.film_checks import Turn, rod_score, turns, warnings_of
from spineseg.methods.film_heat import expectation, mass_near
from spineseg.methods.film_picture import Picture, canvas_scale, prepare, sample
from spineseg.methods.film_windows import canvas_image
from spineseg.networks.film_unet import FilmNetworks
from spineseg.progress import Progress
from spineseg.training.film_data import FilmItem, proportions
from spineseg.training.film_losses import film_loss, gaussians
from spineseg.training.film_samples import (
    MIRRORED,
    canvas_sample,
    draw_bend,
    window_samples,
    with_metal,
)
from spineseg.training.films import FilmBatches, FilmTraining
from tinyfilm import drawn_film, drawn_items

SMALL = {"find_filters": (8, 16, 16, 16, 16), "corner_filters": (8, 16, 16)}


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(3)


def test_levels_are_those_of_the_table() -> None:
    assert LEVELS[0] == "T1"
    assert LEVELS[11:13] == ("T12", "L1")
    assert LEVELS[-1] == "L5"
    assert len(LEVELS) == 17


@pytest.mark.parametrize(("rows", "columns", "aspect"), [(700, 320, 1.0), (350, 320, 2.0)])
def test_points_move_with_the_prepared_film(rows: int, columns: int, aspect: float) -> None:
    array = np.full((rows, columns), 50, np.uint16)
    y, x = rows // 2, columns // 3
    array[y - 4 : y + 5, x - 4 : x + 5] = 4000
    picture = prepare(Film(array, pixel_aspect=aspect))
    assert picture.array.shape == (1024, pytest.approx(468, abs=1))
    bright = np.argwhere(picture.array > 200).mean(axis=0)[::-1]
    assert np.allclose(bright, picture.from_film([x, y]), atol=1.0)
    assert np.allclose(picture.to_film(picture.from_film([[3.0, 7.5]])), [[3.0, 7.5]])


def test_brightness_and_contrast_of_a_film_do_not_matter() -> None:
    film, _ = drawn_film(1)
    darker = Film((film.array.astype(np.uint16) * 9 + 700).astype(np.uint16))
    assert np.abs(prepare(film).array.astype(int) - prepare(darker).array).max() <= 1


def test_sampling_reads_the_pixel_that_is_named() -> None:
    array = np.zeros((40, 30), np.uint8) + 128
    array[12, 7] = 128 + 42
    points = np.array([[[[7.0, 12.0], [8.0, 12.0], [7.5, 12.0]]]])
    values = sample(Picture(array, np.ones(2)), points)
    assert np.allclose(values[0, 0, 0].numpy(), [1.0, 0.0, 0.5], atol=1e-4)


def test_the_canvas_maps_back(items: list[FilmItem]) -> None:
    image, scale, offset = canvas_image(items[0].picture)
    assert tuple(image.shape[2:]) == (512, 256)
    corners = items[0].corners * scale + offset
    for k in (0, 8, 16):
        x, y = np.rint(corners[k].mean(axis=0)).astype(int)
        disc = np.rint((corners[k, 2:].mean(axis=0) + corners[k][:2].mean(axis=0)) / 2).astype(int)
        assert image[0, 0, y, x] > image[0, 0, y, 5]
        assert disc[1] == pytest.approx(y, abs=2)


def chances(cells: np.ndarray, shape: tuple[int, int] = (128, 64)) -> np.ndarray:
    maps = gaussians(torch.as_tensor(cells[None], dtype=torch.float32), *shape, 1.2)[0].numpy()
    return np.asarray(maps / maps.sum(axis=(1, 2), keepdims=True))


def test_a_chain_is_found_where_single_maps_err() -> None:
    y = 8 + np.cumsum(np.full(17, 6.5))
    cells = np.stack([32 + 8 * np.sin(y / 30), y], axis=1)
    maps = chances(cells)
    maps[6] = 0.35 * maps[6] + 0.65 * maps[7]  # takes its neighbour for itself
    maps[11] = 1 / maps[11].size  # sees nothing, so any place is as good
    maps[11] *= 0.9
    maps[11] += 0.1 * chances(cells)[11]
    chain, _ = best_chain(np.log(maps + 1e-12).astype(np.float32), np.ones(16))
    assert np.abs(chain - cells).max() < 0.5


def test_windows_turn_with_the_spine() -> None:
    angle = np.radians(25)
    along = np.array([np.sin(angle), np.cos(angle)])
    chain = np.array([100.0, 50.0]) + np.arange(17)[:, None] * 40 * along
    frames = frames_of(chain, np.full(17, 1.5))
    assert np.allclose(frames.width, 60)
    assert np.allclose(frames.down, along)
    local = np.array([[-0.5, 0.0], [0.5, 0.0]])[None].repeat(17, axis=0)
    ends = frames.to_picture(local)
    tilt = np.degrees(np.arctan2(*(ends[:, 1] - ends[:, 0])[:, ::-1].T))
    assert np.allclose(tilt, -25)
    assert np.allclose(frames.to_local(ends), local)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000))
def test_smoothing_keeps_parabolas_and_mends_unsure_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = np.arange(17.0)
    smooth = np.stack([rng.normal() * k**2 + 40 * k, rng.normal() * k], axis=1)
    weight = rng.uniform(0.1, 1.0, 17)
    assert np.allclose(smoothed(smooth, weight, 0.5), smooth, atol=1e-6)
    wrong = smooth.copy()
    wrong[8] += 50
    weight[8] = 0.001
    assert np.abs(smoothed(wrong, weight, 0.5)[8] - smooth[8]).max() < 3


def test_expectation_is_finer_than_a_cell() -> None:
    place = torch.tensor([[[10.3, 20.6]]])
    maps = torch.log(gaussians(place, 48, 48, 1.5) + 1e-9)
    found = expectation(maps)
    wanted = (place + 0.5) / 24 - 1
    assert torch.allclose(found, wanted, atol=0.02 / 24)
    assert mass_near(maps, found, 0.2)[0, 0] > 0.99
    assert mass_near(maps, found + 0.5, 0.2)[0, 0] < 0.01


@pytest.mark.parametrize("turn", turns(mirrored=True))
def test_turned_points_come_back(turn: Turn) -> None:
    array = np.full((50, 30), 128, np.uint8)
    array[7, 21] = 250 if not turn.negative else 6
    picture = Picture(array, np.ones(2))
    y, x = np.argwhere(turn.apply(picture).array == 250)[0]
    assert np.allclose(turn.back(np.array([[float(x), float(y)]]), picture), [[21.0, 7.0]])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000))
def test_a_bend_can_be_undone_and_tilts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.linspace(30, 480, 17)
    centers = np.stack([128 + 20 * np.sin(y / 80), y], axis=1)
    bend = draw_bend(centers, 512, rng)
    points = centers + rng.uniform(-25, 25, centers.shape)
    bent = bend.forward(points)
    inside = ((points > 5) & (bent > 5) & (bent < 507)).all(axis=1)
    again = bend.backward(bent)
    assert np.abs(again - points)[inside].max() < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_landmarks_go_with_the_warped_film(items: list[FilmItem], seed: int) -> None:
    rng = np.random.default_rng(seed)
    canvas, corners = canvas_sample(items[seed % 3], rng)
    inside = 0
    for k in range(17):
        c = corners[k]
        middle = c.mean(axis=0)
        out = middle + 1.5 * (c[[0, 2]].mean(axis=0) - middle)
        y, x = np.rint(middle).astype(int), np.rint(out).astype(int)
        if not (3 < middle[1] < 508 and 3 < out[0] < 252 and 3 < out[1] < 508):
            continue
        inside += 1
        x0, y0 = y
        assert canvas[0, y0, x0] > canvas[0, x[1], x[0]], k
    assert inside > 8
    assert (corners[:, 1, 0] > corners[:, 0, 0]).all()
    assert (corners[:, 2, 1] > corners[:, 0, 1]).all()


def test_window_samples_hold_their_vertebra(items: list[FilmItem]) -> None:
    _, ratio = proportions(items)
    which = np.arange(17)
    windows, local = window_samples(items[0], ratio, which, np.random.default_rng(0))
    assert tuple(windows.shape) == (17, 2, 96, 96)
    assert np.abs(local).max() < 1.0
    assert np.allclose(local[:, 1] - local[:, 0], [1.0, 0.0], atol=0.4)
    assert (local[:, 2:, 1] > local[:, :2, 1]).all()
    assert windows[0, 1].unique().numel() == 1
    assert MIRRORED == [1, 0, 3, 2]


def test_windows_show_what_their_corners_enclose(items: list[FilmItem]) -> None:
    _, ratio = proportions(items)
    for seed in range(3):
        windows, local = window_samples(
            items[seed], ratio, np.arange(4, 14), np.random.default_rng(seed)
        )
        cells = (local + 1) * 48 - 0.5
        for image, corners in zip(windows[:, 0].numpy(), cells):
            middle = corners.mean(axis=0)
            for edge in (corners[:2], corners[2:], corners[[0, 2]], corners[[1, 3]]):
                away = edge.mean(axis=0) - middle
                part = 5 / np.hypot(*away)
                inner, outer = (
                    np.rint(middle + f * away).astype(int) for f in (1 - part, 1 + part)
                )
                if (outer >= 0).all() and (outer < 96).all():
                    assert image[inner[1], inner[0]] > image[outer[1], outer[0]]


class Perfect:
    """Knows where the vertebrae of one film lie on the canvas."""

    def __init__(self, centers: np.ndarray, items: list[FilmItem]) -> None:
        self.cells = torch.as_tensor((centers + 0.5) / 4 - 0.5, dtype=torch.float32)[None]
        pitch, width = proportions(items)
        self.pitch, self.width = torch.as_tensor(pitch), torch.as_tensor(width)
        # Any tilt is as usual as any other, so that what is seen counts.
        self.tilt, self.tilt_spread = torch.zeros(2 * len(width)), 1e6 * torch.eye(2 * len(width))

    def parameters(self) -> Iterator[torch.Tensor]:
        return iter([torch.zeros(1)])

    def find(self, canvas: torch.Tensor) -> torch.Tensor:
        maps = gaussians(self.cells, 128, 64, 1.2)
        maps = torch.log(torch.cat([maps, maps.amax(1, keepdim=True)], dim=1) + 1e-6)
        return torch.cat([maps, maps.flip(-1)])[: len(canvas)]


@pytest.mark.parametrize("aspect", [1.0, 1.25])
def test_perfect_maps_give_the_corners_back(
    items: list[FilmItem], monkeypatch: pytest.MonkeyPatch, aspect: float
) -> None:
    film, corners = drawn_film(5)
    film = Film(film.array, pixel_aspect=aspect)
    picture = prepare(film)
    wanted = picture.from_film(corners)
    scale, offset = canvas_scale(picture)
    network = Perfect(wanted.mean(axis=1) * scale + offset, items)
    monkeypatch.setattr(cobb_landmarks, "load", lambda models, device, view: network)
    seen = []

    def one_look(_: object, __: object, frames: Frames, ___: bool) -> tuple[np.ndarray, np.ndarray]:
        seen.append(np.abs(frames.center - wanted.mean(axis=1)).max())
        return frames.to_local(wanted), np.ones((17, 4))

    monkeypatch.setattr(cobb_landmarks, "_one_look", one_look)
    found = cobb_landmarks.predict(film, cobb_landmarks.Settings(), Progress())
    assert found.corners_px is not None
    assert seen[0] < 1.0  # prepared pixels, of which a cell has eight
    assert seen[1] < 1e-6
    assert np.abs(found.corners_px - corners).max() < 1.5
    true, ours = (
        challenge_angles(c, film.height_px).major_deg for c in (corners, found.corners_px)
    )
    assert ours == pytest.approx(true, abs=1.0)


class PerfectFromTheSide(Perfect):
    """Knows one lateral film, and sees nothing on any other, its mirror image among them."""

    def __init__(self, canvas: torch.Tensor, centers: np.ndarray, items: list[FilmItem]) -> None:
        super().__init__(centers, items)
        self.canvas = canvas

    def find(self, canvas: torch.Tensor) -> torch.Tensor:
        maps = super().find(canvas[:1])
        alike = torch.cosine_similarity(canvas.flatten(), self.canvas.flatten(), dim=0)
        return maps if alike > 0.9 else torch.full_like(maps, -9.0)


def from_the_side(seed: int) -> tuple[Film, np.ndarray]:
    """A drawn film as one of C2–S1: of C2 the lower endplate is known, of S1 the upper one."""
    film, corners = drawn_film(seed)
    places = np.linspace(0, 16, 24)
    more = np.stack(
        [np.interp(places, np.arange(17), c) for c in corners.reshape(17, 8).T], axis=1
    ).reshape(24, 4, 2)
    more[0, :2] = more[-1, 2:] = np.nan
    return film, more


@pytest.mark.parametrize("faces", ["right", "left"])
def test_a_lateral_film_is_measured_whichever_way_the_patient_faces(
    monkeypatch: pytest.MonkeyPatch, faces: str
) -> None:
    film, corners = from_the_side(6)
    picture = prepare(film)
    wanted = picture.from_film(corners)
    item = FilmItem("side", "side", picture, wanted)
    canvas, scale, offset = canvas_image(picture)
    network = PerfectFromTheSide(canvas, np.nanmean(wanted, axis=1) * scale + offset, [item])
    monkeypatch.setattr(cobb_landmarks, "load", lambda models, device, view: network)

    def one_look(_: object, __: object, frames: Frames, ___: bool) -> tuple[np.ndarray, np.ndarray]:
        return frames.to_local(np.nan_to_num(wanted, nan=1e3)), np.ones((24, 4))

    monkeypatch.setattr(cobb_landmarks, "_one_look", one_look)
    if faces == "left":
        film = Film(film.array[:, ::-1], name=film.name)
        corners = corners * [-1, 1] + [film.array.shape[1] - 1, 0]
    found = cobb_landmarks.predict(film, cobb_landmarks.Settings(view="lateral"), Progress())
    assert found.view == "lateral"
    assert found.levels[0] == "C2"
    assert found.levels[-1] == "sacrum"
    assert found.corners_px is not None
    assert np.array_equal(np.isnan(found.corners_px), np.isnan(corners))
    # Smoothing moves a corner by a fraction of a pixel where a vertebra is drawn off the curve.
    assert np.nanmax(np.abs(found.corners_px - corners)) < 2.0
    measured = measure_film(found, film)
    assert measured.sagittal is not None
    assert measured.sagittal.faces == faces
    assert not any("Don't trust" in text for text in measured.warnings)
    unsure = replace(found, confidence=(*found.confidence[:-1], 0.1))
    said = " ".join(measure_film(unsure, film).warnings)
    assert "Don't trust the lordosis yet: the endplate of sacrum is unsure." in said
    known = sagittal_angles(dict(zip(found.levels, corners)))
    assert measured.sagittal.kyphosis_deg == pytest.approx(known.kyphosis_deg, abs=0.7)
    assert measured.sagittal.lordosis_deg == pytest.approx(known.lordosis_deg, abs=0.7)


def test_unknown_endplates_cost_nothing(items: list[FilmItem]) -> None:
    film, corners = from_the_side(7)
    picture = prepare(film)
    item = FilmItem("side", "side", picture, picture.from_film(corners))
    pitch, width = proportions([item])
    assert np.isfinite(pitch).all()
    assert np.isfinite(width).all()
    options = FilmTraining(view="lateral", films=2, windows=24)
    batch = FilmBatches([item], [items[0].picture], width, options, digital=[item]).batch(0)
    assert batch["cells"].isfinite().all()
    assert batch["local"][[0, 24], :2].isnan().all()
    network = FilmNetworks(**SMALL, vertebrae=24)  # type: ignore[arg-type]
    loss, parts = film_loss(network, batch)
    loss.backward()
    assert all(np.isfinite(value) for value in parts.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_drawn_metal_is_recognised(items: list[FilmItem]) -> None:
    plain, metal = items[0], with_metal(items[0], np.random.default_rng(1))
    clean, rods = Film(plain.picture.array), Film(metal.picture.array)
    assert rod_score(rods, metal.corners) > 0.3 > 2 * rod_score(clean, plain.corners)
    picture = prepare(rods)
    said = warnings_of(rods, picture, picture.from_film(metal.corners), np.ones(17), Turn(), 1.0)
    assert any("implants" in text for text in said)


def test_warnings_name_what_is_wrong(items: list[FilmItem]) -> None:
    sure = np.ones(17)
    sure[4] = 0.1
    corners = items[0].corners.copy()
    corners[0, :, 1] -= corners[0, :, 1].max() + 3
    film = Film(items[0].picture.array, view="lateral")
    said = " ".join(warnings_of(film, items[0].picture, corners, sure, Turn(2, True), 0.1))
    for word in ("lateral film,", "upside down", "negative", "hardly", "T5", "ends at T1"):
        assert word in said
    assert not warnings_of(
        Film(film.array), items[0].picture, items[0].corners, sure + 1, Turn(), 1
    )


def test_names_that_lie_on_each_other_are_pointed_out(items: list[FilmItem]) -> None:
    corners = items[0].corners.copy()
    corners[9] = corners[8] + [0, 4]
    sure = np.ones(17)
    sure[7:11] = 0.1
    film = Film(items[0].picture.array)
    said = warnings_of(film, items[0].picture, corners, sure, Turn(), 1)
    assert any("only a part of T1" in text for text in said)
    said = warnings_of(film, items[0].picture, corners, np.ones(17), Turn(), 1)
    assert not said
