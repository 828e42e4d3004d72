"""What is missing, the question before it is installed, and what happens if that fails."""

from __future__ import annotations

import pytest
from spineseg import registry
from spineseg.errors import DependencyError
from SpineSegMRML import dependencies
from SpineSegMRML.dependencies import Package

ABSENT = Package("no_such_package_of_spineseg", "no-such-package>=1", 30)
TORCH = Package("no_such_torch_of_spineseg", "no-such-torch>=2", 2500, throughExtension=True)


def test_nothing_is_missing_where_the_tests_run():
    assert dependencies.missing() == []
    assert all(dependencies.versions().values())
    assert set(dependencies.versions()) >= {"torch", "safetensors"}


def test_what_is_missing_is_named_and_its_size_stated():
    assert dependencies.missing([ABSENT]) == [ABSENT]
    assert dependencies.versions([ABSENT]) == {"no-such-package": ""}
    assert "no-such-package" in dependencies.question([ABSENT])
    assert "30 MB" in dependencies.question([ABSENT])
    assert "2.5 GB" in dependencies.question([ABSENT, TORCH])


def test_torch_comes_through_its_extension_and_nothing_is_installed_without_it():
    installed = []
    with pytest.raises(DependencyError, match="PyTorch extension is not installed"):
        dependencies.install([ABSENT, TORCH], installed.append, None)
    assert installed == []


def test_each_installer_gets_its_requirement():
    pip, torch = [], []
    with pytest.raises(DependencyError, match="no-such-torch>=2 was not installed"):
        dependencies.install([TORCH, ABSENT], pip.append, torch.append)
    assert pip == ["no-such-package>=1"]
    assert torch == [">=2"]


def test_a_failing_installer_gives_one_sentence_with_details():
    def pip(requirement):
        raise RuntimeError("connection refused")

    with pytest.raises(DependencyError, match="no-such-package>=1 could not") as caught:
        dependencies.install([ABSENT], pip, None)
    assert caught.value.details == "connection refused"


def test_weights_that_a_method_needs_and_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path))
    report = dependencies.weightsReport()
    assert {name for name, _, _ in report} == {m for row in registry.METHODS for m in row.models}
    assert all(not sound and text.startswith("not found") for _, sound, text in report)
