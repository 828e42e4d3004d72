"""Measures names on digital patients with odd anatomy.

Run ``python -m spineseg.evaluation.odd_anatomy -n 200 -o FOLDER [--method M | --oracle]``.

Each patient has one or two of: T13, L6, no T12, a sacralised L5, a block vertebra, fractures, a
field of view that is cropped at both ends. ``--oracle`` draws the bones alone and names them from
what faultless networks would say, or, with ``--errors``, from the same with networks' errors; the
other way renders a CT and runs a method of the registry. A run that was stopped goes on where it
was.

A true vertebra counts where its body's centre is in the field of view. It is identified where a
vertebra of its name was found whose nearest true centre, nearer than 20 mm, is its own (VerSe).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import atomic_path
from ..labels import FIRST_UNSURE, by_name
from ..methods.instances import split_vertebrae
from ..methods.levels import spell
from ..methods.mending import mend_slips
from ..methods.naming import name_vertebrae
from ..methods.sacral import without_sacral
from ..phantom.chain import Chain, level_names
from ..phantom.generate import generate
from ..phantom.settings import Fracture, Fusion, PhantomSettings
from ..result import Vertebra
from ..volume import Volume
from .oracle import Errors, drawn, seen_by_networks

__all__ = ["FIRST_SEED", "KINDS", "Outcome", "OddPatient", "measure", "odd_patient", "summary"]

Array = npt.NDArray[Any]

KINDS = ("t13", "l6", "thoracic_11", "sacralised_l5", "fused", "fractured", "cropped")
"""What can be odd; the first four and their combinations change how many vertebrae there are."""
FIRST_SEED = 4_000_000
"""No training draws seeds from here on."""
NEAR_MM = 20.0
_IMPOSSIBLE = ({"t13", "thoracic_11"}, {"l6", "sacralised_l5"})


@dataclass(frozen=True)
class OddPatient:
    """A patient of the test: what is odd, and how to draw it."""

    seed: int
    kinds: tuple[str, ...]
    settings: PhantomSettings


@dataclass(frozen=True)
class Outcome:
    """How one patient was named; one row of the table.

    Attributes
    ----------
    seed, kinds : what was drawn
    vertebrae : true vertebrae in view
    identified : those that got their right name
    misnamed : found vertebrae that got a wrong name
    missed : true vertebrae that no found one lies nearest to
    unsure : found vertebrae without a name
    right : no vertebra is misnamed or missed, and where some are unsure, the naming that was
        called likeliest is the true one
    stated : a warning states the true naming as a possible one, or where a vertebra was missed
    truth, answer : first to last level, with what is unusual
    warnings : what the user reads
    """

    seed: int
    kinds: str
    vertebrae: int
    identified: int
    misnamed: int
    missed: int
    unsure: int
    right: bool
    stated: bool
    truth: str
    answer: str
    warnings: str

    @property
    def named(self) -> bool:
        """Whether every found vertebra has a name."""
        return not self.unsure

    @property
    def flagged(self) -> bool:
        """Whether a user is told: names withheld and the others right, or the truth said."""
        return self.stated or (self.unsure > 0 and not self.misnamed)


def odd_patient(seed: int, spacing_mm: float = 2.0) -> OddPatient:
    """Draw lots for a patient: half have one oddity, half have two."""
    rng = np.random.default_rng([seed, 41])
    kinds: set[str] = set()
    while not kinds or any(both <= kinds for both in _IMPOSSIBLE):
        kinds = {str(k) for k in rng.choice(KINDS, size=int(rng.integers(1, 3)), replace=False)}
    plain = PhantomSettings(t13="t13" in kinds, l6="l6" in kinds,
                            thoracic_11="thoracic_11" in kinds)  # fmt: skip
    names = level_names(plain)
    first, last, margin = 0, len(names) - 1, 60.0
    if "cropped" in kinds:
        count = int(rng.integers(6, 15))
        first = int(rng.integers(1, len(names) - count - 1))
        last, margin = first + count - 1, float(rng.uniform(0, 20))
    # Ribs that could be counted: an additional or last pair is there, if short in some.
    usual = not kinds & {"t13", "thoracic_11"}
    lowest = 0.0 if usual and rng.random() < 0.05 else float(rng.uniform(0.3, 1.0))
    lumbar = float(rng.uniform(0.3, 0.8)) if usual and rng.random() < 0.03 else 0.0
    settings = PhantomSettings(
        spacing_mm=spacing_mm,
        levels=(names[first], names[last]),
        t13="t13" in kinds,
        l6="l6" in kinds,
        thoracic_11="thoracic_11" in kinds,
        sacralised_l5="sacralised_l5" in kinds,
        fusions=_fusions(names[first : last + 1], rng) if "fused" in kinds else (),
        fractures=_fractures(names[first : last + 1], rng) if "fractured" in kinds else (),
        lowest_ribs=lowest,
        lumbar_ribs=lumbar,
        margin_mm=(70.0, 80.0, margin),
    )
    return OddPatient(seed, tuple(k for k in KINDS if k in kinds), settings)


def _fusions(names: Sequence[str], rng: np.random.Generator) -> tuple[Fusion, ...]:
    """One block; between C2 and C3 in every third patient who shows them."""
    places = [name for name in names[:-1] if name != "C1"]
    level = str(rng.choice(places))
    if "C2" in places and rng.random() < 0.33:
        level = "C2"
    return (Fusion(level, arches=bool(rng.random() < 0.7)),)


def _fractures(names: Sequence[str], rng: np.random.Generator) -> tuple[Fracture, ...]:
    places = [name for name in names if name[0] in "TL"] or [n for n in names if n != "C1"]
    count = min(int(rng.integers(1, 4)), len(places))
    return tuple(
        Fracture(
            str(level),
            str(rng.choice(["wedge", "biconcave", "crush"])),
            float(rng.uniform(0.25, 0.6)),
        )
        for level in rng.choice(places, size=count, replace=False)
    )


def score(
    patient: OddPatient,
    chain: Chain,
    grid: Volume,
    found: Sequence[Vertebra],
    warnings: Sequence[str],
) -> Outcome:
    """Compare found vertebrae with a patient's."""
    centres = np.array([body.centre for body in chain.bodies])
    labels = [by_name(body.name).verse for body in chain.bodies]
    kji = grid.ras_to_ijk(centres)[:, ::-1]
    inside = ((kji >= -0.5) & (kji <= np.array(grid.shape) - 0.5)).all(axis=1)
    identified: set[int] = set()
    seen: set[int] = set()
    misnamed = 0
    true_names = []
    for one in found:
        away = np.linalg.norm(centres - np.asarray(one.centroid), axis=1)
        nearest = int(np.argmin(away))
        true_names.append(chain.bodies[nearest].name)
        seen.add(nearest)
        if one.label >= FIRST_UNSURE:
            continue
        if labels[nearest] == one.label and away[nearest] < NEAR_MM:
            identified.add(nearest)
        else:
            misnamed += 1
    unsure = sum(one.label >= FIRST_UNSURE for one in found)
    whole = set(np.flatnonzero(inside).tolist())
    truth = spell(true_names)
    text = " ".join(warnings)
    right = whole <= seen and not misnamed
    if unsure:
        right = right and f"could be {truth} (" in text
    answer = spell([one.level for one in found if one.level])
    gap = whole - seen and not misnamed and "was not found" in text
    return Outcome(
        seed=patient.seed,
        kinds="+".join(patient.kinds),
        vertebrae=len(whole),
        identified=len(whole & identified),
        misnamed=misnamed,
        missed=len(whole - seen),
        unsure=unsure,
        right=right,
        stated=f" {truth} (" in text or bool(gap),
        truth=truth,
        answer=answer,
        warnings=text,
    )


def measure(
    patient: OddPatient, method: str | None = None, errors: Errors | None = None
) -> Outcome:
    """Draw, name and score one patient.

    Parameters
    ----------
    patient : OddPatient
    method : str, optional
        A row of the registry; None names from what networks would say of the drawing.
    errors : Errors, optional
        Of these networks; None for faultless ones.
    """
    if method is not None:
        from ..pipeline import segment

        phantom = generate(patient.settings, patient.seed)
        result = segment(phantom.ct, method)
        return score(patient, phantom.chain, phantom.ct, result.vertebrae, result.warnings)
    chain, canvas = drawn(patient.settings, patient.seed)
    seen = seen_by_networks(chain, canvas, patient.settings, errors, patient.seed)
    instances, found = split_vertebrae(seen.classes, seen.offsets)
    instances, found = without_sacral(instances, found, seen.regions, seen.classes)
    instances, found = mend_slips(instances, found, seen.classes)
    vertebrae, warnings = name_vertebrae(seen.classes, instances, found, seen.regions)
    return score(patient, chain, seen.classes, vertebrae, warnings)


def summary(rows: Sequence[Outcome]) -> list[str]:
    """Return the lines of a Markdown table: all patients, and each kind of oddity."""
    lines = [
        "| patients | number | named wholly | in part | identified, of named | identified, of all "
        "| wrong | wrong and flagged | right and flagged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = Counter(kind for row in rows for kind in row.kinds.split("+"))
    for kind in ("all", *(k for k in KINDS if kinds[k])):
        some = [row for row in rows if kind in ("all", *row.kinds.split("+"))]
        lines.append(_line(kind, some))
    return lines


def _line(kind: str, rows: Sequence[Outcome]) -> str:
    partly = sum(row.unsure > 0 and row.identified + row.misnamed > 0 for row in rows)
    wrong = [row for row in rows if not row.right]
    flagged = sum(row.flagged for row in wrong)
    right = [row for row in rows if row.right]
    warned = sum(row.unsure > 0 or "possible too" in row.warnings for row in right)
    named = sum(row.identified + row.misnamed for row in rows)
    total = sum(row.vertebrae for row in rows)
    identified = sum(row.identified for row in rows)
    return (
        f"| {kind} | {len(rows)} | {sum(row.named for row in rows)} | {partly} "
        f"| {_share(identified, named)} | {_share(identified, total)} "
        f"| {len(wrong)} | {flagged} | {warned} of {len(right)} |"
    )


def _share(some: int, total: int) -> str:
    return f"{100 * some / total:.1f} %" if total else "–"


def run(
    folder: Path, count: int, method: str | None, errors: Errors | None, spacing_mm: float
) -> list[Outcome]:
    """Measure patients that `folder` has no row of yet; returns all rows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "patients.csv"
    rows = _read(path)
    done = {row.seed for row in rows}
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        if seed in done:
            continue
        rows.append(measure(odd_patient(seed, spacing_mm), method, errors))
        _write(rows, path)
    rows = [row for row in rows if row.seed < FIRST_SEED + count]
    with atomic_path(folder / "summary.md") as part:
        Path(part).write_text("\n".join(summary(rows)) + "\n", encoding="utf-8")
    return rows


def _write(rows: Sequence[Outcome], path: Path) -> None:
    with atomic_path(path) as part, Path(part).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(Outcome.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _read(path: Path) -> list[Outcome]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Outcome(
                seed=int(row["seed"]),
                kinds=row["kinds"],
                vertebrae=int(row["vertebrae"]),
                identified=int(row["identified"]),
                misnamed=int(row["misnamed"]),
                missed=int(row["missed"]),
                unsure=int(row["unsure"]),
                right=row["right"] == "True",
                stated=row["stated"] == "True",
                truth=row["truth"],
                answer=row["answer"],
                warnings=row["warnings"],
            )
            for row in csv.DictReader(file)
        ]


def main(arguments: Sequence[str]) -> None:
    """Measure from a terminal; the folder gets ``patients.csv`` and ``summary.md``."""
    parser = argparse.ArgumentParser(prog="python -m spineseg.evaluation.odd_anatomy")
    parser.add_argument("-n", type=int, default=200, help="patients")
    parser.add_argument("-o", type=Path, required=True, help="folder for the results")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel edge, mm")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--method", default="vertebra-unet", help="method of the registry")
    way.add_argument("--oracle", action="store_true", help="name without networks")
    parser.add_argument("--errors", action="store_true", help="with --oracle: as networks err")
    asked = parser.parse_args(arguments)
    if asked.errors and not asked.oracle:
        parser.error("--errors goes with --oracle")
    method = None if asked.oracle else asked.method
    run(asked.o, asked.n, method, Errors() if asked.errors else None, asked.spacing)


if __name__ == "__main__":
    main(sys.argv[1:])
