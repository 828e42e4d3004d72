"""The home module: what it says of the installation."""

from __future__ import annotations

from SpineSegMRML import dependencies


def test_it_names_what_is_installed_and_offers_nothing_to_install(openPanel):
    panel = openPanel("SpineSegExtension")
    for name, version in dependencies.versions().items():
        assert f"{name}: {version}" in panel.ui.statusLabel.text
    assert "Weights" in panel.ui.statusLabel.text
    assert not panel.ui.installButton.enabled
    assert panel.ui.installButton.toolTip == "Everything is installed."
