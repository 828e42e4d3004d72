"""Another threshold on a synthetic CT: the bodies stay, and bone around them is found anew."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from spineseg import labels
from spineseg.errors import InputError
from spineseg.geometry.thresholding import ThresholdSettings, bone_mask
from spineseg.io.images import read_volume, write_volume
from spineseg.jobs import job_of, run
from spineseg.phantom import PhantomSettings, generate
from spineseg.progress import Progress
from spineseg.rethreshold import named_bodies, segment_bone
from spineseg.volume import Volume

LEVELS = ("T12", "L1", "L2")


@cache
def patient():
    """A digital patient whose CT stands for a synthetic one."""
    settings = PhantomSettings(spacing_mm=1.5, levels=("T12", "L2"), torso=False,
                               margin_mm=(25.0, 25.0, 12.0))  # fmt: skip
    return generate(settings, 3)


def bodies() -> Volume:
    """The middles of its bodies, with their vertebrae's labels."""
    found = np.zeros(patient().ct.shape, np.uint8)
    grid = patient().ct.grid
    k, j, i = np.indices(grid.shape)
    ras = patient().ct.ijk_to_ras(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    for body in patient().chain.bodies:
        inside = np.linalg.norm(ras - np.asarray(body.centre), axis=1) < 10
        if body.name in LEVELS:
            found.ravel()[inside] = labels.by_name(body.name).verse
    return patient().ct.like(np.where(patient().vertebrae.array == found, found, 0))


def test_bone_is_given_to_the_vertebra_of_its_body():
    result = segment_bone(patient().ct, bodies(), ThresholdSettings(low=0, high=900))
    assert [v.level for v in result.vertebrae] == list(LEVELS)
    own = bodies().array
    assert (result.segmentation.array[own > 0] == own[own > 0]).all()
    bone = bone_mask(patient().ct, ThresholdSettings(low=0, high=900)).mask.array > 0
    marked = (result.segmentation.array > 0) & (own == 0)
    assert not (marked & ~bone).any()
    truth, found = patient().vertebrae.array, result.segmentation.array
    for name in LEVELS:
        label = labels.by_name(name).verse
        true, mine = (truth == label) & bone, found == label
        # Ribs and processes of neighbours are given away wrongly; a level off would be near 0.
        assert 2 * (true & mine).sum() / (true.sum() + (mine & bone).sum()) > 0.65
    assert all(v.volume_ml > 3 and np.isnan(v.confidence) for v in result.vertebrae)


def test_a_higher_threshold_gives_less_bone():
    low, high = (
        segment_bone(patient().ct, bodies(), ThresholdSettings(low, 900)) for low in (0, 450)
    )
    assert np.count_nonzero(high.segmentation.array) < np.count_nonzero(low.segmentation.array)


def test_what_can_not_be_thresholded_is_refused():
    ct = patient().ct
    with pytest.raises(InputError, match="no vertebral body"):
        segment_bone(ct, ct.like(np.zeros(ct.shape, np.uint8)))
    with pytest.raises(InputError, match="No voxel lies between 4000 and 5000"):
        segment_bone(ct, bodies(), ThresholdSettings(4000, 5000))
    with pytest.raises(InputError, match="not lie on the grid"):
        segment_bone(ct, bodies().flip(0).crop((0, 0, 0), (5, 5, 5)))


def test_bodies_are_called_after_the_vertebrae_that_they_lie_in():
    array = np.zeros((12, 3, 3), np.uint8)
    for number in range(4):
        array[3 * number : 3 * number + 2] = number + 1
    l2, l3 = labels.by_name("L2").verse, labels.by_name("L3").verse
    names = np.zeros_like(array)
    names[0:3], names[3:6], names[6:9] = l2, l3, l3
    found = named_bodies(Volume(array, np.eye(4)), Volume(names, np.eye(4))).array
    # The third lies in a vertebra that has a body, the fourth in none.
    first = labels.FIRST_UNSURE
    assert [int(found[3 * n, 0, 0]) for n in range(4)] == [l2, l3, first, first + 1]
    assert not found[2].any()


def test_the_job_writes_a_label_map(tmp_path):
    write_volume(patient().ct, tmp_path / "ct.nii")
    write_volume(bodies(), tmp_path / "bodies.nii")
    content = {
        "task": "threshold",
        "scan": str(tmp_path / "ct.nii"),
        "bodies": str(tmp_path / "bodies.nii"),
        "output": str(tmp_path / "out"),
        "parts": ["segmentation.nii.gz"],
        "settings": {"low": 0.0, "high": 900.0, "per_slice": False},
    }
    done = run(job_of(content), Progress())
    written = read_volume(done.folder / "segmentation.nii.gz")
    np.testing.assert_array_equal(written.array, done.result.segmentation.array)
    manifest = json.loads((done.folder / "run.json").read_text())
    assert manifest["settings"]["per_slice"] is False
    with pytest.raises(InputError, match="low must be less than high"):
        run(job_of({**content, "output": str(tmp_path / "no"), "settings": {"low": 900.0}}),
            Progress())  # fmt: skip
    with pytest.raises(InputError, match="names no bodies"):
        job_of({key: value for key, value in content.items() if key != "bodies"})
