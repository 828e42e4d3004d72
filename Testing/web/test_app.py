"""The app in a browser, from loading to export: what a user sees, and what the files hold."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tinyspine
import trimesh
from browser import Browser
from PIL import Image
from selenium.webdriver.common.by import By
from spineseg.io.images import write_volume
from spineseg.volume import Volume

LEVELS = ["L1", "L2", "L3"]
BODY, DOWN = (-45, 0), (0, 120)
"""In the sagittal view: where the body of L2 is, and the way from there over L3; pixels."""
SHOWN = 25.0
"""Contrast of a 3D view with a surface in it; of its empty background it is below 20."""
ARM_MM = 24.0
"""On the patient's left side only, at L2."""


def asymmetric() -> tuple[Volume, Volume]:
    """Return a scan with an arm on the patient's left side, off the middle, and its labels."""
    made = tinyspine.make(3, spacing=(1.5, 1.5, 2.0))
    labels = made.labels.array.copy()
    at = made.labels.ijk_to_ras(np.indices(labels.shape)[::-1].reshape(3, -1).T)
    away = at - made.centres[1]
    # Left is negative in RAS.
    arm = (away[:, 0] < 0) & (away[:, 0] > -ARM_MM) & (np.abs(away[:, 1:]) < 6).all(axis=1)
    labels[arm.reshape(labels.shape)] = tinyspine.FIRST + 1
    scan = np.where(labels > 0, 700, made.scan.array).astype(np.int16)
    scan[0] = -1000  # air, as in every CT
    return made.scan.like(scan), made.scan.like(labels)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Volume]:
    """A scan's file, and the truth of it."""
    scan, labels = asymmetric()
    path = tmp_path_factory.mktemp("patient") / "somebody.nii.gz"
    write_volume(scan, path)
    return path, labels


@pytest.fixture
def opened(page: Browser, patient: tuple[Path, Volume]) -> Browser:
    """The page with the scan just opened."""
    page.open(patient[0])
    assert page.get("scan_name") == "somebody"
    return page


@pytest.fixture
def segmented(page: Browser, patient: tuple[Path, Volume]) -> Browser:
    """The page with the scan segmented, and nothing edited."""
    untouched = page.get("scan_name") == "somebody" and not page.get("can_undo")
    if not untouched or len(page.get("segments")) != len(LEVELS):
        page.open(patient[0])
        page.press("segment")
    assert [one["name"] for one in page.get("segments")] == LEVELS
    return page


def labels_in(archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the label map (i, j, k) of an archive, and its affine."""
    with zipfile.ZipFile(archive) as files:
        content = files.read("segmentation.nii.gz")
    import gzip

    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.asarray(image.dataobj), image.affine


def test_it_starts_on_a_digital_patient_and_fetches_nothing_from_outside(
    page: Browser, address: str
) -> None:
    assert page.get("scan_name") == "Digital patient"
    assert "Not a medical device" in page.text("not-a-medical-device")
    own = address.partition("/?")[0]
    elsewhere = [u for u in page.requests() if not u.startswith((own, "data:", "blob:"))]
    assert not [u for u in elsewhere if not u.startswith(own.replace("http", "ws"))]
    bad = [e["message"] for e in page.driver.get_log("browser") if e["level"] == "SEVERE"]
    # The client asks a launcher first, which is not there.
    assert not [message for message in bad if "/paraview/" not in message]
    for name in ("Sagittal", "Coronal", "Axial"):
        page.until(lambda name=name: contrast(page, name) > 5)


def contrast(page: Browser, view: str) -> float:
    """Return the standard deviation of the grey values in the middle of a view."""
    picture = Image.open(io.BytesIO(page.view(view).screenshot_as_png)).convert("L")
    return float(np.asarray(picture)[100:-100, 60:-60].std())


def test_all_vertebrae_are_segmented_named_and_measured(segmented: Browser) -> None:
    assert segmented.text("summary").startswith("3 vertebrae in ")
    segmented.press("measure")
    tables = {table["name"]: table for table in segmented.get("tables")}
    assert {"Vertebrae", "Angles", "Fractures"} <= set(tables)
    assert [row[0] for row in tables["Vertebrae"]["rows"]] == LEVELS
    assert "Coronal Cobb" in segmented.text("measured")
    assert "Suspects among 3" in segmented.text("measured")


def test_a_cancelled_run_leaves_everything_as_it_was(segmented: Browser, slowFile: Path) -> None:
    before = segmented.get("segments")
    slowFile.touch()
    try:
        segmented.tap("segment")
        segmented.until(lambda: "left" in segmented.text("progress"))
        segmented.tap("cancel")
        segmented.until(lambda: not segmented.get("busy"))
    finally:
        slowFile.unlink()
    assert "cancelled" in segmented.said()
    assert segmented.get("segments") == before
    segmented.press("segment")
    assert segmented.said() == ""


def test_a_stroke_changes_its_vertebra_alone_and_can_be_undone(segmented: Browser) -> None:
    before, _ = labels_in(segmented.export())
    segmented.driver.find_elements(By.CLASS_NAME, "vertebra")[0].click()
    segmented.until(lambda: segmented.get("active") == "L1")
    segmented.tool("paint")
    # From L2, which is in the middle, down over L3, which is protected.
    segmented.draw("Sagittal", BODY, DOWN)
    assert segmented.get("active") == "L2"
    painted, _ = labels_in(segmented.export())
    changed = painted != before
    assert changed.sum() > 20
    assert (before[changed] == 0).all()
    assert (painted[changed] == tinyspine.FIRST + 1).all()
    segmented.press("undo")
    undone, _ = labels_in(segmented.export())
    assert np.array_equal(undone, before)
    segmented.press("redo")
    again, _ = labels_in(segmented.export())
    assert np.array_equal(again, painted)


def test_the_eraser_takes_from_the_vertebra_under_it(segmented: Browser) -> None:
    before, _ = labels_in(segmented.export())
    segmented.tool("erase")
    segmented.draw("Sagittal", BODY, DOWN)
    archive = segmented.export()
    erased, _ = labels_in(archive)
    changed = erased != before
    assert changed.sum() > 20
    assert (before[changed] == tinyspine.FIRST + 1).all()
    assert (erased[changed] == 0).all()
    assert "vertebrae" in segmented.text("stale")
    with zipfile.ZipFile(archive) as files:
        assert not [name for name in files.namelist() if name.endswith(".csv")]
    # A new run would take this work away, so it asks.
    segmented.tap("segment")
    segmented.until(lambda: segmented.get("ask_replace"))
    assert "L2" in segmented.get("ask_replace_text")
    segmented.until(lambda: segmented.driver.find_element(By.ID, "replace").is_displayed())
    segmented.press("replace")
    assert np.array_equal(labels_in(segmented.export())[0], before)


def test_a_click_segments_the_vertebra_under_it(
    opened: Browser, patient: tuple[Path, Volume]
) -> None:
    opened.tool("click")
    opened.click_in("Sagittal", BODY)
    assert len(opened.get("segments")) == 1
    found, _ = labels_in(opened.export())
    truth = patient[1].array.T == tinyspine.FIRST + 1
    both = ((found > 0) & truth).sum()
    assert 2 * both / ((found > 0).sum() + truth.sum()) > 0.9
    opened.press("undo")
    assert opened.get("segments") == []


def test_a_run_that_replaces_a_click_is_shown_in_3d(opened: Browser) -> None:
    opened.tool("click")
    opened.click_in("Sagittal", BODY)
    opened.until(lambda: contrast(opened, "3D") > SHOWN)
    opened.tap("segment")
    opened.until(lambda: opened.driver.find_element(By.ID, "replace").is_displayed())
    opened.press("replace")
    assert [one["name"] for one in opened.get("segments")] == LEVELS
    opened.until(lambda: contrast(opened, "3D") > SHOWN)


def test_a_vertebra_is_given_another_level_and_removed(segmented: Browser) -> None:
    def names() -> list[str]:
        return [one["name"] for one in segmented.get("segments")]

    def tap(selector: str) -> None:
        segmented.until(lambda: segmented.driver.find_element(By.CSS_SELECTOR, selector))
        segmented.driver.find_element(By.CSS_SELECTOR, selector).click()

    rows = segmented.driver.find_elements(By.CLASS_NAME, "vertebra")
    rows[2].click()
    segmented.until(lambda: segmented.get("active") == "L3")
    tap("[aria-label='Give it another level']")
    level = "//div[contains(@class, 'v-list-item-title')][normalize-space(.)='L4']"
    segmented.until(lambda: segmented.driver.find_element(By.XPATH, level).is_displayed())
    segmented.driver.find_element(By.XPATH, level).click()
    segmented.until(lambda: names() == ["L1", "L2", "L4"])
    segmented.press("undo")
    assert names() == LEVELS
    tap("[aria-label='Remove it']")
    segmented.until(lambda: names() == LEVELS[:2])
    segmented.press("undo")
    assert names() == LEVELS


def test_left_stays_left_to_the_last_file(segmented: Browser, patient: tuple[Path, Volume]) -> None:
    archive = segmented.export()
    found, affine = labels_in(archive)
    scan = nibabel.load(patient[0])
    assert np.allclose(affine, scan.affine, atol=1e-4)
    assert np.array_equal(found, patient[1].array.T)
    assert not np.array_equal(found, patient[1].array.T[::-1])
    with zipfile.ZipFile(archive) as files:
        names = files.namelist()
        content = files.read("models/21_L2_LPS.stl")
        about = files.read("README.txt").decode()
    assert {"models/20_L1_LPS.stl", "models/22_L3_LPS.stl", "vertebrae.csv"} <= set(names)
    assert "Not a medical device" in about
    mesh = trimesh.load(io.BytesIO(content), file_type="stl")
    assert mesh.is_watertight
    inside = np.argwhere(found == tinyspine.FIRST + 1)
    ras = nibabel.affines.apply_affine(affine, inside)
    lps = mesh.vertices * (-1, -1, 1)  # the file's LPS as RAS
    assert np.allclose(mesh.center_mass * (-1, -1, 1), ras.mean(axis=0), atol=0.5)
    middle = patient[1].ijk_to_ras(np.argwhere(patient[1].array == tinyspine.FIRST)[:, ::-1])
    reach = lps[:, 0] - middle[:, 0].mean()
    assert reach.min() < -ARM_MM + 2, "the arm is on the patient's left"
    assert reach.max() < ARM_MM - 2


def test_reloading_the_page_shows_the_same_case(segmented: Browser) -> None:
    segmented.driver.refresh()
    segmented.until(lambda: segmented.driver.find_elements(By.CLASS_NAME, "vertebra"))
    names = [e.text for e in segmented.driver.find_elements(By.CLASS_NAME, "vertebra-name")]
    assert names == LEVELS
    assert segmented.text("scan-name") == "somebody"
    segmented.tool("paint")
    segmented.draw("Sagittal", BODY, DOWN)
    assert segmented.get("can_undo")


def test_an_archive_is_uploaded_and_opened(
    page: Browser, patient: tuple[Path, Volume], tmp_path: Path
) -> None:
    packed = tmp_path / "packed patient.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(patient[0], "study/scan.nii.gz")
    page.upload(packed)
    assert page.get("scan_name") == "packed patient"
    i, j, k = patient[1].array.shape[::-1]
    assert page.get("scan_info").startswith(f"{i} × {j} × {k} voxels")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("../../outside.nii", b"x", "was refused: something in it leads outside"),
        ("notes.txt", b"nothing to see", "notes.txt"),
    ],
)
def test_a_bad_archive_is_refused_in_one_sentence(
    segmented: Browser, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    packed = tmp_path / "bad.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    segmented.upload(packed)
    segmented.until(lambda: sentence in segmented.said())
    assert "Traceback" not in segmented.said()
    assert segmented.get("scan_name") == "somebody"
    assert [one["name"] for one in segmented.get("segments")] == LEVELS


def test_a_missing_file_is_told_and_the_case_stays(segmented: Browser, tmp_path: Path) -> None:
    segmented.open(tmp_path / "nowhere.nii")
    assert "There is no file or folder" in segmented.said()
    assert len(segmented.get("segments")) == 3


def test_what_the_page_says_is_plain_json(page: Browser) -> None:
    # Everything in the state goes to the browser: no path of the server may be in it.
    shown = {name: page.get(name) for name in ("tables", "segments", "notes", "scan_info")}
    assert "spineseg-app-" not in json.dumps(shown)
