"""How a scanner turns a patient's densities into a scan: kernel, slices, noise, metal artefacts.

Each part imitates what was measured on real scans (docs/phantom.md): sharp kernels that overshoot
at edges, noise that alternates from line to line where X-rays were few, and slices that were
interpolated before a network sees them. None is simulated physics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]
#: Views round the patient from which metal throws its shadow.
_VIEWS = 40


@dataclass(frozen=True)
class Scanner:
    """How a scan was made, and of what density the patient is.

    Parameters
    ----------
    cancellous_hu : mean of the vertebral bodies' cancellous bone
    cortex_hu, cortex_mm : density and thickness of the bodies' cortical shell
    disc_hu : mean of the discs
    contrast_hu : vessels; kidneys take up part of it
    noise_hu : standard deviation of the noise
    kernel_mm : Gaussian blur (standard deviation) of the reconstruction in the plane
    slice_mm : slice thickness along ``slice_axis``
    texture_hu : standard deviation of the trabecular texture
    soft_shift_hu : added to every soft tissue
    edge : how much a sharp kernel overshoots at edges, 0 for none
    noise_taps : (k, j, i), what every voxel of noise takes from its two neighbours along an axis:
        negative makes it alternate, positive smooths it
    noise_mm : Gaussian blur of the noise
    slice_axis : array axis (k, j, i) across the slices; 0 is the body axis
    slice_gap_mm : distance of the slices between which the scan is interpolated; 0 for none
    sclerosis : 0–1, dense bone beside worn discs
    """

    cancellous_hu: float = 140.0
    cortex_hu: float = 900.0
    cortex_mm: float = 0.7
    disc_hu: float = 85.0
    contrast_hu: float = 45.0
    noise_hu: float = 25.0
    kernel_mm: float = 0.6
    slice_mm: float = 1.0
    texture_hu: float = 30.0
    soft_shift_hu: float = 0.0
    edge: float = 0.0
    noise_taps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise_mm: float = 0.0
    slice_axis: int = 0
    slice_gap_mm: float = 0.0
    sclerosis: float = 0.0


def random_scanner(rng: np.random.Generator, osteoporosis: float | None = None) -> Scanner:
    """A scanner and a patient's densities at random; ``osteoporosis`` is 0 (none) to 1 (severe)."""
    loss = float(rng.beta(1.6, 1.6)) if osteoporosis is None else osteoporosis
    cancellous = float(np.clip(rng.normal(240 - 235 * loss, 30), -10, 320))
    cortex = float(np.exp(rng.uniform(np.log(450), np.log(1500)))) * (1.0 - 0.2 * loss)
    contrast = float(rng.choice([rng.uniform(25, 60), rng.uniform(90, 380)], p=[0.5, 0.5]))
    slice_mm = float(rng.choice([rng.uniform(0.6, 1.6), rng.uniform(1.6, 5.0)], p=[0.6, 0.4]))
    # Half of the scans come from a sharp kernel: clear edges, and noise that changes its sign from
    # one line to the next, most of all from front to back, for few X-rays pass from side to side.
    sharp = rng.random() < 0.5
    across = float(rng.uniform(-0.4, 0.0))
    taps = (float(rng.uniform(-0.05, 0.3)), across, across + float(rng.uniform(0.0, 0.5)))
    soft_noise = float(rng.uniform(0.2, 1.4))
    edge, smooth = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.5, 1.1))
    axis = int(rng.choice(3, p=[0.82, 0.06, 0.12]))
    loud = np.exp(rng.uniform(np.log(14 if sharp else 4), np.log(85 if sharp else 45)))
    return Scanner(
        cancellous_hu=cancellous,
        cortex_hu=max(cortex, cancellous + 90),
        cortex_mm=float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))),
        disc_hu=float(rng.uniform(45, 130)),
        contrast_hu=contrast,
        noise_hu=float(loud),
        kernel_mm=float(rng.uniform(0.3, 0.6)) if sharp else smooth,
        slice_mm=slice_mm,
        texture_hu=float(rng.uniform(5, 95)),
        soft_shift_hu=float(rng.normal(0, 12)),
        edge=edge if sharp else 0.0,
        noise_taps=taps if sharp else (0.0, 0.0, 0.0),
        noise_mm=0.0 if sharp else soft_noise,
        slice_axis=axis,
        slice_gap_mm=slice_mm if rng.random() < 0.7 else 0.0,
        sclerosis=float(rng.random()) if rng.random() < 0.4 else 0.0,
    )


def acquire(
    hu: Array, metal: Array, spacing: float, scanner: Scanner, rng: np.random.Generator
) -> Array:
    """The scan of a patient: kernel, slices, noise, metal artefacts and the scanner's range.

    Parameters
    ----------
    hu : float32 (k, j, i), the patient's densities
    metal : bool (k, j, i)
    spacing : voxel edge, mm

    Returns
    -------
    HU, float32 (k, j, i), within -1024 and 3071 (12 bits), as most scanners clip.
    """
    thick = scanner.slice_mm / np.sqrt(12.0)  # standard deviation of a box of that thickness
    sigma = np.full(3, scanner.kernel_mm / spacing)
    sigma[scanner.slice_axis] = max(scanner.kernel_mm, thick) / spacing
    hu = ndimage.gaussian_filter(hu, sigma, mode="nearest", truncate=2.5)
    if scanner.edge > 0:
        plane = np.full(3, 1.0 / spacing)
        plane[scanner.slice_axis] = 0.0
        blurred = ndimage.gaussian_filter(hu, plane, mode="nearest", truncate=2.0)
        # What is as bright as metal would ring over the whole picture.
        hu = hu + np.clip(hu - blurred, -400, 400) * np.float32(scanner.edge)
    if metal.any():
        hu = hu + metal_artefacts(metal, spacing, rng)
    hu = hu + _noise(hu.shape, spacing, scanner, rng)
    if scanner.slice_gap_mm > 1.2 * spacing:
        step = scanner.slice_gap_mm / spacing
        hu = interpolated(hu, scanner.slice_axis, step, float(rng.uniform(0, step)))
    return np.asarray(np.clip(hu, -1024, 3071), dtype=np.float32)


def _noise(
    shape: tuple[int, ...], spacing: float, scanner: Scanner, rng: np.random.Generator
) -> Array:
    """Noise of the scanner's standard deviation and grain, louder in some places, float32."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    for axis, share in enumerate(scanner.noise_taps):
        if abs(share) > 0.02:
            taps = np.array([share, 1.0, share], dtype=np.float32)
            noise = ndimage.correlate1d(noise, taps, axis=axis, mode="nearest")
    if scanner.noise_mm > 0.2:
        noise = ndimage.gaussian_filter(noise, scanner.noise_mm / spacing, truncate=2.5)
    # Thick slices average the noise of thin ones.
    loud = scanner.noise_hu * min(1.0, float(np.sqrt(2.0 / max(scanner.slice_mm, 0.5))))
    noise *= np.float32(loud) / max(float(noise.std()), 1e-6)
    return np.asarray(noise * (1.0 + 0.2 * drift(shape, 30.0 / spacing, rng)))


def interpolated(hu: Array, axis: int, step: float, first: float) -> Array:
    """What is left of a scan when only every ``step``-th voxel along an axis is a slice.

    Between the slices, the first of which is at ``first`` (voxels), is a linear interpolation:
    so it looks where a scan of thick slices was brought to a finer grid.
    """
    n = hu.shape[axis]
    at = np.arange(n)
    left = np.floor((at - first) / step)
    share = ((at - first) / step - left).astype(np.float32)
    lower, upper = (np.clip(np.rint(first + step * (left + s)), 0, n - 1).astype(int)
                    for s in (0, 1))  # fmt: skip
    wide = [1, 1, 1]
    wide[axis] = n
    share = share.reshape(wide)
    return np.asarray(hu.take(lower, axis) * (1 - share) + hu.take(upper, axis) * share)


def drift(shape: tuple[int, ...], cell: float, rng: np.random.Generator) -> Array:
    """Slow smooth noise, about one bump every ``cell`` voxels, standard deviation 1, float32."""
    counts = [max(4, int(np.ceil(n / cell)) + 3) for n in shape]
    out = rng.standard_normal(counts, dtype=np.float32)
    for n, count in zip(shape, counts, strict=True):
        # Quadratic B-splines, one axis after the other: each product brings the next axis first.
        at = np.linspace(0.5, count - 2.5, n, dtype=np.float32)
        base = np.floor(at).astype(int)
        t = at - base
        weights = np.stack([(1 - t) ** 2 / 2, 0.5 + t - t * t, t * t / 2], axis=1)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        matrix = np.zeros((n, count), dtype=np.float32)
        for s in range(3):
            matrix[np.arange(n), base + s] = weights[:, s]
        out = np.tensordot(out, matrix, axes=(0, 1))
    return np.ascontiguousarray(out)


def metal_artefacts(metal: Array, spacing: float, rng: np.random.Generator) -> Array:
    """Dark bands between pieces of metal and streaks round them, HU, float32 (k, j, i).

    Seen from each direction in the slice, metal hides what lies behind it, the more the longer the
    path through it is: that error, sharpened as a reconstruction does, is smeared back.
    """
    out = np.zeros(metal.shape, dtype=np.float32)
    rows = np.flatnonzero(metal.any(axis=(1, 2)))
    k, y, x = np.nonzero(metal[rows])
    height, width = metal.shape[1:]
    reach = int(np.ceil(np.hypot(height, width))) + 2
    grid_y, grid_x = np.mgrid[:height, :width].astype(np.float32)
    hardening, starving = rng.uniform(0.5, 4.0), rng.uniform(2.0, 20.0)
    for angle in (np.arange(_VIEWS) + rng.random(_VIEWS)) * np.pi / _VIEWS:
        c, s = np.cos(angle), np.sin(angle)
        ray = np.rint(c * grid_x + s * grid_y).astype(int)
        ray -= ray.min()
        count = np.bincount(k * reach + ray[y, x], minlength=len(rows) * reach)
        path = count.reshape(len(rows), reach) * spacing
        error = starving * np.minimum(path, 20.0) * rng.standard_normal(path.shape)
        error -= np.minimum(hardening * path**2, 400.0)
        # A ramp filter, cut short.
        error = error - ndimage.uniform_filter1d(error, 9, axis=1)
        out[rows] += error[:, ray].astype(np.float32)
    return np.asarray(np.clip(out * (12.0 / _VIEWS), -900, 900))
