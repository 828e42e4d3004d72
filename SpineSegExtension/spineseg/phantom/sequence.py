"""MR sequences of digital patients: how bright each tissue is, and how the scanner sees it.

Brightness is a share of the brightest tissue. The middles of the ranges follow spine protocols (T1
and T2 turbo spin echo, T1 gradient echo, fat-suppressed), the ranges are wide on purpose: coils,
field strengths and readouts differ more between two hospitals than tissues do within one scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .codes import Tissue

__all__ = ["KINDS", "Sequence", "random_sequence"]

Range = tuple[float, float]

#: Brightness by tissue, and of what is no code of its own: marrow, cortex, and a disc's nucleus.
KINDS: Mapping[str, Mapping[str, Range]] = {
    "t1": {
        "marrow": (0.38, 0.70), "cortex": (0.02, 0.12), "nucleus": (0.25, 0.40),
        "disc": (0.22, 0.38), "canal": (0.08, 0.20), "cord": (0.30, 0.45), "fat": (0.80, 1.00),
        "muscle": (0.26, 0.42), "organ": (0.28, 0.45), "vessel": (0.03, 0.30),
        "kidney": (0.22, 0.38), "bowel": (0.10, 0.70),
    },
    "t2": {
        "marrow": (0.18, 0.55), "cortex": (0.01, 0.10), "nucleus": (0.12, 0.80),
        "disc": (0.06, 0.20), "canal": (0.75, 1.00), "cord": (0.25, 0.45), "fat": (0.50, 0.95),
        "muscle": (0.10, 0.28), "organ": (0.18, 0.40), "vessel": (0.02, 0.20),
        "kidney": (0.40, 0.70), "bowel": (0.05, 0.80),
    },
    "gradient-echo": {
        "marrow": (0.28, 0.55), "cortex": (0.03, 0.15), "nucleus": (0.50, 0.90),
        "disc": (0.40, 0.75), "canal": (0.55, 1.00), "cord": (0.45, 0.65), "fat": (0.40, 0.80),
        "muscle": (0.40, 0.65), "organ": (0.35, 0.65), "vessel": (0.50, 1.00),
        "kidney": (0.45, 0.70), "bowel": (0.10, 0.60),
    },
    "water": {
        "marrow": (0.08, 0.32), "cortex": (0.01, 0.08), "nucleus": (0.30, 0.85),
        "disc": (0.12, 0.40), "canal": (0.70, 1.00), "cord": (0.35, 0.55), "fat": (0.03, 0.18),
        "muscle": (0.22, 0.42), "organ": (0.30, 0.55), "vessel": (0.05, 0.80),
        "kidney": (0.45, 0.80), "bowel": (0.05, 0.70),
    },
}  # fmt: skip
_CODES = {
    "disc": (Tissue.DISC,),
    "canal": (Tissue.CANAL,),
    "cord": (Tissue.CORD,),
    "fat": (Tissue.FAT,),
    "muscle": (Tissue.MUSCLE, Tissue.SKIN),
    "organ": (Tissue.ORGAN,),
    "vessel": (Tissue.VESSEL,),
    "kidney": (Tissue.KIDNEY,),
    "bowel": (Tissue.BOWEL,),
}


@dataclass(frozen=True)
class Sequence:
    """One MR protocol.

    Attributes
    ----------
    kind : a key of ``KINDS``
    brightness : of tissue codes; what is missing gives no signal (air, gas, calcification)
    marrow, cortex, nucleus : of what is no code of its own
    cortex_mm : thickness of the dark line round a bone
    noise : standard deviation of the noise, as a share of the brightest tissue
    kernel_mm : Gaussian blur (standard deviation) in the plane
    slice_mm : distance of the slices, across ``slice_axis`` (array axis k, j, i; 2: sagittal)
    bias : strength of the slow change of brightness; ``coil_mm``: depth to which a surface coil
        behind the patient sees well
    """

    kind: str = "t2"
    brightness: Mapping[int, float] = field(default_factory=dict)
    marrow: float = 0.4
    cortex: float = 0.05
    nucleus: float = 0.5
    cortex_mm: float = 0.9
    noise: float = 0.03
    kernel_mm: float = 0.6
    slice_mm: float = 4.0
    slice_axis: int = 2
    bias: float = 0.15
    coil_mm: float = 300.0


def random_sequence(rng: np.random.Generator, kind: str | None = None) -> Sequence:
    """A protocol at random, of one ``kind`` or of any."""
    kind = kind or str(rng.choice(list(KINDS), p=[0.3, 0.35, 0.25, 0.1]))
    values = {name: float(rng.uniform(*span)) for name, span in KINDS[kind].items()}
    brightness = {int(code): values[name] for name, codes in _CODES.items() for code in codes}
    flat = rng.random() < 0.25  # a 3D sequence
    return Sequence(
        kind=kind,
        brightness=brightness,
        marrow=values["marrow"],
        cortex=values["cortex"],
        nucleus=values["nucleus"],
        cortex_mm=float(rng.uniform(0.4, 1.6)),
        noise=float(np.exp(rng.uniform(np.log(0.008), np.log(0.07)))),
        kernel_mm=float(rng.uniform(0.3, 0.9)),
        slice_mm=float(rng.uniform(0.8, 1.5) if flat else rng.uniform(3.0, 5.0)),
        slice_axis=2 if rng.random() < 0.85 else int(rng.choice([0, 1])),
        bias=float(rng.uniform(0.0, 0.35)),
        coil_mm=float(rng.choice([rng.uniform(90, 180), 1000.0])),
    )
