"""From a click to one outlined and named vertebra, with a looker that knows the answer."""

from __future__ import annotations

import numpy as np
import pytest
from oracleclick import OracleLooker
from spineseg.clicking import ClickResult, ClickSession
from spineseg.errors import CancelledError, InputError
from spineseg.labels import OTHER_BONE, SubRegion, by_name
from spineseg.methods.click import Settings
from spineseg.methods.known import Known
from spineseg.phantom import Phantom, PhantomSettings, generate
from spineseg.progress import CancelToken, Progress
from spineseg.volume import Volume

LEVELS = ("T12", "L1", "L2", "L3")
BODY = (SubRegion.BODY, SubRegion.BODY_BORDER)
IDS = {name: by_name(name).verse for name in LEVELS}


@pytest.fixture(scope="module")
def patient() -> Phantom:
    settings = PhantomSettings(
        spacing_mm=2.0, levels=("T12", "L3"), torso=False, margin_mm=(45.0, 55.0, 12.0)
    )
    return generate(settings, 3)


@pytest.fixture
def looker(patient: Phantom) -> OracleLooker:
    bodies = patient.tissue.like(np.isin(patient.tissue.array, BODY).astype(np.uint8))
    return OracleLooker(patient.ct, patient.vertebrae, bodies)


@pytest.fixture
def session(patient: Phantom, looker: OracleLooker) -> ClickSession:
    return ClickSession(patient.ct, looker=looker)


def centroid(patient: Phantom, name: str, body: bool = True) -> np.ndarray:
    own = patient.vertebrae.array == IDS[name]
    if body:
        own &= np.isin(patient.tissue.array, BODY)
    return patient.ct.ijk_to_ras(np.argwhere(own).mean(axis=0)[None, ::-1])[0]


def known(patient: Phantom, **named: int) -> Volume:
    """Label map of some levels: of the truth's shape, with the numbers that are given."""
    result = np.zeros(patient.ct.shape, np.uint8)
    for name, label in named.items():
        result[patient.vertebrae.array == IDS[name]] = label
    return patient.ct.like(result)


def dice(result: ClickResult, patient: Phantom, name: str) -> float:
    truth = patient.vertebrae.array == IDS[name]
    mine = patient.ct.like(np.zeros(patient.ct.shape, np.uint8)).paste(result.mask).array > 0
    return float(2 * (truth & mine).sum() / (truth.sum() + mine.sum()))


def test_clicks_up_to_10_mm_off_either_centroid_give_that_vertebra(
    patient: Phantom, session: ClickSession
) -> None:
    rng = np.random.default_rng(0)
    for body in (True, False):
        for name in ("L1", "L2"):
            for _ in range(4):
                way = rng.normal(size=3)
                point = centroid(patient, name, body) + 10 * way / np.linalg.norm(way)
                result = session.click(point)
                assert dice(result, patient, name) > 0.9, (name, body, point)
                assert np.linalg.norm(result.center - centroid(patient, name)) < 2


def test_canal_and_disc_edge_segment(patient: Phantom, session: ClickSession) -> None:
    middle = centroid(patient, "L2")
    codes = patient.tissue.array
    for code in (SubRegion.CANAL, SubRegion.DISC):
        points = patient.ct.ijk_to_ras(np.argwhere(codes == code)[:, ::-1])
        away = np.linalg.norm(points - middle, axis=1)
        nearest = points[np.argmin(away)]
        assert dice(session.click(nearest), patient, "L2") > 0.9


def test_each_target_is_part_of_the_last(patient: Phantom, session: ClickSession) -> None:
    point = centroid(patient, "L1")
    empty = patient.ct.like(np.zeros(patient.ct.shape, np.uint8))
    whole, body, centrum = (
        empty.paste(session.click(point, target).mask).array > 0
        for target in ("vertebra", "body", "centrum")
    )
    assert not (body & ~whole).any()
    assert not (centrum & ~body).any()
    truth = (patient.vertebrae.array == IDS["L1"]) & np.isin(patient.tissue.array, BODY)
    assert 2 * (truth & body).sum() / (truth.sum() + body.sum()) > 0.9
    assert 0.2 < centrum.sum() / body.sum() < 0.9


def test_the_middle_between_two_is_ambiguous_and_says_so(
    patient: Phantom, session: ClickSession
) -> None:
    between = (centroid(patient, "L1") + centroid(patient, "L2")) / 2
    result = session.click(between)
    assert any("as near to the click" in warning for warning in result.warnings)
    assert max(dice(result, patient, "L1"), dice(result, patient, "L2")) > 0.9
    # The one that is there already is not meant.
    for there, meant in (("L1", "L2"), ("L2", "L1")):
        result = session.click(between, known=known(patient, **{there: IDS[there]}))
        assert dice(result, patient, meant) > 0.9
        assert result.level == meant
        assert result.replaces is None
    middle = session.click(centroid(patient, "L1"))
    assert middle.warnings == []


@pytest.mark.parametrize("level", [None, "L2"])
def test_a_click_far_from_bone_is_refused(
    patient: Phantom, session: ClickSession, level: str | None
) -> None:
    corner = patient.ct.ijk_to_ras([[1, 1, patient.ct.shape[0] // 2]])[0]
    with pytest.raises(InputError, match="no vertebra within 20 mm"):
        session.click(corner, level=level)


def test_bone_that_no_network_calls_a_vertebra_is_refused(
    patient: Phantom, session: ClickSession, looker: OracleLooker
) -> None:
    looker.blind = set(IDS.values()) | set(range(1, 29))
    with pytest.raises(InputError, match="no vertebra within 20 mm"):
        session.click(centroid(patient, "L1"))
    assert len(looker.seeds) > 3


def test_a_first_look_that_shows_nothing_is_repeated_round_the_click(
    patient: Phantom, session: ClickSession, looker: OracleLooker
) -> None:
    point = centroid(patient, "L2")
    plain, turns = looker.look, []

    def clumsy(seed, memory=None):
        turns.append(seed)
        one = plain(seed, memory)
        return one if len(turns) > 2 else type(one)(**{**vars(one), "present": False})

    looker.look = clumsy  # type: ignore[method-assign]
    assert dice(session.click(point), patient, "L2") > 0.9
    assert np.linalg.norm(turns[1] - turns[0]) > 0.5


@pytest.mark.parametrize(
    ("there", "clicked", "level"),
    [
        ({"L1": "L1"}, "L2", "L2"),
        ({"L2": "L2"}, "L1", "L1"),
        ({"T12": "T12", "L2": "L2"}, "L1", "L1"),
        ({"T12": "T12"}, "L2", "L2"),
        ({"L3": "L3"}, "L1", "L1"),
        ({"L1": "T7"}, "L2", None),  # thoracic vertebrae are not so far apart
        ({"L1": "L1", "L3": "L4"}, "L2", None),  # L2 from above, L3 from below
        ({"L2": "L5"}, "L3", None),
        ({"T12": "T12"}, "L3", None),  # too far to count
    ],
)
def test_neighbours_name_it(
    patient: Phantom,
    session: ClickSession,
    there: dict[str, str],
    clicked: str,
    level: str | None,
) -> None:
    labels = {name: by_name(called).verse for name, called in there.items()}
    result = session.click(centroid(patient, clicked), known=known(patient, **labels))
    if level is None:
        assert (result.level, result.label) == (None, 101)
        assert any("unsure" in warning for warning in result.warnings)
    else:
        assert (result.level, result.label) == (level, by_name(level).verse)


def test_the_users_name_wins_unless_it_is_taken(patient: Phantom, session: ClickSession) -> None:
    point = centroid(patient, "L2")
    there = known(patient, L1=IDS["L1"])
    assert session.click(point, level="l2").label == IDS["L2"]
    assert session.click(point, known=there, level="L4").level == "L4"
    taken = session.click(point, known=there, level="L1")
    assert (taken.level, taken.label) == (None, 101)
    assert any("L1 is the name of another" in warning for warning in taken.warnings)
    there = known(patient, L1=101, T12=103)
    assert session.click(point, known=there).label == 102


@pytest.mark.parametrize("label", [by_name("L2").verse, 104])
def test_a_known_vertebra_is_replaced_and_keeps_its_name(
    patient: Phantom, session: ClickSession, label: int
) -> None:
    there = known(patient, L1=101, L2=label)
    result = session.click(centroid(patient, "L2") + [0, -9, 0], known=there)
    assert result.replaces == label
    assert result.label == label
    assert dice(result, patient, "L2") > 0.9
    renamed = session.click(centroid(patient, "L2"), known=there, level="L3")
    assert (renamed.replaces, renamed.level) == (label, "L3")


def test_voxels_of_other_vertebrae_are_never_taken(
    patient: Phantom, session: ClickSession, looker: OracleLooker
) -> None:
    there = known(patient, L1=IDS["L1"], L3=IDS["L3"]).array.copy()
    own = np.argwhere(patient.vertebrae.array == IDS["L2"])
    upper = own[own[:, 0] > np.percentile(own[:, 0], 75)]
    there[tuple(upper.T)] = IDS["L1"]  # painted too far down
    lower = own[own[:, 0] < np.percentile(own[:, 0], 10)]
    there[tuple(lower.T)] = OTHER_BONE  # which is nobody's
    result = session.click(centroid(patient, "L2"), known=patient.ct.like(there))
    full = patient.ct.like(np.zeros(patient.ct.shape, np.uint8)).paste(result.mask).array > 0
    assert not (full & np.isin(there, (IDS["L1"], IDS["L3"]))).any()
    assert (full & (there == OTHER_BONE)).any()
    assert result.replaces is None
    assert looker.remembered[-1] > 0


def test_a_scan_of_any_axes_gives_the_same_vertebra(patient: Phantom) -> None:
    turned = patient.ct.reoriented("PIL")
    bodies = patient.tissue.like(np.isin(patient.tissue.array, BODY).astype(np.uint8))
    looker = OracleLooker(turned, patient.vertebrae.reoriented("PIL"), bodies.reoriented("PIL"))
    result = ClickSession(turned, looker=looker).click(centroid(patient, "L1"))
    back = turned.like(np.zeros(turned.shape, np.uint8)).paste(result.mask).reoriented("RAS")
    truth = patient.vertebrae.reoriented("RAS").array == IDS["L1"]
    assert 2 * (truth & (back.array > 0)).sum() / (truth.sum() + back.array.sum()) > 0.9


def test_a_vertebra_cut_by_the_scan_says_so(patient: Phantom) -> None:
    k = round(patient.ct.ras_to_ijk(centroid(patient, "L2")[None])[0][2])
    part = [v.crop((k, 0, 0), v.shape) for v in (patient.ct, patient.vertebrae, patient.tissue)]
    bodies = part[2].like(np.isin(part[2].array, BODY).astype(np.uint8))
    session = ClickSession(part[0], looker=OracleLooker(part[0], part[1], bodies))
    result = session.click(centroid(patient, "L2") + [0, 0, 3])
    assert any("cut by the edge" in warning for warning in result.warnings)
    assert session.click(centroid(patient, "T12")).warnings == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"point": (0, 0, 1e4)}, "outside the scan"),
        ({"point": (0, 0)}, "not three numbers"),
        ({"point": (0, float("nan"), 0)}, "not three numbers"),
        ({"point": "here"}, "not three numbers"),
        ({"target": "skull"}, "no target"),
        ({"level": "Q7"}, "no level"),
        ({"level": "sacrum"}, "no level"),
    ],
)
def test_bad_clicks_are_one_sentence(
    patient: Phantom, session: ClickSession, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        session.click(**{"point": centroid(patient, "L1"), **changes})  # type: ignore[arg-type]
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_point_in_lps_is_recognised(patient: Phantom, session: ClickSession) -> None:
    scan = patient.ct
    affine = scan.affine.copy()
    affine[:3, 3] += [200, 300, 0]
    away = Volume(scan.array, affine)
    session = ClickSession(away, looker=OracleLooker(away, away, away))
    with pytest.raises(InputError, match="LPS"):
        session.click((centroid(patient, "L1") + [200, 300, 0]) * [-1, -1, 1])


def test_a_segmentation_of_another_scan_is_refused(patient: Phantom, session: ClickSession) -> None:
    point = centroid(patient, "L1")
    there = known(patient, L2=IDS["L2"])
    with pytest.raises(InputError, match="scan's grid"):
        session.click(point, known=there.crop((1, 0, 0), there.shape))
    moved = there.affine.copy()
    moved[0, 3] += 5
    with pytest.raises(InputError, match="scan's grid"):
        session.click(point, known=Volume(there.array, moved))
    with pytest.raises(InputError, match="other values than labels"):
        session.click(point, known=patient.ct)


def test_what_is_known_is_summed_up_exactly(patient: Phantom) -> None:
    there = known(patient, L1=IDS["L1"], L3=101)
    found = Known.around(there, patient.ct.grid, centroid(patient, "L1"))
    assert set(found.parts) == {IDS["L1"], 101}
    for name, label in (("L1", IDS["L1"]), ("L3", 101)):
        assert np.allclose(found.parts[label].center, centroid(patient, name, body=False))
        count = (patient.vertebrae.array == IDS[name]).sum()
        assert found.parts[label].mm3 == pytest.approx(count * 8)
    assert Known.around(None, patient.ct.grid, (0, 0, 0)).near is None


def test_cancel_stops_between_looks(
    patient: Phantom, session: ClickSession, looker: OracleLooker
) -> None:
    token = CancelToken()
    told: list[float] = []

    def stop(stage: str, fraction: float, text: str) -> None:
        told.append(fraction)
        if len(told) == 2:
            token.cancel()

    with pytest.raises(CancelledError):
        session.click(centroid(patient, "L1"), progress=Progress(stop, token))
    assert len(looker.seeds) == 1
    told.clear()
    seen = Progress(lambda stage, fraction, text: told.append(fraction))
    session.click(centroid(patient, "L1"), progress=seen)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="threshold"):
        Settings(threshold=1.0)
