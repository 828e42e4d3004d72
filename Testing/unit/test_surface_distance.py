"""Overlap, surface distances and identification, against known answers and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.measure.identification import identified, localisation_errors
from spineseg.measure.overlap import concurrency, dice
from spineseg.measure.surface_distance import surface_distances, surface_points
from spineseg.volume import Volume


def ball(centre: float, radius: float, spacing: tuple[float, float, float]) -> Volume:
    """A ball whose centre is at (centre, 0, 0); spacing i, j, k."""
    shape = [int(np.ceil(80 / s)) for s in spacing[::-1]]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -40.0
    k, j, i = np.indices(shape)
    points = np.stack([i, j, k], axis=-1) * np.array(spacing) - 40.0
    return Volume(np.linalg.norm(points - [centre, 0, 0], axis=-1) <= radius, affine)


def test_dice_and_concurrency_are_the_papers_equations() -> None:
    truth = np.zeros(100, dtype=bool)
    found = np.zeros(100, dtype=bool)
    truth[:40], found[30:50] = True, True  # 10 in common: recall 1/4, precision 1/2
    assert dice(truth, found) == pytest.approx(2 * 10 / 60)
    assert concurrency(truth, found) == pytest.approx((0.25 + 0.5) / 2)


def test_empty_masks_agree_and_half_empty_ones_do_not() -> None:
    full, empty = np.ones(5, dtype=bool), np.zeros(5, dtype=bool)
    assert dice(empty, empty) == concurrency(empty, empty) == 1.0
    assert dice(full, empty) == concurrency(full, empty) == concurrency(empty, full) == 0.0


def test_a_shifted_ball_has_the_distances_of_geometry() -> None:
    # A ball moved by d: surfaces are d apart at the poles; on average (d of its radius 0.3)
    # close to d/2, the mean of |d cos(angle)| over the sphere.
    a, b = ball(0.0, 20.0, (1.0, 1.0, 1.0)), ball(6.0, 20.0, (1.0, 1.0, 1.0))
    found = surface_distances(a, b)
    assert found is not None
    assert found.hausdorff == pytest.approx(6.0)
    assert found.assd == pytest.approx(3.0, abs=0.35)
    assert found.assd < found.hausdorff95 <= found.hausdorff


def test_concentric_balls_are_apart_by_the_difference_of_their_radii() -> None:
    spacing = (0.8, 0.8, 2.0)
    found = surface_distances(ball(0.0, 15.0, spacing), ball(0.0, 20.0, spacing))
    assert found is not None
    assert found.assd == pytest.approx(5.0, abs=0.4)
    assert found.hausdorff == pytest.approx(5.0, abs=1.0)


def test_distances_are_those_of_monai() -> None:
    import torch
    from monai import metrics as monai

    spacing = (0.7, 1.1, 2.5)
    a, b = ball(0.0, 17.0, spacing), ball(3.0, 14.0, spacing)
    found = surface_distances(a, b)
    assert found is not None
    one, other = (torch.from_numpy(v.array[None, None].astype(np.float32)) for v in (b, a))
    given = {"include_background": True, "spacing": spacing[::-1]}
    assd = monai.compute_average_surface_distance(one, other, symmetric=True, **given)
    most = monai.compute_hausdorff_distance(one, other, **given)
    most95 = monai.compute_hausdorff_distance(one, other, percentile=95, **given)
    assert found.assd == pytest.approx(float(assd), rel=1e-4)
    assert found.hausdorff == pytest.approx(float(most), rel=1e-4)
    assert found.hausdorff95 == pytest.approx(float(most95), rel=1e-3)


def test_equal_masks_and_crops_of_them() -> None:
    mask = ball(0.0, 10.0, (1.0, 1.0, 1.5))
    same = surface_distances(mask, mask.crop((10, 20, 20), (50, 70, 70)))
    assert same is not None
    assert same.assd == same.hausdorff == same.hausdorff95 == 0.0


def test_a_mask_at_the_border_has_a_surface_there() -> None:
    full = Volume(np.ones((4, 4, 4), dtype=bool), np.eye(4))
    assert len(surface_points(full)) == 4**3 - 2**3


def test_an_empty_mask_is_told() -> None:
    mask = ball(0.0, 10.0, (2.0, 2.0, 2.0))
    empty = mask.like(np.zeros(mask.shape, dtype=bool))
    assert surface_distances(empty, empty) is None
    with pytest.raises(InputError, match="empty"):
        surface_distances(mask, empty)


def test_identification_follows_glocker() -> None:
    truth = {20: (0.0, 0.0, 90.0), 21: (0.0, 0.0, 60.0), 22: (0.0, 0.0, 30.0), 23: (0.0, 0.0, 0.0)}
    found = {20: (0.0, 3.0, 94.0), 21: (0.0, 0.0, 31.0), 22: (0.0, 21.0, 30.0)}
    # L1 is near; L2 is nearest to the true L3; L3 is 21 mm away; L4 was not found.
    assert identified(truth, found) == {20: True, 21: False, 22: False, 23: False}
    assert localisation_errors(truth, found) == {20: 5.0, 21: 29.0, 22: 21.0, 23: None}
    assert identified({}, found) == {}
