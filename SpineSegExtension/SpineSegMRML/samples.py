"""Sample data: a digital patient, drawn when it is asked for. Nothing is fetched."""

from __future__ import annotations

from typing import Any

from SpineSegMRML import cases
from SpineSegMRML.i18n import tr as _

__all__ = ["addDigitalPatient"]

SPACING_MM = 2.0
LEVELS = ("T11", "L4")
COBB_DEG = 20.0


def addDigitalPatient(scene: Any, seed: int = 0) -> Any:
    """Add the CT of a digital patient with a scoliosis of the lower back; return its node.

    Parameters
    ----------
    scene : vtkMRMLScene
    seed : int
        The same seed gives the same patient.
    """
    from spineseg.phantom import PhantomSettings, generate

    settings = PhantomSettings(spacing_mm=SPACING_MM, levels=LEVELS, cobb_deg=COBB_DEG)
    patient = generate(settings, seed)
    return cases.showScan(scene, patient.ct, scene.GenerateUniqueName(_("Digital patient")))
