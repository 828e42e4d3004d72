"""Trained models: a ``.safetensors`` file and its card, a ``.json`` file of the same name.

Only safetensors is read: pickled weights can run code. Weights are stored as float16 and come
back as float32. The folder is the package's ``models``, or the one that ``SPINESEG_MODELS`` in
the environment or the argument `folder` names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spineseg.atomic import atomic_path
from spineseg.errors import DependencyError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MAX_BYTES",
    "ModelCard",
    "card_path",
    "list_models",
    "load_card",
    "load_state",
    "models_folder",
    "save_model",
    "sha256_of",
    "verify",
    "weights_path",
]

MAX_BYTES = 10_000_000
"""A model that ships is smaller than this."""

_FOLDER_VARIABLE = "SPINESEG_MODELS"
_REINSTALL = "Install SpineSeg again, or train the model with the command on its card."
_NOT_DEVICE = (
    "Not a medical device. For research and education only; not for diagnosis or treatment."
)
Folder = str | os.PathLike[str] | None


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was made from and how well it does.

    Attributes
    ----------
    name, method, version : str
        File name without ending; the row of `spineseg.registry`; of the model.
    description, created, commit, command : str
        One or two sentences; ISO 8601 date; git commit; the command that trains it again.
    training_data : list of dict
        Each with ``name``, ``terms`` (the data's own) and ``n`` (cases).
    inputs : dict
        ``spacing_mm`` (one number, or three for i j k), ``intensity`` with ``window`` (low,
        high), ``unit`` and ``mapping`` (in words), and ``patch`` (k, j, i voxels).
    outputs : dict
        ``classes``: channel names in order; more keys as the method needs them.
    architecture : dict
        ``name`` and ``params`` (what builds the network).
    results : list of dict
        Each with ``data``, ``metric``, ``value`` and ``n``; measured, not expected.
    limits : list of str
        What it is known not to do well.
    sha256, size_bytes
        Of the weights file; `save_model` fills them in.
    not_a_medical_device : str
        The sentence that says so.
    """

    name: str
    method: str
    version: str
    description: str
    created: str
    commit: str
    command: str
    training_data: list[dict[str, Any]]
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    architecture: dict[str, Any]
    results: list[dict[str, Any]]
    limits: list[str]
    sha256: str = ""
    size_bytes: int = 0
    not_a_medical_device: str = field(default=_NOT_DEVICE)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelCard:
        """Check and read a card's JSON object; WeightsError tells what is wrong with it."""
        name = values.get("name", "?")
        known = {f.name for f in fields(cls)}
        missing, extra = sorted(known - set(values)), sorted(set(values) - known)
        if missing or extra:
            raise WeightsError(
                f"The card of model {name!r} has the wrong fields.",
                _REINSTALL,
                f"missing: {missing}, unknown: {extra}",
            )
        card = cls(**values)
        problems = card.problems()
        if problems:
            raise WeightsError(
                f"The card of model {name!r} is not complete.", _REINSTALL, "; ".join(problems)
            )
        return card

    def problems(self) -> list[str]:
        """Say what the card lacks or has of the wrong kind; empty if nothing."""
        found = []
        for f in fields(self):
            value, kind = getattr(self, f.name), f.type.split("[")[0]
            if not isinstance(value, {"str": str, "int": int, "list": list, "dict": dict}[kind]):
                found.append(f"{f.name} is not of type {kind}")
        if found:
            return found
        wanted: list[tuple[str, Any, tuple[str, ...]]] = [
            ("inputs", self.inputs, ("spacing_mm", "intensity", "patch")),
            ("inputs.intensity", self.inputs.get("intensity"), ("window", "unit", "mapping")),
            ("outputs", self.outputs, ("classes",)),
            ("architecture", self.architecture, ("name", "params")),
            *((f"training_data[{n}]", d, ("name", "terms", "n"))
              for n, d in enumerate(self.training_data)),
            *((f"results[{n}]", d, ("data", "metric", "value", "n"))
              for n, d in enumerate(self.results)),
        ]  # fmt: skip
        for where, value, keys in wanted:
            if not isinstance(value, Mapping):
                found.append(f"{where} is not an object")
            else:
                found.extend(f"{where} lacks {key!r}" for key in keys if key not in value)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the card as its JSON object."""
        return asdict(self)


def models_folder(folder: Folder = None) -> Path:
    """Return `folder`, or what ``SPINESEG_MODELS`` names, or the package's own ``models``."""
    chosen = folder or os.environ.get(_FOLDER_VARIABLE)
    return Path(chosen) if chosen else Path(__file__).parent / "models"


def weights_path(name: str, folder: Folder = None) -> Path:
    """Return the path of the model's weights."""
    return models_folder(folder) / f"{name}.safetensors"


def card_path(name: str, folder: Folder = None) -> Path:
    """Return the path of the model's card."""
    return models_folder(folder) / f"{name}.json"


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_card(name: str, folder: Folder = None) -> ModelCard:
    """Read the card of one model; WeightsError if it is missing or wrong."""
    path = card_path(name, folder)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"There is no model {name!r}.", _REINSTALL, str(path)) from error
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The card of model {name!r} can't be read.", _REINSTALL, f"{path}: {error}"
        ) from error
    if not isinstance(values, dict):
        raise WeightsError(f"The card of model {name!r} is not a JSON object.", _REINSTALL)
    card = ModelCard.from_dict(values)
    if card.name != name:
        raise WeightsError(f"The card of model {name!r} is {card.name!r}'s.", _REINSTALL)
    return card


def list_models(folder: Folder = None) -> list[ModelCard]:
    """Return the cards of all models, by name; WeightsError if one is wrong."""
    names = sorted(path.stem for path in models_folder(folder).glob("*.json"))
    return [load_card(name, folder) for name in names]


def load_state(name: str, folder: Folder = None) -> dict[str, Tensor]:
    """Read a model's weights onto the CPU, as float32.

    Raises
    ------
    WeightsError
        Card or weights are missing or damaged, or do not belong together (SHA-256).
    DependencyError
        torch or safetensors is not installed.
    """
    safetensors = _safetensors()
    card = load_card(name, folder)
    path = weights_path(name, folder)
    _check_file(card, path)
    try:
        state = safetensors.load_file(str(path), device="cpu")
    except Exception as error:  # the library has no common base for its errors
        raise WeightsError(
            f"The weights of model {name!r} can't be read.", _REINSTALL, f"{path}: {error}"
        ) from error
    return {k: t.float() if t.is_floating_point() else t for k, t in state.items()}


def verify(folder: Folder = None) -> list[tuple[str, bool, str]]:
    """Check every model's card and weights.

    Returns
    -------
    list of (name, ok, text)
        By name; `text` is "ok", or what is wrong. Weights without a card are listed as wrong.
    """
    place = models_folder(folder)
    names = {path.stem for ending in ("json", "safetensors") for path in place.glob(f"*.{ending}")}
    results = []
    for name in sorted(names):
        try:
            _check_file(load_card(name, folder), weights_path(name, folder))
        except WeightsError as error:
            text = f"{error.cause} ({error.details})" if error.details else error.cause
            results.append((name, False, text))
        else:
            results.append((name, True, "ok"))
    return results


def save_model(
    name: str, state_dict: Mapping[str, Tensor], card: ModelCard, folder: Folder = None
) -> ModelCard:
    """Write weights (float16) and card, each whole or not at all.

    Parameters
    ----------
    name : str
        File name without ending; the card gets it too.
    state_dict : mapping of str to Tensor
        Floating-point tensors are stored as float16, others as they are.
    card : ModelCard
        Its ``sha256`` and ``size_bytes`` are filled in.
    folder : path, optional
        Where to write, if not to the models' usual place.

    Returns
    -------
    ModelCard
        The card as written.

    Raises
    ------
    WeightsError
        The card is not complete, or a weight is not finite or too large for float16.
    InputError
        The folder can't be written to.
    """
    safetensors = _safetensors()
    stored = {}
    for key, tensor in state_dict.items():
        value = tensor.detach().to("cpu")
        if value.is_floating_point():
            value = value.half()
            if not bool(value.isfinite().all()):
                raise WeightsError(
                    f"The weight {key!r} is not finite in float16.",
                    "Train again with a smaller learning rate.",
                )
        # safetensors refuses tensors that share memory (tied or sliced weights).
        stored[key] = value.contiguous().clone()
    card = replace(card, name=name)
    if card.problems():
        raise WeightsError("The model's card is not complete.", "", "; ".join(card.problems()))
    with atomic_path(weights_path(name, folder)) as part:
        safetensors.save_file(stored, str(part), metadata={"format": "pt"})
        card = replace(card, sha256=sha256_of(part), size_bytes=part.stat().st_size)
        # The card goes first: if writing the weights fails after it, the SHA-256 tells.
        with atomic_path(card_path(name, folder)) as card_part:
            text = json.dumps(card.to_dict(), indent=2, ensure_ascii=False)
            card_part.write_text(text + "\n", encoding="utf-8", newline="\n")
    return card


def _check_file(card: ModelCard, path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"The weights of model {card.name!r} are missing.", _REINSTALL,
                           str(path))  # fmt: skip
    size = path.stat().st_size
    if size != card.size_bytes or sha256_of(path) != card.sha256:
        raise WeightsError(
            f"The weights of model {card.name!r} are not those its card describes.",
            _REINSTALL,
            f"{path}: {size} bytes, {card.size_bytes} expected, or another SHA-256",
        )


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise DependencyError(
            "PyTorch or safetensors is not installed.",
            "Install them with: pip install torch safetensors.",
            str(error),
        ) from error
    return safetensors.torch
