"""Trains the translation between MR and CT: a 3D CycleGAN, and what digital pairs add to it.

``spineseg train cyclegan -o FOLDER --hours H --data DATA`` (or ``--mr FOLDER --ct FOLDER``) makes a
pool of volumes, trains, and leaves ``mr-to-ct`` and ``ct-to-mr`` with their cards in FOLDER/models.
``--preset paper`` is paper 000's own: whole volumes of 256×128×48, no pairs, no masks;
``--preset paper-patch`` has its losses on windows, so that they can be compared on two cores.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..progress import Progress
from .pool import Item, fill, is_drawn, item_paths, load_item
from .translation_copies import add_copies
from .translation_pool import Real, Source, add_sources, folder_sources, load_pool

#: CTs of the project's data folder whose voxels the CT domain is made of; verse014 is held out.
DATA_CT = ("lidc", "nsclc", "crlm", "tptbox", "totalsegmentator")
PRESETS = ("small", "paper", "paper-patch")
ADVERSARIAL = ("log", "squares")
#: Losses that take part only after the first stage; 0 in the log until then.
LATER = ("cycle", "gradient", "fooled", "judged")
#: Bone must be denser than this inside outlined bodies, soft tissue less than the other (HU).
DENSE_HU, SOFT_HU = 260.0, 80.0


@dataclass(frozen=True)
class TranslationSettings:
    """How to train.

    Parameters
    ----------
    preset : "small" (what ships), "paper" or "paper-patch"
    hours : of the whole training
    patients : digital patients in the pool; none in the paper's preset
    mr, ct : folders of volumes, instead of the data folder's
    hold_out : beginnings of the names of volumes to leave out, to test on
    patch : window in voxels (k, j, i)
    batch : windows of MR a step and process
    first : share of the time in which only pairs, maps and density are learned
    adversarial : "log", as in the paper, or "squares"
    cycle, gradient : λ and γ of the paper (eq. 1; γ = 0.1 λ)
    adversary, identity, pairs, maps, density : weights of the other losses; 0 leaves one out
    copies : augmented copies of each MR and CT (the paper's preset)
    """

    preset: str = "small"
    hours: float = 2.0
    patients: int = 600
    mr: Path | None = None
    ct: Path | None = None
    hold_out: tuple[str, ...] = ()
    patch: tuple[int, int, int] = (80, 64, 48)
    batch: int = 2
    rate: float = 1.5e-3
    first: float = 0.6
    adversarial: str = "squares"
    cycle: float = 10.0
    gradient: float = 1.0
    adversary: float = 1.0
    identity: float = 0.0
    pairs: float = 5.0
    maps: float = 2.0
    density: float = 1.0
    copies: tuple[int, int] = (0, 0)
    real_share: float = 0.5
    seed: int = 0
    device: str | None = None


def preset(name: str) -> TranslationSettings:
    """Settings of a preset.

    Raises
    ------
    InputError : there is none of this name.
    """
    if name == "small":
        return TranslationSettings()
    if name not in PRESETS:
        raise InputError(f"There is no preset “{name}”.", f"Choose one of: {', '.join(PRESETS)}.")
    unpaired = TranslationSettings(
        preset=name, rate=2e-4, first=0.0, adversarial="log", pairs=0.0, maps=0.0, density=0.0
    )
    if name == "paper-patch":
        return unpaired
    # 24 MR became 1,104 volumes and 2 CT became 200.
    return replace(unpaired, patients=0, patch=(256, 128, 48), batch=1, copies=(45, 99))


class Sampler:
    """Draws batches: windows of MR with what is known of them, and as many of CT, unpaired."""

    def __init__(self, pool: Path, settings: TranslationSettings, rank: int) -> None:
        self.settings, self.rank = settings, rank
        self.mr, self.ct = load_pool(pool, "mr"), load_pool(pool, "ct")
        # Label maps of real spines don't tell body from arch: no pair can be made of them.
        drawn = [path for path in item_paths(pool / "patients") if is_drawn(path)]
        self.items: list[Item] = [load_item(path) for path in drawn]
        if not (self.mr or self.items) or not (self.ct or self.items):
            raise InputError("There is nothing to learn from.", "Give --data, or --mr and --ct.")

    def _pick(self, of: list[Any], rng: np.random.Generator) -> Any:
        return of[int(rng.integers(len(of)))]

    def batch(self, step: int) -> dict[str, Any]:
        """Batch of a step, as tensors."""
        import torch

        from .translation_samples import (
            digital_ct,
            digital_pair,
            real_ct,
            real_mr,
            whole_ct,
            whole_mr,
        )

        s = self.settings
        rng = np.random.default_rng([s.seed, self.rank, step, 9])
        samples, others = [], []
        for _ in range(s.batch):
            real = self.mr and (not self.items or rng.random() < s.real_share)
            take = whole_mr if s.preset == "paper" else real_mr
            samples.append(
                take(self._pick(self.mr, rng), s.patch, rng)
                if real
                else digital_pair(self._pick(self.items, rng), s.patch, rng)
            )
            real = self.ct and (not self.items or rng.random() < s.real_share)
            cut = whole_ct if s.preset == "paper" else real_ct
            others.append(
                cut(self._pick(self.ct, rng), s.patch, rng)
                if real
                else digital_ct(self._pick(self.items, rng), s.patch, rng)
            )
        layout = torch.channels_last_3d

        def stacked(arrays: list[Any]) -> Any:
            return torch.from_numpy(np.stack(arrays)[:, None]).contiguous(memory_format=layout)

        return {
            "mr": stacked([s.mr for s in samples]),
            "ct": stacked([s.ct for s in samples]),
            "other": stacked(others),
            "paired": torch.tensor([s.paired for s in samples]),
            "target": torch.from_numpy(np.stack([s.target for s in samples])).long(),
            "offsets": torch.from_numpy(np.stack([s.offsets for s in samples])),
            "voting": torch.from_numpy(np.stack([s.voting for s in samples])),
            "density": torch.from_numpy(np.stack([s.density for s in samples])),
        }


class MadeBefore:
    """Volumes made in earlier steps: a judge sees them again (Shrivastava et al. 2017).

    It is not part of a checkpoint: after a resumption it fills again.
    """

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        self.size, self.kept, self._random = size, [], random.Random(seed)  # type: ignore[var-annotated]

    def swap(self, made: Any) -> Any:
        """A volume (N, 1, k, j, i) to judge: this one, or an earlier one in its place."""
        made = made.detach()
        if len(self.kept) < self.size:
            self.kept.append(made.half())
            return made
        if self._random.random() < 0.5:
            return made
        n = self._random.randrange(self.size)
        earlier, self.kept[n] = self.kept[n], made.half()
        return earlier.to(made.dtype)


class TranslationLoss:
    """All losses of a step; which of them take part, the settings and the time say."""

    def __init__(self, settings: TranslationSettings) -> None:
        self.settings = settings
        self.made_ct, self.made_mr = MadeBefore(), MadeBefore(seed=1)
        self.done = 0.0  # share of the time that is spent; the trainer sets it

    def __call__(self, network: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
        from ..networks.translation import split_ct

        full, half = network.to_ct.forward_deep(batch["mr"])
        made = split_ct(full)[0]
        total, parts = self._known(full, half, batch)
        if self.done >= self.settings.first:
            unpaired, more = self._unpaired(network, batch, made)
            return total + unpaired, parts | more
        later = (*LATER, "identity") if self.settings.identity else LATER
        return total, parts | dict.fromkeys(later, 0.0)

    def _known(self, full: Any, half: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
        """What digital pairs and outlined bodies say."""
        from ..intensity import ct_to_unit
        from ..networks.translation import split_ct
        from .translation_losses import (
            density_loss,
            maps_loss,
            paired_loss,
            sacrum_loss,
            votes_loss,
        )

        s, parts = self.settings, {}
        total = full.sum() * 0.0
        made, classes, votes = split_ct(full)
        dense, soft = (float(v) for v in ct_to_unit(np.array([DENSE_HU, SOFT_HU])))
        terms = []
        if s.pairs:
            pairs = paired_loss(made, batch["ct"], batch["paired"])
            terms.append(("pairs", s.pairs, pairs))
        if s.maps:
            maps = maps_loss(classes, batch["target"])
            coarse = maps_loss(split_ct(half)[1], batch["target"][:, ::2, ::2, ::2])
            votes = votes_loss(votes, batch["offsets"], batch["voting"])
            sacrum = sacrum_loss(classes, batch["target"], batch["paired"])
            terms += [("maps", s.maps, maps), ("half", 0.5 * s.maps, coarse)]
            terms += [("votes", s.maps, votes), ("sacrum", 0.25 * s.maps, sacrum)]
        if s.density:
            density = density_loss(made, batch["density"], dense, soft)
            terms.append(("density", s.density, density))
        for name, weight, value in terms:
            total = total + weight * value
            parts[name] = float(value.detach())
        return total, parts

    def _unpaired(
        self, network: Any, batch: dict[str, Any], made_ct: Any
    ) -> tuple[Any, dict[str, float]]:
        """Adversarial, cycle, gradient consistency and identity losses, and the judges' own."""
        from ..networks.translation import as_mr, split_ct
        from .translation_losses import fool, frozen, gradient_correlation, judge

        s, mr, ct = self.settings, batch["mr"], batch["other"]
        made_mr = as_mr(network.to_mr(ct))
        back_mr = as_mr(network.to_mr(made_ct))
        back_ct = split_ct(network.to_ct(made_mr))[0]
        cycle = (back_mr - mr).abs().mean() + (back_ct - ct).abs().mean()
        gradient = 0.5 * (
            (1 - gradient_correlation(ct, made_mr)).mean()
            + (1 - gradient_correlation(mr, made_ct)).mean()
        )
        fooled = fool(frozen(network.judge_ct, made_ct)[-1], s.adversarial)
        fooled = fooled + fool(frozen(network.judge_mr, made_mr)[-1], s.adversarial)
        judged = judge(
            network.judge_ct(ct)[-1], network.judge_ct(self.made_ct.swap(made_ct))[-1],
            s.adversarial,
        ) + judge(
            network.judge_mr(mr)[-1], network.judge_mr(self.made_mr.swap(made_mr))[-1],
            s.adversarial,
        )  # fmt: skip
        total = s.cycle * cycle + s.gradient * gradient + s.adversary * fooled + judged
        parts = {"cycle": cycle, "gradient": gradient, "fooled": fooled, "judged": judged}
        if s.identity:
            same_ct = split_ct(network.to_ct(ct))[0]
            same_mr = as_mr(network.to_mr(mr))
            same = (same_ct - ct).abs().mean() + (same_mr - mr).abs().mean()
            total, parts["identity"] = total + s.identity * same, same
        return total, {name: float(value.detach()) for name, value in parts.items()}


def data_sources(data: Path | None, settings: TranslationSettings) -> dict[str, list[Source]]:
    """Volumes of each domain: from ``--mr`` and ``--ct``, or from the data folder."""
    sources: dict[str, list[Source]] = {"mr": [], "ct": []}
    folders = {"mr": settings.mr, "ct": settings.ct}
    if data is not None:
        folders["mr"] = folders["mr"] or data / "mr_vertebral_bodies"
        folders["ct"] = folders["ct"] or data / "ct"
    for domain, folder in folders.items():
        if folder is not None:
            found = folder_sources(folder, settings.hold_out)
            own = data is not None and getattr(settings, domain) is None
            if own and domain == "mr":  # outlined down to the last body above the sacrum
                found = [replace(source, on_sacrum=True) for source in found]
            elif own:
                found = [source for source in found if source.name.startswith(DATA_CT)]
            sources[domain] = found
    return sources


def fill_pool(
    pool: Path, data: Path | None, settings: TranslationSettings, progress: Progress
) -> dict[str, list[Real]]:
    """Draw digital patients and read the real volumes; every process draws its share."""
    from .loop import barrier, world

    rank, size = world()
    for n in fill(pool / "patients", "scoliotic", settings.patients, rank, size):
        progress("drawing patients", min(1.0, n * size / max(settings.patients, 1)), f"{n * size}")
    if rank == 0:
        for domain, sources in data_sources(data, settings).items():
            copies = settings.copies[0 if domain == "mr" else 1]
            written = (
                add_copies(pool, domain, sources, settings.patch, copies, settings.seed)
                if settings.preset == "paper"
                else add_sources(pool, domain, sources)
            )
            for name in written:
                progress("real volumes", 0.5, name)
    barrier()
    return {domain: load_pool(pool, domain) for domain in ("mr", "ct")}


def train_translation(
    pool: Path, folder: Path, settings: TranslationSettings, start: Mapping[str, Any] | None,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Train on a pool and return the averaged weights of both generators and judges."""
    import torch

    from ..networks.translation import Translation
    from .loop import LoopSettings, world
    from .translation_pictures import PictureTrainer

    rank, _ = world()
    torch.manual_seed(settings.seed)
    network = Translation()
    if start is not None:
        own = network.to_ct.state_dict()
        fits = {k: v.float() for k, v in start.items() if k in own and own[k].shape == v.shape}
        network.to_ct.load_state_dict({**own, **fits})
    sampler = Sampler(pool, settings, rank)
    loop = LoopSettings(
        hours=settings.hours, batch=settings.batch, rate=settings.rate, seed=settings.seed,
        momentum=0.5 if settings.first == 0 else 0.9,
    )  # fmt: skip
    trainer = PictureTrainer(
        network, TranslationLoss(settings), sampler.batch, loop, folder, settings.device
    )
    return trainer.run(progress)


def fit(
    data: Path | str | None,
    options: TranslationSettings | Mapping[str, Any],
    progress: Progress | None = None,
) -> list[Path]:
    """Train both generators and leave their weights and cards in ``output/models``.

    Parameters
    ----------
    data : folder laid out as the project's data folder, or None
    options : mapping of the settings' fields with ``output`` and ``resume``

    Raises
    ------
    InputError : the output folder holds another training and ``resume`` is off; no data; no such
        adversarial loss.
    """
    from ..weights import load_state
    from .loop import world
    from .translation_export import export_translation

    progress = progress or Progress()
    given: dict[str, Any] = {"output": Path("training")}
    if isinstance(options, Mapping):
        given = dict(options)
    settings = (
        options
        if isinstance(options, TranslationSettings)
        else preset(given.get("preset", "small"))
    )
    known = {f.name for f in fields(TranslationSettings)}
    settings = replace(settings, **{k: v for k, v in given.items() if k in known and v is not None})
    if settings.adversarial not in ADVERSARIAL:
        raise InputError(
            f"There is no adversarial loss “{settings.adversarial}”.",
            f"Choose one of: {', '.join(ADVERSARIAL)}.",
        )
    output = Path(given["output"])
    folder, pool = output / "cyclegan", output / "pool"
    if not given.get("resume") and (folder / "checkpoint.safetensors").exists():
        raise InputError(
            f"{output} holds a training already.", "Add --resume, or choose another folder."
        )
    real = fill_pool(pool, Path(data) if data else None, settings, progress.part(0.0, 0.1))
    start = load_state("vertebra-fine") if settings.preset == "small" else None
    weights = train_translation(pool, folder, settings, start, progress.part(0.1, 1.0))
    if world()[0]:
        return []
    return export_translation(weights, settings, real, [], output / "models")
