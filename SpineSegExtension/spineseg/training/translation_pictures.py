"""What a translation looks like while it is trained: both cycles and the losses, as PNG."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from .loop import Batch, Trainer

_COLUMNS = ("MR", "synthetic CT", "recovered MR", "CT", "synthetic MR", "recovered CT")


class PictureTrainer(Trainer):
    """Tells the loss how far the training is, and draws both cycles at every checkpoint."""

    def _one_step(self) -> dict[str, float]:
        budget = self.settings.hours * 3600
        self.loss.done = self.spent / budget if budget else 1.0  # type: ignore[attr-defined]
        return super()._one_step()

    def save(self) -> None:
        """Write a checkpoint, ``pictures/step_N.png`` and ``losses.png``."""
        super().save()
        picture = draw_cycles(self.network, self.make_batch(0), self.torch_device)
        folder = self.folder / "pictures"
        folder.mkdir(exist_ok=True)
        _save(picture, folder / f"step_{self.step:06d}.png")
        if self._writer is not None:
            self._writer.add_image("cycles", picture, self.step, dataformats="HW")
        if (self.folder / "log.csv").exists():
            draw_losses(self.folder / "log.csv", self.folder / "losses.png")


def draw_cycles(network: Any, batch: Batch, device: Any) -> Any:
    """Mid-sagittal slices of both cycles side by side, uint8 (rows, columns).

    From left to right: MR, synthetic CT, recovered MR, CT, synthetic MR, recovered CT; the body
    axis points upwards.
    """
    import torch

    from ..networks.translation import as_mr, split_ct

    mr, ct = (batch[name][:1].to(device) for name in ("mr", "other"))
    network.eval()
    with torch.inference_mode():
        made_ct = split_ct(network.to_ct(mr))[0]
        made_mr = as_mr(network.to_mr(ct))
        volumes = (
            mr, made_ct, as_mr(network.to_mr(made_ct)),
            ct, made_mr, split_ct(network.to_ct(made_mr))[0],
        )  # fmt: skip
    network.train()
    middle = mr.shape[-1] // 2
    slices = [v[0, 0, :, :, middle].float().cpu().numpy()[::-1] for v in volumes]
    return np.clip((np.concatenate(slices, axis=1) + 1) * 127.5, 0, 255).astype(np.uint8)


def _save(picture: Any, path: Path) -> None:
    from skimage.io import imsave

    imsave(path, np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1), check_contrast=False)


def draw_losses(log: Path, path: Path) -> None:
    """Curves of every loss in a ``log.csv``."""
    from matplotlib.figure import Figure

    with log.open(encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    names = rows[0][2:]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for n, name in enumerate(names, start=2):
        points = [(float(r[0]), float(r[n])) for r in rows[1:] if float(r[n]) > 0]
        if points:
            axes.plot(*zip(*points, strict=True), label=name)
    axes.set(xlabel="step", ylabel="loss (running mean)", yscale="log")
    axes.legend(ncols=3, fontsize="small")
    figure.savefig(path, dpi=100)
