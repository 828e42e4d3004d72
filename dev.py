#!/usr/bin/env python3
"""Everything a fresh machine needs, with Python and pip only.

    python3 dev.py demo [--input SCAN] [-o FOLDER]   segment a digital patient, or your own scan
    python3 dev.py app [--port N] [--no-browser]     the browser app, on a digital patient
    python3 dev.py test [pytest's arguments]         ruff, mypy and every test
    python3 dev.py cmake [--check]                   rewrite the file lists of the CMakeLists.txt

The first run makes an environment in `.venv` beside this file; later runs start at once and need
no network. This file uses the standard library alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "spineseg-environment.json"
UNFINISHED = VENV / "spineseg-unfinished"
OLDEST, NEWEST = (3, 10), (3, 13)
ROOM_GB = 4
DEPENDENCY, CANCELLED = 3, 6  # exit codes, as in spineseg.errors

# On Linux, PyPI's torch brings several gigabytes of CUDA libraries. Without an NVIDIA card the
# CPU build is all that is needed; PyTorch publishes it here.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

GL_DEBIAN = ("libgl1", "libegl1", "libgl1-mesa-dri")
CHROMIUM_DEBIAN = ("chromium", "chromium-driver")
GL_PROBE = """
import vtk
window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
renderer.SetBackground(1.0, 0.0, 0.0)
window.AddRenderer(renderer)
window.Render()
pixels = vtk.vtkUnsignedCharArray()
window.GetPixelData(4, 4, 4, 4, 0, pixels, 0)
raise SystemExit(0 if pixels.GetNumberOfValues() and pixels.GetValue(0) == 255 else 1)
"""


class Stop(Exception):
    """Ends the run with a sentence and an exit code."""

    def __init__(self, sentence: str, code: int = DEPENDENCY) -> None:
        super().__init__(sentence)
        self.code = code


def say(text: str) -> None:
    print(f"dev.py: {text}", flush=True)


# --- running programs -----------------------------------------------------------------------


def child_environment() -> dict[str, str]:
    """Return this process's environment without what would lead the venv's Python astray."""
    strays = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")
    kept = {name: value for name, value in os.environ.items() if name not in strays}
    return {**kept, "PYTHONUTF8": "1", "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(command: list[str], cwd: Path | None = None, stdout: Any = None) -> int:
    """Run a program on this terminal and return its exit code.

    Ctrl-C reaches the program too: it is given the time to tidy up, and a second one ends it.
    """
    child = subprocess.Popen(command, cwd=cwd, env=child_environment(), stdout=stdout)
    interrupts = 0
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1:
                child.kill()
    if interrupts:
        return CANCELLED
    return code if code >= 0 else 128 - code


def quiet(command: list[str], timeout: float | None = None) -> tuple[bool, str]:
    """Run a program unseen; return whether it succeeded, and what it printed."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=child_environment(),
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, done.stdout


# --- the environment ------------------------------------------------------------------------


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def python_problem(version: tuple[int, int] = sys.version_info[:2]) -> str | None:
    """Return why this Python can't carry the environment, or None."""
    if OLDEST <= version <= NEWEST:
        return None
    wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    others = [f"python{OLDEST[0]}.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    found = next((name for name in others if shutil.which(name)), None)
    remedy = f"run: {found} dev.py" if found else "install one of them and start dev.py with it"
    return f"SpineSeg needs Python {wanted}, and this is {version[0]}.{version[1]}; {remedy}."


def fingerprint() -> str:
    """Return a hash of all that decides what the environment holds, the place included."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def read_stamp() -> dict[str, object]:
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and stamp.get("fingerprint") == fingerprint() else {}


def write_stamp(stamp: dict[str, object]) -> None:
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    os.replace(part, STAMP)


def make_venv() -> None:
    """Make `.venv`, or make it anew where its Python no longer runs."""
    if venv_python().exists() and quiet([str(venv_python()), "-c", "pass"])[0]:
        return
    problem = python_problem()
    if problem:
        raise Stop(problem)
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise Stop("PyTorch has no current build for Intel Macs, so SpineSeg can't run here.")
    if VENV.exists():
        if any(VENV.iterdir()) and not (VENV / "pyvenv.cfg").exists():
            raise Stop(f"{VENV} is not a Python environment; move it away and run this again.")
        say("the environment in .venv no longer works and is made anew")
        shutil.rmtree(VENV)
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < ROOM_GB:
        say(f"only {free:.1f} GB are free here; the environment takes up to {ROOM_GB} GB")
    # Debian has a Python without ensurepip; its own pip can then fill the environment.
    with_pip = quiet([sys.executable, "-c", "import ensurepip"])[0]
    options = [] if with_pip else ["--without-pip"]
    made, output = quiet([sys.executable, "-m", "venv", *options, str(VENV)])
    if not made:
        raise Stop(f"The environment could not be made: {output.strip()[-400:]}")


def pip() -> list[str]:
    """Return the command of a pip that installs into `.venv`."""
    own = [str(venv_python()), "-m", "pip"]
    if quiet([*own, "--version"])[0]:
        return own
    other = [sys.executable, "-m", "pip", "--python", str(venv_python())]
    if quiet([*other, "--version"])[0]:
        return other
    raise Stop("This Python has no pip (on Debian: apt-get install python3-pip python3-venv).")


def drop_half_installed() -> None:
    """Forget packages that an interrupted pip left without a file list: pip trusts them."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found, folder = quiet([str(venv_python()), "-c", code])
    if not found:
        return
    for info in Path(folder.strip()).glob("*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)
    for left in Path(folder.strip()).glob("~*"):
        shutil.rmtree(left, ignore_errors=True)


def pinned(name: str) -> str:
    """Return a package's version in constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    match = re.search(rf"^{re.escape(name)}==([^\s;]+)", text, re.MULTILINE)
    if not match:
        raise Stop(f"constraints.txt has no line for {name}.")
    return match.group(1)


def has_nvidia_card() -> bool:
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def install_torch() -> None:
    """Install torch before the rest: its CPU build on a Linux machine without an NVIDIA card.

    A machine's own pip settings may know the CPU build, so they are asked first; then PyTorch's
    index; and where neither has it, PyPI's larger build does the same work.
    """
    version = pinned("torch")
    ask = "from importlib.metadata import version; print(version('torch'))"
    present, found = quiet([str(venv_python()), "-c", ask])
    if present and found.strip().split("+")[0] == version:
        return
    base = [*pip(), "install", "-c", "constraints.txt"]
    if sys.platform.startswith("linux") and not has_nvidia_card():
        say("PyTorch, CPU build (about 200 MB; nothing is shown while it is fetched)")
        elsewhere = ["--extra-index-url", TORCH_CPU_INDEX, "--retries", "0", "--timeout", "20"]
        # Unseen: where the build is not to be had, pip's errors would only alarm.
        for index in ([], elsewhere):
            if quiet([*base, *index, f"torch=={version}+cpu"])[0]:
                return
        say("PyTorch's own index gave no CPU build; taking PyPI's, which is several GB large")
    install(base, [f"torch=={version}"])


def install(base: list[str], what: list[str]) -> None:
    code = run([*base, *what], cwd=ROOT, stdout=sys.stdout)
    if code == CANCELLED:
        raise Stop("Stopped; the same command goes on from here.", CANCELLED)
    if code:
        raise Stop(
            f"pip could not install {' '.join(what)} (its message is above); once that is "
            "solved, the same command goes on from here."
        )


def ensure_environment(extras: set[str]) -> Path:
    """Make or complete `.venv` with the package, its dependencies and `extras`.

    Returns the path of its Python. Does nothing when the stamp says that all is there.
    """
    stamp = read_stamp()
    have = set(map(str, stamp.get("extras", []) or []))  # type: ignore[call-overload]
    if stamp and extras <= have and quiet([str(venv_python()), "-c", "pass"])[0]:
        return venv_python()
    started = time.monotonic()
    say("preparing the environment in .venv; the first time this takes 2 to 10 minutes and needs")
    say("the network (1 to 2 GB on disk); it can be interrupted and goes on where it was")
    make_venv()
    if UNFINISHED.exists():
        drop_half_installed()
    UNFINISHED.touch()
    wanted = sorted(extras | have)
    install_torch()
    say("the libraries, and the package itself")
    package = f".[{','.join(wanted)}]" if wanted else "."
    install([*pip(), "install", "-c", "constraints.txt"], ["-e", package])
    write_stamp({**stamp, "fingerprint": fingerprint(), "extras": wanted})
    UNFINISHED.unlink()
    say(f"the environment is ready ({time.monotonic() - started:.0f} s)")
    return venv_python()


# --- graphics -------------------------------------------------------------------------------


def graphics_work() -> bool:
    """Try an off-screen VTK picture in a child: without GL libraries it may crash."""
    return quiet([str(venv_python()), "-c", GL_PROBE], timeout=120)[0]


def ensure_graphics() -> None:
    """Install the system's GL libraries where allowed, else name the line; never fails."""
    stamp = read_stamp()
    if stamp.get("graphics") == "work":
        return
    works = graphics_work()
    if not works and stamp.get("graphics") != "tried":
        apt_install(GL_DEBIAN, "system libraries for 3D pictures")
        works = graphics_work()
    if not works:
        say("no OpenGL here: the 3D picture of the report is replaced by projections")
        if sys.platform.startswith("linux"):
            line = (
                "apt-get install " + " ".join(GL_DEBIAN)
                if is_debian()
                else ("dnf install mesa-libGL mesa-libEGL mesa-dri-drivers")
            )
            say(f"for the 3D picture, run: {'' if is_root() else 'sudo '}{line}")
    write_stamp({**read_stamp(), "graphics": "work" if works else "tried"})


def is_debian() -> bool:
    return bool(shutil.which("apt-get")) and Path("/etc/debian_version").exists()


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def apt_install(packages: tuple[str, ...], what: str) -> None:
    """Install packages of Debian where that is allowed; never fails."""
    if not (is_debian() and is_root()):
        return
    say(f"installing {what}: {' '.join(packages)}")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    quiet([*apt, "update"], timeout=300)
    quiet([*apt, "install", "-y", "--no-install-recommends", *packages], timeout=600)


def ensure_chromium() -> None:
    """Install the browser that the app is tested in, where allowed; else name it. Never fails."""
    stamp = read_stamp()
    if all(map(shutil.which, ("chromium", "chromedriver"))) or stamp.get("chromium") == "tried":
        return
    apt_install(CHROMIUM_DEBIAN, "the browser for the tests of the app")
    if not shutil.which("chromedriver"):
        say(f"no Chromium here (on Debian: apt-get install {' '.join(CHROMIUM_DEBIAN)}):")
        say("the tests of the browser app are skipped")
    write_stamp({**stamp, "chromium": "tried"})


# --- commands -------------------------------------------------------------------------------


def demo(scan: str | None, folder: str | None) -> int:
    """Segment a digital patient, or a user's scan; the report's path is the last line."""
    out = Path(folder).expanduser().resolve() if folder else ROOT / "demo"
    own = Path(scan).expanduser().resolve() if scan else None
    if own and not own.exists():
        raise Stop(f"There is no file or folder {own}.", 2)
    spineseg = [str(ensure_environment(set())), "-m", "spineseg"]
    ensure_graphics()
    if own is None:
        own = out / "patient" / "ct.nii.gz"
        say("making a digital patient (under a minute)")
        code = run([*spineseg, "phantom", "-o", str(own.parent)])
        if code:
            return code
    say("segmenting; about one to five minutes on two cores")
    code = run([*spineseg, "segment", str(own), "-o", str(out)])
    if code:
        return code
    report = out / "report.html"
    if not report.is_file():
        raise Stop(f"The segmentation ended well, but there is no {report}.", 1)
    print(report, flush=True)
    return 0


def app(arguments: list[str]) -> int:
    """Serve the browser app until Ctrl-C."""
    # The address alone goes to stdout, where a program may read it.
    with redirect_stdout(sys.stderr):
        python = str(ensure_environment({"app"}))
        ensure_graphics()
    code = run([python, "-m", "spineseg", "app", *arguments])
    return 0 if code == CANCELLED else code  # Ctrl-C is how it is ended


def test(arguments: list[str]) -> int:
    """Run ruff, mypy and pytest; what ruff or mypy found is named again behind pytest's summary."""
    python = str(ensure_environment({"test"}))
    ensure_graphics()
    ensure_chromium()
    failed = []
    for name, command in (("ruff", ["ruff", "check", "."]), ("mypy", ["mypy", "--strict"])):
        say(name)
        code = run([python, "-m", *command], cwd=ROOT)
        if code == CANCELLED:
            return code
        if code:
            failed.append(name)
    say("pytest")
    code = run([python, "-m", "pytest", *arguments], cwd=ROOT)
    if failed:
        say(f"{' and '.join(failed)} found problems (above pytest), so the exit code is not 0")
    return code or int(bool(failed))


SCRIPTS = {".py"}
RESOURCES = {
    ".css",
    ".csv",
    ".html",
    ".ico",
    ".j2",
    ".js",
    ".json",
    ".png",
    ".safetensors",
    ".svg",
    ".txt",
    ".typed",
    ".ui",
}


def module_folders() -> list[Path]:
    """Return the Slicer module folders: those at the root with a CMakeLists.txt."""
    return sorted(path.parent for path in ROOT.glob("*/CMakeLists.txt"))


def shipped(folder: Path, suffixes: set[str]) -> list[str]:
    """Return the files of a module folder that ship, relative to it, in sorted order."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix in suffixes)
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(n for n in names if "__pycache__" not in n and n != "CMakeLists.txt")


def with_lists(folder: Path) -> str:
    """Return the text of a module's CMakeLists.txt with its two lists as the tree has them."""
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    for name, suffixes in (("scripts", SCRIPTS), ("resources", RESOURCES)):
        begin, end = f"  # {name}: begin\n", f"  # {name}: end\n"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise Stop(f"{folder.name}/CMakeLists.txt lacks '{name}: begin' or '{name}: end'.", 1)
        lines = "".join(f"  {file}\n" for file in shipped(folder, suffixes))
        text = head + begin + lines + end + tail
    return text


def cmake(check: bool) -> int:
    """Rewrite the lists of files, or with `check` only tell which are out of date."""
    stale = 0
    for folder in module_folders():
        path, text = folder / "CMakeLists.txt", with_lists(folder)
        if path.read_text(encoding="utf-8") != text:
            stale += 1
            say(f"{folder.name}/CMakeLists.txt {'is out of date' if check else 'rewritten'}")
            if not check:
                path.write_bytes(text.encode())
    return int(check and stale > 0)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    one = commands.add_parser("demo", help="segment a digital patient, or your own scan")
    one.add_argument("--input", metavar="SCAN", help="a scan: a file or a DICOM folder")
    one.add_argument("-o", "--output", metavar="FOLDER", help="default: demo, beside dev.py")
    commands.add_parser("app", help="the browser app", add_help=False)
    commands.add_parser("test", help="ruff, mypy and every test", add_help=False)
    two = commands.add_parser("cmake", help="rewrite the file lists of the CMakeLists.txt")
    two.add_argument("--check", action="store_true", help="change nothing, only tell")
    arguments, others = parser.parse_known_args()
    if others and arguments.command not in ("app", "test"):
        parser.error(f"unknown: {' '.join(others)}")
    try:
        if arguments.command == "demo":
            return demo(arguments.input, arguments.output)
        if arguments.command == "app":
            return app(others)
        if arguments.command == "test":
            return test(others)
        return cmake(arguments.check)
    except Stop as stop:
        say(str(stop))
        return stop.code
    except KeyboardInterrupt:
        say("Stopped; the same command goes on from here.")
        return CANCELLED


if __name__ == "__main__":
    raise SystemExit(main())
