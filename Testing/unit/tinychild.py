"""Runs the real command line or the real worker with the tests' method in the registry.

``python tinychild.py cli ARGUMENTS`` or ``python tinychild.py worker JOB``.
"""

from __future__ import annotations

import sys

import tinymethod

if __name__ == "__main__":
    tinymethod.register()
    program = sys.argv.pop(1)
    if program == "worker":
        from spineseg.worker import main as worker

        sys.exit(worker())
    from spineseg.cli import main

    main()
