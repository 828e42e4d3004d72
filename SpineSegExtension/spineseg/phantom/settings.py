"""What to generate: every choice of a digital patient that is not left to the seed."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InputError


@dataclass(frozen=True)
class Fracture:
    """A compressed vertebra: ``kind`` is wedge, biconcave or crush; ``loss`` the height lost.

    ``loss`` is the greatest fraction of height lost (Genant: grade 1 from 0.20, grade 2 from 0.25,
    grade 3 from 0.40).
    """

    level: str
    kind: str = "wedge"
    loss: float = 0.30

    def __post_init__(self) -> None:
        if self.kind not in ("wedge", "biconcave", "crush"):
            raise InputError(
                f"'{self.kind}' is no kind of fracture.", "Choose wedge, biconcave or crush."
            )
        if not 0.0 < self.loss <= 0.8:
            raise InputError(
                f"A height loss of {self.loss:g} is not possible.", "Give a fraction from 0 to 0.8."
            )

    @property
    def kept(self) -> tuple[float, float, float]:
        """What is left of the height in front, in the middle and behind, shares."""
        keep = 1.0 - self.loss
        if self.kind == "wedge":
            return keep, (1 + keep) / 2, 1.0
        if self.kind == "biconcave":
            return (1 + keep) / 2 + 0.02, keep, 1.0
        return keep, keep, keep + 0.04


@dataclass(frozen=True)
class Mimic:
    """A vertebra that is taken for fractured and is not.

    ``kind`` is short (low at all three places), wedging (low in front, as with age), scheuermann
    (low in front, with irregular endplates; give three or more neighbours) or schmorl (a disc has
    sunk into one endplate). ``amount`` is the share of height lost, or the node's depth in mm.
    """

    level: str
    kind: str = "wedging"
    amount: float = 0.12

    def __post_init__(self) -> None:
        if self.kind not in ("short", "wedging", "scheuermann", "schmorl"):
            raise InputError(
                f"'{self.kind}' is no kind of mimic.",
                "Choose short, wedging, scheuermann or schmorl.",
            )
        if self.kind == "schmorl":
            _check("A node's depth", self.amount, 0.5, 10.0, " mm")
        else:
            _check("A share of height", self.amount, 0.0, 0.4, "")


@dataclass(frozen=True)
class Lesion:
    """A metastasis in a vertebral body: ``kind`` is lytic, blastic or mixed; ``radius`` in mm."""

    level: str
    kind: str = "lytic"
    radius: float = 8.0

    def __post_init__(self) -> None:
        if self.kind not in ("lytic", "blastic", "mixed"):
            raise InputError(
                f"'{self.kind}' is no kind of lesion.", "Choose lytic, blastic or mixed."
            )
        _check("A lesion's radius", self.radius, 0.5, 40.0, " mm")


@dataclass(frozen=True)
class Fusion:
    """A block vertebra: ``level`` and the one below it have grown together, with ``arches`` too."""

    level: str
    arches: bool = True

    def __post_init__(self) -> None:
        if self.level == "C1":
            raise InputError("C1 has no body that could be fused.", "Choose C2 or a level below.")


@dataclass(frozen=True)
class PhantomSettings:
    """One digital patient.

    Parameters
    ----------
    spacing_mm : voxel edge of the grid, mm
    slice_mm : slice spacing along the body axis of the rendered scan, mm; None means ``spacing_mm``
    levels : first and last level inside the field of view, top first, such as ("T10", "L5")
    cobb_deg : main scoliotic curve between its end vertebrae, degrees; None lets the seed choose
        among straight and mildly curved spines
    kyphosis_deg, lordosis_deg : T1–T12 and L1–S1 angles, degrees; None lets the seed choose
    t13, l6, sacralised_l5 : rare anatomy
    thoracic_11 : no T12: the ribs end at T11, and L1 is below it
    fusions : block vertebrae
    lowest_ribs : how much of the lowest ribs there is, 0 (none) to 1 (all); None lets the seed
        choose, and now and then leave them out
    lumbar_ribs : as much of a pair of ribs at L1
    fractures, lesions : what is wrong with which level
    mimics : vertebrae that look fractured and are not
    osteoporosis : 0 is a young adult's bone, 1 is severe osteoporosis; None lets the seed choose
    degeneration : 0–1: osteophytes, narrow discs, sclerosis; None lets the seed choose
    metal : levels with pedicle screws
    torso : draw the body around the spine
    arms : up, down, or forward with the hands before the chest, as for a lateral film; None lets
        the seed choose among up and down
    margin_mm : body shown around the chosen levels, mm (left-right, front-back, up-down)
    """

    spacing_mm: float = 2.0
    slice_mm: float | None = None
    levels: tuple[str, str] = ("C1", "L5")
    cobb_deg: float | None = None
    kyphosis_deg: float | None = None
    lordosis_deg: float | None = None
    t13: bool = False
    l6: bool = False
    sacralised_l5: bool = False
    thoracic_11: bool = False
    fusions: tuple[Fusion, ...] = ()
    lowest_ribs: float | None = None
    lumbar_ribs: float = 0.0
    fractures: tuple[Fracture, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    mimics: tuple[Mimic, ...] = ()
    osteoporosis: float | None = None
    degeneration: float | None = None
    metal: tuple[str, ...] = ()
    torso: bool = True
    arms: str | None = None
    margin_mm: tuple[float, float, float] = field(default=(70.0, 80.0, 20.0))

    def __post_init__(self) -> None:
        _check("A spacing", self.spacing_mm, 0.4, 6.0, " mm")
        _check("A slice distance", self.slice_mm, 0.4, 10.0, " mm")
        _check("A Cobb angle", self.cobb_deg, 0.0, 100.0, "°")
        _check("A kyphosis", self.kyphosis_deg, 0.0, 110.0, "°")
        _check("A lordosis", self.lordosis_deg, 0.0, 110.0, "°")
        _check("An osteoporosis", self.osteoporosis, 0.0, 1.0, "")
        _check("A degeneration", self.degeneration, 0.0, 1.0, "")
        _check("A share of the lowest ribs", self.lowest_ribs, 0.0, 1.0, "")
        _check("A share of lumbar ribs", self.lumbar_ribs, 0.0, 1.0, "")
        if self.t13 and self.thoracic_11:
            raise InputError(
                "A patient can't have both a T13 and no T12.", "Choose t13 or thoracic_11."
            )
        if self.arms not in (None, "up", "down", "forward"):
            raise InputError(f"Arms can't be '{self.arms}'.", "Choose up, down or forward.")
        for margin in self.margin_mm:
            _check("A margin", margin, 0.0, 400.0, " mm")


def _check(what: str, value: float | None, low: float, high: float, unit: str) -> None:
    """Raise InputError for a value out of its range; NaN is out of every range."""
    if value is not None and not low <= value <= high:
        raise InputError(
            f"{what} of {value:g}{unit} can't be drawn.", f"Choose {low:g} to {high:g}{unit}."
        )
