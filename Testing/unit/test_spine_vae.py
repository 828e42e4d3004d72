"""Spine-VAE: boxes, weights, losses, a training of a moment, saliency, inducing and curing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from spineseg.errors import InputError
from spineseg.labels import by_name
from spineseg.methods import spine_vae as method
from spineseg.methods.spine_vae import (
    Settings,
    box_grids,
    cure,
    group_of,
    induce,
    masked_box,
    saliency,
    spine_vae,
    to_hu,
)
from spineseg.networks.spine_vae import SpineVaeNetwork
from spineseg.progress import Progress
from spineseg.training.fracture_pool import PoolItem
from spineseg.training.spine_vae import KINDS, PLANS, VaeLoss, VaeTraining, fit, turned
from spineseg.training.spine_vae_samples import (
    VaeSampler,
    boxes_of,
    class_weights,
    load_boxes,
    reconstruction_weight,
)
from spineseg.volume import Volume
from tinyfracture import tiny_item, tiny_pool

TINY = replace(PLANS["small"], widths=(2, 4, 4, 4), hidden=32, batch=2, average=0.5)


@pytest.fixture(scope="module")
def item() -> PoolItem:
    return tiny_item()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of a moment: the folder of its models."""
    output = tmp_path_factory.mktemp("vae")
    pool = tiny_pool(output / "pool", 1)
    options = {"output": output / "out", "pool": pool, "patients": 1, "plan": TINY}
    fit(None, {**options, "hours": 1 / 3600}, Progress())
    return output / "out" / "models"


def test_levels_have_the_papers_groups() -> None:
    wanted = {"T1": 0, "T5": 0, "T6": 1, "T9": 1, "T10": 2, "T12": 2, "L1": 3, "L4": 3, "L5": 4}
    assert {n: group_of(by_name(n).verse) for n in wanted} == wanted
    assert group_of(by_name("C7").verse) is None
    assert group_of(101) == -1


def test_a_box_stands_on_the_spine_and_holds_its_vertebra(item: PoolItem) -> None:
    scan, mask = Volume(item.scan, item.affine), Volume(item.labels, item.affine)
    centres = scan.ijk_to_ras([one.centre for one in item.vertebrae])
    grid = box_grids(centres)[1]
    assert grid.spacing == pytest.approx((1.5,) * 3)
    assert np.linalg.det(grid.affine[:3, :3]) > 0
    picture = masked_box(scan, mask, 19, grid)
    solid = picture > 0.1
    assert solid.sum() * 1.5**3 == pytest.approx((item.labels == 19).sum(), rel=0.1)
    assert picture[~solid].max() <= 0.1
    hu = to_hu(picture)
    assert hu[32, 43, 32] == pytest.approx(230, abs=40)  # its body, in front of the middle
    assert hu[0, 0, 0] == -1000
    tilted = box_grids([[0, 0, 40], [0, 10, 20], [0, 20, 0]])[1].affine[:3, 2]
    assert tilted / 1.5 == pytest.approx(np.array([0, -20, 40]) / np.hypot(20, 40))


def test_processes_count_ever_less(item: PoolItem) -> None:
    found = boxes_of(item, 0)
    assert found.pictures.shape == (4, 64, 64, 64)
    assert found.grades.tolist() == [0, 0, 3, 0]
    assert found.groups.tolist() == [2, 2, 3, 3]
    whole = item.labels == 19
    body = whole & (item.bodies > 0)
    box = (slice(60, 124), slice(10, 80), slice(5, 55))
    weight = reconstruction_weight(body[box], whole[box])
    assert weight[body[box]].min() == 1.0
    along = weight[25, 5:35, 24]  # down the spike, from its tip to the body
    assert along[0] == pytest.approx(0.0, abs=0.02)
    assert (np.diff(along) >= 0).all()
    assert (reconstruction_weight(body[box] & False, whole[box]) == 1).all()


def test_classes_are_weighed_by_median_frequency() -> None:
    normal, ill = class_weights(np.arange(10) < 2)
    assert (normal, ill) == pytest.approx((0.5 / 0.8, 0.5 / 0.2))


def test_a_turn_is_in_the_sagittal_plane(item: PoolItem) -> None:
    boxes = boxes_of(item, 0)
    batch = VaeSampler(boxes, 4, 0.0).batch(3)
    batch["gain"] = torch.ones(4)
    same, _ = turned(batch)
    assert torch.allclose(same, batch["picture"].float() / 255, atol=1e-3)
    batch["turn"] = torch.full((4,), np.pi / 2)
    once, _ = turned(batch)
    expected = torch.rot90(batch["picture"].float() / 255, 1, (2, 3))
    other = torch.rot90(batch["picture"].float() / 255, -1, (2, 3))
    nearest = min((once - expected).abs().mean(), (once - other).abs().mean())
    assert float(nearest) < 2e-3


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_learns_what_it_should(name: str, item: PoolItem) -> None:
    kind, plan = KINDS[name], TINY
    network = SpineVaeNetwork(**plan.architecture(kind)["params"])
    batch = VaeSampler(boxes_of(item, 0), 4, 5.0).batch(40)
    loss, parts = VaeLoss(kind, plan, 1, True, (0.7, 2.0))(network, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert ("recon" in parts) == kind.decodes
    assert ("kl" in parts) == kind.variational
    for part, learns in (("encoder", True), ("classifier", True), ("decoder", kind.decodes)):
        module = getattr(network, part)
        weights = [] if module is None else [p.grad for p in module.parameters()]
        assert any(g is not None and bool(g.abs().sum() > 0) for g in weights) == learns
    assert network.groups == (5 if kind.conditioned else 0)


def test_the_divergence_comes_late(item: PoolItem) -> None:
    paper = PLANS["paper"]
    loss = VaeLoss(KINDS["spine-vae"], paper, 10, False, (1.0, 1.0))
    assert loss.beta(1499) == 0.0
    assert 0 < loss.beta(3000) < loss.beta(6000) == pytest.approx(0.1)
    assert (paper.rate, paper.turn_deg, paper.latent) == (1e-4, 30.0, 64)


def test_a_trained_network_judges_shows_and_redraws(trained: Path, item: PoolItem) -> None:
    settings = Settings(models=str(trained), device="cpu")
    scan, mask = Volume(item.scan, item.affine), Volume(item.labels, item.affine)
    centres = scan.ijk_to_ras([one.centre for one in item.vertebrae])
    where = [(one.label, c) for one, c in zip(item.vertebrae, centres, strict=True)]
    found = spine_vae(scan, mask, [(7, centres[0]), *where[1:]], settings)
    assert found.findings[0].probability is None
    assert "cervical" in found.findings[0].problem
    sure = [one.probability for one in found.findings[1:]]
    assert all(p is not None and 0 < p < 1 for p in sure)
    picture = masked_box(scan, mask, 19, box_grids(centres)[1])
    shown = saliency(picture, settings)
    assert shown.shape == (64, 64, 64)
    assert shown.max() == pytest.approx(1.0)
    network, _ = method.load(str(trained), "cpu")
    network.decoder[-1].bias.fill_(0.5)  # a moment's training draws nothing yet
    worse, same = induce(picture, 19, 3.0, settings), induce(picture, 19, 0.0, settings)
    better = cure(picture, 19, 3.0, settings, digits=None)
    assert np.abs(worse - same).max() > 0
    assert np.array_equal(cure(picture, 19, 0.0, settings), same)
    assert not np.array_equal(better, worse)
    with pytest.raises(InputError, match="cervical"):
        induce(picture, 3, 1.0, settings)
    with pytest.raises(InputError, match="no vertebra"):
        spine_vae(scan, mask, [], settings)
    with pytest.raises(InputError, match="grid"):
        spine_vae(scan, mask.crop((0, 0, 0), (50, 50, 50)), where, settings)


def test_bad_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind"):
        VaeTraining(kind="gan")
    with pytest.raises(InputError, match="no vertebrae"):
        load_boxes(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="data"):
        fit(tmp_path / "data", {"output": tmp_path})
    baseline = SpineVaeNetwork((2, 4, 4, 4), groups=0, variational=False, decodes=False)
    with pytest.raises(ValueError, match="no decoder"):
        baseline.decode(torch.zeros(1, 64), torch.zeros(1, dtype=torch.int64))
    assert method.WINDOW_HU[0] < 0
