"""Puts the two generators and their cards into a models folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..intensity import CT_UNIT_MAPPING, MR_MAPPING
from ..methods.classes import FineClass
from ..weights import ModelCard, save_model
from .export import current_commit
from .translation_pool import SPACING_MM, Real

if TYPE_CHECKING:
    from .cyclegan import TranslationSettings

TO_CT, TO_MR = "mr-to-ct", "ct-to-mr"
_TERMS = {
    "vb2": "fastcleverseg collection: cite Chu et al. and MyoSegmenTUM; else not stated",
    "vb3": "fastcleverseg collection: cite Chu et al. and MyoSegmenTUM; else not stated",
    "lidc": "LIDC-IDRI, CC BY 3.0",
    "nsclc": "NSCLC Radiogenomics, CC BY 3.0",
    "crlm": "CRLM, CC BY 4.0",
    "tptbox": "TPTBox tests, Apache-2.0",
    "totalsegmentator": "TotalSegmentator tests, Apache-2.0",
}
LIMITS = [
    "The density of the synthetic CT is a guess: an MR does not show it. Never read bone density, "
    "cortex thickness or lesions off it.",
    "Real MR were lumbar, sagittal series of T1 and T2; the thoracic and cervical spine, "
    "scoliosis, implants and tumours were seen as digital patients only.",
    "HU below -250 are written as -250, so air looks like it.",
]


def data_rows(real: Mapping[str, Sequence[Real]], patients: int) -> list[dict[str, Any]]:
    """What a translation was trained on, in the card's form."""
    rows: list[dict[str, Any]] = []
    if patients:
        name = "digital patients of spineseg.phantom, as MR and as CT"
        rows.append({"name": name, "terms": "Apache-2.0", "n": patients})
    for domain, volumes in real.items():
        by_set: dict[str, int] = {}
        for volume in volumes:
            by_set[volume.name.split("_")[0]] = by_set.get(volume.name.split("_")[0], 0) + 1
        for name, count in by_set.items():
            terms = next((t for start, t in _TERMS.items() if name.startswith(start)), "")
            rows.append(
                {
                    "name": f"{name} ({domain.upper()})",
                    "terms": terms or "not stated: research use",
                    "n": count,
                }
            )
    return rows


def command_of(settings: TranslationSettings) -> str:
    """The command line that repeats a training."""
    text = f"torchrun --nproc-per-node 2 -m spineseg train cyclegan --hours {settings.hours:g}"
    text += "" if settings.preset == "small" else f" --preset {settings.preset}"
    text += " --data DATA"
    return text + "".join(f" --hold-out {name}" for name in settings.hold_out) + " -o FOLDER"


def export_translation(
    weights: Mapping[str, Any],
    settings: TranslationSettings,
    real: Mapping[str, Sequence[Real]],
    results: list[dict[str, Any]],
    folder: Path | None = None,
) -> list[Path]:
    """Save both generators with their cards, float16; the judges stay in the checkpoint."""
    from ..networks.translation import OUTPUTS, WIDTHS_CT, WIDTHS_MR
    from ..weights import models_folder

    classes = ["ct", *(c.name.lower() for c in FineClass), "offset_x", "offset_y", "offset_z"]
    what = {
        TO_CT: ("Translates MR of the spine to CT, and says which voxels are vertebral body, arch, "
                "disc, canal and sacrum.", OUTPUTS, WIDTHS_CT, classes, MR_MAPPING, "MR"),
        TO_MR: ("Translates CT back to MR: how well an MR is recovered tells how far its "
                "translation can be trusted.", 1, WIDTHS_MR, ["mr"], CT_UNIT_MAPPING, "HU"),
    }  # fmt: skip
    for name, (text, outputs, widths, names, mapping, unit) in what.items():
        part = "to_ct." if name == TO_CT else "to_mr."
        card = ModelCard(
            name=name,
            method="cyclegan",
            version="0.4.0",
            description=text,
            created=date.today().isoformat(),
            commit=current_commit(),
            command=command_of(settings),
            training_data=data_rows(real, settings.patients),
            inputs={
                "spacing_mm": SPACING_MM,
                "intensity": {"window": [-1.0, 1.5 if name == TO_CT else 1.0], "unit": unit,
                              "mapping": mapping},
                "patch": list(settings.patch),
            },
            outputs={"classes": names, "semantic": len(FineClass) if name == TO_CT else 0},
            architecture={
                "name": "ResidualUNet",
                "params": {"in_channels": 1, "out_channels": outputs, "widths": list(widths)},
            },
            results=results,
            limits=LIMITS,
        )  # fmt: skip
        own = {k[len(part) :]: v for k, v in weights.items() if k.startswith(part)}
        save_model(name, own, card, folder)
    return [(folder or models_folder()) / f"{name}.safetensors" for name in what]
