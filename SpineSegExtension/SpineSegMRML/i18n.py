"""The translator of strings that users see: Slicer's own inside Slicer, none outside."""

from __future__ import annotations

__all__ = ["tr"]

try:
    from slicer.i18n import tr
except ModuleNotFoundError:  # slicer-core, used by the tests and the browser app, has no i18n

    def tr(text: str) -> str:
        """Return `text` as it is."""
        return text
