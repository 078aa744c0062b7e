"""The process of `constitute estimate` that holds the engines: some chains run and timed, no row kept.

It finds what to do in `calibrate.json` of the folder it is given, and leaves `calibration.json` there.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import IO

from pydantic import Field

from generator.calibrate import Calibration, Plan, choose_followed, follow_chains
from loop.draft_stage import generation
from loop.engines import open_engines
from loop.inputs import Run
from records.atomic import write_json_atomic
from records.chat import check_template
from records.progress import progress
from records.strict import Strict

JOB, RESULT = "calibrate.json", "calibration.json"


class Job(Strict):
    """How much is run."""

    prompts: int = Field(32, ge=1)
    chains: int = Field(4, ge=1)
    seconds: float = Field(300.0, gt=0.0)


async def calibrate_stage(run: Run, index: int, stream: IO[str], began: float) -> None:
    """Run the chains of some prompts with the engines of a run, and time them under a full load.

    A critic behind an endpoint gets the followed chains alone: other people's machines are not kept busy for a figure.

    Args:
        run: whose config and prompts are used; its folder is one for this alone.
        index: the round whose policy drafts.
        stream: where progress is shown.
        began: `time.monotonic()` at the start of the process.

    Raises:
        StageError: the engines cannot be started, or an endpoint stayed away.
    """
    job = Job.model_validate(json.loads((run.folder.path / JOB).read_text(encoding="utf-8")))
    engines = open_engines(run, index, ("generate",), stream)
    try:
        await engines.start(stream)
        check_template(engines.policy.tokenizer)
        start_seconds = time.monotonic() - began
        method, in_flight = generation(run, index, engines)
        plan = _plan(run, index, job, method.chains_per_prompt)
        plan = replace(plan, in_flight=max(1, min(in_flight, plan.most)))
        with progress("calibrate", len(plan.followed) * plan.chains, stream) as display:
            costs, ends = await follow_chains(plan, method, display)
    finally:
        await engines.close()
    found = Calibration(
        start_seconds=start_seconds,
        in_flight=plan.in_flight,
        prompts=len(plan.followed),
        chains=costs,
        ends=ends,
        loaded=bool(plan.load),
    )
    write_json_atomic(run.folder.path / RESULT, found.model_dump(mode="json"))


def _plan(run: Run, index: int, job: Job, chains_per_prompt: int) -> Plan:
    prompts = run.prompts_of(index)
    followed = choose_followed(prompts, job.prompts, run.config.seed)
    chosen = {prompt.id for prompt in followed}
    others = [prompt for prompt in prompts if prompt.id not in chosen] or followed
    elsewhere = run.config.critic_model is not None and run.config.critic_model.endpoint is not None
    most = len(prompts) * chains_per_prompt
    return Plan(followed, () if elsewhere else others, job.chains, in_flight=1, most=most, seconds=job.seconds)
