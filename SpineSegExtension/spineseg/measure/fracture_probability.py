"""How probable a fracture is, from what the rules found: a logistic model.

Its coefficients are in ``resources/fracture_calibration.json``, which
``python -m spineseg.evaluation.fracture_fit`` fits on digital patients and writes, with how it was
made. They hold for a share of fractured vertebrae as in those patients, and for nothing that a
digital patient does not show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.measure.genant import Graded, loss_of

__all__ = [
    "FEATURES", "PATIENT_FEATURES", "Calibration", "calibration", "features_of", "patient_features",
]  # fmt: skip

Floats = NDArray[np.float64]

FEATURES = ("loss", "by_own", "by_neighbours", "by_level", "hollow", "node", "named")
"""Evidence of one vertebra: the loss that gives the grade; that by each reference; how much more
is lost in the middle than at the rims; the deepest node, cm; and whether a mimic was named."""
PATIENT_FEATURES = ("highest", "expected")
"""Of a patient: the highest logit, and the sum of the probabilities."""
FILE = "resources/fracture_calibration.json"


@dataclass(frozen=True)
class Calibration:
    """Two logistic models: intercept and weights of `FEATURES` and of `PATIENT_FEATURES`.

    Attributes
    ----------
    vertebra, patient : mapping of str to float
        By feature, and "intercept".
    made : mapping
        How, when and on what they were fitted.
    operating_point : float
        From this probability on a vertebra is a suspect: chosen for a sensitivity that `made` says.
    """

    vertebra: Mapping[str, float]
    patient: Mapping[str, float]
    made: Mapping[str, Any]
    operating_point: float = 0.5

    def logit(self, features: Mapping[str, float]) -> float:
        """Return a vertebra's log odds."""
        return self.vertebra["intercept"] + sum(self.vertebra[n] * features[n] for n in FEATURES)

    def probability(self, graded: Graded) -> float | None:
        """Return how probable it is that a vertebra is fractured; None where not evaluable."""
        if graded.loss is None:
            return None
        return _logistic(self.logit(features_of(graded)))

    def patient_probability(self, spine: Sequence[Graded]) -> float | None:
        """Return how probable any fracture is; None where no vertebra is evaluable."""
        logits = [self.logit(features_of(one)) for one in spine if one.loss is not None]
        if not logits:
            return None
        found = patient_features(logits)
        total = sum(self.patient[n] * found[n] for n in PATIENT_FEATURES)
        return _logistic(self.patient["intercept"] + total)


def _logistic(logit: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(logit, -30, 30))))


def features_of(graded: Graded) -> dict[str, float]:
    """Return the `FEATURES` of a vertebra that is evaluable."""
    loss = graded.loss
    if loss is None:
        raise ValueError("a vertebra that is not evaluable has no features")
    all_in = loss_of(loss)
    found = {"loss": all_in}
    for name in ("own", "neighbours", "level"):
        by = graded.by_reference.get(name)
        # A reference that says nothing agrees with the others.
        found[f"by_{name}"] = all_in if by is None else loss_of(np.where(np.isfinite(by), by, 0.0))
    found["hollow"] = float(loss[1] - (loss[0] + loss[2]) / 2)
    found["node"] = min(max(graded.body.node_mm or (0.0,)), 6.0) / 10.0
    found["named"] = float(bool(graded.mimics))
    return found


def patient_features(logits: Sequence[float]) -> dict[str, float]:
    """Return the `PATIENT_FEATURES` from the logits of a patient's vertebrae."""
    return {
        "highest": float(np.clip(max(logits), -12, 12)),
        "expected": float(min(sum(_logistic(one) for one in logits), 5.0)),
    }


@cache
def calibration() -> Calibration:
    """Return the calibration that ships."""
    content = json.loads(resources.files("spineseg").joinpath(FILE).read_text(encoding="utf-8"))
    return Calibration(
        content["vertebra"], content["patient"], content["made"], content["operating_point"]
    )
