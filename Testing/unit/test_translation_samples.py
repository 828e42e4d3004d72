"""Windows for the translation: pairs that fit, and what outlined bodies of a real MR say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.intensity import (
    CT_UNIT_WINDOW,
    ct_to_unit,
    mr_range,
    mr_to_unit,
    unit_to_ct,
)
from spineseg.io.images import write_volume
from spineseg.methods.classes import OFFSET_MM, FineClass
from spineseg.training.pool import Item, draw_fine
from spineseg.training.samples import IGNORE
from spineseg.training.translation_copies import add_copies, vary
from spineseg.training.translation_pool import (
    Real,
    Source,
    add_sources,
    folder_sources,
    load_pool,
)
from spineseg.training.translation_samples import NOT_BODY, digital_pair, real_ct, real_mr
from spineseg.volume import Volume

SIZE = (48, 48, 32)


@pytest.fixture(scope="module")
def item() -> Item:
    return draw_fine(33, (80, 80, 64))


def real() -> Real:
    """A column of three bright bodies; the field of view shows a fourth above, not outlined."""
    image = np.full((100, 60, 40), -0.8, np.float16)
    bodies = np.zeros(image.shape, np.uint8)
    for n, k in enumerate((10, 34, 58, 82)):
        image[k : k + 16, 24:44, 8:32] = 0.5
        if n < 3:
            bodies[k : k + 16, 24:44, 8:32] = n + 1
    return Real("vb_x", image, bodies)


def test_a_pair_shows_one_anatomy(item: Item) -> None:
    bony = soft = 0.0
    for n in range(4):
        sample = digital_pair(item, SIZE, np.random.default_rng(n))
        assert sample.paired
        assert sample.mr.shape == sample.ct.shape == sample.target.shape == SIZE
        assert sample.mr.dtype == sample.ct.dtype == np.float32
        assert -1 <= sample.mr.min() <= sample.mr.max() <= 1.5
        assert -1 <= sample.ct.min() <= sample.ct.max() <= 1
        body = sample.target == FineClass.BODY
        if body.sum() > 500:
            bony += np.median(unit_to_ct(sample.ct[body]))
            soft += np.median(unit_to_ct(sample.ct[sample.target == FineClass.DISC]))
            # Every voxel of a body points to one centre.
            at = np.argwhere(sample.voting & body)
            aim = at[:, ::-1] * 1.5 + sample.offsets[:, sample.voting & body].T * OFFSET_MM
            assert len(np.unique(np.round(aim, 1), axis=0)) <= 8
    assert bony > soft + 300


def test_outlined_bodies_say_where_bone_is_and_is_not() -> None:
    seen = set()
    for n in range(12):
        sample = real_mr(real(), SIZE, np.random.default_rng(n))
        assert not sample.paired
        codes = set(np.unique(sample.target).tolist())
        seen |= codes
        assert codes <= {0, int(FineClass.BODY), NOT_BODY, IGNORE}
        body = sample.target == FineClass.BODY
        assert (sample.density[body] >= 0).all()
        assert not (body & (sample.density < 0)).any()
        aims = sample.offsets[:, sample.voting]
        assert np.abs(aims).max(initial=0) * OFFSET_MM < 40
        if sample.voting.any():
            assert np.abs(aims.mean(axis=1)).max() < 0.2  # they point inwards from all sides
    # The fourth body, above, is neither taught as body nor as background.
    assert {int(FineClass.BODY), NOT_BODY, IGNORE} <= seen


def test_a_volume_without_outlines_teaches_only_its_look() -> None:
    sample = real_mr(Real("x", real().image, None), SIZE, np.random.default_rng(0))
    assert (sample.target == IGNORE).all()
    assert not sample.voting.any()
    assert not sample.density.any()
    window = real_ct(Real("x", real().image, None), SIZE, np.random.default_rng(0))
    assert window.shape == SIZE


def test_units_go_there_and_back() -> None:
    hu = np.array([-1000.0, -250, 0, 400, 1000, 3000])
    assert np.allclose(unit_to_ct(ct_to_unit(hu)), np.clip(hu, *CT_UNIT_WINDOW), atol=0.01)
    values = np.concatenate([np.zeros(500), np.linspace(20, 220, 500)])
    span = mr_range(values)
    for gain, shift in ((1.0, 0.0), (30.0, 500.0), (0.01, -3.0)):
        other = mr_range(gain * values + shift)
        same = mr_to_unit(gain * values + shift, other) - mr_to_unit(values, span)
        assert np.abs(same).max() < 1e-3
    assert mr_range(np.full(9, 3.0)) == (3.0, 3.0)
    assert np.isfinite(mr_to_unit(np.full(9, 3.0), (3.0, 3.0))).all()


def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mr"
    path.mkdir()
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, -1.5, 1.0, 1.0])
    labels = np.zeros((60, 40, 20), np.uint8)
    labels[20:40, 10:25, 5:15] = 1
    for name in ("a1", "a2", "b1"):
        image = Volume(rng.uniform(0, 200, labels.shape).astype(np.float32), affine)
        write_volume(image, path / f"{name}_image.nii.gz")
    write_volume(Volume(labels, affine), path / "a1_bodies.nii.gz")
    return path


def test_two_plain_folders_become_a_pool(tmp_path: Path) -> None:
    sources = folder_sources(folder(tmp_path), hold_out=("b",))
    assert [s.name for s in sources] == ["a1", "a2"]
    assert [s.bodies is not None for s in sources] == [True, False]
    assert list(add_sources(tmp_path / "pool", "mr", sources)) == ["a1", "a2"]
    assert list(add_sources(tmp_path / "pool", "mr", sources)) == []  # those there are kept
    first, second = load_pool(tmp_path / "pool", "mr")
    assert first.image.shape == (40, 40, 27)  # 1.5 mm along the RAS axes
    assert first.bodies is not None
    assert second.bodies is None
    assert first.bodies.sum() * 1.5**3 == pytest.approx(20 * 15 * 10 * 3.0, rel=0.12)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no volume to train on"):
            folder_sources(path)


def test_the_papers_copies_are_whole_and_vary(tmp_path: Path) -> None:
    source = Source("a1", folder(tmp_path) / "a1_image.nii.gz")
    made = list(add_copies(tmp_path / "pool", "mr", [source], (32, 24, 16), copies=2))
    assert made == ["a1_000", "a1_001", "a1_002"]
    volumes = [np.asarray(r.image, np.float32) for r in load_pool(tmp_path / "pool", "mr")]
    assert all(v.shape == (32, 24, 16) for v in volumes)
    assert np.abs(volumes[0] - volumes[1]).mean() > 0.01
    assert np.abs(volumes[1] - volumes[2]).mean() > 0.01
    assert np.array_equal(vary(volumes[0], 3), vary(volumes[0], 3))
