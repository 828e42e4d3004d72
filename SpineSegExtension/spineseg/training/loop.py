"""One training loop: a CPU, a GPU, or many of either under ``torchrun``.

The learning rate falls over the given time, so a run ends well whatever the machine, unless it is
to stay as it is (``steady``); a checkpoint (safetensors and JSON) lets it go on after an
interruption.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..device import autocast, choose_device
from ..errors import InputError
from ..progress import Progress

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    Parameters
    ----------
    hours : wall-clock time of the whole run, resumed parts counted together
    batch : crops a step and process
    rate : peak learning rate of AdamW
    decay : weight decay; 0 makes AdamW the plain Adam of Kingma and Ba
    warmup : fraction of the time in which the rate rises
    steady : whether the rate stays as it is instead of rising and falling
    momentum : first decay of Adam; 0.5 is usual where networks compete
    rmsprop : whether to minimise with RMSprop instead (Tieleman and Hinton 2012), without momentum
    average : decay of the running average of the weights, which is what is kept; 0 keeps the last
    seed : of the crops; every process adds its rank
    """

    hours: float = 1.0
    batch: int = 2
    rate: float = 2e-3
    decay: float = 1e-4
    warmup: float = 0.02
    steady: bool = False
    momentum: float = 0.9
    rmsprop: bool = False
    average: float = 0.995
    seed: int = 0
    save_minutes: float = 3.0


def world() -> tuple[int, int]:
    """Rank and number of processes, starting the process group under ``torchrun``."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), size) if size > 1 else (0, 1)


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def _board(folder: Path) -> Any | None:
    """TensorBoard's writer, where the package is installed (the extra ``train`` brings it)."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def _rate(done: float, warmup: float) -> float:
    """Fraction of the peak rate: a short rise, then a polynomial fall to nothing."""
    if done < warmup:
        return max(done / warmup, 0.02)
    return float((1.0 - min(done, 1.0)) ** 0.9)


def _optimizer(network: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    if settings.rmsprop:
        return torch.optim.RMSprop(
            network.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
    return torch.optim.AdamW(
        network.parameters(),
        lr=settings.rate,
        betas=(settings.momentum, 0.999),
        weight_decay=settings.decay,
    )


@dataclass
class Trainer:
    """Trains ``network`` with ``loss(network, batch)`` on batches from ``make_batch(step)``.

    ``loss`` returns the loss to minimise and named parts of it for the log. ``layout`` is how the
    weights lie in memory; without ``mixed`` all is computed in float32, which on CPUs without AMX
    is quicker for convolutions in 2D. ``anneal`` is asked before each step, with the network and
    the step's number, for what to multiply the rate by.
    """

    network: nn.Module
    loss: Callable[[nn.Module, Batch], tuple[Tensor, dict[str, float]]]
    make_batch: Callable[[int], Batch]
    settings: LoopSettings
    folder: Path
    device: str | None = None
    layout: torch.memory_format = torch.channels_last_3d
    mixed: bool = True
    anneal: Callable[[nn.Module, int], float] | None = None

    def __post_init__(self) -> None:
        self.rank, self.size = world()
        self.torch_device = choose_device(self.device)
        if self.torch_device.type == "cuda" and self.size > 1:
            self.torch_device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        self.network.to(self.torch_device, memory_format=self.layout)  # type: ignore[call-overload]
        self._average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self._optimizer = _optimizer(self.network, self.settings)
        self.step, self.spent = 0, 0.0
        self._writer: Any | None = None

    def run(self, progress: Progress | None = None) -> dict[str, Tensor]:
        """Train for the given time and return the averaged weights."""
        progress = progress or Progress()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._share_weights()
        self._writer = _board(self.folder) if self.rank == 0 else None
        budget = self.settings.hours * 3600
        saved = began = time.monotonic()
        before = self.spent
        log: dict[str, float] = {}
        while True:
            self.spent = self._agree(before + time.monotonic() - began)
            done = self.spent / budget if budget else 1.0
            if done >= 1.0:
                break
            share = 1.0 if self.settings.steady else _rate(done, self.settings.warmup)
            share *= 1.0 if self.anneal is None else self.anneal(self.network, self.step)
            for group in self._optimizer.param_groups:
                group["lr"] = self.settings.rate * share
            parts = self._one_step()
            for name, value in parts.items():
                log[name] = value if name not in log else 0.98 * log[name] + 0.02 * value
            self.step += 1
            if self.rank == 0 and self.step % 20 == 0:
                self._write_log(log)
            text = f"step {self.step}, " + ", ".join(f"{k} {v:.3f}" for k, v in log.items())
            progress("training", min(done, 1.0), text)
            if self.rank == 0 and time.monotonic() - saved > self.settings.save_minutes * 60:
                self.save()
                saved = time.monotonic()
        if self.rank == 0:
            self.save()
        return self._average

    def _one_step(self) -> dict[str, float]:
        batch = {
            k: v.to(self.torch_device, non_blocking=True)
            for k, v in self.make_batch(self.step).items()
        }
        with autocast(self.torch_device) if self.mixed else nullcontext():
            loss, parts = self.loss(self.network, batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._share_gradients()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        keep = min(self.settings.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self._average[name].lerp_(value, 1.0 - keep)
                else:  # what batch norm counts
                    self._average[name].copy_(value)
        return parts

    def _share_gradients(self) -> None:
        """Average the gradients over all processes, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    def _share_weights(self) -> None:
        if self.size > 1:
            for value in self.network.state_dict().values():
                dist.broadcast(value, 0)

    def _agree(self, seconds: float) -> float:
        """All processes take the first one's clock, so that all stop at the same step."""
        if self.size == 1:
            return seconds
        clock = torch.tensor([seconds], dtype=torch.float64, device=self.torch_device)
        dist.broadcast(clock, 0)
        return float(clock.item())

    def _write_log(self, log: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", *log])
            writer.writerow([self.step, round(self.spent), *(round(v, 5) for v in log.values())])
        if self._writer is not None:
            for name, value in log.items():
                self._writer.add_scalar(name, value, self.step)
            self._writer.flush()

    def save(self) -> None:
        """Write a checkpoint: weights, their average and the optimiser's moments."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        for name, value in self.network.state_dict().items():
            tensors[f"network.{name}"] = value.contiguous()
            tensors[f"average.{name}"] = self._average[name].contiguous()
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"moment.{number}.{name}"] = value.contiguous()
        part = self.folder / "checkpoint.part"
        save_file(tensors, part)
        state_json: dict[str, Any] = {
            "step": self.step, "seconds": self.spent, "settings": asdict(self.settings),
        }  # fmt: skip
        (self.folder / "checkpoint.json").write_text(json.dumps(state_json), encoding="utf-8")
        part.replace(self.folder / "checkpoint.safetensors")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        from safetensors.torch import load_file

        tensors = load_file(path)
        network = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
        own = {k: tuple(v.shape) for k, v in self.network.state_dict().items()}
        if own != {k: tuple(v.shape) for k, v in network.items()}:
            raise InputError(
                f"The checkpoint in {self.folder} is of another network.", "Choose another folder."
            )
        self.network.load_state_dict(network)
        for k, v in tensors.items():
            if k.startswith("average."):
                self._average[k[8:]].copy_(v)
        moments: dict[int, dict[str, Tensor]] = {}
        for k, v in tensors.items():
            if k.startswith("moment."):
                _, number, name = k.split(".", 2)
                moments.setdefault(int(number), {})[name] = v
        state = self._optimizer.state_dict()
        state["state"] = moments
        self._optimizer.load_state_dict(state)
        meta = json.loads((self.folder / "checkpoint.json").read_text(encoding="utf-8"))
        self.step, self.spent = int(meta["step"]), float(meta["seconds"])
