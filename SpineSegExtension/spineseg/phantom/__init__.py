"""Digital patients: spines with known answers, and the scans made of them."""

from .answers import answers, write_phantom
from .generate import Phantom, generate
from .settings import Fracture, Fusion, Lesion, Mimic, PhantomSettings

__all__ = [
    "Fracture",
    "Fusion",
    "Lesion",
    "Mimic",
    "Phantom",
    "PhantomSettings",
    "answers",
    "generate",
    "write_phantom",
]
