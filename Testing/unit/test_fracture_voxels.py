"""The voxel classifier: its fields of view, grown labels, a training of a moment, its answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from spineseg.cli_train import trainer
from spineseg.errors import InputError, WeightsError
from spineseg.methods import fracture_voxels as method
from spineseg.methods.fracture_voxels import (
    FRACTURE,
    NORMAL,
    Settings,
    components,
    normalised,
    vertebra_scores,
)
from spineseg.networks.fracture_voxels import FractureVoxelNetwork
from spineseg.progress import Progress
from spineseg.training.fracture_pool import load_item, paths
from spineseg.training.fracture_voxel_samples import (
    FLAT,
    VoxelSampler,
    ellipsoids,
    grow_labels,
    part_of,
)
from spineseg.training.fracture_voxels import PLANS, Plateau, VoxelPlan, VoxelTraining, fit
from spineseg.volume import Volume
from spineseg.weights import load_card, load_state
from tinyfracture import tiny_item, tiny_pool

TINY = replace(PLANS["small"], widths=(4,) * 8, joined=4, batch=2, average=0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of a moment: the folder of its models."""
    output = tmp_path_factory.mktemp("voxels")
    pool = tiny_pool(output / "pool")
    options = {"output": output / "out", "pool": pool, "patients": 2, "plan": TINY}
    fit(None, {**options, "hours": 1 / 3600}, Progress())
    return output / "out" / "models"


def test_a_training_goes_on_from_weights_of_the_same_network(trained: Path, tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path / "pool")
    options = {"output": tmp_path / "out", "pool": pool, "patients": 2}
    still = replace(TINY, rate=0.0, decay=0.0)
    options = {**options, "plan": still, "start": trained, "hours": 1 / 3600}
    (path,) = fit(None, options, Progress())
    first = load_state("fracture-voxels", trained)
    # What is learned stays as it was, at a rate of 0; what batches have in common moves on.
    after = load_state(path.stem, path.parent)
    assert all(torch.allclose(first[k], v) for k, v in after.items() if v.dim() == 5)
    assert "--start MODELS" in load_card("fracture-voxels", path.parent).command
    with pytest.raises(InputError, match="another network"):
        fit(None, {**options, "output": tmp_path / "other", "plan": None}, Progress())


@pytest.mark.parametrize("variant", ["3d", "5slices", "1slice"])
def test_the_papers_networks_have_as_many_parameters(variant: str) -> None:
    params = PLANS["paper"].architecture(variant)["params"]
    network = FractureVoxelNetwork(**params)
    count = sum(p.numel() for p in network.parameters())
    assert 225_000 < count < 240_000
    assert sum(isinstance(m, torch.nn.Conv3d) for m in network.normal) == 8
    assert sum(isinstance(m, torch.nn.Conv3d) for m in network.joined) == 2


def test_the_papers_regime_is_its_own() -> None:
    paper = PLANS["paper"]
    assert (paper.rate, paper.rmsprop, paper.epochs) == (1e-3, True, 35)
    assert paper.flips == (0, 1, 2)
    assert min(paper.l1, paper.l2, paper.patience) > 0
    assert paper.scan_wide


@pytest.mark.parametrize(
    ("variant", "fine", "coarse"),
    [("3d", (17, 17, 17), (51, 51, 51)), ("5slices", (17, 17, 5), (51, 51, 5)),
     ("1slice", (17, 17, 1), (51, 51, 1))],
)  # fmt: skip
def test_fields_of_view(variant: str, fine: tuple[int, ...], coarse: tuple[int, ...]) -> None:
    network = FractureVoxelNetwork((4,) * 8, 4, variant=variant).eval()

    def seen(pathway: str) -> tuple[int, ...]:
        image = torch.randn(1, 1, *(3 + 2 * r for r in network.reach), requires_grad=True)
        crop = [r - f for r, f in zip(network.reach, network._fine, strict=True)]
        if pathway == "normal":
            a, b, c = (slice(c, n - c) for c, n in zip(crop, image.shape[2:], strict=True))
            found = network.normal(image[:, :, a, b, c])
        else:
            found = network.coarse(torch.nn.functional.avg_pool3d(image, network._pool))
        middle = tuple(n // 2 for n in found.shape[2:])
        found[(0, slice(None), *middle)].sum().backward()
        assert image.grad is not None
        touched = np.argwhere(image.grad[0, 0].numpy() != 0)
        return tuple(int(n) for n in touched.max(axis=0) - touched.min(axis=0) + 1)

    assert seen("normal") == fine
    assert seen("coarse") == coarse


def test_a_patch_gives_the_same_as_the_whole() -> None:
    torch.manual_seed(0)
    network = FractureVoxelNetwork((4,) * 8, 4).eval()
    image = torch.randn(1, 1, 60, 60, 60)
    with torch.inference_mode():
        whole = network(image)
        part = network(image[:, :, 3:57, 6:60, :57])
    assert whole.shape == (1, 3, 12, 12, 12)
    assert torch.allclose(whole[:, :, 3:9, 6:, :9], part, atol=1e-5)


def test_labels_grow_inside_bodies_and_are_flat_where_fractured() -> None:
    item = tiny_item()
    grown = ellipsoids(item.vertebrae)
    labels = grow_labels(item.scan.shape, grown)
    assert set(np.unique(labels)) == {0, NORMAL, FRACTURE}
    assert (item.bodies[labels == NORMAL] > 0).mean() > 0.99
    height = {n: np.ptp(np.argwhere(labels == n)[:, 0]) + 1 for n in (FRACTURE,)}
    sound = grow_labels(item.scan.shape, [grown[1]])
    assert height[FRACTURE] / (np.ptp(np.argwhere(sound)[:, 0]) + 1) == pytest.approx(FLAT, abs=0.1)
    part = grow_labels((20, 30, 15), grown, (45, 40, 20))
    assert np.array_equal(part, labels[45:65, 40:70, 20:35])


def test_an_ellipsoid_leans_with_the_spine() -> None:
    item = tiny_item()
    leaning = [
        replace(one, centre=(one.centre[0], one.centre[1] + 0.5 * one.centre[2], one.centre[2]))
        for one in item.vertebrae
    ]
    up = ellipsoids(leaning)[1].shape[0]
    up = up / np.linalg.norm(up)
    assert up[:2] == pytest.approx(np.array([1.0, 0.5]) / np.hypot(1, 0.5), abs=1e-6)


def test_segments_are_drawn_by_class_and_air_lies_outside(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path / "pool")

    def sampler(shares: tuple[float, float, float]) -> VoxelSampler:
        return VoxelSampler(pool, [], 9, (24,) * 3, shares, (0, 1, 2), (0.0,) * 3, False, 6)

    for label, shares in ((NORMAL, (0.0, 1.0, 0.0)), (FRACTURE, (0.0, 0.0, 1.0))):
        batch = sampler(shares).batch(0)
        assert batch["image"].shape == (6, 1, 57, 57, 57)
        assert bool((batch["label"][:, 4, 4, 4] == label).all())
    assert part_of(np.zeros((5, 5, 5), np.int16), (-2, 0, 4), (4, 4, 4))[0, 0, 0] == -1000
    with pytest.raises(InputError, match="empty"):
        VoxelSampler(tmp_path, [], 9, (24,) * 3, (1, 0, 0), (), (0.0,) * 3, False, 1)


def test_the_rate_is_halved_on_a_plateau_and_ends() -> None:
    network = FractureVoxelNetwork((4,) * 8, 4)
    image, label = torch.zeros(1, 1, 51, 51, 51), torch.zeros(1, 3, 3, 3, dtype=torch.int64)
    plan = VoxelPlan(patience=2, epoch=10, epochs=8)
    plateau = Plateau(lambda n: {"image": image, "label": label}, plan, 1)
    shares = [plateau(network, step) for step in range(0, 85, 5)]
    assert shares[0] == shares[2] == 1.0
    assert shares[-3] in (0.25, 0.125)
    assert shares[-1] == 0.0


def test_intensities_are_fixed_or_of_the_scan() -> None:
    scan = np.random.default_rng(0).normal(300, 50, (40, 40, 40))
    assert normalised(scan, scan).std() == pytest.approx(1.0, abs=0.05)
    assert normalised(np.array([100.0, 3000.0])).tolist() == pytest.approx([0.0, 4.5])


def test_groups_of_voxels_smaller_than_the_noise_are_left_out() -> None:
    array = np.zeros((20, 20, 20), np.uint8)
    array[2:8, 2:8, 2:8], array[12:14, 12:14, 12:14], array[17, 17, 17] = 220, 250, 120
    sizes, places = components(Volume(array, np.eye(4)), 0.5, 5)
    assert sizes == (216, 8)
    assert places[1] == pytest.approx([12.5] * 3)
    assert components(Volume(array, np.eye(4)), 0.9, 5)[0] == (8,)
    assert components(Volume(array, np.eye(4)), 0.5, 1000)[0] == ()


def test_a_trained_network_answers(trained: Path) -> None:
    card = load_card(method.MODEL, trained)
    assert card.inputs["intensity"]["mapping"] == method.MAPPING
    item = load_item(paths(trained.parent.parent / "pool")[0])
    scan = Volume(np.asarray(item.scan), item.affine)
    centres = scan.ijk_to_ras([one.centre for one in item.vertebrae])
    settings = Settings(models=str(trained), device="cpu", patch=24, noise_voxels=1)
    scores = vertebra_scores(scan, centres, settings)
    assert scores.shape == (4,)
    assert ((scores > 0) & (scores < 1)).all()
    found = method.fracture_voxels(scan, settings, centres=centres[2:3])
    at = np.rint(found.fracture.ras_to_ijk(centres[2:3])[0][::-1]).astype(int)
    near = found.fracture.array[tuple(slice(n - 2, n + 3) for n in at)].mean() / 255
    assert near == pytest.approx(scores[2], abs=0.15)
    assert found.patient_positive == (len(found.component_voxels) > 0)
    with pytest.raises(InputError, match="no vertebra"):
        method.fracture_voxels(scan, settings, centres=[])


def test_bad_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="preset"):
        VoxelTraining(preset="huge")
    with pytest.raises(InputError, match="variant"):
        VoxelTraining(variant="4d")
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="data"):
        fit(tmp_path / "data", {"output": tmp_path})
    with pytest.raises(ValueError, match="patch"):
        Settings(patch=10)
    with pytest.raises(WeightsError):
        method.load(str(tmp_path))
    with pytest.raises(InputError, match="--view"):
        trainer("fracture-voxels", {"view": "ap"})
    assert trainer("fracture-voxels", {"variant": "3d"}) is fit
