"""The papers' own networks: architecture, augmentations, losses, and trainings on tiny things."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spineseg.errors import DependencyError, InputError
from spineseg.io.images import write_volume
from spineseg.networks.cascade_fcn import CascadeFCN
from spineseg.networks.click_unet import click_unet, click_unet_params
from spineseg.training import cascade, click, paper, warps, windows
from spineseg.training.real import LabelSource
from spineseg.volume import Volume
from spineseg.weights import load_card, load_state

SMALL = (32, 32, 32)
TINY = (24, 24, 24)


def ball(shape: tuple[int, int, int], center: tuple[float, ...], radius: float) -> np.ndarray:
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, center))) <= radius


def ball_window(shape: tuple[int, int, int] = (64, 64, 64)) -> windows.Window:
    """Three bright balls over one another; the middle one has a bright core, the centrum."""
    half = np.array(shape) / 2
    ids = np.zeros(shape, np.uint8)
    parts = np.zeros(shape, np.uint8)
    centres = {}
    for label, up in ((19, 20), (20, 0), (21, -20)):
        k = float(half[0] + up)
        where = ball(shape, (k, half[1], half[2]), 9)
        ids[where] = label
        parts[where] = windows.BODY
        parts[ball(shape, (k, half[1], half[2]), 6)] = windows.CENTRUM
        centres[label] = (float(half[2]), float(half[1]), k)
    image = np.where(ids > 0, 600, -200).astype(np.int16)
    return windows.Window(image, ids, parts, centres)


def tiny_click(**changes: Any) -> click.ClickTraining:
    values = {"patch": SMALL, "filters": 4, "levels": 3, "target": "vertebra", "augment": "N"}
    return click.ClickTraining(**{**values, **changes})


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


# Architecture


def test_the_click_network_is_the_paper_s_size() -> None:
    params = click_unet_params()
    assert params["filters"] == [32, 64, 128, 256, 512, 1024]
    assert json.loads(json.dumps(params)) == params
    network = click_unet(click_unet_params(filters=2))
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 32, 64, 64)).shape == (1, 1, 32, 64, 64)
    # Each weight has one name, so that it is saved once.
    assert len(network.state_dict()) == len(list(network.parameters()))
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv3d)]
    # Two a level on the way down, two a level but the last on the way up, and the head.
    assert len(convolutions) == 2 * 6 + 2 * 5 + 1
    with torch.device("meta"):
        full = click_unet(params)
    assert sum(p.numel() for p in full.parameters()) == 90_479_233


def test_without_monai_the_paper_s_network_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets.dynunet", None)
    with pytest.raises(DependencyError, match="MONAI"):
        click_unet(click_unet_params())


def test_the_cascade_network_has_the_paper_s_blocks() -> None:
    network = CascadeFCN(2, 4, (4, 8, 16))
    with torch.no_grad():
        assert network(torch.zeros(1, 2, 16, 24, 32)).shape == (1, 4, 16, 24, 32)
    kinds = [type(m).__name__ for m in network.modules()]
    assert kinds.count("BatchNorm3d") == kinds.count("ReLU") == 10
    for module in network.modules():
        if isinstance(module, torch.nn.ConvTranspose3d):
            assert (module.kernel_size, module.stride) == ((4, 4, 4), (2, 2, 2))
        elif isinstance(module, torch.nn.Conv3d) and module is not network.head:
            assert (module.kernel_size, module.stride) == ((3, 3, 3), (1, 1, 1))
    full = CascadeFCN(1, 4)
    assert sum(p.numel() for p in full.parameters()) == 8_009_668


# Augmentations


def test_without_augmentation_the_patch_is_centred_and_always_the_same() -> None:
    window = ball_window()
    image, target = click.example(window, tiny_click(), np.random.default_rng(0))
    again, _ = click.example(window, tiny_click(), np.random.default_rng(9))
    assert np.array_equal(image, again)
    assert np.argwhere(target).mean(axis=0) == pytest.approx([16, 16, 16])
    cut = (slice(16, 48),) * 3
    assert np.array_equal(target, window.ids[cut] == 20)
    assert np.array_equal(image, paper.intensity(window.image[cut]))


def test_the_targets_lie_in_one_another() -> None:
    window = ball_window()
    rng = np.random.default_rng(0)
    found = {name: click.example(window, tiny_click(target=name), rng)[1] for name in click.TARGETS}
    assert found["centrum"].sum() < found["body"].sum() == found["vertebra"].sum()
    assert np.array_equal(found["centrum"], ball(SMALL, (16, 16, 16), 6))
    assert not (found["centrum"] & ~found["body"]).any()


@pytest.mark.parametrize("augment", click.AUGMENTATIONS)
def test_image_and_mask_stay_together_in_all_eight_models(augment: str) -> None:
    window = ball_window((96, 96, 96))
    window.image[...] = np.where(window.ids == 20, 600, -200)  # so that every edge is the target's
    settings = tiny_click(augment=augment, patch=(64, 64, 64))
    plain, centred = click.example(window, tiny_click(patch=(64, 64, 64)), np.random.default_rng(0))
    for seed in range(3):
        image, target = click.example(window, settings, np.random.default_rng(seed))
        assert image.shape == target.shape == (64, 64, 64)
        middle = float(paper.intensity(np.array(200.0)))
        assert dice(image > middle, target) > (0.93 if "S" in augment or "R" in augment else 0.999)
        assert np.array_equal(image, plain) == (augment == "N")
        # Only shape changes the size, only translation the place.
        moved = np.abs(np.argwhere(target).mean(axis=0) - 32).max()
        assert (moved > 2.0) == ("T" in augment)
        assert moved < click.SHIFT_MM + 2.0
        if "S" not in augment:
            assert target.sum() == centred.sum()


def test_resampling_takes_detail_and_moves_nothing() -> None:
    where = ball((40, 40, 40), (19.5, 19.5, 19.5), 9)
    noise = np.random.default_rng(0).normal(0, 50, where.shape)
    image = np.where(where, 1000.0, 0.0)
    for factor in (1.3, 1.7, 2.0):
        coarse = warps.lower_resolution(image, factor)
        assert coarse.shape == image.shape
        k = np.arange(40)[:, None, None]
        assert (coarse * k).sum() / coarse.sum() == pytest.approx(19.5, abs=0.05)
        assert dice(coarse > 500, where) > 0.95
        assert warps.lower_resolution(noise, factor).std() < 0.8 * noise.std()
    assert warps.lower_resolution(image, 1.0) == pytest.approx(image)


def test_shape_turns_scales_mirrors_and_bends() -> None:
    rng = np.random.default_rng(0)
    center = np.array([32.0, 32.0, 32.0])
    several = [warps.drawn(SMALL, center, rng, mirror=True, bend_mm=2.0) for _ in range(40)]
    scales = np.array([abs(np.linalg.det(w.matrix)) ** (-1 / 3) for w in several])
    assert 0.8 <= scales.min() < 0.9
    assert 1.1 < scales.max() <= 1.2
    mirrored = [np.linalg.det(w.matrix) < 0 for w in several]
    assert 8 < sum(mirrored) < 32
    for warp in several:
        turn = warp.matrix / np.cbrt(abs(np.linalg.det(warp.matrix)))
        assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-9)
        assert warp.matrix @ np.array([16, 16, 16]) + warp.offset == pytest.approx(center)
        assert warp.bend is not None
        assert warp.bend.shape == (3, *SMALL)
        assert 0.5 < warp.bend.std() < 4.0
        assert np.abs(np.diff(warp.bend, axis=1)).max() < 0.8  # smooth: no voxel passes another
    flat = replace(several[0], bend=None)
    image = np.random.default_rng(1).normal(0, 1, (64, 64, 64)).astype(np.float32)
    zero = replace(flat, bend=np.zeros((3, *SMALL), np.float32))
    assert zero.take(image, 1, 0) == pytest.approx(flat.take(image, 1, 0), abs=1e-3)


def test_the_semantic_crop_knows_its_regions() -> None:
    window = ball_window()
    rng = np.random.default_rng(1)
    seen: set[int] = set()
    for _ in range(6):
        image, target = cascade.semantic_example(window, SMALL, rng)
        assert image.shape == (1, *SMALL)
        assert target.dtype == np.int64
        bright = image[0] > float(paper.intensity(np.array(200.0)))
        if target.any():
            assert dice(bright, target > 0) > 0.9
        seen |= set(np.unique(target).tolist())
    assert seen == {0, cascade.REGIONS.index("thoracic"), cascade.REGIONS.index("lumbar")}


def test_the_memory_holds_one_side_and_never_the_target() -> None:
    window = ball_window()
    rng = np.random.default_rng(2)
    empty = below = above = 0
    for _ in range(30):
        image, target = cascade.instance_example(window, (64, 32, 32), rng)
        memory = image[1] > 0
        assert target.any()
        assert not (memory & target[0]).any()
        if not memory.any():
            empty += 1
            continue
        side = np.argwhere(memory)[:, 0].mean() - np.argwhere(target[0])[:, 0].mean()
        above, below = above + (side > 0), below + (side < 0)
        bright = image[0] > float(paper.intensity(np.array(200.0)))
        assert bright[memory].mean() > 0.95
    assert min(empty, below, above) > 2


def test_noise_is_within_the_paper_s_range() -> None:
    flat = np.zeros((32, 32, 32), np.float32)
    sizes = [cascade._noisy(flat, np.random.default_rng(n)).std() for n in range(30)]
    assert max(sizes) < 1.02 * 50 / 1536
    assert max(sizes) > 0.8 * 50 / 1536
    assert min(sizes) < 0.2 * 50 / 1536
    assert paper.intensity(np.array([-2000, -512, 256, 1024, 3000])).tolist() == [-1, -1, 0, 1, 1]


# Windows


@pytest.fixture(scope="module")
def drawn_window() -> windows.Window:
    return windows.draw_window(3, "click", (48, 64, 64))


def test_a_drawn_window_is_centred_on_a_vertebra_with_a_centrum(
    drawn_window: windows.Window, tmp_path: Path
) -> None:
    label = drawn_window.middle()
    assert drawn_window.center(label) == pytest.approx([24, 32, 32], abs=0.6)
    own = drawn_window.ids == label
    body = own & (drawn_window.parts >= windows.BODY)
    centrum = own & (drawn_window.parts >= windows.CENTRUM)
    assert 0.3 < centrum.sum() / body.sum() < 0.95
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(drawn_window.ids > 0)
    assert depth[centrum].min() >= 1.0
    windows.save_window(drawn_window, tmp_path / "patient0")
    again = windows.load_window(tmp_path / "patient0")
    for name in ("image", "ids", "parts"):
        assert np.array_equal(getattr(again, name), getattr(drawn_window, name))
    assert again.centres == drawn_window.centres


def test_lesions_come_in_three_sorts_and_sound_vertebrae_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def stop(settings: Any, rng: Any) -> None:
        seen.append(settings)
        raise InterruptedError

    monkeypatch.setattr(windows, "build_chain", stop)
    for seed in range(40):
        with pytest.raises(InterruptedError):
            windows.draw_window(seed, "click")
    sorts = {lesion.kind for settings in seen for lesion in settings.lesions}
    assert sorts == {"lytic", "blastic", "mixed"}
    assert any(not settings.lesions for settings in seen)


def test_real_maps_teach_only_what_they_know(tmp_path: Path) -> None:
    labels = np.zeros((60, 60, 50), np.uint8)
    labels[20:40, 26:48, 12:38] = 20
    parts = np.where(labels > 0, 50, 0).astype(np.uint8)
    parts[:, 26:34][labels[:, 26:34] > 0] = 41
    paths = tmp_path / "verse_vertebrae.nii.gz", tmp_path / "verse_parts.nii.gz"
    for array, path in zip((labels, parts), paths):
        write_volume(Volume(array, np.eye(4)), path)
    pool = tmp_path / "pool"
    shape = (48, 48, 48)
    sources = [LabelSource(paths[0])]
    assert list(windows.add_real_windows(pool, "click", sources, 1, shape)) == [
        "verse_vertebrae_000"
    ]
    window = windows.Windows(pool, windows.VERTEBRA).draw(np.random.default_rng(0))
    assert window.center(20) == pytest.approx([24, 24, 24])
    assert set(np.unique(window.parts)) == {0, windows.VERTEBRA}
    for known in (windows.BODY, windows.CENTRUM):
        with pytest.raises(InputError, match="nothing to learn"):
            windows.Windows(pool, known)
    sources = [LabelSource(paths[0], subregions=paths[1])]
    list(windows.add_real_windows(tmp_path / "both", "click", sources, 1, shape))
    window = windows.Windows(tmp_path / "both", windows.BODY).draw(np.random.default_rng(0))
    assert 0.4 < (window.parts == windows.BODY).sum() / (window.ids == 20).sum() < 0.8


# Trainings


def pool_of_balls(folder: Path) -> Path:
    windows.save_window(ball_window(), folder / "patient000000")
    return folder


def losses_of(network: torch.nn.Module, loss: Any, batches: Any, rate: float) -> list[float]:
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    values = []
    for step in range(8):
        value, _ = loss(network, batches.batch(step))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values


def test_a_few_steps_lower_every_loss(tmp_path: Path) -> None:
    folder = pool_of_balls(tmp_path)
    torch.manual_seed(0)
    settings = tiny_click(augment="SR", patch=TINY)
    batches = click.ClickBatches(folder, settings)
    values = losses_of(click_unet(click_unet_params(8, 3)), click.dice_of, batches, 1e-2)
    assert np.mean(values[-3:]) < np.mean(values[:3]) - 0.05
    whole = cascade.CascadeTraining(widths=(8, 8), semantic_patch=TINY, instance_patch=TINY)
    for stage, loss in (("semantic", cascade.bootstrapped(0.1)), ("instance", click.dice_of)):
        network = CascadeFCN(*cascade._CHANNELS[stage], (8, 8))
        values = losses_of(network, loss, cascade.CascadeBatches(folder, stage, whole), 1e-2)
        assert np.mean(values[-3:]) < np.mean(values[:3]) - 0.05


def test_the_paper_s_click_trains_resumes_and_exports(tmp_path: Path) -> None:
    pool_of_balls(tmp_path / "pool" / "click")
    options = {
        "output": tmp_path, "preset": "paper", "augment": "tr", "target": "centrum",
        "hours": 2 / 3600, "patients": 1, "patch": SMALL, "filters": 2, "levels": 3,
        "device": "cpu",
    }  # fmt: skip
    written = click.fit(None, options)
    assert written == [tmp_path / "models" / "click-centrum-tr.safetensors"]
    state = json.loads((tmp_path / "click-centrum-tr" / "checkpoint.json").read_text())
    assert state["settings"]["steady"]
    assert state["settings"]["rate"] == 1e-4
    assert state["settings"]["decay"] == 0
    card = load_card("click-centrum-tr", tmp_path / "models")
    assert "--augment TR --target centrum" in card.command
    assert card.inputs["steps"] == state["step"]
    assert card.outputs["classes"] == ["centrum"]
    again = click_unet(card.architecture["params"])
    again.load_state_dict(load_state("click-centrum-tr", tmp_path / "models"))
    with pytest.raises(InputError, match="resume"):
        click.fit(None, options)
    click.fit(None, {**options, "resume": True, "hours": (state["seconds"] + 1) / 3600})
    later = json.loads((tmp_path / "click-centrum-tr" / "checkpoint.json").read_text())
    assert later["step"] > state["step"]
    # No time at all: the model of a checkpoint.
    (tmp_path / "models" / "click-centrum-tr.json").unlink()
    click.fit(None, {**options, "resume": True, "hours": 0.0})
    assert load_card("click-centrum-tr", tmp_path / "models").inputs["steps"] == later["step"]
    # The other seven are trainings of their own, beside this one.
    click.fit(None, {**options, "augment": "N", "hours": 1 / 3600})
    assert load_card("click-centrum-n", tmp_path / "models").inputs["augmentations"] == "N"


def test_the_paper_s_cascade_trains_both_stages(tmp_path: Path) -> None:
    pool_of_balls(tmp_path / "pool" / "spine")
    options = {
        "output": tmp_path, "preset": "paper", "hours": 4 / 3600, "patients": 1,
        "semantic_patch": SMALL, "instance_patch": SMALL, "widths": (2, 4), "device": "cpu",
    }  # fmt: skip
    written = cascade.fit(None, options)
    assert [p.stem for p in written] == ["cascade-semantic", "cascade-instance"]
    for path, channels in zip(written, ((1, 4), (2, 1))):
        card = load_card(path.stem, tmp_path / "models")
        again = CascadeFCN(**card.architecture["params"])
        again.load_state_dict(load_state(path.stem, tmp_path / "models"))
        assert (again.down[0][0].in_channels, again.head.out_channels) == channels
        state = json.loads((tmp_path / path.stem / "checkpoint.json").read_text())
        assert state["settings"]["rate"] == 1e-3
        # What batch norm has counted and averaged is what is kept.
        assert (
            int(load_state(path.stem, tmp_path / "models")["down.0.1.num_batches_tracked"])
            == (state["step"])
        )
    with pytest.raises(InputError, match="resume"):
        cascade.fit(None, {**options, "stage": "instance"})
