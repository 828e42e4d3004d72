"""``python -m spineseg``: the same as the command ``spineseg``."""

from __future__ import annotations

from spineseg.cli import main

if __name__ == "__main__":
    main()
