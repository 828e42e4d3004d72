"""Centroids in VerSe's JSON: theirs and ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from spineseg import labels
from spineseg.errors import InputError
from spineseg.io.centroids import Centroid, read_centroids, write_centroids
from spineseg.volume import Grid, Volume

L1 = labels.by_name("L1").verse


def grid():
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [10, 20, -15], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-0.7, -0.8, 2.5])
    affine[:3, 3] = (12.5, -30, 400.25)
    return Grid((30, 22, 26), affine)


def test_the_file_is_verses_with_levels_and_millimetres(tmp_path):
    path = tmp_path / "centroids.json"
    spot = np.array([3.0, 5.5, 7.25])  # i, j, k
    ras = tuple(grid().ijk_to_ras(spot[None])[0].tolist())
    write_centroids([Centroid(L1, ras), Centroid(101, ras)], grid(), path)
    entries = json.loads(path.read_text())
    assert entries[0] == {"direction": ["L", "P", "S"]}
    assert [entries[1][axis] for axis in "XYZ"] == pytest.approx(spot, abs=1e-3)
    assert entries[1]["label"] == 20
    assert entries[1]["level"] == "L1"
    assert entries[1]["ras_mm"] == pytest.approx(ras, abs=1e-3)
    assert entries[2]["level"] is None
    # VerSe's own reader drops an entry whose text holds "nan".
    assert not any("nan" in str(entry) for entry in entries)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    points=st.lists(st.tuples(*[st.floats(-500, 500)] * 3), max_size=5),
    codes=st.sampled_from(["LPS", "RAS", "PIR", "ASL"]),
)
def test_places_survive_a_round_trip_on_any_grid(tmp_path, points, codes):
    path = tmp_path / "centroids.json"
    volume = Volume(np.zeros(grid().shape, np.uint8), grid().affine).reoriented(codes)
    centroids = [Centroid(label + 1, point) for label, point in enumerate(points)]
    write_centroids(centroids, volume, path)
    for back in (read_centroids(path), read_without_millimetres(path, volume)):
        assert [c.label for c in back] == [c.label for c in centroids]
        for one, other in zip(back, centroids):
            np.testing.assert_allclose(one.centroid, other.centroid, atol=0.01)


def read_without_millimetres(path, volume):
    entries = json.loads(path.read_text())
    for entry in entries:
        entry.pop("ras_mm", None)
    path.write_text(json.dumps(entries))
    # The scan may be oriented otherwise than the file.
    return read_centroids(path, volume.reoriented("RAS"))


def test_verses_own_file_is_read_with_its_scan(tmp_path):
    path = tmp_path / "sub-1_ctd.json"
    path.write_text(
        '[{"direction": ["P", "I", "R"]}, {"label": 20, "X": 4.0, "Y": 6.0, "Z": 8.0},'
        ' {"label": 21, "X": NaN, "Y": NaN, "Z": NaN}]'
    )
    affine = np.diag([2.0, 3.0, 4.0, 1.0])  # i right, j front, k up
    scan = Grid((20, 21, 22), affine)
    # Counted from the other end: back, down and (as here) right.
    expected = (8 * 2, (20 - 4) * 3, (19 - 6) * 4)
    assert read_centroids(path, scan) == [Centroid(20, tuple(map(float, expected)))]
    with pytest.raises(InputError, match="voxel positions only"):
        read_centroids(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1, 2]", '[{"direction": ["L", "P", "S"]},'
                                  ' {"label": 20}]'])  # fmt: skip
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="not a list of centroids"):
        read_centroids(tmp_path / "a.json")
    with pytest.raises(InputError, match="can't be read"):
        read_centroids(tmp_path / "missing.json")
