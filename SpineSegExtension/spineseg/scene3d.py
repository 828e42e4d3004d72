"""The 3D picture of a label map, without a screen.

OpenGL is used in a child process only: on a machine without a working driver, opening a render
window can end the process. If the child fails, the picture is a shaded depth projection computed
here with numpy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spineseg.grid import Grid
from spineseg.pictures import RGB, palette, png_of
from spineseg.slices import label_box
from spineseg.volume import Volume

Labels = npt.NDArray[np.uint8]

MAX_VOXELS = 6_000_000  # of the reduced label map that is drawn
FINEST_MM = 1.0
SMOOTHING_MM = 1.3
CHILD_SECONDS = 180
SIZE = (1000, 900)  # pixels of the rendered picture: width, height
BACKGROUND = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """A picture and how it was made.

    Attributes
    ----------
    png : bytes
    rendered : bool
        True: surfaces by VTK; False: projections, because there is no working OpenGL here.
    """

    png: bytes
    rendered: bool


def reduced(segmentation: Volume) -> tuple[Labels, float]:
    """Return the label map on an upright grid of cubes around the labelled bone.

    Returns
    -------
    labels : ndarray, uint8, axes (S, A, R) rising
        Nearest-neighbour samples.
    spacing : float
        Edge of a cube, mm.
    """
    low, high = label_box(segmentation, margin_mm=4.0)
    lengths = np.maximum(high - low, 1.0)
    spacing = max(FINEST_MM, float(np.prod(lengths) / MAX_VOXELS) ** (1 / 3))
    counts = np.maximum(1, np.ceil(lengths / spacing)).astype(int) + 1
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low
    upright = Grid((int(counts[2]), int(counts[1]), int(counts[0])), affine)
    picture = segmentation.resampled_like(upright, order=0).array
    return picture.astype(np.uint8, copy=False), spacing


class Rendering:
    """A 3D picture that a child process draws while its maker goes on with other work.

    >>> with Rendering(segmentation) as rendering:
    ...     pass  # what else there is to do
    ...     scene = rendering.scene()

    Leaving the block ends the child, whether the picture was asked for or not.

    Parameters
    ----------
    segmentation : Volume
        Label map, uint8.
    """

    def __init__(self, segmentation: Volume) -> None:
        self._picture, spacing = reduced(segmentation)
        self._folder = tempfile.TemporaryDirectory(prefix="spineseg-")
        self._made = Path(self._folder.name) / "scene.png"
        self._ends = time.monotonic() + CHILD_SECONDS
        self._child = self._started(spacing)

    def __enter__(self) -> Rendering:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._folder.cleanup()

    def scene(self) -> Scene | None:
        """Wait for the picture and return it; None if the label map is empty."""
        if not self._picture.any():
            return None
        if self._child is not None:
            try:
                self._child.wait(max(0.0, self._ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._child.kill()
            if self._child.returncode == 0 and self._made.is_file():
                return Scene(self._made.read_bytes(), rendered=True)
        return Scene(png_of(projections(self._picture)), rendered=False)

    def _started(self, spacing: float) -> subprocess.Popen[bytes] | None:
        """Start VTK in another process; None if that fails, or there is nothing to draw."""
        if os.environ.get("SPINESEG_NO_GL") or not self._picture.any():
            return None
        package = Path(__file__).resolve().parent.parent
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
        given = Path(self._folder.name) / "labels.npz"
        try:
            np.savez_compressed(given, labels=self._picture, spacing=spacing)
            return subprocess.Popen(
                [sys.executable, "-m", "spineseg.scene3d", str(given), str(self._made)],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return None


def render(segmentation: Volume) -> Scene | None:
    """Return the 3D picture of a label map, or None if it is empty."""
    with Rendering(segmentation) as rendering:
        return rendering.scene()


def draw(picture: Labels, spacing: float, path: Path) -> None:
    """Render a label map's surfaces from behind and from the left into a PNG file.

    Call it in a process of its own: a render window may end the process.

    Raises
    ------
    RuntimeError
        There is no OpenGL, or the picture stays empty.
    """
    # Not the whole of vtk, whose import takes a second. OpenGL2 is what makes windows and mappers.
    import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOImage import vtkPNGWriter
    from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow, vtkWindowToImageFilter

    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*SIZE)
    if not window.SupportsOpenGL():
        raise RuntimeError(window.ReportCapabilities())
    boxes = ndimage.find_objects(picture)
    actors = [_actor(picture, n + 1, box, spacing) for n, box in enumerate(boxes) if box]
    # The camera's place, in axes R, A, S: from behind and a little left, then from the left.
    places = ((-0.35, -1.0, 0.1), (-1.0, 0.0, 0.0))
    scale = max(_half_height(picture, spacing, place) for place in places)
    for start, place in zip((0.0, 0.5), places):
        renderer = vtkRenderer()
        renderer.SetViewport(start, 0.0, start + 0.5, 1.0)
        renderer.SetBackground(*BACKGROUND)
        for actor in actors:
            renderer.AddActor(actor)
        camera = renderer.GetActiveCamera()
        camera.SetFocalPoint(0.0, 0.0, 0.0)
        camera.SetPosition(*place)
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.ParallelProjectionOn()
        renderer.ResetCamera()
        camera.SetParallelScale(scale)
        window.AddRenderer(renderer)
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    if np.ptp(vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())) == 0:
        raise RuntimeError("the picture is empty")
    writer = vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(grab.GetOutputPort())
    writer.Write()


def _half_height(picture: Labels, spacing: float, place: tuple[float, float, float]) -> float:
    """Return the half height (mm) of the view that just holds the picture's box."""
    depth, width, height = (n * spacing / 2 for n in (*picture.shape[1:], picture.shape[0]))
    r, a, s = np.abs(place) / np.linalg.norm(place)
    across = (width * a + depth * r) / np.hypot(a, r)
    up = height * np.hypot(a, r) + (width * r + depth * a) * s
    return float(1.02 * max(up, across * SIZE[1] / (SIZE[0] / 2)))


def _actor(picture: Labels, label: int, box: tuple[slice, ...], spacing: float) -> Any:
    """Return a vtkActor with the smoothed surface of one label, at its place in the picture."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    rim = 4
    mask = np.pad((picture[box] == label).astype(np.float32), rim)
    # Of a blurred mask the surface has no stairs. Thin processes lose a little: it is a picture.
    smooth = ndimage.gaussian_filter(mask, SMOOTHING_MM / spacing)
    image = vtkImageData()
    image.SetDimensions(*smooth.shape[::-1])
    image.SetSpacing(spacing, spacing, spacing)
    image.SetOrigin(*[(s.start - rim) * spacing for s in reversed(box)])
    image.GetPointData().SetScalars(numpy_to_vtk(smooth.ravel(), deep=True))
    surface = vtkFlyingEdges3D()
    surface.SetInputData(image)
    surface.SetValue(0, 0.45)
    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(surface.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*palette()[label])
    actor.GetProperty().SetSpecular(0.15)
    return actor


def projections(picture: Labels) -> RGB:
    """Return shaded depth projections from behind and from the left, side by side.

    Parameters
    ----------
    picture : ndarray, uint8, axes (S, A, R) rising

    Returns
    -------
    ndarray, shape (rows, columns, 3), 0–1
    """
    upright = picture[::-1]
    # From behind: the first voxel met going forward; the patient's left is on the left.
    behind = _shaded(upright.transpose(0, 2, 1))
    # From the left: the first voxel met going right; anterior is on the left.
    left = _shaded(upright[:, ::-1, :])
    gap = np.ones((len(behind), 6, 3))
    both = np.concatenate([behind, gap, left], axis=1)
    repeat = max(1, round(700 / len(both)))
    return both.repeat(repeat, axis=0).repeat(repeat, axis=1)


def _shaded(picture: Labels) -> RGB:
    """Shade what is seen along the last axis, from its start."""
    solid = picture > 0
    seen = np.asarray(solid.any(axis=2))
    depth = np.where(seen, solid.argmax(axis=2), picture.shape[2]).astype(float)
    label = np.take_along_axis(
        picture, np.minimum(depth, picture.shape[2] - 1).astype(int)[..., None], axis=2
    )[..., 0]
    smooth = ndimage.gaussian_filter(depth, 0.8)
    down, across = np.gradient(smooth) if min(depth.shape) > 1 else (smooth * 0, smooth * 0)
    # The surface's normal against a light from the viewer's upper left.
    facing = 1.0 / np.sqrt(1.0 + down**2 + across**2)
    light: RGB = np.clip(0.25 + 0.75 * facing * (1.0 + 0.35 * np.clip(down + across, -1, 1)), 0, 1)
    colors = palette()[label] * light[..., None]
    shaded: RGB = np.where(seen[..., None], colors, 1.0)
    return shaded


def main() -> None:
    """Render the label map of an .npz file into a PNG file: ``labels.npz scene.png``."""
    with np.load(sys.argv[1]) as given:
        draw(given["labels"], float(given["spacing"]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
