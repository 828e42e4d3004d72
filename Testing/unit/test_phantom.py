"""Digital patients: the same seed gives the same one, and what was asked for is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.io.images import read_volume
from spineseg.labels import SubRegion, by_name, display_name
from spineseg.phantom import (
    Fracture,
    Lesion,
    Phantom,
    PhantomSettings,
    answers,
    generate,
    write_phantom,
)
from spineseg.phantom.answers import cobb_angle
from spineseg.phantom.canvas import Canvas
from spineseg.phantom.chain import Chain, build_chain, level_names
from spineseg.phantom.codes import INCLUSIONS, Tissue
from spineseg.phantom.generate import spine_canvas
from spineseg.phantom.render import random_scanner
from spineseg.phantom.spine import draw_spine

SMALL = (45.0, 50.0, 10.0)
LUMBAR = PhantomSettings(
    spacing_mm=3.0,
    levels=("L1", "L3"),
    lesions=(Lesion("L1", "lytic", 9.0), Lesion("L3", "blastic", 9.0)),
    metal=("L2",),
    cobb_deg=5.0,
    torso=False,
    margin_mm=SMALL,
)


def chain_of(settings: PhantomSettings, seed: int = 0) -> Chain:
    return build_chain(settings, np.random.default_rng([seed, 1]))


def labels_of(phantom: Phantom) -> set[str]:
    return {display_name(int(n)) for n in np.unique(phantom.vertebrae.array) if n}


def spine_only(settings: PhantomSettings, seed: int = 0) -> tuple[Chain, Canvas]:
    """Draw the spine alone: a quarter of the work of a whole patient."""
    chain = chain_of(settings, seed)
    canvas = spine_canvas(chain, settings)
    draw_spine(canvas, chain, settings, 0.3, np.random.default_rng(seed))
    return chain, canvas


@pytest.fixture(scope="module")
def lumbar() -> Phantom:
    return generate(LUMBAR, seed=4)


def test_the_same_seed_gives_the_same_voxels() -> None:
    settings = PhantomSettings(spacing_mm=6.0, levels=("T11", "T12"), margin_mm=SMALL)
    first, again, other = (generate(settings, seed) for seed in (4, 4, 5))
    for name in ("ct", "vertebrae", "tissue", "overlay"):
        np.testing.assert_array_equal(getattr(again, name).array, getattr(first, name).array)
    assert answers(again) == answers(first)
    assert other.ct.shape != first.ct.shape or (other.ct.array != first.ct.array).any()


def test_all_volumes_share_the_grid(lumbar: Phantom) -> None:
    for volume in (lumbar.vertebrae, lumbar.tissue, lumbar.overlay):
        assert volume.shape == lumbar.ct.shape
        np.testing.assert_array_equal(volume.affine, lumbar.ct.affine)
    assert lumbar.ct.dtype == np.int16
    assert {"L1", "L2", "L3"} <= labels_of(lumbar)
    assert -1024 <= lumbar.ct.array.min() < lumbar.ct.array.max() <= 3071


@pytest.mark.parametrize("cobb", [0.0, 10.0, 25.0, 45.0, 70.0, 90.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_asked_cobb_angle_can_be_measured(cobb: float, seed: int) -> None:
    found = cobb_angle(chain_of(PhantomSettings(cobb_deg=cobb), seed))
    # No spine is straight: the greatest of all angles is 6° or so without any scoliosis.
    assert found["degrees"] == pytest.approx(cobb, rel=0.15, abs=8.0)
    names = level_names(PhantomSettings())
    upper, lower = (names.index(found[f"{end}_end_vertebra"]) for end in ("upper", "lower"))
    assert upper < lower


@pytest.mark.parametrize(
    ("kind", "places"),
    [("wedge", (0,)), ("biconcave", (1,)), ("crush", (0, 1, 2))],
)
@pytest.mark.parametrize("loss", [0.25, 0.5])
def test_a_fracture_lowers_its_vertebra_alone(
    kind: str, places: tuple[int, ...], loss: float
) -> None:
    sound = chain_of(PhantomSettings())
    broken = chain_of(PhantomSettings(fractures=(Fracture("T12", kind, loss),)))
    for before, after in zip(sound.bodies, broken.bodies, strict=True):
        ratio = np.array(after.heights) / np.array(before.heights)
        if before.name != "T12":
            np.testing.assert_allclose(ratio, 1.0)
            continue
        for place in places:
            # A crushed body keeps 4 % more behind.
            assert ratio[place] == pytest.approx(1 - loss, abs=0.045)
        assert (ratio < 1.0 + 1e-9).all()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (PhantomSettings(t13=True, levels=("T12", "L1")), ("T12", "T13", "L1")),
        (PhantomSettings(l6=True, levels=("L5", "L6")), ("L5", "L6")),
    ],
)
def test_additional_vertebrae_are_drawn(settings: PhantomSettings, names: tuple[str, ...]) -> None:
    chain, canvas = spine_only(replace(settings, spacing_mm=4.0, margin_mm=SMALL))
    count = [int((canvas.ids == by_name(n).verse).sum()) for n in names]
    assert min(count) * 4.0**3 > 15_000  # mm³
    heights = [chain.bodies[chain.index(n)].centre[2] for n in names]
    assert heights == sorted(heights, reverse=True)


def test_a_sacralised_l5_joins_the_sacrum() -> None:
    usual, joined = (
        generate(
            PhantomSettings(
                spacing_mm=4.0, levels=("L5", "L5"), sacralised_l5=s, torso=False, margin_mm=SMALL
            ),
            seed=2,
        )
        for s in (False, True)
    )
    assert usual.chain.bodies[-1].disc > 4.0
    assert joined.chain.bodies[-1].disc == 1.0
    sacrum = [int((p.tissue.array == Tissue.SACRUM).sum()) for p in (usual, joined)]
    assert sacrum[1] > sacrum[0]  # with a wing to L5's process on both sides


def test_lesions_and_metal_lie_where_asked(lumbar: Phantom) -> None:
    def levels(code: Tissue) -> set[str]:
        here = lumbar.vertebrae.array[lumbar.overlay.array == code]
        return {display_name(int(n)) for n in np.unique(here) if n}

    assert levels(Tissue.LYTIC) == {"L1"}
    assert levels(Tissue.BLASTIC) == {"L3"}
    assert "L2" in levels(Tissue.METAL)
    assert set(np.unique(lumbar.overlay.array)) <= {0, *map(int, INCLUSIONS)}
    ct, overlay = lumbar.ct.array, lumbar.overlay.array
    assert np.median(ct[overlay == Tissue.METAL]) > 1000
    assert np.median(ct[overlay == Tissue.BLASTIC]) > np.median(ct[overlay == Tissue.LYTIC]) + 150


def test_every_vertebra_voxel_has_its_sub_region(lumbar: Phantom) -> None:
    vertebra = lumbar.vertebrae.array > 0
    codes = lumbar.tissue.array
    inside = (codes >= SubRegion.ARCH) & (codes <= SubRegion.DENS)
    np.testing.assert_array_equal(inside, vertebra)
    own = lumbar.tissue.array[lumbar.vertebrae.array == by_name("L2").verse]
    assert set(range(int(SubRegion.ARCH), int(SubRegion.BODY) + 1)) <= {int(c) for c in own}


def test_left_and_right_are_the_patients() -> None:
    chain, canvas = spine_only(
        PhantomSettings(spacing_mm=3.0, levels=("L3", "L3"), cobb_deg=0.0, margin_mm=SMALL)
    )
    centre = chain.bodies[chain.index("L3")].centre[0]
    own = canvas.ids == by_name("L3").verse
    for code, sign in ((SubRegion.TRANSVERSE_LEFT, -1), (SubRegion.TRANSVERSE_RIGHT, 1)):
        x = np.argwhere(own & (canvas.tissue == code))[:, 2] * canvas.spacing + canvas.origin[0]
        assert (np.sign(x - centre) == sign).all()  # RAS: right is +x


def test_answers_lie_in_their_own_voxels(lumbar: Phantom) -> None:
    for row in answers(lumbar)["vertebrae"]:
        i, j, k = np.rint(lumbar.vertebrae.ras_to_ijk([row["centroid"]])[0]).astype(int)
        inside = all(0 <= n < m for n, m in zip((k, j, i), lumbar.vertebrae.shape, strict=True))
        if inside:
            assert lumbar.vertebrae.array[k, j, i] == row["label"] == by_name(row["level"]).verse
        else:
            assert not row["complete"]


def test_answers_agree_with_each_other(lumbar: Phantom) -> None:
    rows = {row["level"]: row for row in answers(lumbar)["vertebrae"]}
    assert rows["L2"]["complete"]
    for row in rows.values():
        upper, lower = (np.array(row[f"{e}_endplate"]["centre"]) for e in ("upper", "lower"))
        np.testing.assert_allclose((upper + lower) / 2, row["centroid"], atol=2e-3)
        points = {name: np.array(p) for name, p in row["corners"].items()}
        front = np.linalg.norm(points["upper_front"] - points["lower_front"])
        back = np.linalg.norm(points["upper_back"] - points["lower_back"])
        assert front == pytest.approx(row["heights_mm"]["anterior"], abs=0.01)
        assert back == pytest.approx(row["heights_mm"]["posterior"], abs=0.01)
        for end in ("upper", "lower"):
            plate = row[f"{end}_endplate"]
            for corner in ("front", "back"):
                away = (points[f"{end}_{corner}"] - plate["centre"]) @ plate["normal"]
                assert abs(away) < 0.05  # the corners lie on their endplate


def test_osteoporosis_lowers_the_density_within_the_prior() -> None:
    values = {}
    for loss in (0.0, 0.5, 1.0):
        scanners = [random_scanner(np.random.default_rng(n), loss) for n in range(40)]
        values[loss] = np.array([s.cancellous_hu for s in scanners])
        assert (values[loss] >= -10).all()
        assert (values[loss] <= 320).all()
        assert all(s.cortex_hu >= s.cancellous_hu + 90 for s in scanners)
    assert values[0.0].mean() > values[0.5].mean() + 80 > values[1.0].mean() + 160


def test_cancellous_bone_has_the_scanners_density() -> None:
    medians = []
    for loss in (0.0, 1.0):
        phantom = generate(
            PhantomSettings(
                spacing_mm=3.0, levels=("L2", "L3"), osteoporosis=loss, torso=False, margin_mm=SMALL
            ),
            seed=8,
        )
        core = (phantom.tissue.array == SubRegion.BODY) & (phantom.overlay.array == 0)
        medians.append(float(np.median(phantom.ct.array[core])))
        assert medians[-1] == pytest.approx(phantom.scanner.cancellous_hu, abs=60)
    assert medians[0] > medians[1] + 80


def test_thick_slices_have_the_asked_affine() -> None:
    settings = PhantomSettings(
        spacing_mm=3.0, slice_mm=5.0, levels=("L3", "L3"), torso=False, margin_mm=SMALL
    )
    phantom = generate(settings, seed=1)
    np.testing.assert_allclose(phantom.ct.spacing, (3.0, 3.0, 5.0))
    assert phantom.scanner.slice_mm == 5.0
    for volume in (phantom.vertebrae, phantom.tissue, phantom.overlay):
        assert volume.shape == phantom.ct.shape
        np.testing.assert_array_equal(volume.affine, phantom.ct.affine)
    _, canvas = spine_only(settings, seed=1)
    np.testing.assert_array_equal(phantom.ct.affine[:3, 3], canvas.origin)
    # The scan is as long as the canvas, to one slice.
    length = phantom.ct.shape[0] * 5.0
    assert abs(length - canvas.shape[0] * 3.0) <= 5.0
    mask = phantom.vertebrae.array == by_name("L3").verse
    middle = phantom.vertebrae.ijk_to_ras(np.argwhere(mask)[:, ::-1].mean(axis=0)[None])[0]
    body = phantom.chain.bodies[phantom.chain.index("L3")]
    assert abs(middle[2] - body.centre[2]) < 8.0


def test_files_are_written_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "patient"
    phantom = write_phantom(folder, LUMBAR, seed=4)
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "ct.nii.gz", "vertebrae.nii.gz", "subregions.nii.gz", "lesions.nii.gz", "answers.json",
    }  # fmt: skip
    for name, volume in (("ct", phantom.ct), ("vertebrae", phantom.vertebrae)):
        again = read_volume(folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
    text = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    assert text == json.loads(json.dumps(answers(phantom)))
    levels = [row["level"] for row in text["vertebrae"]]
    names_down = level_names(LUMBAR)
    assert levels == [n for n in names_down if n in levels]
    assert {"L1", "L2", "L3"} <= set(levels)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: PhantomSettings(spacing_mm=0.1),
        lambda: PhantomSettings(slice_mm=0.0),
        lambda: PhantomSettings(cobb_deg=120.0),
        lambda: PhantomSettings(osteoporosis=1.5),
        lambda: PhantomSettings(degeneration=-0.1),
        lambda: PhantomSettings(kyphosis_deg=200.0),
        lambda: PhantomSettings(lordosis_deg=float("nan")),
        lambda: PhantomSettings(margin_mm=(-5.0, 0.0, 0.0)),
        lambda: Fracture("L1", "burst"),
        lambda: Fracture("L1", "wedge", 0.95),
        lambda: Lesion("L1", "cystic"),
        lambda: Lesion("L1", "lytic", 0.0),
        lambda: generate(PhantomSettings(levels=("T10", "L9"))),
        lambda: generate(PhantomSettings(levels=("L5", "L6"))),
        lambda: generate(PhantomSettings(fractures=(Fracture("T13"),))),
        lambda: generate(PhantomSettings(lesions=(Lesion("S2"),))),
        lambda: generate(PhantomSettings(metal=("L6",))),
    ],
)
def test_bad_settings_give_one_sentence(bad: object) -> None:
    with pytest.raises(InputError) as caught:
        bad()  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 300
