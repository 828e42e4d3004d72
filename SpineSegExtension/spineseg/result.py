"""What a segmentation method returns: the label map and a row for each vertebra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spineseg.volume import Volume


@dataclass(frozen=True)
class Vertebra:
    """One vertebra of a result.

    Attributes
    ----------
    label : int
        Its value in the label map: a VerSe id, or 101, 102 … where the level is unsure.
    level : str or None
        Name such as ``"L1"``; None when the level is unsure.
    centroid : tuple of float
        Centre of the vertebral body, RAS mm.
    volume_ml : float or None
        Volume of its voxels in mL; None until `spineseg.pipeline.segment` has measured it.
    heights_mm : mapping of str to float, or None
        Heights of its body at the front, in the middle and at the back (``"anterior"``,
        ``"middle"``, ``"posterior"``), mm; None when they could not be measured.
    complete : bool
        Whether the whole vertebra lies in the scan (False: cut by the field of view).
    confidence : float
        0 to 1, how sure the method is of this vertebra and its level.
    """

    label: int
    level: str | None
    centroid: tuple[float, float, float]
    volume_ml: float | None = None
    heights_mm: Mapping[str, float] | None = None
    complete: bool = True
    confidence: float = 1.0


@dataclass(frozen=True)
class SegmentationResult:
    """A label map on the scan's own grid, and what it holds.

    Attributes
    ----------
    segmentation : Volume
        uint8 label map (k, j, i) on the grid of the scan that was given.
    vertebrae : list of Vertebra
        From the top to the bottom.
    warnings : list of str
        One sentence for everything that makes this result doubtful.
    settings : mapping
        The method's settings that made it (JSON values).
    timings : mapping of str to float
        Seconds spent in each stage.
    bodies : Volume or None
        Mask of the vertebral bodies on the same grid (non-zero inside), where the method knows it;
        heights are more exact with it.
    models : tuple of str
        Names of the models (weights) that were used.
    """

    segmentation: Volume
    vertebrae: list[Vertebra]
    warnings: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    bodies: Volume | None = None
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class TranslationResult:
    """What a translation of an MR gave, all of it on the MR's own grid.

    Attributes
    ----------
    synthetic_ct : Volume
        int16 HU (k, j, i).
    segmentation : Volume
        uint8: VerSe ids, or 101, 102 … from the top where the level is unsure; 100 is spine bone
        that belongs to no separated vertebra.
    bodies : Volume
        uint8: 1 … n from the top, one a vertebral body.
    confidence : Volume or None
        uint8 0–100: 100 where the MR is recovered from its synthetic CT; None if not asked for.
    vertebrae : list of Vertebra
        From the top to the bottom.
    thresholds : list of float
        Otsu's, HU: one a slice, or one.
    warnings, settings, timings, models
        As in `SegmentationResult`.
    """

    synthetic_ct: Volume
    segmentation: Volume
    bodies: Volume
    confidence: Volume | None
    vertebrae: list[Vertebra]
    thresholds: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeasureResult:
    """What a measurement tells the worker's parent, besides its files.

    Attributes
    ----------
    found : mapping
        Of a film: `spineseg.methods.film_result.FilmResult.to_json`.
    """

    found: Mapping[str, Any]
    warnings: list[str]
    timings: Mapping[str, float] = field(default_factory=dict)
    vertebrae: tuple[()] = ()
