"""Names vertebrae from what can be seen of the spine: regions, ribs, sacrum and distances.

Every way of laying the found vertebrae on a spine is weighed: with 11, 12 or 13 thoracic and 4, 5
or 6 lumbar vertebrae, starting at any level, with vertebrae overlooked in between. Where no way is
clearly the best, only vertebrae are named that have the same name in nearly all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from spineseg.methods.level_columns import (
    REGIONS,
    Column,
    bears_ribs,
    border_error,
    columns,
    region_of,
    spacing,
)
from spineseg.methods.level_statistics import SIZE_SD
from spineseg.methods.level_words import remarks, skips, spell, unsure

__all__ = ["SURE", "Evidence", "LevelResult", "name_levels", "spacing", "spell"]

Floats = NDArray[np.float64]

SURE = 0.75
"""Probability that the best naming must reach. With a real detector's regions alone about 94 of
100 namings beyond it are right on scans that were not looked at before (docs/levels.md)."""

_SURE_ALONE = 0.9
"""Probability that a vertebra's name must reach where the whole naming is unsure."""

_OVERLOOKED = 0.01  # chance that the next vertebra was not found
_NO_ATLAS = 0.05  # the same of an atlas right below a skull: 0 of 162 digital ones (cautious)
_CENTER_SD = 0.05  # of the log spacing, from our own centres' errors, beside the patients'
_CUT_SD = 0.3  # of the log spacing, beside a vertebra that the field of view cuts
_BLOCK_SD = 0.1  # of the log spacing, beside two vertebrae that were seen as one
_LEAST_DOUBLE = 0.001  # less is not weighed
_TAIL = 4.0  # degrees of freedom of Student's t: fractures and cut bodies are no outliers
_SIZES = np.linspace(-0.32, 0.24, 8)  # log of a patient's size, small adults and children too
_SACRUM_MM = (22.0, 7.0)  # last lumbar body's centre to the sacrum: mean and SD
_LUMBAR_MM = 36.0
_CHANCE = 0.02  # of any single piece of evidence being nonsense
_ATLAS = 0.3  # of atlases are seen without a body: its front arch is taken for one in the others
_DULL = 1.2  # errors of one scan's evidence go together: the log likelihood is divided by this
_STEPS = 3  # at most two vertebrae overlooked in a row


@dataclass(frozen=True)
class Evidence:
    """What is known of one vertebra.

    Attributes
    ----------
    centroid : (3,) float64
        Centre of the body, RAS, mm.
    region : (4,) float64 or None
        Probabilities of C1–C2, C3–C7, thoracic and lumbar; they need not add up to 1.
    ribs : float or None
        0–1: how sure it is that it bears ribs; None where nothing was looked for.
    sacrum_mm : float or None
        mm from the body's centre along the spine to the sacrum; None where none is seen.
    has_body : bool
        False where only an arch was found.
    complete : bool
        Whether it lies wholly in the field of view.
    double : float
        0–1: chance, from its size alone, that it is two vertebrae that were seen as one.
    beyond : float
        Volume of a body that was not counted above the first or below the last vertebra, over its
        own body's.
    skull : bool
        Whether the skull is seen right above it.
    """

    centroid: Floats
    region: Floats | None = None
    ribs: float | None = None
    sacrum_mm: float | None = None
    has_body: bool = True
    complete: bool = True
    double: float = 0.0
    beyond: float = 0.0
    skull: bool = False


@dataclass(frozen=True)
class LevelResult:
    """Names of the vertebrae, from the top.

    Attributes
    ----------
    levels : list of str or None
        None where unsure; a naming that is unsure as a whole may be sure in part.
    confidence : float
        Probability (0–1) of the best naming, given the evidence.
    alternatives : list of (list of str, float)
        Up to five namings, the likeliest first, with their probabilities.
    each : list of float
        For each vertebra the probability of its level in the best naming.
    overlooked : list of int
        Indices of the vertebrae below which at least one was not found.
    double : dict of int to float
        Indices of the vertebrae that may be two, and how likely that is by all evidence.
    warnings : list of str
        Sentences for the user.
    """

    levels: list[str | None]
    confidence: float
    alternatives: list[tuple[list[str], float]] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    overlooked: list[int] = field(default_factory=list)
    double: dict[int, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def name_levels(evidence: Sequence[Evidence], sure: float = SURE) -> LevelResult:
    """Name vertebrae, or say why they cannot be named.

    Parameters
    ----------
    evidence : sequence of Evidence
        From the top.
    sure : float
        Probability that the best naming must reach.

    Returns
    -------
    LevelResult
    """
    if not evidence:
        return LevelResult([], 0.0)
    weights: dict[tuple[str, ...], list[float]] = {}
    blocks: dict[tuple[int, tuple[str, ...]], list[float]] = {}
    for column in columns():
        for names, weight in _weigh(column, evidence):
            weights.setdefault(names, []).append(weight)
        for number, names, weight in _weigh_blocks(column, evidence):
            weights.setdefault(names, []).append(weight)
            blocks.setdefault((number, names), []).append(weight)
    if not weights:
        why = f"{len(evidence)} vertebrae were found, more than a spine has; none is named."
        return LevelResult([None] * len(evidence), 0.0, warnings=[why])
    namings = list(weights)
    total = np.array([float(np.logaddexp.reduce(weights[names])) for names in namings]) / _DULL
    chance = np.exp(total - np.logaddexp.reduce(total))
    order = np.argsort(-chance)
    best = namings[order[0]]
    alternatives = [(list(namings[n]), float(chance[n])) for n in order[:5]]
    each = [
        float(sum(p for names, p in zip(namings, chance, strict=True) if names[n] == name))
        for n, name in enumerate(best)
    ]
    chance_of = dict(zip(namings, chance.tolist(), strict=True))
    double: dict[int, float] = {}
    for (number, names), some in blocks.items():
        share = np.exp(np.logaddexp.reduce(some) - np.logaddexp.reduce(weights[names]))
        double[number] = double.get(number, 0.0) + chance_of[names] * float(share)
    confidence = float(chance[order[0]])
    if confidence < sure:
        sure_ones = [p >= _SURE_ALONE for p in each]
        levels = [name if own else None for name, own in zip(best, sure_ones, strict=True)]
        said = unsure(alternatives, _missing(evidence), [name for name in levels if name])
        return LevelResult(levels, confidence, alternatives, each, [], double, [said])
    overlooked = skips(best)
    warnings = remarks(best, overlooked, alternatives)
    if best[-1] == "L4" and evidence[-1].sacrum_mm is not None:
        warnings.append(
            "Only four lumbar vertebrae lie above the sacrum: L5 was not found, or has grown into"
            " it (sacralised)."
        )
    return LevelResult(list(best), confidence, alternatives, each, overlooked, double, warnings)


def _weigh(column: Column, evidence: Sequence[Evidence]) -> list[tuple[tuple[str, ...], float]]:
    """Log weight of each way of laying the vertebrae on this spine."""
    n, m = len(evidence), len(column.names)
    if n > m:
        return []
    seen = _seen(column, evidence)
    apart = _apart(column, evidence)
    rows = np.arange(n)
    sizes = _size_prior()
    result = []
    for steps in _step_patterns(evidence):
        way = np.concatenate([[0], np.cumsum(steps)]).astype(int)
        starts = np.arange(m - way[-1])
        if len(starts) == 0:
            continue
        place = starts[:, None] + way[None, :]
        weight = seen[rows, place].sum(axis=1)
        weight = weight + np.log(_OVERLOOKED) * int((steps - 1).sum())
        if n > 1:
            gaps = apart[steps - 1, rows[:-1], place[:, :-1]].sum(axis=1)
            weight = weight + _log_sum(gaps + sizes)
        # Every start is as likely as another: fields of view begin anywhere.
        weight = weight + column.prior - np.log(m) + _below_skull(evidence, starts)
        result += [
            (tuple(column.names[p] for p in row), float(w))
            for row, w in zip(place, weight, strict=True)
        ]
    return result


def _weigh_blocks(
    column: Column, evidence: Sequence[Evidence]
) -> list[tuple[int, tuple[str, ...], float]]:
    """Log weight of each way in which one vertebra, by its index, is two that were seen as one."""
    n, m = len(evidence), len(column.names)
    large = [number for number, one in enumerate(evidence) if one.double >= _LEAST_DOUBLE]
    if n + 1 > m or n < 2 or not large:
        return []
    pairs = [spacing(a, b) for a, b in zip(column.names[:-1], column.names[1:], strict=True)]
    along = np.concatenate([[0.0], np.cumsum([pair[0] for pair in pairs])])
    spread = np.array([pair[1] for pair in pairs])
    seen, gaps = _seen(column, evidence), np.log(_gaps(evidence))
    whole = np.array([one.complete for one in evidence])
    blur = np.where(whole[:-1] & whole[1:], 0.0, _CUT_SD)
    result = []
    for number, start in product(large, range(m - n)):
        upper = start + np.arange(n) + (np.arange(n) > number)
        lower = upper + (np.arange(n) == number)
        mm = np.diff((along[upper] + along[lower]) / 2)
        # Where in a block its centre lies goes by which of its vertebrae is the larger.
        own = np.isin(np.arange(n - 1), (number - 1, number))
        rough = np.where(own, _BLOCK_SD, 0.0)
        sd = np.sqrt(spread[upper[:-1]] ** 2 + _CENTER_SD**2 + blur**2 + rough**2)[:, None]
        off = (gaps[:, None] - np.log(mm)[:, None] - _SIZES[None]) / sd
        fit = (-(_TAIL + 1) / 2 * np.log1p(off**2 / _TAIL) - np.log(sd)).sum(axis=0)
        halves = np.logaddexp(seen[number, upper[number]], seen[number, lower[number]])
        weight = column.prior - np.log(m) + seen[np.arange(n), upper].sum()
        weight += float(_below_skull(evidence, np.array([start]))[0])
        weight += halves - seen[number, upper[number]] - 2 * np.log(2)
        weight += _log_sum((fit + _size_prior())[None])[0]
        weight += np.log(evidence[number].double / (1 - evidence[number].double))
        for way in (upper, lower):
            result.append((number, tuple(column.names[p] for p in way), float(weight)))
    return result


def _below_skull(evidence: Sequence[Evidence], starts: NDArray[np.int64]) -> Floats:
    """Log chance of each first level, by its index: right below the skull lies C1."""
    return np.where((starts > 0) & evidence[0].skull, np.log(_NO_ATLAS), 0.0)


def _size_prior() -> Floats:
    """Log chance of each of the patients' sizes."""
    sizes = -0.5 * (_SIZES / (SIZE_SD + 0.02)) ** 2
    return np.asarray(sizes - _log_sum(sizes[None])[0])


def _log_sum(rows: Floats) -> Floats:
    top = rows.max(axis=1)
    return np.asarray(top + np.log(np.exp(rows - top[:, None]).sum(axis=1)))


def _step_patterns(evidence: Sequence[Evidence]) -> list[NDArray[np.int64]]:
    """Steps between neighbours: all 1; one wider; or two wide ones where the gaps are widest."""
    n = len(evidence)
    plain = np.ones(max(n - 1, 0), dtype=np.int64)
    patterns = [plain]
    for gap, step in product(range(n - 1), range(2, _STEPS + 1)):
        pattern = plain.copy()
        pattern[gap] = step
        patterns.append(pattern)
    gaps = _gaps(evidence)
    usual = np.array([np.median(gaps[max(0, g - 2) : g + 3]) for g in range(len(gaps))])
    widest = np.argsort(-gaps / np.maximum(usual, 1.0))[:5] if n > 2 else np.zeros(0, dtype=int)
    for first, second in combinations(widest.tolist(), 2):
        pattern = plain.copy()
        pattern[[first, second]] = 2
        patterns.append(pattern)
    return patterns


def _gaps(evidence: Sequence[Evidence]) -> Floats:
    centers = np.array([one.centroid for one in evidence], dtype=np.float64)
    return np.asarray(np.maximum(np.linalg.norm(np.diff(centers, axis=0), axis=1), 1.0))


def _apart(column: Column, evidence: Sequence[Evidence]) -> Floats:
    """Log likelihood (step, gap, upper level, size) of the distances between neighbours."""
    m = len(column.names)
    single = [spacing(a, b) for a, b in zip(column.names[:-1], column.names[1:], strict=True)]
    gaps = np.log(_gaps(evidence))
    whole = np.array([one.complete for one in evidence])
    blur = np.where(whole[:-1] & whole[1:], 0.0, _CUT_SD)
    result = np.full((_STEPS, len(gaps), m, len(_SIZES)), -np.inf)
    for step in range(1, _STEPS + 1):
        for upper in range(m - step):
            mm = sum(pair[0] for pair in single[upper : upper + step])
            sd = max(pair[1] for pair in single[upper : upper + step])
            scale = np.sqrt(sd**2 + _CENTER_SD**2 + blur**2)[:, None]
            off = (gaps[:, None] - np.log(mm) - _SIZES[None, :]) / scale
            result[step - 1, :, upper] = -(_TAIL + 1) / 2 * np.log1p(off**2 / _TAIL) - np.log(scale)
    return result


def _seen(column: Column, evidence: Sequence[Evidence]) -> Floats:
    """Log likelihood (vertebra, level) of what is seen of each vertebra by itself."""
    region = _region_table(column)
    bears = np.array([bears_ribs(name, column) for name in column.names])
    # Where no rib is found at all, ribs were cut off or not recognised: that tells nothing.
    ribs_seen = any(one.ribs is not None and one.ribs > 0.5 for one in evidence)
    rows = []
    for one in evidence:
        row = np.zeros(len(column.names))
        if one.region is not None and np.sum(one.region) > 0.05:
            share = np.asarray(one.region, dtype=np.float64)
            share = share / max(float(share.sum()), 1.0)
            unknown = 1.0 - share.sum()
            row += np.log(region @ share + unknown * 0.25)
        if ribs_seen and one.ribs is not None and (one.complete or one.ribs > 0.5):
            row += np.log(one.ribs * bears + (1 - one.ribs) * (1 - bears))
        if one.complete:
            armless = np.array([_ATLAS if name == "C1" else _CHANCE for name in column.names])
            row += np.log(1 - armless if one.has_body else armless)
        rows.append(row)
    rows[-1] = rows[-1] + _above_sacrum(column, evidence[-1].sacrum_mm)
    return np.array(rows)


def _region_table(column: Column) -> Floats:
    """Chance (level, region) that a network sees this region at this level."""
    own = np.array([region_of(name) for name in column.names])
    table = np.full((len(own), len(REGIONS)), _CHANCE)
    for n, region in enumerate(own):
        # A network errs by one level where regions meet.
        for neighbour in (n - 1, n + 1):
            if 0 <= neighbour < len(own) and own[neighbour] != region:
                table[n, own[neighbour]] = border_error(column, n)
        table[n, region] = 0.0
        table[n, region] = 1.0 - table[n].sum()
    return table


def _above_sacrum(column: Column, sacrum_mm: float | None) -> Floats:
    m = len(column.names)
    if sacrum_mm is None:
        return np.zeros(m)
    mean, sd = _SACRUM_MM
    row = np.full(m, np.log(_CHANCE * 0.01))
    for missing in range(3):
        off = (sacrum_mm - mean - missing * _LUMBAR_MM) / (sd + 3.0 * missing)
        fit = -(_TAIL + 1) / 2 * np.log1p(off**2 / _TAIL)
        place = m - 1 - missing
        row[place] = np.logaddexp(row[place], fit + missing * np.log(_OVERLOOKED))
    return row


def _missing(evidence: Sequence[Evidence]) -> list[str]:
    """Say what would have told the levels, had it been in view."""
    missing = []
    if evidence[-1].sacrum_mm is None:
        missing.append("the sacrum is not in view")
    if not any(one.ribs is not None and one.ribs > 0.5 for one in evidence):
        missing.append("no ribs were found")
    seen = {int(np.argmax(one.region)) for one in evidence if one.region is not None}
    if len(seen) < 2:
        missing.append("no border between neck, chest and loin is in view")
    return missing
