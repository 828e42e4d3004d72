"""The real worker with the tiny method for films, which a first pixel of 254 makes slow.

It is run as a script in place of ``python -m spineseg.worker``; the tests import it too, for the
parent's registry must know the same method.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

import tinycobb
from spineseg import registry
from spineseg.io.films import Film
from spineseg.progress import Progress

SLOW = 254
find = tinycobb.predict


def predict(film: Film, settings: Any, progress: Progress) -> Any:
    """Do as `tinycobb.predict`, in its time."""
    for step in range(400 if film.array[0, 0] == SLOW else 1):
        progress("find", step / 400, f"part {step}")
        time.sleep(0.05 if film.array[0, 0] == SLOW else 0.0)
    return find(film, settings, progress)


def register() -> None:
    """Make this the only method for films; the caller sets back what of the registry it changes."""
    tinycobb.register()
    registry.DEFAULT_COBB = tinycobb.NAME


if __name__ == "__main__":
    from spineseg.worker import main

    tinycobb.predict = predict
    register()
    sys.exit(main())
