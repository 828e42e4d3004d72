"""Time and memory of segmenting a large CT, beside plainer ways of doing it.

    python Testing/benchmarks/large_ct.py                  # all, in full: hours on two cores
    python Testing/benchmarks/large_ct.py --patches 5      # the large network from five patches
    python Testing/benchmarks/large_ct.py --only unet cascade click plain

All take the same digital patient, 512 × 512 × 600 voxels by default, one after the other, each in a
process of its own with the same number of threads:

- unet, cascade: `spineseg segment` with the method `vertebra-unet` and `cascade`;
- click: a `ClickSession` opened on the scan, and a click on each of its vertebrae;
- plain: the networks of `vertebra-unet` without what makes it quick: float32, MONAI's sliding
  window with half overlap over the whole scan at 4 mm and at 1.5 mm, all channels kept;
- large: MONAI's DynUNet with the widths that nnU-Net (Isensee et al., Nature Methods 2021) plans
  for such data: 31 million parameters, patches of 128³ with half overlap, float32, on the scan's
  own grid. Its weights are random: they do not change its speed. Its answers are blended by this
  project's own window, in the memory of one layer; nnU-Net itself keeps all channels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

Facts = dict[str, Any]
CLASSES = 27  # background, C1–L5 with T13 and L6
PATCH = (128, 128, 128)
WIDTHS = (32, 64, 128, 256, 320, 320)


def make_scan(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, ...]:
    """Draw a digital patient of `shape` (k, j, i): int16 HU, affine, body centres (RAS mm)."""
    from spineseg.grid import Grid
    from spineseg.phantom.generate import generate
    from spineseg.phantom.settings import PhantomSettings

    spacing = np.array([0.8, 0.8, 1.0])
    settings = PhantomSettings(
        spacing_mm=2.0, levels=("T3", "L5"), cobb_deg=10.0, margin_mm=(150.0, 150.0, 30.0)
    )
    patient = generate(settings, seed)
    ct = patient.ct
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = ct.grid.center - spacing * (np.array(shape[::-1]) - 1) / 2
    scan = ct.resampled_like(Grid(shape, affine), order=1, fill=-1000).array
    # Interpolation has smoothed the phantom's noise away.
    rng = np.random.default_rng(seed)
    for part in scan:
        part += rng.normal(0, 15, part.shape).astype(np.int16)
    centers = np.array([body.centre for body in patient.chain.bodies])
    drawn = patient.ct.ras_to_ijk(centers)[:, 2]  # the patient ends before the grid does
    whole = (drawn > 12) & (drawn < patient.ct.shape[0] - 12)
    return scan, affine, centers[whole]


class PeakMemory(threading.Thread):
    """Watches this process' resident memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        import psutil

        self.process, self.highest, self.over = psutil.Process(), 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.highest = max(self.highest, self.process.memory_info().rss)

    def stop(self) -> float:
        """Return the highest value in GB."""
        self.over.set()
        self.join()
        status = Path("/proc/self/status")  # Linux' own account sees what falls between two looks
        if status.exists():
            line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
            self.highest = max(self.highest, int(line.split()[1]) * 1024)
        return self.highest / 1e9


def run_unet(scan: Any, options: argparse.Namespace, method: str = "vertebra-unet") -> Facts:
    """Segment with the shipped networks, as `spineseg segment` does."""
    from spineseg.pipeline import segment

    result = segment(scan, method)
    return {"vertebrae": len(result.vertebrae), "stages": dict(result.timings)}


def run_cascade(scan: Any, options: argparse.Namespace) -> Facts:
    """The same with the method of paper 002."""
    return run_unet(scan, options, "cascade")


def run_click(scan: Any, options: argparse.Namespace) -> Facts:
    """Open the scan, then click at the middle of its spine's true centres, one after the other."""
    from spineseg.clicking import ClickSession

    begin = time.perf_counter()
    session = ClickSession(scan)
    opened = time.perf_counter() - begin
    centers = np.load(Path(options.folder) / "centers.npy")
    seconds = [session.click(tuple(center)).seconds for center in centers]
    return {
        "opened_seconds": opened,
        "clicks": len(seconds),
        "median_seconds": float(np.median(seconds)),
        "slowest_seconds": float(np.max(seconds)),
    }


def run_plain(scan: Any, _: argparse.Namespace) -> Facts:
    """Both networks over the whole scan, float32, all channels kept."""
    import torch
    from monai.inferers import sliding_window_inference
    from spineseg.inference import aligned_grid, scan_reader
    from spineseg.intensity import intensity_channels
    from spineseg.methods.loading import load_network

    seconds = {}
    corners = scan.grid.corners()
    for name, outputs in (("vertebra-coarse", 9), ("vertebra-fine", 10)):
        begin = time.perf_counter()
        network = load_network(name, outputs, torch.device("cpu"))
        low, high = corners.min(axis=0), corners.max(axis=0)
        grid = aligned_grid(low, high, network.spacing_mm, network.patch)
        hu = scan_reader(scan, grid)((0, 0, 0), grid.shape)
        image = torch.from_numpy(intensity_channels(hu)[None])
        with torch.inference_mode():
            logits = sliding_window_inference(
                image, network.patch, 1, network.forward, overlap=0.5, mode="gaussian"
            )
            logits[0, : outputs if outputs == 9 else 7].argmax(dim=0)
        seconds[name] = time.perf_counter() - begin
    return {"stages": seconds}


def run_large(scan: Any, options: argparse.Namespace) -> Facts:
    """Run the large network over the whole scan, or over some patches of it."""
    import torch
    from monai.networks.nets import DynUNet
    from spineseg.inference import plan, sliding_window
    from spineseg.progress import Progress

    depth = len(WIDTHS)
    strides = [1] + [2] * (depth - 1)
    network = DynUNet(
        3, 1, CLASSES, [3] * depth, strides, strides[1:], filters=WIDTHS, norm_name="instance"
    ).eval()
    facts: dict[str, Any] = {
        "parameters_million": round(sum(p.numel() for p in network.parameters()) / 1e6, 1)
    }

    def forward(image: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return network(image[:, :1].float().contiguous())

    layers = plan(np.ones(scan.shape, dtype=bool), PATCH, 0.5)
    total = sum(len(layer.tiles) for layer in layers)
    facts["patches"] = total
    if options.patches:
        image = torch.from_numpy(scan.array[None, None, :128, :128, :128] / np.float32(750))
        with torch.inference_mode():
            forward(image)  # the first one also sets up its memory
            start = time.perf_counter()
            for _ in range(options.patches):
                forward(image)
        each = (time.perf_counter() - start) / options.patches
        return {**facts, "seconds_per_patch": each, "extrapolated_seconds": each * total}
    labels = np.zeros(scan.shape, dtype=np.uint8)

    def receive(start: int, logits: torch.Tensor, seen: torch.Tensor) -> None:
        labels[start : start + logits.shape[1]] = logits.argmax(dim=0).numpy()

    sliding_window(
        forward,
        lambda lo, hi: scan.array[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]],
        scan.shape, layers, PATCH, receive,
        Progress(lambda stage, part, text: print(f"  {text}", end="\r", file=sys.stderr)),
        stage="large", device=torch.device("cpu"),
    )  # fmt: skip
    return facts


RUNS = {
    "unet": run_unet, "cascade": run_cascade, "click": run_click, "plain": run_plain,
    "large": run_large,
}  # fmt: skip


def child(options: argparse.Namespace) -> None:
    """Run one of them on the scan in a folder; print its account as JSON."""
    import torch
    from spineseg.volume import Volume

    torch.set_num_threads(options.threads)
    folder = Path(options.folder)
    scan = Volume(np.load(folder / "scan.npy"), np.load(folder / "affine.npy"))
    memory = PeakMemory()
    memory.start()
    start = time.perf_counter()
    facts = RUNS[options.child](scan, options)
    measured = time.perf_counter() - start
    facts["seconds"] = facts.pop("extrapolated_seconds", measured)
    facts["peak_gb"] = memory.stop()
    print(json.dumps(facts))


def start_child(name: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run `child` in a process of its own."""
    command = [
        sys.executable, __file__, "--child", name, "--folder", folder,
        "--threads", str(options.threads), "--patches", str(options.patches),
    ]  # fmt: skip
    library = Path(__file__).resolve().parents[2] / "SpineSegExtension"
    paths = [str(library), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(options.threads),
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed with exit code {done.returncode}; see above.")
    facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return facts


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size, names = (600, 512, 512), ("K", "J", "I")
    parser.add_argument(
        "--shape", type=int, nargs=3, default=size, metavar=names, help="slices, rows, columns"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each")
    parser.add_argument("--patches", type=int, default=0, metavar="N",
                        help="time the large network on N patches and extrapolate")  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=sorted(RUNS), help="run only these")
    parser.add_argument("--seed", type=int, default=0, help="of the digital patient")
    parser.add_argument("-o", "--output", type=Path, help="write the numbers as JSON")
    parser.add_argument("--child", choices=sorted(RUNS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed()
    if options.child:
        child(options)
        return
    if min(options.shape) < PATCH[0]:
        raise SystemExit(f"The scan must have at least {PATCH[0]} voxels along each axis.")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SpineSegExtension"))
    results: dict[str, Any] = {"shape_kji": list(options.shape), "threads": options.threads}
    with tempfile.TemporaryDirectory() as folder:
        print("Drawing the digital patient …", flush=True)
        scan, affine, centers = make_scan(tuple(options.shape), options.seed)
        np.save(Path(folder) / "centers.npy", centers)
        np.save(Path(folder) / "scan.npy", scan)
        np.save(Path(folder) / "affine.npy", affine)
        del scan
        for name in options.only or RUNS:
            print(f"Running {name} …", flush=True)
            results[name] = start_child(name, folder, options)
            note = f", extrapolated from {options.patches} patches" if (
                name == "large" and options.patches) else ""  # fmt: skip
            seconds, peak = results[name]["seconds"], results[name]["peak_gb"]
            print(f"  {name}: {seconds:.1f} s{note}, peak memory {peak:.2f} GB")
    for name in [n for n in ("plain", "large") if n in results and "unet" in results]:
        ratio = results[name]["seconds"] / results["unet"]["seconds"]
        results[f"{name}_to_unet"] = ratio
        print(f"{name} takes {ratio:.1f} times as long as unet.")
    print(json.dumps(results, indent=2))
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
