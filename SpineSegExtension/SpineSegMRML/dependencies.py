"""Which Python packages and weights the work needs, what is missing, and how to get it.

Slicer's own Python brings numpy, scipy, SimpleITK, vtk and pydicom. The rest is large and is
installed at first use, after one question that states its size: torch through the PyTorch
extension, which picks the build for the graphics card, and the small ones with pip.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spineseg.errors import DependencyError

from SpineSegMRML.i18n import tr as _

__all__ = [
    "EXPORT_PACKAGES",
    "PACKAGES",
    "Package",
    "graphicsCard",
    "install",
    "missing",
    "question",
    "versions",
    "weightsFacts",
    "weightsReport",
]

PYTORCH_EXTENSION = "PyTorch"


@dataclass(frozen=True)
class Package:
    """A package that segmenting needs.

    Attributes
    ----------
    module : str
        Name to import.
    requirement : str
        Name and versions for pip.
    megabytes : int
        About what its installation downloads, with all that it needs (measured on Linux).
    throughExtension : bool
        Installed through the PyTorch extension, not with pip.
    """

    module: str
    requirement: str
    megabytes: int
    throughExtension: bool = False


PACKAGES = (
    Package("torch", "torch>=2.8", 2500, throughExtension=True),
    Package("safetensors", "safetensors>=0.4.5", 1),
    Package("skimage", "scikit-image>=0.24", 30),
)
EXPORT_PACKAGES = {
    "GLB": (Package("trimesh", "trimesh>=4.4", 1),),
    "3MF": (Package("lib3mf", "lib3mf>=2.3", 2),),
}
"""What formats of models need besides Slicer's own packages."""


def missing(packages: Sequence[Package] = PACKAGES) -> list[Package]:
    """Return the packages that are not installed. None of them is imported to find out."""
    return [p for p in packages if importlib.util.find_spec(p.module) is None]


def versions(packages: Sequence[Package] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each package, by its name for pip; "" if it is missing."""
    result = {}
    for package in packages:
        name = _nameOf(package)
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            result[name] = ""
    return result


def _nameOf(package: Package) -> str:
    return package.requirement.partition(">")[0]


def question(packages: Sequence[Package]) -> str:
    """Return the one question to ask before `packages` are installed; it states their size."""
    names = ", ".join(_nameOf(package) for package in packages)
    size = sum(package.megabytes for package in packages)
    text = f"{size / 1000:.1f} GB" if size >= 1000 else f"{size} MB"
    return _(
        "{names} is needed and not installed. Install it now? Up to {size} will be downloaded "
        "once, into Slicer's own folder; this takes some minutes."
    ).format(names=names, size=text)


def install(
    packages: Sequence[Package],
    pip: Callable[[str], object],
    torchInstaller: Callable[[str], object] | None,
) -> None:
    """Install packages.

    Parameters
    ----------
    packages : sequence of Package
    pip : callable
        Installs a requirement, such as `slicer.util.pip_install`.
    torchInstaller : callable or None
        Installs torch in the versions that it is given (">=2.8"), as the PyTorch extension does;
        None if that extension is not there.

    Raises
    ------
    DependencyError
        The PyTorch extension is needed and missing, or an installation failed.
    """
    for package in packages:
        if package.throughExtension and torchInstaller is None:
            raise DependencyError(
                _("The {name} extension is not installed.").format(name=PYTORCH_EXTENSION),
                _("Install it with Slicer's Extensions Manager, restart Slicer and try again."),
            )
    for package in packages:
        try:
            if package.throughExtension and torchInstaller is not None:
                name = _nameOf(package)
                torchInstaller(package.requirement.removeprefix(name))
            else:
                pip(package.requirement)
        # Installers raise what they like; all of it means the same to the user.
        except Exception as error:
            raise DependencyError(
                _("{name} could not be installed.").format(name=package.requirement),
                _("Check the network connection and the free disk space, then try again."),
                str(error),
            ) from error
    importlib.invalidate_caches()
    left = missing(packages)
    if left:
        raise DependencyError(
            _("{name} was not installed.").format(name=left[0].requirement),
            _("Try again, or install it by hand in Slicer's Python console."),
        )


def weightsReport() -> list[tuple[str, bool, str]]:
    """Return name, whether it is sound, and a sentence for each model that a method needs."""
    from spineseg import registry, weights

    found = {name: (sound, text) for name, sound, text in weights.verify()}
    needed = [name for method in registry.METHODS for name in method.models]
    absent = (False, _("not found; install the extension again"))
    return [(name, *found.get(name, absent)) for name in dict.fromkeys([*needed, *found])]


def weightsFacts() -> list[str]:
    """Return a line for each model: version, checksum, and the terms of what it learned from."""
    from spineseg.weights import list_models

    lines = []
    for card in list_models():
        terms = dict.fromkeys(str(row.get("terms", "")) for row in card.training_data)
        text = _("{name} {version}, sha256 {sum}…, trained on data under: {terms}")
        lines.append(
            text.format(
                name=card.name,
                version=card.version,
                sum=card.sha256[:12],
                terms="; ".join(term for term in terms if term) or _("not stated"),
            )
        )
    return lines


def graphicsCard() -> str:
    """Return what is known of the graphics card without importing torch, which takes seconds."""
    torch = sys.modules.get("torch")
    if torch is not None:
        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name(0))
        return _("none that PyTorch can use; the processor computes")
    if shutil.which("nvidia-smi"):
        return _("an NVIDIA driver is there; looked at in the first run")
    return _("no NVIDIA driver; the processor computes")
