"""What a run file may say of workers, and that nothing of Ray is there where it says nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loop.cluster import _make_folder
from loop.config import load_run_config
from loop.folder import RunFolder
from loop.inputs import open_run
from records.errors import ConfigError
from tests.loop.scripted_run import constitute, write_world
from tests.tracked import ROOT


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_world(tmp_path)
    monkeypatch.chdir(tmp_path)


def told(*overrides: str) -> str:
    """The message with which these settings are refused."""
    with pytest.raises(ConfigError) as caught:
        open_run(load_run_config(Path("run.yaml"), overrides), RunFolder(Path("outputs/run")))
    return str(caught.value)


def test_engines_that_do_not_fit_their_gpus_are_told_all_at_once_with_what_else_is_wrong() -> None:
    beside = ("critic_model.model=model", "critic_model.engine={tensor_parallel: 3}", "constitution=nowhere.yaml")
    found = told("scale={workers: 4, gpus_per_worker: 2}", "engine.tensor_parallel=2", *beside)
    assert "scale.gpus_per_worker: found 2, but the largest engine of a worker spans 3; expected 3" in found
    assert "critic_model.engine: spans 3 GPUs; expected a divisor of scale.gpus_per_worker (2)" in found
    assert "nowhere.yaml" in found


@pytest.mark.parametrize("parts", ["tensor_parallel", "data_parallel"])
def test_a_worker_on_the_cpu_has_engines_of_one_process(parts: str) -> None:
    found = told("scale={workers: 2, gpus_per_worker: 0}", f"engine.{parts}=2")
    assert "engine: computes in 2 parts with scale.gpus_per_worker 0; expected 1" in found


def test_copies_of_a_model_count_with_its_parts() -> None:
    engine = ("engine.tensor_parallel=2", "engine.data_parallel=2")
    assert "an engine of a worker spans 4; expected 4" in told(
        "scale={workers: 2, gpus_per_worker: 2}", *engine
    ).replace("the largest", "an")


@pytest.mark.parametrize("fits", ["{workers: 2, gpus_per_worker: 4}", "{workers: 1, gpus_per_worker: 7}"])
def test_what_fits_or_is_not_used_is_taken(fits: str) -> None:
    config = load_run_config(Path("run.yaml"), [f"scale={fits}", "engine.tensor_parallel=4"])
    assert open_run(config, RunFolder(Path("outputs/run"))).config.scale.gpus_per_worker in (4, 7)


def test_ray_that_is_not_installed_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loop.scale_config.importlib.util.find_spec", lambda name: None)
    assert "Ray is not installed; expected the extra `scale`" in told("scale={workers: 2, gpus_per_worker: 0}")


def test_a_place_for_rows_is_a_url() -> None:
    with pytest.raises(ConfigError, match=r"scale\.rows: found 'shared/rows'; expected a URL"):
        load_run_config(Path("run.yaml"), ["scale.rows=shared/rows"])


@pytest.mark.parametrize("scale", [[], ["scale={workers: 1, rows: 'file:///nowhere'}"]])
def test_one_worker_is_this_machine_without_ray(tmp_path: Path, scale: list[str]) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise AssertionError('ray was imported')")
    done = constitute("generate", "run.yaml", *scale, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "outputs" / "run" / "round_00" / "pairs").glob("part-*"))


def test_settings_of_a_spread_stage_are_read_without_ray() -> None:
    code = "import sys, loop.spread, loop.worker, loop.cluster; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_what_a_killed_stage_left_of_its_cluster_goes_with_the_next_start() -> None:
    dead, alive = Path("/tmp/constitute-ray-999999999-x"), Path(f"/tmp/constitute-ray-{os.getppid()}-x")
    try:
        for folder in (dead, alive):
            (folder / "session").mkdir(parents=True)
        made = Path(_make_folder())
        made.rmdir()
        assert not dead.exists() and alive.exists()
    finally:
        shutil.rmtree(alive, ignore_errors=True)
