"""Volume nodes that hold a radiograph: to and from the library's `Film`, and places on it.

A film is a volume of one slice. Its columns run along the node's i and its rows along j, so a
place (x, y) in pixels of the picture is (i, j, 0). Where the node lies in the world does not
matter. A film that `addFilmNode` makes stands upright as the patient did: on an AP film x runs to
the patient's left unless the file says otherwise, on a lateral one to the back, and y runs down.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from spineseg.errors import InputError
from spineseg.io.films import Film, film_from_array
from spineseg.methods.film_result import LATERAL
from spineseg.volume import Volume
from vtk.util.numpy_support import vtk_to_numpy

from SpineSegMRML import volumes
from SpineSegMRML.i18n import tr as _

__all__ = ["FilmPlace", "addFilmNode", "filmFromNode"]

ABOUT = "SpineSeg.Film"
"""Attribute of a film's node: JSON of what the file said besides its pixels."""
_SIDES = {"R": (-1.0, 0.0, 0.0), "L": (1.0, 0.0, 0.0), "A": (0.0, -1.0, 0.0), "P": (0.0, 1.0, 0.0)}
_DOWN = (0.0, 0.0, -1.0)


class FilmPlace:
    """Where the pixels of a film's node lie in the world, now."""

    def __init__(self, filmNode: Any) -> None:
        self._grid = volumes.gridFromNode(filmNode)

    def ras(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places (n, 2) in pixels as RAS mm of the world (n, 3)."""
        flat = np.asarray(points, dtype=float).reshape(-1, 2)
        return np.asarray(self._grid.ijk_to_ras(np.column_stack([flat, np.zeros(len(flat))])))

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places (n, 3), RAS mm of the world, as pixels (n, 2): their foot on the film."""
        flat = np.asarray(points, dtype=float).reshape(-1, 3)
        return np.asarray(self._grid.ras_to_ijk(flat))[:, :2]


def filmFromNode(node: Any) -> Film:
    """Return the film that a volume node holds.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
        One slice; also a vtkMRMLVectorVolumeNode, as a PNG in colours gives.

    Raises
    ------
    InputError
        There are no voxels, more than one slice, or what is in it is no radiograph.
    """
    grid = volumes.gridFromNode(node)
    name = node.GetName()
    if grid.shape[0] > 1:
        raise InputError(
            _("“{name}” has {n} slices, so it is a scan and not a film.").format(
                name=name, n=grid.shape[0]
            ),
            _("Choose a radiograph; of a scan, segment the vertebrae and measure those."),
        )
    scalars = node.GetImageData().GetPointData().GetScalars()
    if scalars is None:
        raise InputError(_("“{name}” has no voxels.").format(name=name))
    count = scalars.GetNumberOfComponents()
    values = vtk_to_numpy(scalars).reshape(*grid.shape[1:], count)
    columns, rows, _slices = grid.spacing
    about = json.loads(node.GetAttribute(ABOUT) or "{}")
    if about and np.allclose(about.pop("shown_mm"), (rows, columns), rtol=1e-6):
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
        film = film_from_array(values, fields.pop("name"))
        return Film(film.array, **fields, name=about["name"])
    # Slicer gives a picture without a pixel size 1 mm.
    known = not np.allclose((rows, columns), 1.0, rtol=1e-6)
    note = _("The pixel size is the volume's; if it is that at the detector, lengths on the"
             " patient are smaller.")  # fmt: skip
    return film_from_array(
        values,
        name,
        spacing_mm=(rows, columns) if known else None,
        pixel_aspect=rows / columns,
        modality=_modality(node),
        dark_bone=_isInverted(node),
        notes=[note] if known else [_("The pixel size is not known, so lengths stay in pixels.")],
    )


def addFilmNode(scene: Any, film: Film) -> Any:
    """Add a vtkMRMLScalarVolumeNode with a film to a scene, upright (see above)."""
    rows, columns = film.spacing_mm or (film.pixel_aspect, 1.0)
    side = film.left_is or ("A" if film.view == LATERAL else "R")
    along = np.array(_SIDES[side])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along * columns, np.array(_DOWN) * rows
    affine[:3, 2] = np.cross(along, _DOWN)
    middle = np.array([film.width_px - 1, film.height_px - 1, 0.0]) / 2
    affine[:3, 3] = -affine[:3, :3] @ middle
    node = volumes.addVolumeNode(scene, Volume(film.array[None], affine), film.name)
    about = {
        "name": film.name,
        "spacing_mm": film.spacing_mm,
        "magnified": film.magnified,
        "pixel_aspect": film.pixel_aspect,
        "view": film.view,
        "left_is": film.left_is,
        "notes": film.notes,
        "shown_mm": (rows, columns),
    }
    node.SetAttribute(ABOUT, json.dumps(about))
    return node


def _modality(node: Any) -> str:
    """Return the DICOM modality that the subject hierarchy knows of a node; "" if it is silent."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    return str(hierarchy.GetItemAttribute(item, "DICOM.Modality") or "") if item else ""


def _isInverted(node: Any) -> bool:
    """Whether Slicer shows the values turned over, as it does with DICOM's MONOCHROME1."""
    display = node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    return colors is not None and "inverted" in (colors.GetName() or "").lower().replace(" ", "")
