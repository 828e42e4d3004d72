"""The app with a small digital patient and quick workers, as a program: prints its address."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from spineseg.phantom.settings import PhantomSettings
from spineseg.residentclient import ResidentWorker
from SpineSegMRML.jobs import segmentInChild
from SpineSegWeb.launch import run

HERE = Path(__file__).resolve().parent
PATIENT = PhantomSettings(spacing_mm=3.0, levels=("L2", "L3"), margin_mm=(40.0, 50.0, 10.0))


def main() -> None:
    worker = [sys.executable, str(HERE / "quickworker.py")]
    clicks = [sys.executable, str(HERE.parent / "unit" / "oracleclick.py"), "--serve"]
    run(
        0,
        lambda address: print(address, flush=True),
        patient=PATIENT,
        runner=partial(segmentInChild, command=worker),
        worker=ResidentWorker(command=clicks),
    )


if __name__ == "__main__":
    main()
