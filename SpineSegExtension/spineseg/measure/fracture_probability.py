"""How probable a fracture is, from what the rules found: a logistic model.

Its coefficients are in ``resources/fracture_calibration.json``, which
``python -m spineseg.evaluation.fracture_fit`` fits on digital patients and writes, with how it was
made. They hold for a share of fractured vertebrae as in those patients, and for nothing that a
digital patient does not show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.measure.genant import Graded, loss_of

__all__ = [
    "FEATURES", "NETWORKS", "PATIENT_FEATURES", "Calibration", "Combination", "calibration",
    "features_of", "logit_of", "patient_features",
]  # fmt: skip

Floats = NDArray[np.float64]
Score = tuple[float | None, float | None] | None
"""What each of `NETWORKS` says of a vertebra, 0 to 1; None where it says nothing."""

FEATURES = ("loss", "by_own", "by_neighbours", "by_level", "hollow", "node", "named")
"""Evidence of one vertebra: the loss that gives the grade; that by each reference; how much more
is lost in the middle than at the rims; the deepest node, cm; and whether a mimic was named."""
PATIENT_FEATURES = ("highest", "expected")
"""Of a patient: the highest logit, and the sum of the probabilities."""
NETWORKS = ("voxels", "vae")
"""What a combination may know besides: the logits of the voxel classifier and of Spine-VAE."""
FILE = "resources/fracture_calibration.json"


@dataclass(frozen=True)
class Combination:
    """The same two models with the networks' scores among the evidence.

    Attributes
    ----------
    vertebra : mapping of str to float
        By `FEATURES`, those of `NETWORKS` that count, and "intercept".
    patient : mapping of str to float
    operating_point : float
    networks : mapping of str to str
        SHA-256 of the weights whose scores it was fitted on: with others it says nothing.
    made : mapping
        As of `Calibration`.
    """

    vertebra: Mapping[str, float]
    patient: Mapping[str, float]
    operating_point: float
    networks: Mapping[str, str]
    made: Mapping[str, Any] = field(default_factory=dict)

    def scores(self, score: Score) -> dict[str, float] | None:
        """Return the logits that count by name, or None where one of them is missing."""
        said = dict(zip(NETWORKS, score or (None, None), strict=True))
        found = {n: logit_of(s) for n, s in said.items() if n in self.vertebra and s is not None}
        return found if len(found) == sum(n in self.vertebra for n in NETWORKS) else None

    def logit(self, graded: Graded, scores: Mapping[str, float]) -> float:
        """Return the logit of a vertebra that is evaluable, from what `scores` returned too."""
        found = {**features_of(graded), **scores}
        return self.vertebra["intercept"] + sum(self.vertebra[n] * found[n] for n in found)


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
    combination : Combination or None
        Where the networks were found to add to the rules.
    """

    vertebra: Mapping[str, float]
    patient: Mapping[str, float]
    made: Mapping[str, Any]
    operating_point: float = 0.5
    combination: Combination | None = None

    def takes(self, networks: Mapping[str, str]) -> bool:
        """Whether the combination was fitted on these networks (SHA-256 by name)."""
        own = {} if self.combination is None else self.combination.networks
        return bool(own) and all(networks.get(name) == sha for name, sha in own.items())

    def counts(self, score: Score) -> bool:
        """Whether a vertebra's probability takes its networks' scores in."""
        return self.combination is not None and self.combination.scores(score) is not None

    def logit(self, features: Mapping[str, float]) -> float:
        """Return a vertebra's log odds by the rules alone."""
        return self.vertebra["intercept"] + sum(self.vertebra[n] * features[n] for n in FEATURES)

    def probability(self, graded: Graded, score: Score = None) -> float | None:
        """Return how probable it is that a vertebra is fractured; None where not evaluable.

        ``score`` has what the voxel classifier and Spine-VAE say, 0 to 1, where they may count.
        """
        if graded.loss is None:
            return None
        return _logistic(self._of_one(graded, score))

    def _of_one(self, graded: Graded, score: Score) -> float:
        scores = None if self.combination is None else self.combination.scores(score)
        if scores is None or self.combination is None:
            return self.logit(features_of(graded))
        return self.combination.logit(graded, scores)

    def patient_probability(
        self, spine: Sequence[Graded], scores: Mapping[int, Score] | None = None
    ) -> float | None:
        """Return how probable any fracture is; None where no vertebra is evaluable.

        ``scores`` as of `probability`, by label.
        """
        own = scores or {}
        seen = [one for one in spine if one.loss is not None]
        if not seen:
            return None
        found = patient_features([self._of_one(one, own.get(one.body.label)) for one in seen])
        combined = any(self.counts(score) for score in own.values())
        weights = self.combination.patient if combined and self.combination else self.patient
        total = sum(weights[n] * found[n] for n in PATIENT_FEATURES)
        return _logistic(weights["intercept"] + total)

    def least(self, score: Score = None) -> float:
        """Return the probability from which on a vertebra is a suspect."""
        if self.combination is None or not self.counts(score):
            return self.operating_point
        return self.combination.operating_point


def logit_of(score: float) -> float:
    """Return the logit of a score from 0 to 1, within ±4.6."""
    sure = min(max(score, 0.01), 0.99)
    return float(np.log(sure / (1.0 - sure)))


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
    own = content.get("combination")
    return Calibration(
        content["vertebra"],
        content["patient"],
        content["made"],
        content["operating_point"],
        None if own is None else Combination(**own),
    )
