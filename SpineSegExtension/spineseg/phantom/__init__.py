"""Digital patients: spines with known answers, and the scans made of them."""

from .answers import answers, write_phantom
from .generate import Phantom, generate
from .settings import Fracture, Fusion, Lesion, PhantomSettings

__all__ = [
    "Fracture",
    "Fusion",
    "Lesion",
    "Phantom",
    "PhantomSettings",
    "answers",
    "generate",
    "write_phantom",
]
