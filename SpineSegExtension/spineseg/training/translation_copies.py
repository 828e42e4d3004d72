"""The paper's volumes: cropped, brought to one size, and varied before the training starts.

Paper 000, section 3.1: 3D rotation, Gaussian noise (σ 0.01), elastic deformation and contrast
stretching made 1,104 MR of 24 and 200 CT of 2. It gives no ranges: those below are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..intensity import ct_to_unit, mr_range, mr_to_unit
from ..io.images import read_volume
from .translation_pool import Source

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
NOISE = 0.01  # the paper's, on a range of 0 to 1
TURN_DEG, STRETCH = 8.0, (0.0, 4.0)
_MARGIN = 20  # voxels of 1 mm round outlined bodies


def add_copies(
    pool: Path, domain: str, sources: Sequence[Source], shape: Shape, copies: int, seed: int = 0
) -> Iterator[str]:
    """Write each volume at ``shape`` (k, j, i) and ``copies`` varied ones, yielding their names."""
    folder = pool / domain
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        targets = [folder / f"{source.name}_{n:03d}.npy" for n in range(copies + 1)]
        missing = [n for n, target in enumerate(targets) if not target.exists()]
        image = _brought(source, domain, shape) if missing else None
        for n in missing:
            assert image is not None
            varied = image if n == 0 else vary(image, seed * 100_003 + n)
            part = targets[n].with_name(f"{targets[n].stem}.part.npy")
            np.save(part, varied.astype(np.float16))
            part.replace(targets[n])
            yield targets[n].stem


def _brought(source: Source, domain: str, shape: Shape) -> Array:
    """A volume cropped to its outlined bodies, if any, and resized; voxels needn't stay cubes."""
    volume = read_volume(source.image).astype(np.float32).reoriented("RAS")
    image = volume.array
    if source.bodies is not None:
        labels = read_volume(source.bodies).reoriented("RAS").array
        box = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
        image = image[tuple(slice(max(0, s.start - _MARGIN), s.stop + _MARGIN) for s in box)]
    small = ndimage.zoom(image, [n / m for n, m in zip(shape, image.shape, strict=True)], order=1)
    unit = ct_to_unit(small) if domain == "ct" else mr_to_unit(small, mr_range(small))
    return np.asarray(unit)


def vary(image: Array, seed: int) -> Array:
    """A copy that is turned, bent, stretched in contrast and noisy; in the network's units.

    Parameters
    ----------
    image : float32 (k, j, i), from -1 on
    seed : the same gives the same copy
    """
    from monai.transforms.compose import Compose
    from monai.transforms.intensity.array import RandGaussianNoise
    from monai.transforms.spatial.array import Rand3DElastic, RandRotate
    from skimage.exposure import rescale_intensity

    lowest = float(image.min())
    turn = float(np.radians(TURN_DEG))
    chain = Compose(
        [
            RandRotate(turn, turn, turn, prob=0.8, padding_mode="border"),
            Rand3DElastic((5, 8), (20, 120), prob=0.5, padding_mode="border"),
            RandGaussianNoise(prob=0.5, mean=0.0, std=2 * NOISE),  # the unit's range is 2
        ]
    )
    chain.set_random_state(seed)
    out = np.asarray(chain(image[None].astype(np.float32)))[0]
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        low, high = rng.uniform(*STRETCH), 100 - rng.uniform(*STRETCH)
        span = tuple(np.percentile(out, (low, high)))
        if span[1] > span[0]:
            to = (lowest, 1.0)
            out = rescale_intensity(out, in_range=span, out_range=to)  # type: ignore[no-untyped-call]
    return np.asarray(np.clip(out, -1, 1.5), dtype=np.float32)
