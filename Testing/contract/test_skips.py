"""An unexpected skip turns the run red; an expected one stays a named skip."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from project_tree import ROOT

TESTS = """
import pytest
def test_plain(): pytest.skip("not today")
def test_here(): pytest.skip("posix: but this is")
@pytest.mark.skip(reason="later")
def test_marked(): pass
def test_data(realdata): raise AssertionError("there is no such folder")
def test_passes(): assert True
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A run of pytest on files that skip, under the project's own conftest."""
    folder = tmp_path_factory.mktemp("skips")
    (folder / "Testing").mkdir()
    text = (ROOT / "Testing" / "conftest.py").read_text(encoding="utf-8")
    (folder / "Testing" / "conftest.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  realdata: x\n", encoding="utf-8")
    (folder / "Testing" / "test_some.py").write_text(TESTS, encoding="utf-8")
    whole = 'import pytest\npytest.importorskip("no_such_module_at_all")\n'
    (folder / "Testing" / "test_whole.py").write_text(whole, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-ra", "--continue-on-collection-errors"]
    environment = {**os.environ, "SPINESEG_REALDATA": str(folder / "absent")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(os.name != "posix", reason="posix: the tag that is tried")
def test_unexpected_skips_fail(outcome: subprocess.CompletedProcess[str]) -> None:
    assert outcome.returncode == 1
    for name in ("test_plain", "test_here"):
        assert f"FAILED Testing/test_some.py::{name}" in outcome.stdout
    assert "ERROR Testing/test_some.py::test_marked" in outcome.stdout  # skipped at set-up
    assert "ERROR Testing/test_whole.py" in outcome.stdout
    assert "2 failed, 1 passed, 1 skipped, 2 errors" in outcome.stdout


def test_expected_skips_are_named(outcome: subprocess.CompletedProcess[str]) -> None:
    assert "realdata: no folder" in outcome.stdout
