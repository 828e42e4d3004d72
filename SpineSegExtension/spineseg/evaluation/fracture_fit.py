"""Fits the probabilities of fractures on digital patients, and writes them into the package.

``python -m spineseg.evaluation.fracture_fit 0-79 -o rows.csv`` grades 80 patients (true masks and
disturbed ones, seeds of their own), fits two logistic models with a small ridge penalty, and writes
``resources/fracture_calibration.json``. Rows that are in the table already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

import spineseg

from ..atomic import atomic_path
from ..fracture_networks import VAE, VOXELS, networks_here
from ..manifest import now
from ..measure.fracture_probability import (
    FEATURES,
    FILE,
    NETWORKS,
    PATIENT_FEATURES,
    logit_of,
    patient_features,
)
from .fracture_masks import MASKS
from .fracture_scenes import FIRST_SEED
from .fractures import COLUMNS, Networks, evaluate_fractures
from .resultfile import ResultFile

__all__ = ["fit", "logistic_fit"]

Floats = NDArray[np.float64]
RIDGE = 1.0  # penalty on weights, with features of a spread of 1
SENSITIVITY = 0.95
"""Of the operating point: share of the vertebrae with a loss of 20 % or more that are suspects."""
COUNTING = ("vae",)
"""Networks whose scores count. With the voxel classifier's besides, patients that were not fitted
on were told no better (docs/fracture-voxels.md)."""
_MODELS = dict(zip(NETWORKS, (VOXELS, VAE), strict=True))
_FOLDS = 5


def logistic_fit(features: Floats, ill: NDArray[np.bool_], ridge: float = RIDGE) -> Floats:
    """Return intercept and weights (1 + F,) of the most probable logistic model with a penalty.

    Parameters
    ----------
    features : (N, F) float64
    ill : (N,) bool
    ridge : float
        Half of it times the squared weights, of features scaled to a spread of 1, is added.
    """
    spread = np.maximum(features.std(axis=0), 1e-6)
    x = np.column_stack([np.ones(len(features)), features / spread])
    y = np.where(ill, 1.0, -1.0)

    def cost(w: Floats) -> tuple[float, Floats]:
        margin = y * (x @ w)
        loss = float(np.logaddexp(0.0, -margin).sum()) + 0.5 * ridge * float((w[1:] ** 2).sum())
        pull = -y / (1.0 + np.exp(np.clip(margin, -500, 500)))
        return loss, x.T @ pull + ridge * np.append(0.0, w[1:])

    found = optimize.minimize(cost, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    return np.append(found[0], found[1:] / spread)


def fit(rows: Sequence[Mapping[str, str]], names: Sequence[str] = FEATURES) -> dict[str, Any]:
    """Return both models by feature and the operating point, from rows of `evaluate_fractures`.

    ``names`` are the features of a vertebra: with `NETWORKS`, those of the combination.

    The patients' model and the operating point rest on logits that vertebrae get from models of
    the other patients, so that they do not trust them too much.
    """
    bones = [row for row in rows if row["kind"] == "vertebra" and row["evaluable"] == "1"]
    x = np.array([_evidence(row, names) for row in bones])
    ill = np.array([int(row["grade_true"]) >= 1 for row in bones])
    weights = logistic_fit(x, ill)
    cases = sorted({row["case"] for row in bones})
    fold = np.array([cases.index(row["case"]) % _FOLDS for row in bones])
    logit = np.zeros(len(bones))
    for n in range(_FOLDS):
        here = logistic_fit(x[fold != n], ill[fold != n])
        logit[fold == n] = here[0] + x[fold == n] @ here[1:]
    who = np.array([f"{row['case']} {row['masks']}" for row in bones])
    people = sorted(set(who))
    of = [patient_features(list(logit[who == name])) for name in people]
    y = np.array([[one[name] for name in PATIENT_FEATURES] for one in of])
    any_ill = np.array([bool(ill[who == name].any()) for name in people])
    second = logistic_fit(y, any_ill)
    least = float(np.quantile(logit[ill], 1.0 - SENSITIVITY))
    return {
        "vertebra": _named(weights, names),
        "patient": _named(second, PATIENT_FEATURES),
        "operating_point": round(float(1.0 / (1.0 + np.exp(-least))), 3),
        "specificity": round(float((logit < least)[~ill].mean()), 3),
    }


def _evidence(row: Mapping[str, str], names: Sequence[str]) -> list[float]:
    """Return the features of a row by name."""
    said = json.loads(row["networks"] or "{}") if set(names) & set(NETWORKS) else {}
    return [
        logit_of(said.get(_MODELS[name], 0.5)) if name in _MODELS else float(row[name])
        for name in names
    ]


def combined(
    rows: Sequence[Mapping[str, str]], counting: Sequence[str] = COUNTING
) -> dict[str, Any]:
    """Return the combination of rules and networks (of `NETWORKS`), in the form of the file."""
    found = fit(rows, (*FEATURES, *counting))
    kept = ("vertebra", "patient", "operating_point")
    here = networks_here()
    own = {_MODELS[name]: here[_MODELS[name]] for name in counting}
    return {**{name: found[name] for name in kept}, "networks": own}


def _named(weights: Floats, names: Sequence[str]) -> dict[str, float]:
    return {
        name: round(float(value), 4)
        for name, value in zip(("intercept", *names), weights, strict=True)
    }


def write(models: Mapping[str, Any], made: Mapping[str, Any], path: Path) -> None:
    """Write the calibration."""
    content = {**models, "made": dict(made)}
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def chosen(text: str) -> list[int]:
    """Return the numbers of a text such as ``0-6,14-20``."""
    ends = [part.split("-") for part in text.split(",")]
    return [n for end in ends for n in range(int(end[0]), int(end[-1]) + 1)]


def how(rows: Sequence[Mapping[str, str]], numbers: str) -> dict[str, Any]:
    """Return what the file says of how it was made."""
    bones = [row for row in rows if row["kind"] == "vertebra"]
    return {
        "by": f"python -m spineseg.evaluation.fracture_fit {numbers}",
        "version": spineseg.__version__,
        "date": now(),
        "patients": len({row["case"] for row in bones}),
        "first_seed": FIRST_SEED,
        "masks": list(MASKS),
        "vertebrae": len(bones),
        "fractured": sum(int(row["grade_true"]) >= 1 for row in bones),
        "target": "drawn loss of height of at least 20 %",
        "ridge": RIDGE,
        "sensitivity_of_operating_point": SENSITIVITY,
    }


def main(arguments: Sequence[str]) -> None:
    """Fit from a terminal."""
    parser = argparse.ArgumentParser(prog="python -m spineseg.evaluation.fracture_fit")
    parser.add_argument("numbers", help="patients of the row, as 0-79 or 0-6,14-20")
    parser.add_argument(
        "-o", type=Path, required=True, help="CSV file for the rows; taken up again"
    )
    parser.add_argument("--networks", action="store_true", help="fit the combination, too")
    parser.add_argument("--to", type=Path, default=Path(spineseg.__file__).parent / FILE)
    asked = parser.parse_args(arguments)
    numbers = chosen(asked.numbers)
    evaluate_fractures(
        asked.o, seed=FIRST_SEED, numbers=numbers, resume=asked.o.exists(),
        networks=Networks(groups=False) if asked.networks else None,
    )  # fmt: skip
    rows = ResultFile(asked.o, COLUMNS, resume=True).rows
    models = fit(rows)
    made = how(rows, asked.numbers + (" --networks" if asked.networks else ""))
    if asked.networks:
        models["combination"] = {**combined(rows), "made": made}
    write(models, made, asked.to)


if __name__ == "__main__":
    main(sys.argv[1:])
