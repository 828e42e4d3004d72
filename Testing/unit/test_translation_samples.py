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
from spineseg.training.cyclegan import TranslationSettings, data_sources
from spineseg.training.pool import Item, draw_fine
from spineseg.training.samples import IGNORE
from spineseg.training.translation_copies import add_copies, vary
from spineseg.training.translation_pool import (
    SACRUM,
    Real,
    Source,
    add_sources,
    folder_sources,
    load_pool,
    place_in_sacrum,
)
from spineseg.training.translation_samples import NOT_BODY, digital_pair, real_ct, real_mr
from spineseg.volume import Volume

SIZE = (48, 48, 32)


@pytest.fixture(scope="module")
def item() -> Item:
    return draw_fine(33, (80, 80, 64))


def real(below: int = 0) -> Real:
    """A column of three bright bodies; the field of view shows a fourth above, not outlined.

    ``below`` adds room under them, in voxels.
    """
    image = np.full((below + 100, 60, 40), -0.8, np.float16)
    bodies = np.zeros(image.shape, np.uint8)
    for n, k in enumerate(range(below + 10, below + 100, 24)):
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


def test_s1_is_looked_for_below_and_behind_the_lowest_body() -> None:
    bodies = np.asarray(real(below=30).bodies)
    place = place_in_sacrum(bodies)
    kji = np.argwhere(place).mean(axis=0) - np.argwhere(bodies == 1).mean(axis=0)
    assert not place[bodies > 0].any()
    assert np.linalg.norm(kji) == pytest.approx(0.98 * 24, abs=0.5)
    assert np.degrees(np.arctan2(-kji[1], -kji[0])) == pytest.approx(22, abs=1.5)
    assert not place_in_sacrum(np.where(bodies == 1, bodies, 0)).any()  # no direction to go in


def test_a_place_in_the_sacrum_is_taught_as_sacrum_and_as_nothing_else() -> None:
    known = real(below=30)
    marked = np.array(known.bodies)
    marked[place_in_sacrum(marked)] = SACRUM
    seen = 0
    for n in range(12):
        sample = real_mr(Real("vb_x", known.image, marked), SIZE, np.random.default_rng(n))
        sacrum = sample.target == FineClass.SACRUM
        seen += int(sacrum.sum())
        assert not sample.voting[sacrum].any()
        assert not (sample.density[sacrum] > 0).any()
        assert np.abs(sample.offsets).max() * OFFSET_MM < 40  # of no vote towards the place
    assert seen > 200


def test_only_the_project_s_own_mr_are_known_to_end_on_the_sacrum(tmp_path: Path) -> None:
    own = folder(tmp_path)
    own.rename(tmp_path / "mr_vertebral_bodies")
    (tmp_path / "ct").mkdir()
    write_volume(Volume(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "ct" / "lidc1.nii.gz")
    found = data_sources(tmp_path, TranslationSettings())
    assert [source.on_sacrum for source in found["mr"]] == [True] * 3
    assert [source.name for source in found["ct"]] == ["lidc1"]
    found = data_sources(None, TranslationSettings(mr=tmp_path / "mr_vertebral_bodies"))
    assert [source.on_sacrum for source in found["mr"]] == [False] * 3


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
