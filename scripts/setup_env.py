"""Make .venv with the pinned stack, or go on where the last try stopped: `python3 scripts/setup_env.py [cpu|gpu|auto]`.

Needs a Python of 3.11 to 3.13 (gpu: 3.12), the standard library, and a package registry that pip reaches; no root. The
pins go in by batches without dependency resolution, so that an interrupted set-up keeps what it has. A stamp in .venv
holds the digest of all inputs; while it fits there is nothing to do. `auto` keeps the flavour that is there; cpu first.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from setup_errors import AGAIN, SetupError, failure, was_unreached

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup.stamp"
FLAVOUR = VENV / "setup.flavour"
LOG = VENV / "setup.log"
INSPECT = ROOT / "scripts" / "inspect_env.py"
# First and last Python for which every pin has a wheel.
SUPPORTED = {"cpu": ((3, 11), (3, 13)), "gpu": ((3, 11), (3, 12))}
BATCH = 30
NEEDED_BYTES = {"cpu": 5 * 10**9, "gpu": 20 * 10**9}


def say(text):
    print("setup: " + text, flush=True)


def clean_environment():
    """This environment without what would lead pip or Python to another place than .venv."""
    dropped = (
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_REQUIRE_HASHES",
    )
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {
        **kept,
        "PIP_USER": "0",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_PROGRESS_BAR": "off",
    }


def run(command):
    """Run a command with its output in the log; its exit status and output."""
    with open(LOG, "a+", encoding="utf-8", errors="replace") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n")
        log.flush()
        start = log.seek(0, os.SEEK_END)
        status = subprocess.run(
            list(map(str, command)),
            cwd=str(ROOT),
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ).returncode
        log.seek(start)
        return status, log.read()


def find_supported_python(flavour):
    """Go on under a Python of a supported version, replacing this process when it is not one."""
    low, high = SUPPORTED[flavour]
    if low <= sys.version_info[:2] <= high:
        return
    for minor in range(high[1], low[1] - 1, -1):
        name = shutil.which(f"python3.{minor}")
        # A version manager's launcher may be there and yet start nothing.
        if name and subprocess.run([name, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0:
            os.execv(name, [name, str(Path(__file__).resolve()), *sys.argv[1:]])
    raise SetupError(
        f"Python {platform.python_version()} ({sys.executable}) was found; expected 3.{low[1]} to 3.{high[1]}.\n"
        "Install one (on Debian or Ubuntu: apt install python3.12 python3.12-venv) and name it: make PYTHON=python3.12"
    )


def check_machine(flavour):
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise SetupError(
            f"This is {platform.system()} on {platform.machine()}; the pinned stack is for Linux on x86-64.\n"
            "Use a container or a machine of that kind."
        )
    free = shutil.disk_usage(str(ROOT)).free
    if not (VENV / "bin").exists() and free < NEEDED_BYTES[flavour]:
        raise SetupError(
            f"{ROOT} has {free / 1e9:.1f} GB free; the {flavour} stack needs {NEEDED_BYTES[flavour] / 1e9:.0f} GB. "
            f"Free some.\n{AGAIN}"
        )


def digest_of_inputs(flavour):
    """Digest of all that decides what .venv holds; the place too, since the editable install points to it."""
    digest = hashlib.sha256(f"{flavour}\n{ROOT}\n{os.path.realpath(str(PYTHON))}\n".encode())
    for path in (ROOT / "requirements" / f"{flavour}.txt", ROOT / "pyproject.toml", Path(__file__), INSPECT):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_usable(flavour):
    """Whether .venv is of this flavour and of a supported Python, and its pip is there whole."""
    if not PYTHON.exists() or (FLAVOUR.exists() and FLAVOUR.read_text().strip() != flavour):
        return False
    low, high = SUPPORTED[flavour]
    probe = (
        "import importlib.metadata, sys; whole = importlib.metadata.distribution('pip').read_text('INSTALLER');"
        f"sys.exit(not (whole and {low} <= sys.version_info[:2] <= {high}))"
    )
    probed = subprocess.run([str(PYTHON), "-c", probe], env=clean_environment(), stderr=subprocess.DEVNULL)
    return probed.returncode == 0


def make_venv(flavour):
    """A usable .venv; one that is unfinished or of another kind is made anew."""
    if is_usable(flavour):
        return
    if VENV.is_symlink() or VENV.is_file():
        raise SetupError(f"{VENV} is a link or a file; expected a folder of this project's own. Move it away.\n{AGAIN}")
    if VENV.exists():
        say("the .venv that is here is unfinished or of another kind; making it anew")
    # Not sys.executable: with .venv activated that is the very Python that --clear removes.
    command = [getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(
        command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if made.returncode != 0:
        said = made.stdout.decode(errors="replace").strip()[-600:].replace("\n", "\n  ")
        raise SetupError(
            f"{' '.join(command)} failed:\n  {said}\nOn Debian and Ubuntu the venv module is a package of its own: "
            f"apt install python3.{sys.version_info[1]}-venv\n{AGAIN}"
        )


def missing_pins(requirements):
    status, output = run([PYTHON, INSPECT, "missing", requirements])
    if status != 0:
        raise failure("Looking at what is installed", output, LOG)
    return [line for line in output.splitlines() if "==" in line and " " not in line]


def install_torch_for_cpu(pin):
    """Torch's CPU build: from where pip is told to look, else with uv, which knows where PyTorch keeps it."""
    pip = [PYTHON, "-m", "pip", "install", "--no-deps"]
    status, output = run([*pip, pin])
    if status == 0:
        return
    if "No matching distribution found" not in output or was_unreached(output):
        raise failure(f"Installing {pin}", output, LOG)
    say("the registry has no CPU build of torch; asking PyTorch's own index through uv")
    status, output = run([*pip, "uv"])
    if status != 0:
        raise failure("Installing uv", output, LOG)
    version = pin.partition("==")[2].partition("+")[0]
    uv = [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON, "--no-deps", "--torch-backend", "cpu"]
    status, output = run([*uv, f"torch=={version}"])
    if status != 0:
        way = "a folder that holds its wheel will do too: pip config set global.find-links FOLDER"
        raise failure(f"Installing torch {version} for the CPU from PyTorch's own index ({way})", output, LOG)


def install_pins(flavour):
    requirements = ROOT / "requirements" / f"{flavour}.txt"
    absent = missing_pins(requirements)
    total = len(absent)
    if total:
        say(f"{total} packages to install; the whole stack is a few GB and takes some minutes; log: {LOG}")
    torch = [pin for pin in absent if flavour == "cpu" and pin.startswith("torch==")]
    for pin in torch:
        install_torch_for_cpu(pin)
    absent = [pin for pin in absent if pin not in torch]
    for start in range(0, len(absent), BATCH):
        status, output = run([PYTHON, "-m", "pip", "install", "--no-deps", *absent[start : start + BATCH]])
        if status != 0:
            raise failure(f"Installing {absent[start]} and the {BATCH - 1} packages after it", output, LOG)
        say(f"{min(start + BATCH + len(torch), total)} of {total} packages")
    still = missing_pins(requirements)
    if still:
        raise SetupError(f"These packages are still missing: {' '.join(still)}. The log says more: {LOG}\n{AGAIN}")


def install_project(flavour):
    """The project itself, editable; then a look at whether all of it imports."""
    # setuptools is among the pins, so no build environment has to be fetched.
    status, output = run([PYTHON, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--editable", ROOT])
    if status != 0:
        raise failure("Installing the project itself", output, LOG)
    status, output = run([PYTHON, INSPECT, "verify", flavour])
    if status != 0:
        raise SetupError(
            f"The installed packages do not work together:\n  {output.strip()[-600:]}\n"
            f"Remove .venv (make distclean).\n{AGAIN}"
        )


def set_up(wanted):
    flavour = wanted
    if wanted == "auto":
        flavour = FLAVOUR.read_text().strip() if FLAVOUR.exists() else "cpu"
    if flavour not in SUPPORTED:
        raise SetupError(
            f"{flavour!r} is no stack of this project; expected cpu or gpu. Type make setup or make setup-gpu."
        )
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == digest_of_inputs(flavour):
        return
    find_supported_python(flavour)
    started = time.monotonic()
    check_machine(flavour)
    make_venv(flavour)
    STAMP.unlink(missing_ok=True)
    FLAVOUR.write_text(flavour + "\n")
    install_pins(flavour)
    install_project(flavour)
    STAMP.write_text(digest_of_inputs(flavour))
    say(f"the {flavour} stack is ready ({time.monotonic() - started:.0f} s)")


def main():
    # A terminated set-up takes its pip with it, so that the next one finds nobody else writing.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with open(__file__, "rb") as this_file:
            fcntl.flock(this_file, fcntl.LOCK_EX)  # one set-up at a time; it ends with the process
            set_up(sys.argv[1] if len(sys.argv) > 1 else "auto")
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"setup: {error}\nCheck the disk's space and who owns {VENV}. {AGAIN}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nsetup: stopped. The same make command goes on from here.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
