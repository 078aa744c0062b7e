"""What the environment that runs this file holds; scripts/setup_env.py runs it with .venv's Python.

`missing FILE` prints the pins that are not installed; `verify cpu|gpu` exits with a message when the stack cannot work.
"""

import importlib
import importlib.metadata
import importlib.util
import re
import shutil
import sys
import sysconfig
from pathlib import Path

# Text models need none of these, and beside a CPU build of torch they are CUDA builds that break `import transformers`.
UNWANTED_ON_CPU = ("torchvision", "torchaudio", "torchcodec", "triton")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def own_places() -> list[str]:
    """The folders this environment installs into; sys.path holds more (setuptools adds its own copies of packages)."""
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


def installed(places: list[str]) -> dict[str, str]:
    """Name to version of the distributions in these folders that are there whole.

    INSTALLER is written after a distribution's last file, so one without it was interrupted; its record is removed,
    and the next install writes over its files.
    """
    found = {}
    for distribution in importlib.metadata.distributions(path=places):
        if distribution.read_text("INSTALLER") is None:
            folder = getattr(distribution, "_path", None)
            if isinstance(folder, Path) and folder.name.endswith(".dist-info"):
                shutil.rmtree(folder, ignore_errors=True)
            continue
        found[canonical(distribution.metadata["Name"])] = distribution.version
    return found


def missing(requirements: Path, places: list[str]) -> list[str]:
    """The pins (`name==version`) of a file that are absent from these folders or there in another version."""
    from pip._vendor.packaging.version import Version

    found = installed(places)
    pins = [line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    absent = []
    for pin in filter(None, pins):
        name, _, version = pin.partition("==")
        if canonical(name) not in found or Version(found[canonical(name)]) != Version(version):
            absent.append(pin)
    return absent


def verify(flavour: str) -> str:
    """Empty when the stack imports and is of this flavour, else what is wrong."""
    import torch

    for name in ("constitution", "generator", "trainer", "evaluation", "loop", "records"):
        if importlib.util.find_spec(name) is None:
            return f"the package {name} cannot be imported"
    if flavour == "gpu":
        return "" if torch.version.cuda else f"torch {torch.__version__} is a build without CUDA"
    if torch.version.cuda is not None:
        return f"torch {torch.__version__} is a CUDA build; expected a CPU build"
    unwanted = [name for name in UNWANTED_ON_CPU if importlib.util.find_spec(name) is not None]
    return f"{', '.join(unwanted)} must not be beside a CPU build of torch" if unwanted else ""


if __name__ == "__main__":
    verb, argument = sys.argv[1:]
    if verb == "missing":
        print("\n".join(missing(Path(argument), own_places())))
    else:
        sys.exit(verify(argument) or 0)
