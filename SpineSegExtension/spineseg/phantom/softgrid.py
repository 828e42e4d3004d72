"""The grid that soft tissue is painted on before it is laid under the bones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .bodyshape import Shape
from .canvas import Canvas
from .codes import Tissue

Array = npt.NDArray[Any]


#: Cells after which the noise repeats.
_PERIOD = 64


def _spline(at: Array, cell: float) -> Array:
    """Cubic B-spline weights of the lattice's nodes at ``at`` (mm), (N, period) float32."""
    place = np.asarray(at, dtype=np.float64) / cell
    base = np.floor(place).astype(int)
    t = place - base
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 0 * t, t**3], axis=1) / 6
    weights[:, 2] = 1 - weights.sum(axis=1)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    out = np.zeros((len(place), _PERIOD), dtype=np.float32)
    for n in range(4):
        out[np.arange(len(place)), (base + n - 1) % _PERIOD] = weights[:, n]
    return out


class Soft:
    """Tissue codes of the soft parts on a canvas's grid, with world coordinates.

    Attributes
    ----------
    x, y, z : RAS mm, float32, shaped (1, 1, i), (1, j, 1), (k, 1, 1)
    code : uint8 (k, j, i)
    belly : bool (k, j, i), the abdomen's cavity
    """

    def __init__(self, canvas: Canvas, shape: Shape, rows: slice | None = None) -> None:
        self.canvas, self.shape, self.spacing = canvas, shape, canvas.spacing
        whole = tuple(slice(0, n) for n in canvas.shape)
        self.x, self.y, self.z = canvas.coordinates((rows or whole[0], whole[1], whole[2]))
        self.code: Array = np.zeros(0, dtype=np.uint8)
        self.belly: Array = np.zeros(0, dtype=bool)
        if rows is None:
            self.code = np.full(canvas.shape, Tissue.AIR, dtype=np.uint8)

    def part(self, rows: slice) -> Soft:
        """A view of some rows: painting it paints this grid."""
        out = Soft(self.canvas, self.shape, rows)
        out.code = self.code[rows]
        return out

    def noise(self, seed: int, cell: Sequence[float] | Array) -> Array:
        """Smooth Gaussian noise, mean 0, standard deviation 1, float32 (k, j, i).

        Cubic B-splines over a lattice of random numbers, one every ``cell`` (x, y, z) mm; the
        lattice is tied to the world (and repeats after 64 cells): a crop has the same noise.
        """
        out = np.random.default_rng(seed).standard_normal((_PERIOD,) * 3, dtype=np.float32)
        # One axis after the other; every product is small beside the grid itself.
        along = [_spline(a.ravel(), c) for a, c in zip((self.x, self.y, self.z), cell, strict=True)]
        out = np.tensordot(out, along[0], axes=(2, 1))
        out = np.tensordot(out, along[1], axes=(1, 1))
        out = np.tensordot(along[2], out, axes=(1, 0))
        return np.ascontiguousarray(out.transpose(0, 2, 1))

    def column(
        self,
        nodes: Sequence[Sequence[float]],
        code: int,
        over: Sequence[int] | None = None,
        shell: tuple[float, int, float] | None = None,
    ) -> None:
        """Paint a tube along the body: ``nodes`` are (z, x, y, half-width, half-depth), mm.

        ``over`` names the codes that may be painted; ``shell`` (thickness mm, seed, threshold)
        paints only patches of the tube's wall.
        """
        table = np.array(sorted(tuple(n) for n in nodes))
        rows = np.flatnonzero((self.z.ravel() >= table[0, 0]) & (self.z.ravel() <= table[-1, 0]))
        if len(rows) == 0:
            return
        heights = self.z.ravel()[rows]
        cx, cy, a, b = (np.interp(heights, table[:, 0], table[:, c]) for c in range(1, 5))
        low = np.array([(cx - a).min(), (cy - b).min(), heights[0]])
        high = np.array([(cx + a).max(), (cy + b).max(), heights[-1]])
        slices = self.canvas.world_box(low - 1, high + 1)
        if slices is None:
            return
        ks = slice(int(rows[0]), int(rows[-1]) + 1)
        js, is_ = slices[1], slices[2]
        cx, cy, a, b = (v.astype(np.float32)[:, None, None] for v in (cx, cy, a, b))
        x, y = self.x[:, :, is_], self.y[:, js, :]
        rho = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2
        inside = rho < 1.0
        if shell is not None:
            thick, seed, threshold = shell
            inside &= rho > (1.0 - thick / np.minimum(a, b)) ** 2
            rng = np.random.default_rng(seed)
            f = rng.uniform(0.09, 0.3, 5)
            # One full product: patches along the vessel and round it.
            z = self.z[ks]
            wave = np.sin(f[0] * z + 5 * f[3] * x) * np.sin(2 * f[1] * y + f[2] * z)
            inside &= wave > threshold
        self.paint((ks, js, is_), inside, code, over)

    def blob(
        self,
        centre: Sequence[float] | Array,
        radii: Sequence[float] | Array,
        code: int,
        over: Sequence[int] | None = None,
        tilt: float = 0.0,
    ) -> None:
        """Paint an ellipsoid, mm; ``tilt`` (radians) turns it about the front-back axis."""
        c, r = np.asarray(centre, dtype=float), np.asarray(radii, dtype=float)
        reach = np.full(3, r.max()) if tilt else r
        slices = self.canvas.world_box(c - reach, c + reach)
        if slices is None:
            return
        x, y, z = self.canvas.coordinates(slices)
        x, y, z = (v - np.float32(p) for v, p in zip((x, y, z), c, strict=True))
        cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        plane = ((cos * x + sin * z) / r[0]) ** 2 + ((cos * z - sin * x) / r[2]) ** 2
        rho = plane.astype(np.float32) + ((y / r[1]) ** 2).astype(np.float32)
        self.paint(slices, rho < 1.0, code, over)

    def paint(
        self,
        slices: tuple[slice, slice, slice],
        inside: Array,
        code: int,
        over: Sequence[int] | None,
    ) -> None:
        """Give ``code`` to the voxels inside, where one of the codes ``over`` stands."""
        view = self.code[slices]
        if over is not None:
            allowed = np.zeros(256, dtype=bool)
            allowed[list(over)] = True
            inside = inside & allowed[view]
        view[inside] = code
