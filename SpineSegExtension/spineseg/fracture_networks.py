"""What the two networks say of each vertebra, where their weights are present.

Both are separate evidence beside the measured heights: the voxel classifier (paper 004, p. 3) looks
at the scan round a body's centre, Spine-VAE (p. 29) at the masked vertebra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spineseg.errors import DependencyError
from spineseg.progress import Progress
from spineseg.volume import Volume
from spineseg.weights import card_path, load_card

__all__ = ["VAE", "VOXELS", "NetworkScore", "network_scores", "networks_here"]

VOXELS, VAE = "fracture-voxels", "spine-vae"


@dataclass(frozen=True)
class NetworkScore:
    """How fractured a vertebra looks to each network, 0 to 1; None where it can't say.

    Attributes
    ----------
    voxels : float or None
        The voxel classifier's weighted mean round the body's centre.
    vae : float or None
        What Spine-VAE's classifier says.
    """

    voxels: float | None = None
    vae: float | None = None

    @property
    def known(self) -> bool:
        """Whether either network says anything."""
        return self.voxels is not None or self.vae is not None

    @property
    def words(self) -> str:
        """What the networks say, for people; "" where they say nothing."""
        named = (("voxels", self.voxels), ("shape", self.vae))
        said = [f"{name} {value:.2f}" for name, value in named if value is not None]
        return f"networks (0 to 1): {', '.join(said)}" if said else ""

    @property
    def pair(self) -> tuple[float | None, float | None]:
        """The scores in the order of `spineseg.measure.fracture_probability.NETWORKS`."""
        return self.voxels, self.vae


def networks_here(models: str | None = None) -> dict[str, str]:
    """Return the networks whose weights are present, each with their SHA-256."""
    return {
        name: load_card(name, models).sha256
        for name in (VOXELS, VAE)
        if card_path(name, models).exists()
    }


def network_scores(
    scan: Volume,
    segmentation: Volume,
    vertebrae: Sequence[tuple[int, ArrayLike]],
    progress: Progress | None = None,
    models: str | None = None,
    device: str | None = None,
) -> dict[int, NetworkScore]:
    """Return the scores by label.

    Parameters
    ----------
    scan, segmentation : Volume
        CT in HU and its label map, on one grid (k, j, i).
    vertebrae : sequence of (int, (3,))
        Label and centre of the body, RAS mm, from the top. Cervical ones get no score.
    progress : Progress, optional
    models : str, optional
        Folder of the networks, if not the package's own.
    device : str, optional

    Returns
    -------
    dict
        Empty where no weights are present, or torch is missing.

    Raises
    ------
    WeightsError
        Weights are damaged.
    """
    from spineseg.methods import fracture_voxels, spine_vae

    progress = progress or Progress()
    here = networks_here(models)
    own = [one for one in vertebrae if spine_vae.group_of(one[0]) is not None]
    if not here or not own:
        return {}
    voxels: Mapping[int, float] = {}
    shape: Mapping[int, float | None] = {}
    try:
        if VOXELS in here:
            progress("networks", 0.0, VOXELS)
            chosen = fracture_voxels.Settings(models=models, device=device)
            scores = fracture_voxels.vertebra_scores(
                scan, np.array([centre for _, centre in own]), chosen
            )
            voxels = {label: float(s) for (label, _), s in zip(own, scores, strict=True)}
        if VAE in here:
            progress("networks", 0.5, VAE)
            asked = spine_vae.Settings(models=models, device=device)
            found = spine_vae.spine_vae(scan, segmentation, own, asked, progress.part(0.5, 1.0))
            shape = {one.label: one.probability for one in found.findings}
    except DependencyError:  # heights can be measured without torch
        return {}
    return {label: NetworkScore(voxels.get(label), shape.get(label)) for label, _ in own}
