"""SpineSeg: from a scan of the spine to labelled vertebrae, models and a report.

Importing this package is cheap; the heavy parts are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spineseg.clicking import ClickSession
    from spineseg.io.images import read_volume
    from spineseg.pipeline import save, segment

__version__ = "0.1.0"
__all__ = ["ClickSession", "__version__", "read_volume", "save", "segment"]

_LAZY = {
    "ClickSession": "spineseg.clicking",
    "read_volume": "spineseg.io.images",
    "save": "spineseg.pipeline",
    "segment": "spineseg.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public function at its first use (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
