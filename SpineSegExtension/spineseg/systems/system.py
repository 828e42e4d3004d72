"""What the challenge's systems share: a film on a canvas goes in, an answer comes back on the film.

A system is one file: its network, what it is shown and told in training, its loss, and how its
outputs become corners, a centreline or angles. Everything else is here, in
`spineseg.training.film_systems` and in `spineseg.measure`. docs/cobb-systems.md shows how to add
one.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.measure.cobb import challenge_angles
from spineseg.methods.film_chain import LEVELS_OF
from spineseg.methods.film_checks import Turn, warnings_of
from spineseg.methods.film_picture import CANVAS, Picture, prepare
from spineseg.methods.film_result import AP, LATERAL, FilmResult, Mark
from spineseg.methods.film_windows import MIRRORED, canvas_image
from spineseg.methods.loading import matching_card
from spineseg.progress import Progress
from spineseg.systems.trunk import TRUNK
from spineseg.weights import card_path, load_card, load_state

if TYPE_CHECKING:
    from spineseg.training.film_data import FilmItem

__all__ = ["ANGLES", "LEVELS", "Answer", "Sample", "Settings", "Sight", "System", "load"]

Floats = NDArray[np.float64]

LEVELS = LEVELS_OF[AP]
"""T1–L5."""
ANGLES = ("major", "upper", "lower")
_SURE = 1.0  # of a film that a system can't doubt


@dataclass(frozen=True)
class Settings:
    """How to use a system.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    models : str or None
        Folder of the trained network, if not the package's own.
    view : str or None
        "ap" or None: the systems know frontal films only.
    mirror : bool
        Whether the mirrored film is looked at as well, and the mean taken.
    """

    device: str | None = None
    models: str | None = None
    view: str | None = None
    mirror: bool = True


@dataclass(frozen=True, eq=False)
class Sight:
    """A film on the canvas: canvas = scale · prepared + offset.

    Attributes
    ----------
    picture : Picture
        The prepared film.
    image : Tensor
        float32 (1, 1, rows, columns), standard deviations.
    scale, offset : float, (2,)
    settings : Settings
        How to look, where a system has options of its own.
    """

    picture: Picture
    image: Tensor
    scale: float
    offset: Floats
    settings: Settings = field(default_factory=Settings)

    def to_prepared(self, points: Floats) -> Floats:
        """Move points (…, 2) of the canvas to the prepared film."""
        return np.asarray((points - self.offset) / self.scale)

    def to_canvas(self, points: Floats) -> Floats:
        """Move points (…, 2) of the prepared film to the canvas."""
        return np.asarray(points * self.scale + self.offset)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a system found; all positions are (x, y) on the canvas, until `predict` moves them.

    Attributes
    ----------
    corners : (17, 4, 2) or None
        As `FilmResult.corners_px`.
    centreline : (m, 2) or None
        From the top; m is the same for every film.
    angles : (3,) or None
        Degrees, in the order of `ANGLES`.
    confidence : (17,) or None
        0–1.
    marks : tuple of Mark
        What it saw.
    """

    corners: Floats | None = None
    centreline: Floats | None = None
    angles: Floats | None = None
    confidence: Floats | None = None
    marks: tuple[Mark, ...] = ()

    def mirrored(self, columns: int) -> Answer:
        """Return the answer for the mirrored canvas."""
        flip, move = np.array([-1.0, 1.0]), np.array([columns - 1.0, 0.0])
        corners, line = self.corners, self.centreline
        return replace(
            self,
            corners=None if corners is None else corners[:, MIRRORED] * flip + move,
            centreline=None if line is None else line * flip + move,
        )


@dataclass(frozen=True, eq=False)
class Sample:
    """A film as it is shown in training.

    Attributes
    ----------
    item : FilmItem
        The prepared film as it is, for systems that look at parts of it more closely.
    image : Tensor
        float32 (1, rows, columns): bent, turned and altered, on the canvas.
    corners : (17, 4, 2)
        On that canvas.
    """

    item: FilmItem
    image: Tensor
    corners: Floats

    @property
    def angles(self) -> Floats:
        """The challenge's angles (3,) of the canvas, in degrees, in the order of `ANGLES`."""
        found = challenge_angles(self.corners, self.image.shape[-2])
        return np.array([found.major_deg, found.upper_deg, found.lower_deg])


class System(ABC):
    """One system of the challenge.

    Attributes
    ----------
    name : str
        Of the registry and of its weights.
    kind : type
        Class of its network. Its member ``trunk``, where it has one, is a
        `spineseg.systems.trunk.Trunk`, whose weights are kept once for all systems.
    params : mapping
        Arguments of `kind`; they are written on the card.
    canvas : (int, int)
        Rows and columns that it looks at.
    outputs : tuple of str
        What the network puts out, for the card.
    paper : str
        What its paper says of itself, for the table of all methods.
    adapts : bool
        Whether its loss takes ``other`` (N, 1, y, x), films of another kind without landmarks.
    """

    name: ClassVar[str]
    kind: ClassVar[type[nn.Module]]
    params: ClassVar[Mapping[str, Any]] = {}
    canvas: ClassVar[tuple[int, int]] = CANVAS
    outputs: ClassVar[tuple[str, ...]]
    paper: ClassVar[str] = ""
    adapts: ClassVar[bool] = False

    def begin(self, network: Any, models: Any) -> None:  # noqa: B027 (most need nothing)
        """Give a fresh network more to start from than its trunk.

        Parameters
        ----------
        network : of `kind`
        models : path or None
            Folder with `cobb-landmarks`, whose first network is the trunk; None is the package's.
        """

    @abstractmethod
    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """What is learned from a film: tensors that are joined along their first axis."""

    @abstractmethod
    def loss(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch (``image`` (N, 1, y, x) and the targets), and its parts for the log."""

    @abstractmethod
    def answer(self, network: Any, sight: Sight) -> Answer | None:
        """Find the spine on a film; None if nothing is found."""

    def predict(self, film: Film, settings: Settings, progress: Progress) -> FilmResult:
        """Measure a frontal film.

        Raises
        ------
        InputError
            The film is said to be lateral, or no spine is found.
        WeightsError
            The trained network is missing or damaged.
        """
        if LATERAL in (film.view, settings.view):
            raise InputError(
                f"{film.name} is a lateral film; {self.name} knows frontal ones only.",
                "Use the default method, which measures both.",
            )
        began = time.perf_counter()
        progress("film", 0.0, "finding the spine")
        kind: Any = self.kind
        network = load(self.name, kind, settings.models, settings.device)
        picture = prepare(film)
        sight = self._sight(picture, settings)
        with torch.inference_mode():
            found = self.answer(network, sight)
            if settings.mirror:
                progress("film", 0.5, "looking at the film mirrored")
                other = self.answer(network, self._sight(picture.mirrored(), settings))
                found = _merged(found, other and other.mirrored(self.canvas[1]))
        if found is None:
            raise InputError(
                f"No spine is seen on {film.name}.",
                "Use an AP or PA film of the whole thoracic and lumbar spine, upright.",
            )
        progress("film", 1.0, "spine found")
        result = self._result(film, picture, sight, found)
        timings = {"film": time.perf_counter() - began}
        return replace(
            result, settings=asdict(settings), timings=timings, models=(TRUNK, self.name)
        )

    def fit(self, data: Any, options: Mapping[str, Any], progress: Progress | None = None) -> Any:
        """Train the network; see `spineseg.training.film_systems.fit_system`."""
        from spineseg.training.film_systems import fit_system

        return fit_system(self, data, options, progress)

    def _sight(self, picture: Picture, settings: Settings) -> Sight:
        return Sight(picture, *canvas_image(picture, self.canvas), settings)

    def _result(self, film: Film, picture: Picture, sight: Sight, found: Answer) -> FilmResult:
        def on_film(points: Floats) -> Floats:
            return picture.to_film(sight.to_prepared(points))

        corners, sure = found.corners, found.confidence
        sure = np.full(len(LEVELS), _SURE) if sure is None else np.clip(sure, 0.0, 1.0)
        warnings: tuple[str, ...] = ()
        if corners is not None:
            shown = sight.to_prepared(corners)
            warnings = warnings_of(film, picture, shown, sure, Turn(), _SURE)
        angles = found.angles
        return FilmResult(
            levels=() if corners is None else LEVELS,
            corners_px=None if corners is None else on_film(corners),
            centreline_px=None if found.centreline is None else on_film(found.centreline),
            angles_deg=None
            if angles is None
            else {n: max(float(a), 0.0) for n, a in zip(ANGLES, angles, strict=True)},
            confidence=()
            if corners is None or found.confidence is None
            else tuple(round(float(c), 3) for c in sure),
            warnings=warnings,
            marks=tuple(replace(m, points_px=on_film(m.points_px)) for m in found.marks),
        )


def _merged(one: Answer | None, other: Answer | None) -> Answer | None:
    """Return the mean of two answers for the same film; what it saw is the first one's."""
    if one is None or other is None:
        return one or other

    def mean(a: Floats | None, b: Floats | None) -> Floats | None:
        return a if a is None or b is None else (a + b) / 2

    return Answer(
        mean(one.corners, other.corners),
        mean(one.centreline, other.centreline),
        mean(one.angles, other.angles),
        mean(one.confidence, other.confidence),
        one.marks,
    )


@lru_cache(maxsize=12)
def load(name: str, kind: Any, models: str | None, device: str | None) -> Any:
    """Build a system's trained network, of class `kind`, on its trunk, once for a run.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    from spineseg.device import choose_device

    card, own = load_card(name, models), load_state(name, models)
    folder = models if card_path(TRUNK, models).exists() else None
    trunk = load_card(TRUNK, folder).sha256
    with matching_card(name):
        if card.architecture["name"] != kind.__name__ or card.inputs["trunk"] != trunk:
            raise ValueError(f"{name} was trained on another trunk, or for another network")
        network = kind(**card.architecture["params"])
        under = {f"trunk.{k}": v for k, v in load_state(TRUNK, folder).items()}
        network.load_state_dict({**under, **own})
    network.eval().requires_grad_(False)
    return network.to(choose_device(device), memory_format=torch.channels_last)
