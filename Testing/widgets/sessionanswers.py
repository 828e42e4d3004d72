"""What the child processes of all panels answer in a session of made-up scans."""

from __future__ import annotations

from dataclasses import replace

import clickworker
import fracturecases
import numpy as np
import tinytranslate
from panelcases import TranslateCase
from spineseg import labels
from spineseg.errors import InputError
from spineseg.result import Vertebra
from SpineSegMRML.fracturejobs import FracturesFound
from SpineSegMRML.jobs import JobOutcome, TranslationOutcome


def segmented(volume):
    """Answer a run with what is known of the scan, or with one block of bone."""
    truth = clickworker.truthArray()
    if volume.shape != truth.shape:
        truth = np.where(volume.array > 300, labels.by_name("L1").verse, 0).astype(np.uint8)
    found = []
    for label in np.unique(truth[truth > 0]):
        ijk = np.argwhere(truth == label)[:, ::-1]
        place = tuple(volume.ijk_to_ras(ijk).mean(axis=0).tolist())
        found.append(Vertebra(int(label), labels.display_name(int(label)), place, 1.0))
    return JobOutcome(volume.like(truth), found)


def translated(volume):
    """Answer a translation: of the made-up MR with its truth, else with what is segmented."""
    if volume.shape == tinytranslate.truth().shape:
        return TranslateCase.answer(volume)
    made = segmented(volume)
    bodies = np.zeros(volume.shape, np.uint8)
    for number, vertebra in enumerate(made.vertebrae, start=1):
        bodies[made.labelVolume.array == vertebra.label] = number
    return TranslationOutcome(
        made.labelVolume,
        made.vertebrae,
        syntheticCt=volume.like(volume.array.astype(np.int16)),
        bodies=volume.like(bodies),
    )


def searched(volume, given):
    """Answer a search with what is known of a digital patient's vertebrae of the same levels."""
    found = segmented(volume).labelVolume if given is None else given
    known, present = fracturecases.measured(), np.unique(found.array)
    rows = [row for row in zip(known.bodies, known.densities) if row[0].label in present]
    if not rows:
        raise InputError("The segmentation holds no vertebra.", "Segment the CT.")
    bodies, densities = zip(*rows)
    state = replace(known, bodies=bodies, densities=densities)
    return FracturesFound(state, found if given is None else None, 2.0)
