"""Body heights and volumes of block spines whose sizes are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tinyspine
from spineseg.labels import SACRUM, VERTEBRAE, by_name
from spineseg.measure.heights import measure_vertebrae, spine_directions
from spineseg.result import Vertebra


def vertebrae(spine: tinyspine.Spine, **changes: object) -> list[Vertebra]:
    return [
        Vertebra(
            **{
                "label": tinyspine.FIRST + n,
                "level": VERTEBRAE[VERTEBRAE.index(by_name("L1")) + n].name,
                "centroid": tuple(centre),
                **changes,
            }
        )
        for n, centre in enumerate(spine.centres)
    ]


GRIDS: dict[str, Callable[[], dict[str, object]]] = {
    "isotropic": lambda: {},
    "sagittal slices of 3 mm": lambda: {"spacing": (3.0, 0.8, 0.8)},
    "axial slices of 3 mm": lambda: {"spacing": (0.8, 0.8, 3.0)},
    "oblique": lambda: {"directions": tinyspine.oblique()},
    "LPS": lambda: {"directions": np.diag([-1.0, -1.0, 1.0])},
    "turned about its axis": lambda: {"axial": 20.0},
}


@pytest.mark.parametrize("with_bodies", [True, False], ids=["mask", "canal"])
@pytest.mark.parametrize("grid", GRIDS)
def test_heights_of_a_wedge(grid: str, with_bodies: bool) -> None:
    options = GRIDS[grid]()
    spine = tinyspine.make(heights=(16.0, 24.0), **options)  # type: ignore[arg-type]
    tolerance = 3.0 if "axial slices" in grid else 1.0  # a voxel
    rows = measure_vertebrae(spine.labels, vertebrae(spine), spine.bodies if with_bodies else None)
    for row in rows:
        assert row.heights_mm is not None
        # A tenth of the depth inside the edges, as the module says.
        assert row.heights_mm["anterior"] == pytest.approx(16.8, abs=tolerance)
        assert row.heights_mm["middle"] == pytest.approx(20.0, abs=tolerance)
        assert row.heights_mm["posterior"] == pytest.approx(23.2, abs=tolerance)


def test_volume_is_that_of_the_voxels() -> None:
    spine = tinyspine.make(spacing=(0.9, 1.1, 2.0), directions=tinyspine.oblique())
    for row in measure_vertebrae(spine.labels, vertebrae(spine)):
        voxels = int((spine.labels.array == row.label).sum())
        assert row.volume_ml == pytest.approx(voxels * 0.9 * 1.1 * 2.0 / 1000)


def test_a_tilted_spine_is_measured_along_itself() -> None:
    spine = tinyspine.make()
    # The same voxels, standing askew in space.
    turn = np.eye(4)
    turn[:3, :3] = tinyspine.oblique(20.0)
    labels = type(spine.labels)(spine.labels.array, turn @ spine.labels.affine)
    centres = spine.centres @ turn[:3, :3].T
    rows = [Vertebra(tinyspine.FIRST + n, f"L{n + 1}", tuple(c)) for n, c in enumerate(centres)]
    for row in measure_vertebrae(labels, rows):
        assert row.heights_mm == pytest.approx(
            {"anterior": 22.0, "middle": 22.0, "posterior": 22.0}, abs=0.8
        )


def test_no_height_where_the_canal_is_filled() -> None:
    spine = tinyspine.make(canal=False)
    rows = measure_vertebrae(spine.labels, vertebrae(spine))
    assert [row.heights_mm for row in rows] == [None] * 3
    # With the bodies known it can be measured all the same.
    assert all(row.heights_mm for row in measure_vertebrae(spine.labels, rows, spine.bodies))


@pytest.mark.parametrize(
    "changes",
    [{"complete": False}, {"level": "C1"}, {"level": "C2"}, {"centroid": (200.0, 0.0, 0.0)},
     {"centroid": (float("nan"),) * 3}],
    ids=["cut", "C1", "C2", "centre elsewhere", "no centre"],
)  # fmt: skip
def test_no_height_is_invented(changes: dict[str, object]) -> None:
    spine = tinyspine.make(count=1)
    row = measure_vertebrae(spine.labels, vertebrae(spine, **changes))[0]
    assert row.heights_mm is None
    assert row.volume_ml is not None
    assert row.volume_ml > 20


def test_the_sacrum_has_no_body_heights() -> None:
    spine = tinyspine.make(count=1, first=SACRUM.verse)
    row = Vertebra(SACRUM.verse, SACRUM.name, tuple(spine.centres[0]))
    assert measure_vertebrae(spine.labels, [row])[0].heights_mm is None


def test_a_label_without_voxels_has_no_volume() -> None:
    spine = tinyspine.make(count=1)
    row = measure_vertebrae(spine.labels, vertebrae(spine, label=3))[0]
    assert row.volume_ml == 0
    assert row.heights_mm is None


def test_heights_of_the_method_are_kept() -> None:
    spine = tinyspine.make(count=1)
    known = {"anterior": 1.0, "middle": 2.0, "posterior": 3.0}
    row = measure_vertebrae(spine.labels, vertebrae(spine, heights_mm=known))[0]
    assert row.heights_mm == known


def test_directions_follow_the_neighbours() -> None:
    points = np.array([[0.0, 0.0, 60.0], [0.0, 0.0, 30.0], [0.0, 30.0, 0.0]])
    up = spine_directions(points)
    np.testing.assert_allclose(np.linalg.norm(up, axis=1), 1.0)
    np.testing.assert_allclose(up[0], [0, 0, 1])
    np.testing.assert_allclose(up[2], np.array([0, -1, 1]) / np.sqrt(2))
    assert up[1] @ up[0] == pytest.approx(up[1] @ up[2])
    np.testing.assert_allclose(spine_directions(points[:1]), [[0, 0, 1]])
    assert spine_directions(points[:0]).shape == (0, 3)
