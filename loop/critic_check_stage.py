"""The process of `constitute critic-check` that holds the critic: every labelled case asked about, no row kept.

It finds what to do in `critic-check.json` of the folder it is given, and leaves `critic-answers.json` there.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import IO, Any

from constitution.schema import Constitution
from evaluation.critic_cases import Cases, ComparisonCase, VerdictCase
from evaluation.critic_check import ComparisonAnswers, VerdictAnswers, ask_about
from generator.endpoint import EndpointEngine
from generator.engine import EngineFailedError, PromptTooLongError
from generator.judge import compare
from generator.method import JUDGEMENT
from generator.principles import few_shot_turns
from generator.schedule import run_bounded
from generator.seat import Seat
from loop.engines import start_critic
from loop.inputs import Run
from records.atomic import write_json_atomic
from records.chat import check_template
from records.progress import progress
from records.strict import Strict

JOB, RESULT = "critic-check.json", "critic-answers.json"
Answers = VerdictAnswers | ComparisonAnswers


class Job(Strict):
    """What is asked."""

    cases: Cases
    asks: int
    """Wordings of the verification that are asked too."""
    question: str
    """What "better" means in comparisons."""


class Result(Strict):
    """What was answered, in the order of the answers."""

    critic: str
    verdicts: tuple[VerdictAnswers, ...]
    comparisons: tuple[ComparisonAnswers, ...]


async def critic_check_stage(run: Run, stream: IO[str]) -> None:
    """Ask the critic of a run about labelled cases, many at once.

    Args:
        run: whose critic, constitution and worked examples; its folder is one for this alone.
        stream: where progress is shown.

    Raises:
        ConfigError, StageError: the critic cannot be started, or an endpoint stayed away.
    """
    job = Job.model_validate(json.loads((run.folder.path / JOB).read_text(encoding="utf-8")))
    engine = await start_critic(run.config, stream)
    answers: list[Answers] = []
    try:
        if isinstance(engine, EndpointEngine):
            most = engine.config.most_in_flight
        else:
            check_template(engine.tokenizer)
            most = engine.sequences
        critic = Seat(engine, run.config.generate.critic)
        cases: list[VerdictCase | ComparisonCase] = [*job.cases.verdicts, *job.cases.comparisons]
        few_shots = few_shot_turns(run.constitution, run.config.generate.few_shots)

        async def ask(case: VerdictCase | ComparisonCase) -> Answers:
            if isinstance(case, VerdictCase):
                return await ask_about(case, run.constitution, critic, few_shots, job.asks)
            return await _compared(case, run.constitution, critic, job.question)

        asking = run_bounded(cases, ask, in_flight=max(1, most * 5 // 4))
        with progress("critic-check", len(cases), stream) as display:
            async with aclosing(asking) as found:
                async for answer in found:
                    answers.append(answer)
                    display.advance(1)
    finally:
        await engine.close()
    told = Result(
        critic=f"{engine.model} at {engine.endpoint}" if isinstance(engine, EndpointEngine) else engine.model,
        verdicts=tuple(one for one in answers if isinstance(one, VerdictAnswers)),
        comparisons=tuple(one for one in answers if isinstance(one, ComparisonAnswers)),
    )
    write_json_atomic(run.folder.path / RESULT, told.model_dump(mode="json"))


async def _compared(case: ComparisonCase, constitution: Constitution, critic: Seat, question: str) -> ComparisonAnswers:
    texts: dict[str, str] = {"better": case.better, "worse": case.worse}
    try:
        found = await compare(critic, constitution, question, case.prompt, texts, stage=JUDGEMENT)
    except (PromptTooLongError, EngineFailedError):
        return ComparisonAnswers(case=case)
    preferred: Any = tuple(judgement.preferred for judgement, _ in found)
    return ComparisonAnswers(case=case, preferred=preferred)
