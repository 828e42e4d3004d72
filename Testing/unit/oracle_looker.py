"""Looks at a digital patient's vertebrae as a faultless network would, or with chosen faults.

What a point means is as in the networks' training (`training.one_vertebra_samples.meant`), so that
a walk that works here asks nothing of the network that it did not learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from scipy import ndimage
from spineseg.labels import by_name
from spineseg.methods.loading import Network
from spineseg.methods.one_vertebra import SPACING_MM, WINDOW, VertebraLooker, _described
from spineseg.phantom import PhantomSettings, generate
from spineseg.phantom.generate import Phantom
from spineseg.training.samples import COARSE_LEVEL, COARSE_TISSUE, FINE_TABLE
from spineseg.volume import Volume

BODY = 1
NEAR_MM = 15.0


@cache
def patient(seed: int = 0, **changes) -> Phantom:
    """Draw a small digital patient; one that was drawn before is given again."""
    settings = {"spacing_mm": 3.0, "torso": False, "margin_mm": (50.0, 60.0, 5.0), **changes}
    return generate(PhantomSettings(**settings), seed)


def part(phantom: Phantom, lo, hi) -> tuple[Volume, Volume, Volume]:
    """Return scan, ids and tissue of a part (k, j, i) of a patient's scan."""
    return tuple(v.crop(lo, hi) for v in (phantom.ct, phantom.vertebrae, phantom.tissue))


def coarse_truth(ids: Volume, tissue: Volume) -> Volume:
    """Return `CoarseClass` at 4 mm, as a faultless first stage would."""
    classes = np.where(ids.array > 0, COARSE_LEVEL[ids.array], COARSE_TISSUE[tissue.array])
    grid = ids.grid.with_spacing((4.0, 4.0, 4.0))
    return ids.like(classes.astype(np.uint8)).resampled_like(grid, order=0)


class OracleLooker(VertebraLooker):
    """A looker that knows.

    Parameters
    ----------
    scan, ids, tissue : Volume
        Of a digital patient, or the same part of each.
    centers : dict of int to (3,)
        Centre of each body, RAS mm.
    blind : dict of str to int
        How many looks overlook a level.
    """

    def __init__(
        self,
        scan: Volume,
        ids: Volume,
        tissue: Volume,
        centers: dict[int, np.ndarray],
        blind: Mapping[str, int] | None = None,
    ) -> None:
        network = Network(lambda image: image, SPACING_MM, WINDOW)
        super().__init__(scan, network, torch.device("cpu"))
        self.ids = ids.resampled_like(self.lattice, order=0)
        body = ids.like(((FINE_TABLE[tissue.array] == BODY) & (ids.array > 0)).astype(np.uint8))
        self.body = body.resampled_like(self.lattice, order=0)
        self.centers = {label: np.asarray(c) for label, c in centers.items()}
        self.wholes = {}
        for label in np.unique(self.ids.array)[1:].tolist():
            kji = np.argwhere(self.ids.array == label)
            self.wholes[label] = self.ids.ijk_to_ras(kji.mean(axis=0)[None, ::-1])[0]
        self.blind = {by_name(name).verse: count for name, count in (blind or {}).items()}
        self.looks: list[tuple[int, np.ndarray]] = []

    @classmethod
    def at(cls, phantom: Phantom, lo=None, hi=None, **faults) -> OracleLooker:
        """Look at a patient, or at a part (k, j, i) of the scan."""
        volumes = part(phantom, lo or (0, 0, 0), hi or phantom.ct.shape)
        centers = {by_name(b.name).verse: b.centre for b in phantom.chain.bodies}
        return cls(*volumes, centers, **faults)

    def look(self, seed, memory=None):
        """Answer as the network would; see the class."""
        seed = np.asarray(seed, dtype=float)
        grid = self.window(seed)
        known = np.zeros(grid.shape, bool) if memory is None else memory(grid)
        ids = self._cut(self.ids, grid)
        label = self._meant(seed, ids, known, grid)
        if self.blind.get(label, 0):
            self.blind[label] -= 1
            label = 0
        self.looks.append((label, seed))
        own = (ids == label) & (label > 0)
        body = own & (self._cut(self.body, grid) > 0)
        share = np.zeros((3, *grid.shape), np.uint8)
        for box in ndimage.find_objects(own.astype(np.uint8)):
            box = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in box)
            for n, mask in enumerate((own[box], body[box], ndimage.binary_erosion(body[box]))):
                soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
                share[(n, *box)] = np.rint(soft * 255)
        share[:, known] = 0
        return _described(share, grid, seed)

    def _meant(self, seed, ids, known, grid) -> int:
        present = [n for n in np.unique(ids).tolist() if n]
        free = [n for n in present if (known & (ids == n)).sum() < 0.7 * (ids == n).sum()]
        away = {n: self._away(n, seed) for n in free}
        nearest = min(away, key=lambda n: away[n], default=0)
        if nearest and away[nearest] < NEAR_MM:
            return nearest
        at = np.rint(grid.ras_to_ijk(seed[None])[0]).astype(int)[::-1]
        inside = int(ids[tuple(at)])
        return inside if inside in away else 0

    def _cut(self, volume: Volume, grid) -> np.ndarray:
        corner = volume.ras_to_ijk(grid.ijk_to_ras(np.zeros((1, 3))))[0, ::-1]
        start = np.rint(corner).astype(int)
        lo, hi = np.maximum(start, 0), np.minimum(start + grid.shape, volume.shape)
        result = np.zeros(grid.shape, volume.dtype)
        if (hi > lo).all():
            into = tuple(map(slice, lo - start, hi - start))
            result[into] = volume.array[tuple(map(slice, lo, hi))]
        return result

    def _away(self, label: int, seed) -> float:
        places = [self.wholes[label]]
        if label in self.centers:
            places.append(self.centers[label])
        return min(float(np.linalg.norm(seed - place)) for place in places)
