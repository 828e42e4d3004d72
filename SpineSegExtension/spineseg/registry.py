"""The table of methods: what the command line, the modules and the documentation offer.

It imports no method, hence no torch, until one is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from spineseg.errors import InputError


@dataclass(frozen=True)
class Method:
    """One row of the registry.

    Attributes
    ----------
    name : str
        Machine name, used on the command line and in run manifests.
    title : str
        Name for people.
    task : str
        What it does: ``"segment"`` finds all vertebrae, ``"click"`` the one at a point,
        ``"translate"`` makes a CT of an MR, ``"cobb"`` finds the spine on a radiograph,
        ``"label"`` names the vertebrae on one, ``"fracture"`` says which are fractured.
    module : str
        Python module with `Settings` (a frozen dataclass), ``fit(data, settings, progress)`` and
        ``predict(volume, settings, progress)`` (of tasks ``"cobb"`` and ``"label"``: of a film); a
        name without a dot lies in `spineseg.methods`.
    summary : str
        One sentence.
    models : tuple of str
        Names of the weights it loads.
    limits : str
        One or two sentences on where it does not work.
    """

    name: str
    title: str
    task: str
    module: str
    summary: str
    models: tuple[str, ...] = ()
    limits: str = ""

    def load(self) -> ModuleType:
        """Import the method's module (this may import torch)."""
        name = self.module if "." in self.module else f"spineseg.methods.{self.module}"
        return importlib.import_module(name)

    def settings(self, **changes: Any) -> Any:
        """Return the method's settings, with `changes` to its defaults."""
        return self.load().Settings(**changes)

    @property
    def predict(self) -> Callable[..., Any]:
        """The method's ``predict(volume, settings, progress)``."""
        function: Callable[..., Any] = self.load().predict
        return function

    @property
    def fit(self) -> Callable[..., Any]:
        """The method's ``fit(data, settings, progress)``."""
        function: Callable[..., Any] = self.load().fit
        return function


SEGMENT = "segment"
CLICK = "click"
TRANSLATE = "translate"
COBB = "cobb"
LABEL = "label"
FRACTURE = "fracture"
DEFAULT_TRANSLATE = "cyclegan"
DEFAULT_COBB = "cobb-landmarks"
FILM_LABELS = "film-labels"
FRACTURE_VOXELS, SPINE_VAE = "fracture-voxels", "spine-vae"
DEFAULT_SEGMENT = "vertebra-unet"
DEFAULT_UPDATE = "cascade"
"""The method that can go on from a corrected vertebra: it walks from one to the next."""

SYSTEMS: tuple[Method, ...] = tuple(
    Method(
        name=name,
        title=title,
        task=COBB,
        module=f"spineseg.systems.{module}",
        summary=summary,
        models=("cobb-trunk", name),
        limits=(
            "Frontal films of the whole spine, cut to T1–L5, upright: it does not find out whether"
            " a film is another one."
        ),
    )
    for name, title, module, summary in (
        (
            "cobb-keypoints",
            "Corners by key points of boxes and patches (a)",
            "keypoints",
            "Looks into boxes of vertebrae and patches along a sketch of the corners; both vote.",
        ),
        (
            "cobb-seg4reg",
            "Angles from a mask (b, Seg4Reg)",
            "seg4reg",
            "Segments vertebrae and the gaps between them, then reads the angles off the mask.",
        ),
        (
            "cobb-topdown",
            "Angles of a fitted curve (c, top-down)",
            "topdown",
            "Segments the spine, fits a curve and corrects its tilt by the vertebrae's edges.",
        ),
        (
            "cobb-corners",
            "Corners in boxes (d)",
            "corners",
            "Detects vertebrae as boxes, finds four corners in each and smooths them.",
        ),
        (
            "cobb-centreline",
            "Angles of the centreline (e)",
            "centreline",
            "Segments the spine, then its centreline, and takes the angles of its tangents.",
        ),
        (
            "cobb-rotated",
            "Corners in turned boxes (f)",
            "rotated",
            "Proposes turned boxes along the spinal cord and finds the corners in each.",
        ),
        (
            "cobb-coarse-to-fine",
            "Corners from coarse to fine (g)",
            "coarse_to_fine",
            "Crops to the spine step by step, then refines heatmaps of all corners.",
        ),
        (
            "cobb-scgnet",
            "Angles guided by the boundary (h, SCG-Net)",
            "scgnet",
            "Segments both boundaries of the spine, which guide the regression of the angles.",
        ),
        (
            "cobb-multitask",
            "Angles and mask together (i)",
            "multitask",
            "Regresses the angles from pyramid features that also segment the spine.",
        ),
    )
)
"""The systems of the AASCE 2019 challenge, (a) to (i) in the order of its proceedings; a new one is
one more row here, and its file in `spineseg.systems`."""

METHODS: tuple[Method, ...] = (
    Method(
        name=DEFAULT_SEGMENT,
        title="Vertebrae in CT (residual U-Net)",
        task=SEGMENT,
        module="vertebra_unet",
        summary="Finds the spine, outlines each vertebra in CT and names its level.",
        models=("vertebra-coarse", "vertebra-fine", "vertebra-one"),
        limits=(
            "CT only. Trained on digital spines: fused, operated or strongly deformed vertebrae, "
            "and slices thicker than 5 mm, need a careful look."
        ),
    ),
    Method(
        name="cascade",
        title="Vertebrae in CT, one after the other (cascade)",
        task=SEGMENT,
        module="cascade",
        summary=(
            "Finds the regions of the spine, then walks along it, outlines one vertebra after the"
            " other and names its level; can go on from a corrected vertebra."
        ),
        models=("vertebra-coarse", "vertebra-one"),
        limits=(
            "CT only. Trained on digital spines: fused vertebrae may come as one, and a vertebra "
            "that is missed shifts the count where the distances do not show it."
        ),
    ),
    Method(
        name=CLICK,
        title="Vertebra at a click",
        task=CLICK,
        module="click",
        summary="Outlines the vertebra at a point: whole, its body, or its trabecular centrum.",
        models=("vertebra-one",),
        limits=(
            "CT only. The level is counted from neighbours that are named already, else unsure; "
            "fused vertebrae may come as one."
        ),
    ),
    Method(
        name=DEFAULT_TRANSLATE,
        title="MR to CT (3D CycleGAN)",
        task=TRANSLATE,
        module="cyclegan",
        summary=(
            "Translates an MR of the spine to CT, thresholds its bone and separates the vertebrae."
        ),
        models=("mr-to-ct", "ct-to-mr"),
        limits=(
            "The density of the synthetic CT is a guess. Trained on lumbar series and on digital"
            " patients: strong curves, implants and both ends of the field of view need a look."
        ),
    ),
    Method(
        name=DEFAULT_COBB,
        title="Vertebral corners on a film (two U-Nets)",
        task=COBB,
        module="cobb_landmarks",
        summary="Finds T1–L5 on a frontal film, or C2–S1 on a lateral one, and their corners.",
        models=("cobb-landmarks", "cobb-lateral"),
        limits=(
            "Films of the whole spine with the usual vertebrae: implants, cut-off ends and a 13th"
            " rib or 6th lumbar vertebra need a look."
        ),
    ),
    *SYSTEMS,
    Method(
        name="cobb-ensemble",
        title="Several methods together",
        task=COBB,
        module="cobb_ensemble",
        summary="Asks several methods for films and takes their vote or their weighted mean.",
        models=("cobb-landmarks", "cobb-trunk", *(row.name for row in SYSTEMS)),
        limits="Frontal films only; takes as long as its members together.",
    ),
    Method(
        name=FILM_LABELS,
        title="Levels on a film (U-Net and residual corrector)",
        task=LABEL,
        module="film_labels",
        summary="Names the vertebrae on a frontal or lateral radiograph and finds their centres.",
        models=("film-labels-ap", "film-labels-lateral"),
        limits=(
            "Films of the whole spine with the usual vertebrae: it always names all it learned, and"
            " on frontal films a region may be one off."
        ),
    ),
    Method(
        name=FRACTURE_VOXELS,
        title="Fractured voxels (dual-pathway network)",
        task=FRACTURE,
        module="fracture_voxels",
        summary="Classifies the voxels of a CT as background, normal or fractured vertebra.",
        models=("fracture-voxels",),
        limits="Trained on digital patients: fractures without loss of height are not seen.",
    ),
    Method(
        name=SPINE_VAE,
        title="Fractured vertebrae by their shape (Spine-VAE)",
        task=FRACTURE,
        module="spine_vae",
        summary="Describes each masked vertebra by 64 numbers and tells whether it is fractured.",
        models=("spine-vae",),
        limits="Needs a good segmentation; trained on digital patients, without the neck.",
    ),
)


def names(task: str | None = None) -> tuple[str, ...]:
    """Return the names of the methods of a task, or of all of them."""
    return tuple(m.name for m in METHODS if task is None or m.task == task)


def get(name: str) -> Method:
    """Return the method called `name`.

    Raises
    ------
    InputError
        There is none.
    """
    for method in METHODS:
        if method.name == name:
            return method
    known = ", ".join(names())
    raise InputError(f"There is no method called “{name}”.", f"Choose one of: {known}.")
