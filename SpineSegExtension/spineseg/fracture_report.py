"""The report of ``spineseg fracture``: one HTML file that needs nothing else, for people."""

from __future__ import annotations

import base64
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spineseg.fracture_look import NOT_ANATOMY, Preview
from spineseg.fracture_look_pictures import preview_strip
from spineseg.fracture_pictures import suspect_png
from spineseg.manifest import RunManifest
from spineseg.measure.fracture_rules import stated_rules
from spineseg.measure.vertebra_body import PLACES
from spineseg.volume import Volume

if TYPE_CHECKING:
    from spineseg.fracture import Fractures, VertebraFinding

__all__ = ["write_fracture_report"]

DASH = "–"
MOST_PICTURES = 12
_COLUMNS = (
    "Level", "Front, mm", "Middle", "Back", "Lost, front", "middle", "back", "Type", "Grade",
    "Probability", "HU", "Why",
)  # fmt: skip
_NOTE = (
    "Heights are those of the middle plane. Grades are Genant's: 1 from 20 % of a height lost, 2"
    " from 25 %, 3 from 40 %, against the vertebra's own back height, its neighbours and the"
    " patient's other levels (the median). HU are of the trabecular bone: without contrast, at most"
    " 110 HU in L1 speak for osteoporosis, more than 160 HU against it (Pickhardt 2013)."
    " Probabilities were fitted on digital patients, not on people."
)


_STRIPS = (
    "Below each step is how far the numbers were moved along the line from the mean of normal"
    " vertebrae to that of fractured ones (1 is that far), and how probable a fracture the"
    " network takes it to be. "
)


def write_fracture_report(
    found: Fractures, scan: Volume, path: Path, manifest: RunManifest, title: str
) -> None:
    """Write the report, with the middle plane of each suspect, to an HTML file."""
    import jinja2

    suspects = [f for f in found.findings if f.suspect and f.graded.body.points is not None]
    # The most probable ones where there are too many, in the order of the spine.
    chosen = sorted(suspects, key=lambda f: -(f.probability or 0.0))[:MOST_PICTURES]
    pictures = [_picture(f, scan, found.segmentation) for f in suspects if f in chosen]
    source = resources.files("spineseg").joinpath("resources/fracture.html.j2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(source.read_text(encoding="utf-8")).render(
        title=title,
        patient=_patient(found),
        pictures=pictures,
        strips=[] if found.look is None else [_strip(p) for p in found.look.previews],
        strips_note=_STRIPS + NOT_ANATOMY,
        columns=_COLUMNS,
        rows=[_row(f) for f in found.findings],
        note=_NOTE,
        rules=stated_rules(),
        warnings=found.warnings,
        created=manifest.created,
        version=manifest.version,
        settings=json.dumps(json.loads(manifest.to_json()), indent=2, ensure_ascii=False),
    )
    path.write_text(html, encoding="utf-8", newline="\n")


def _patient(found: Fractures) -> str:
    if found.probability is None:
        return "No vertebra is evaluable."
    count = sum(f.suspect for f in found.findings)
    seen = sum(f.graded.loss is not None for f in found.findings)
    return (
        f"{count} suspect{'' if count == 1 else 's'} among {seen} evaluable"
        f" vertebra{'' if seen == 1 else 'e'}; probability that the patient has any fracture:"
        f" {100 * found.probability:.0f} %."
    )


def _picture(finding: VertebraFinding, scan: Volume, segmentation: Volume) -> dict[str, str]:
    png = suspect_png(finding.graded.body, scan, segmentation)
    return {"data": base64.b64encode(png).decode("ascii"), "caption": _caption(finding)}


def _strip(preview: Preview) -> dict[str, str]:
    caption = f"{preview.level}, from cured to more fractured, as Spine-VAE draws it."
    return {"data": base64.b64encode(preview_strip(preview)).decode("ascii"), "caption": caption}


def _caption(finding: VertebraFinding) -> str:
    one = finding.graded
    kind = f" ({one.kind})" if one.kind else ""
    sure = "" if finding.probability is None else f", probability {100 * finding.probability:.0f} %"
    return f"{finding.level}: grade {one.grade}{kind}{sure}."


def _row(finding: VertebraFinding) -> tuple[str, ...]:
    one, density = finding.graded, finding.density
    heights = one.body.heights_mm
    high = [DASH] * 3 if heights is None else [f"{heights[place]:.1f}" for place in PLACES]
    lost = [DASH] * 3 if one.loss is None else [f"{100 * v:.0f} %" for v in one.loss]
    sure = DASH if finding.probability is None else f"{100 * finding.probability:.0f} %"
    why = [f"not evaluable: {one.problem}"] if one.problem else list(one.evidence)
    if density.problem and not one.problem:
        why.append(f"no HU: {density.problem}")
    if finding.score.words:
        why.append(finding.score.words)
    grade: Any = DASH if one.grade is None else one.grade
    hu = DASH if density.mean is None else f"{density.mean:.0f}"
    return (
        finding.level, *high, *lost, one.kind or DASH, str(grade), sure, hu, "; ".join(why),
    )  # fmt: skip
