"""Where torch computes, and in which number format."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spineseg.errors import DependencyError, InputError

if TYPE_CHECKING:
    import torch

__all__ = ["autocast", "choose_device", "cpu_has_bf16", "describe"]

# bf16 is a gain only where the CPU multiplies it itself; elsewhere it is emulated and slower.
_CPU_BF16 = ("avx512_bf16", "amx_bf16")


def choose_device(name: str | None = None) -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name : str, optional
        "cpu", "cuda", "cuda:1", "mps"; None or "auto" takes CUDA where it is present, and the
        CPU otherwise (Apple's "mps" lacks some 3-D operations, so only on request).

    Raises
    ------
    DependencyError
        torch is not installed.
    InputError
        No such device is present.
    """
    _need_torch()
    import torch

    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"{name!r} is not a device.", "Use auto, cpu, cuda or cuda:NUMBER.", str(error)
        ) from error
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise InputError(
            f"There is no device {name!r} that PyTorch can use here.", "Use auto or cpu."
        )
    return device


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which torch computes in bf16 where `device` is quick at it.

    That is on CUDA cards that have it and on CPUs with avx512_bf16 or AMX; float32 otherwise.
    """
    _need_torch()
    import torch

    quick = (
        torch.cuda.is_bf16_supported()
        if device.type == "cuda"
        else (device.type == "cpu" and cpu_has_bf16())
    )
    if not quick:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@lru_cache(maxsize=1)
def cpu_has_bf16() -> bool:
    """Whether this machine's CPU multiplies bf16 numbers itself; False where it can't be told."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:  # not Linux
        return False
    return any(flag in flags.split() for flag in _CPU_BF16)


def describe() -> dict[str, Any]:
    """Return what a run manifest says of the machine; works without torch too."""
    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu_bf16": cpu_has_bf16(),
    }
    try:
        import torch
    except ImportError:
        return {**facts, "torch": None, "device": "cpu"}
    device = choose_device()
    facts.update(torch=torch.__version__, threads=torch.get_num_threads(), device=str(device))
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "PyTorch is not installed.",
            "Install it with: pip install torch (in Slicer: with the PyTorch extension).",
            str(error),
        ) from error
