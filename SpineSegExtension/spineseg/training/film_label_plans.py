"""Sizes and weights with which films are labelled: the paper's, and smaller ones for a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..methods.film_picture import CANVAS, PREPARED

__all__ = ["PLANS", "Plan"]


@dataclass(frozen=True)
class Plan:
    """How the network is built and what it is trained to minimise.

    Attributes
    ----------
    canvas : (int, int)
        Rows and columns of what the network sees.
    filters, stride, sharpness, hidden, blocks, heights
        Of `spineseg.networks.film_labels.FilmLabelNetwork`.
    spread : float
        σ of a target's Gaussian, in cells of the maps.
    background : float
        The background's target is this minus the highest Gaussian.
    image_weight, place_weight : float
        Of L_img and of L_coordinate (paper eq. 5 has 1 and 1). At 1 the corrector soon knows the
        mean spine, and the maps hardly learn any more.
    rough_weight : float
        Of the same Huber loss on the places before they are corrected, which the maps then learn
        in a few steps; the paper has none.
    films : int
        Films a step.
    rate, decay, average, steady
        Of `spineseg.training.loop.LoopSettings`.
    turns_deg : tuple of float
        Films are turned by one of these and not changed otherwise; empty takes the warps and
        contrasts of `spineseg.training.film_samples`.
    metal, wrong : float
        Shares of the films with drawn implants, and of those on which nothing is to be found.
    """

    canvas: tuple[int, int] = CANVAS
    filters: tuple[int, ...] = (24, 48, 72, 96, 128, 160)
    stride: int = 4
    sharpness: float = 20.0
    hidden: int = 256
    blocks: int = 1
    heights: bool = True
    spread: float = 1.5
    background: float = 1.0
    image_weight: float = 1.0
    place_weight: float = 0.1
    rough_weight: float = 0.3
    films: int = 4
    rate: float = 2e-3
    decay: float = 1e-4
    average: float = 0.995
    steady: bool = False
    turns_deg: tuple[float, ...] = ()
    metal: float = 0.12
    wrong: float = 0.06

    def architecture(self, levels: int) -> dict[str, Any]:
        """Name and arguments of the network, as on a card."""
        return {
            "name": "FilmLabelNetwork",
            "params": {
                "levels": levels,
                "filters": list(self.filters),
                "stride": self.stride,
                "sharpness": self.sharpness,
                "hidden": self.hidden,
                "blocks": self.blocks,
                "heights": self.heights,
                "background": self.background,
            },
        }


PLANS = {
    "small": Plan(),
    # The paper's: a U-Net as Ronneberger's on the whole film, maps of the film's size, turns by 2°
    # and 5°, plain Adam at a steady 1e-4, the background as eq. 0 on p. 41 has it. It gives no
    # film size, σ, sharpness, widths or batch: σ is a quarter of a vertebra's height, and with the
    # sharpness of its reference [1] (10) the empty film would outweigh a peak.
    "paper": Plan(
        canvas=PREPARED,
        filters=(64, 128, 256, 512, 1024),
        stride=1,
        heights=False,
        spread=10.0,
        background=0.0,
        place_weight=1.0,
        rough_weight=0.0,
        films=1,
        rate=1e-4,
        decay=0.0,
        average=0.0,
        steady=True,
        turns_deg=(0.0, 2.0, -2.0, 5.0, -5.0),
        metal=0.0,
        wrong=0.0,
    ),
}
