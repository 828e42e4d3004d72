"""Drawn films with known corners: bright rectangles along a curve, ribs, and noise."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from spineseg.io.films import Film
from spineseg.methods.film_picture import prepare
from spineseg.training.film_data import FilmItem

LEVELS = 17


def drawn_film(
    seed: int, rows: int = 700, columns: int = 320, bend: float = 1.0
) -> tuple[Film, np.ndarray]:
    """A film, and its corners (17, 4, 2): upper left, upper right, lower left, lower right."""
    rng = np.random.default_rng(seed)
    pitch = np.linspace(0.75, 1.25, LEVELS) * (rows * 0.88) / LEVELS
    y = rows * 0.06 + np.cumsum(pitch) - pitch / 2
    wave = (
        bend
        * rng.normal(0, [0.10, 0.05])
        @ np.sin(np.outer([1, 2], np.pi * y / rows) + rng.uniform(0, 6, (2, 1)))
    )
    x = columns / 2 + columns * (wave - wave.mean())
    tilt = np.arctan(np.gradient(x, y))
    centre = np.stack([x, y], axis=1)
    right = np.stack([np.cos(tilt), -np.sin(tilt)], axis=1)
    down = np.stack([np.sin(tilt), np.cos(tilt)], axis=1)
    half = np.stack([0.62 * pitch, 0.36 * pitch], axis=1)
    corners = np.stack(
        [
            centre + sx * half[:, :1] * right + sy * half[:, 1:] * down
            for sy in (-1, 1)
            for sx in (-1, 1)
        ],
        axis=1,
    )
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    image = 80 + 30 * np.exp(-(((grid[..., 0] - columns / 2) / (columns / 4)) ** 2))
    for c, r, d, h in zip(centre, right, down, half):
        away = grid - c
        inside = (abs(away @ r) < h[0]) & (abs(away @ d) < h[1])
        image[inside] += 60
    image += rng.normal(0, 4, image.shape)
    return Film(np.clip(image, 0, 255).astype(np.uint8), name=f"film{seed}.png"), corners


def film_folder(folder: Path, count: int, each: int = 2) -> Path:
    """Write films in the layout that `spineseg.training.film_data` reads."""
    (folder / "images").mkdir(parents=True)
    names = [f"v{n:02d}_{c}_{a}" for n in range(1, 18) for c in ("ul", "ur", "ll", "lr")
             for a in "xy"]  # fmt: skip
    films, landmarks = [["file", "patient"]], [["file", *names]]
    for seed in range(count):
        film, corners = drawn_film(seed)
        sitk.WriteImage(sitk.GetImageFromArray(film.array), str(folder / "images" / film.name))
        films.append([film.name, str(seed // each)])
        landmarks.append([film.name, *(f"{v:.2f}" for v in corners.ravel())])
    for name, table in (("films", films), ("landmarks", landmarks)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    return folder


def drawn_items(count: int) -> list[FilmItem]:
    """Drawn films as they are learned from."""
    found = []
    for seed in range(count):
        film, corners = drawn_film(seed)
        picture = prepare(film)
        found.append(FilmItem(film.name, str(seed), picture, picture.from_film(corners)))
    return found
