"""A trained network, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spineseg.errors import WeightsError

if TYPE_CHECKING:
    import torch

    from spineseg.weights import ModelCard

__all__ = ["Network", "build", "load_network", "matching_card"]


@dataclass(frozen=True)
class Network:
    """A network ready to run: (N, channels, k, j, i) → logits; its voxel size and patch."""

    forward: Callable[[torch.Tensor], torch.Tensor]
    spacing_mm: float
    patch: tuple[int, int, int]


@contextmanager
def matching_card(name: str) -> Iterator[None]:
    """Turn what goes wrong in reading a card or its weights into a WeightsError."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise WeightsError(
            f"The card of model {name!r} does not describe its weights.",
            "Install SpineSeg again, or train the model with the command on its card.",
            str(error),
        ) from error


def build(name: str, kind: type[Any], folder: str | None = None) -> tuple[ModelCard, Any]:
    """Return a model's card and its network of class `kind`, with its weights, not to be trained.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    from spineseg.weights import load_card, load_state

    card, state = load_card(name, folder), load_state(name, folder)
    with matching_card(name):
        if card.architecture["name"] != kind.__name__:
            raise ValueError(f"unknown architecture {card.architecture['name']}")
        network = kind(**card.architecture["params"])
        network.load_state_dict(state)
    network.eval().requires_grad_(False)
    return card, network


def load_network(
    name: str,
    outputs: int,
    device: torch.device,
    patch: int | None = None,
    folder: str | None = None,
) -> Network:
    """Build a trained network from its weights and card.

    Parameters
    ----------
    name : str
        Of the model.
    outputs : int
        Channels that its logits must have.
    device : torch.device
    patch : int, optional
        Edge of a patch in voxels; by default what it was trained with.
    folder : str, optional
        Of the models, if not the package's own.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    from spineseg.networks.residual_unet import ResidualUNet

    card, network = build(name, ResidualUNet, folder)
    with matching_card(name):
        spacing = float(np.ravel(card.inputs["spacing_mm"])[0])
        k, j, i = (int(n) for n in np.broadcast_to(patch or card.inputs["patch"], 3))
        channels = network.head.out_channels
        if channels != outputs:
            raise ValueError(f"{channels} output channels, not {outputs}")
    import torch

    network.to(device)
    for weight in network.parameters():
        if weight.dim() == 5:  # on CPUs convolutions are quicker in this order
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    return Network(network, spacing, (k, j, i))
