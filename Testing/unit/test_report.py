"""The report and its pictures: right places, right sizes, safe text, and no graphics needed."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tinyspine
from spineseg import pictures, scene3d, slices
from spineseg.labels import color_of
from spineseg.manifest import RunManifest
from spineseg.measure.heights import measure_vertebrae
from spineseg.report import write_report
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume


def result_of(spine: tinyspine.Spine) -> SegmentationResult:
    levels = ("L1", None, "L3")
    rows = [
        Vertebra(tinyspine.FIRST + n, level, tuple(centre), complete=n != 2)
        for n, (level, centre) in enumerate(zip(levels, spine.centres))
    ]
    rows[1] = replace(rows[1], label=101)
    labels = spine.labels.array.copy()
    labels[labels == tinyspine.FIRST + 1] = 101
    volume = spine.labels.like(labels)
    return SegmentationResult(
        volume, measure_vertebrae(volume, rows), ["Doubt <b>here</b> & there."]
    )


@pytest.fixture(scope="module")
def spine() -> tinyspine.Spine:
    return tinyspine.make(spacing=(1.0, 1.5, 3.0), directions=tinyspine.oblique(15.0))


@pytest.fixture(scope="module")
def html(spine: tinyspine.Spine, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_NO_GL", "1")
        manifest = RunManifest("segment", "tiny", settings={"threshold": 300})
        write_report(result_of(spine), spine.scan, path, manifest, "<script>alert(1)</script>")
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects what a report would fetch, its tags, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [v or "" for k, v in attrs if k in ("src", "href", "action", "srcset")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_needs_nothing_else(html: str) -> None:
    reader = Reader(html)
    assert len(reader.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not {"script", "link", "iframe", "b"} & set(reader.tags)
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html


def test_the_report_says_what_matters(html: str) -> None:
    text = re.sub(r"\s+", " ", " ".join(Reader(html).words))
    assert "Doubt <b>here</b> & there." in text
    assert text.count("Not a medical device") == 1
    assert "3 vertebrae, L1 to L3, 1 of unsure level" in text
    assert "level unsure" in text
    assert "cut by the edge of the scan" in text
    assert "no OpenGL" in text
    assert '"threshold": 300' in text
    assert html.index("Doubt") < html.index("<img")


def test_the_table_has_the_measures(html: str, spine: tinyspine.Spine) -> None:
    cells = [
        re.sub(r"<[^>]+>", "", c).strip() for c in re.findall(r"<td[^>]*>(.*?)</td>", html, re.S)
    ]
    rows = [cells[n : n + 8] for n in range(0, len(cells), 8)]
    measured = result_of(spine).vertebrae
    assert [row[0] for row in rows] == ["L1", "unsure 1", "L3"]
    for row, vertebra in zip(rows, measured):
        assert row[2] == f"{vertebra.volume_ml:.1f}"
        if vertebra.complete:
            assert vertebra.heights_mm is not None
            assert row[3:6] == [f"{h:.1f}" for h in vertebra.heights_mm.values()]
        else:
            assert row[3:6] == ["–"] * 3


def test_a_report_without_any_vertebra(spine: tinyspine.Spine, tmp_path: Path) -> None:
    empty = spine.scan.like(np.zeros(spine.scan.shape, np.uint8))
    result = SegmentationResult(empty, [], ["No vertebra was found in this scan."])
    write_report(result, spine.scan, tmp_path / "r.html", RunManifest("segment", "tiny"), "x")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "No vertebra was found." in html
    assert html.count("<img") == 2  # no 3D picture of nothing


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_slices_are_true_to_scale_and_cut_the_bodies(spine: tinyspine.Spine, plane: str) -> None:
    cut = slices.take(spine.scan, spine.labels, spine.centres, plane)
    for number, (row, column) in enumerate(cut.marks):
        assert cut.labels[round(row), round(column)] == tinyspine.FIRST + number
    step = (cut.marks[1, 0] - cut.marks[0, 0]) * cut.pixel_mm
    assert step == pytest.approx(30.0)  # the pitch: body and gap
    body = cut.labels[round(cut.marks[1, 0])] == tinyspine.FIRST + 1
    width = (np.flatnonzero(body) * cut.pixel_mm) - cut.marks[1, 1] * cut.pixel_mm
    inside = width[np.abs(width) < 20]
    expected = tinyspine.BODY[1 if plane == "sagittal" else 0]
    assert np.ptp(inside) == pytest.approx(expected, abs=3.0)
    # Anterior on the left: what lies beyond the canal is on the right of the sagittal picture.
    if plane == "sagittal":
        assert width.max() > 28
        assert width.min() > -18


def test_slices_follow_a_scoliotic_curve() -> None:
    bent = tinyspine.make()
    shift = np.eye(4)
    shift[0, 2] = 0.6  # sheared to the right by 0.6 mm a mm of height
    volume = Volume(bent.labels.array, shift @ bent.labels.affine)
    scan = Volume(bent.scan.array, volume.affine)
    centres = bent.centres @ shift[:3, :3].T
    cut = slices.take(scan, volume, centres, "sagittal")
    assert set(np.unique(cut.labels)) == {0, 20, 21, 22}
    straight = slices.take(scan, volume, centres[:1], "sagittal")
    assert 22 not in np.unique(straight.labels)


def test_slices_without_vertebrae_and_of_float16() -> None:
    volume = Volume(np.full((4, 5, 6), 7.0, np.float16), np.diag([2.0, 3.0, 4.0, 1.0]))
    labels = volume.like(np.zeros(volume.shape, np.uint8))
    cut = slices.take(volume, labels, [], "coronal")
    assert cut.image.shape == cut.labels.shape
    assert np.nanmin(cut.image) == np.nanmax(cut.image) == 7.0


def test_the_scan_is_not_copied(spine: tinyspine.Spine) -> None:
    import tracemalloc

    big = Volume(np.zeros((200, 256, 256), np.int16), np.diag([1.0, 1.0, 1.0, 1.0]))
    labels = big.like(np.zeros(big.shape, np.uint8))
    labels.array[90:110, 100:150, 100:150] = 20
    tracemalloc.start()
    slices.take(big, labels, [(125.0, 125.0, 100.0)], "sagittal")
    scene3d.reduced(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < big.array.nbytes / 2


def png_shape(png: bytes) -> tuple[int, ...]:
    from matplotlib.image import imread

    return tuple(imread(io.BytesIO(png)).shape[:2])


def test_the_overlay_keeps_its_shape(spine: tinyspine.Spine) -> None:
    cut = slices.take(spine.scan, spine.labels, spine.centres, "sagittal")
    png = pictures.overlay_png(cut, result_of(spine).vertebrae, "sagittal")
    rows, columns = png_shape(png)
    expected = cut.labels.shape[0] / cut.labels.shape[1]
    assert rows / columns == pytest.approx(expected, rel=0.02)


def test_the_overlay_has_the_colours_of_the_table(spine: tinyspine.Spine) -> None:
    cut = slices.take(spine.scan, spine.labels, spine.centres, "coronal")
    colored = pictures.overlaid(cut)
    grey = np.ptp(colored, axis=2) < 1e-9
    assert grey[cut.labels == 0].all()
    row, column = np.rint(cut.marks[0]).astype(int)
    wanted = np.array(color_of(20)) / 255
    hue = colored[row, column] - colored[row, column].min()
    assert np.argsort(hue).tolist() == np.argsort(wanted - wanted.min()).tolist()


def test_projections_show_every_label_on_its_side() -> None:
    picture = np.zeros((30, 20, 20), np.uint8)  # S, A, R
    picture[20:28, 5:15, 2:8] = 20  # up, on the patient's left
    picture[2:10, 5:15, 12:18] = 22  # down, on the right
    made = scene3d.projections(picture)
    half = made.shape[1] // 2
    behind = made[:, : half - 10]
    dark = behind.min(axis=2) < 0.99
    rows, columns = np.nonzero(dark)
    upper = rows < made.shape[0] / 2
    assert columns[upper].mean() < columns[~upper].mean()


def test_a_label_map_reduced_keeps_its_volume(spine: tinyspine.Spine) -> None:
    picture, spacing = scene3d.reduced(spine.labels)
    for label in (20, 21, 22):
        true = (spine.labels.array == label).sum() * spine.labels.voxel_mm3
        assert (picture == label).sum() * spacing**3 == pytest.approx(true, rel=0.05)


def test_a_failing_child_gives_projections(
    spine: tinyspine.Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    scene = scene3d.render(spine.labels)
    assert scene is not None
    assert not scene.rendered
    assert min(png_shape(scene.png)) > 100


def test_leaving_a_rendering_early_ends_its_child(spine: tinyspine.Spine) -> None:
    with scene3d.Rendering(spine.labels) as rendering:
        child, folder = rendering._child, Path(rendering._folder.name)
        assert folder.is_dir()
    assert not folder.exists()
    assert child is None or child.returncode is not None


def test_the_3d_picture_shows_all_colours(gl: None, spine: tinyspine.Spine) -> None:
    from matplotlib.image import imread

    scene = scene3d.render(spine.labels)
    assert scene is not None
    assert scene.rendered
    picture = imread(io.BytesIO(scene.png))[..., :3]
    assert picture.shape[:2] == scene3d.SIZE[::-1]
    assert (picture[0] == 1).all()  # nothing is cut off at the top
    hues = {int(h) for h in np.argmax(picture[picture.min(axis=2) < 0.9], axis=1)}
    assert len(hues) >= 2


def test_pictures_in_the_report_are_png(html: str) -> None:
    for data in re.findall(r"base64,([^\"]+)", html):
        assert base64.b64decode(data).startswith(b"\x89PNG")
