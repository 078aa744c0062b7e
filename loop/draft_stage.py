"""The stage process that holds the engine: one policy's hand-off proof, its evaluation, and its next drafts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, Any

from evaluation.measure import choose_prompts, evaluate_policy
from evaluation.rows import DraftRow, read_drafts
from evaluation.summary import summarise
from evaluation.sway import measure_sway
from generator.chain import Method
from generator.engine import Sampling
from generator.generate import generate_pairs
from generator.principles import few_shot_turns
from generator.seat import Seat
from generator.vllm_engine import VllmEngine
from loop.folder import WARM_UP, begin_stage, end_stage
from loop.hand_off import prove_hand_off
from loop.inputs import Run, evaluate_inputs, generate_inputs
from records.atomic import write_json_atomic
from records.chat import check_template
from records.errors import ConstituteError, StageError
from records.features import write_card
from records.progress import progress
from records.rows import Author, Provenance
from records.store import RowStore


async def draft_stage(run: Run, index: int, stages: tuple[str, ...], stream: IO[str], began: float) -> None:
    """Do what is not yet done of `stages` for the policy of a round, with one engine start.

    Args:
        run: the run.
        index: the round.
        stages: of "evaluate" and "generate".
        stream: where progress is shown.
        began: `time.monotonic()` at the start of the process; the first stage's seconds count from it.

    Raises:
        StageError: the hand-off failed, or rows could not be written.
        StaleStageError: a stage was made from other inputs.
    """
    inputs = {"evaluate": evaluate_inputs, "generate": generate_inputs}
    todo = [stage for stage in stages if begin_stage(run.folder, stage, index, inputs[stage](run, index))]
    if not todo:
        return
    policy = run.policy(index)
    engine = VllmEngine(
        run.config.model, run.config.engine, [policy] if policy else [], seed=run.config.seed * 100 + index + 1
    )
    stream.write(f"round {index}: starting vLLM for {run.config.model}\n")
    stream.flush()
    try:
        await _start(engine)
        check_template(engine.tokenizer)
        hand_off = await _hand_off(run, index, engine)
        for stage in todo:
            work = _evaluate if stage == "evaluate" else _generate
            outputs = await work(run, index, engine, stream, hand_off)
            seconds, began = time.monotonic() - began, time.monotonic()
            outputs["engine_restarts"] = engine.deaths
            end_stage(run.folder, stage, index, inputs[stage](run, index), outputs=outputs, seconds=seconds)
    finally:
        await engine.close()


def _seats(run: Run, index: int, engine: VllmEngine, sampling: Sampling) -> tuple[Seat, Seat]:
    """The policy's seat, which draws by `sampling`, and the frozen base's, as critic."""
    return Seat(engine, sampling, adapter=run.policy(index)), Seat(engine, run.config.generate.critic)


async def _start(engine: VllmEngine) -> None:
    try:
        await engine.start()
    except ConstituteError:
        raise
    except Exception as error:  # vLLM raises whatever its parts raise: a wrong setting, no memory, an unknown model
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise StageError(
            f"vLLM could not be started with {engine.model}: {words[0]}. Expected a model and engine settings that it "
            "takes; the stage's log under logs/ has its own words. Mend model: or engine:, then run the same command "
            "again."
        ) from error


async def _hand_off(run: Run, index: int, engine: VllmEngine) -> dict[str, Any]:
    """Proof that this engine speaks as the round before trained; once for each engine, before its first draft."""
    policy = run.policy(index)
    if policy is None:
        return {}
    return {"hand_off": await prove_hand_off(engine, policy, run.folder.round(index - 1) / "probe.json")}


async def _evaluate(
    run: Run, index: int, engine: VllmEngine, stream: IO[str], hand_off: dict[str, Any]
) -> dict[str, Any]:
    settings = run.config.evaluate
    policy, critic = _seats(run, index, engine, settings.sampling)
    folder = run.folder.round(index)
    prompts = choose_prompts(run.prompts.of("test"), settings)
    shots = few_shot_turns(run.constitution, run.config.generate.few_shots)
    store = RowStore(folder / "drafts")
    write_card(folder / "drafts", DraftRow)
    with progress(f"evaluate round {index}", len(prompts) * settings.drafts, stream) as display:
        display.advance(len(store.ids))
        try:
            await evaluate_policy(prompts, run.constitution, policy, critic, settings, store, display.advance, shots)
        finally:
            store.close()
    rows = read_drafts(folder / "drafts")
    figures = summarise(rows, run.constitution)
    if settings.sway_drafts:
        figures["sway"] = await measure_sway(rows, run.constitution, critic, settings.sway_drafts, shots)
    write_json_atomic(folder / "evaluation.json", figures | hand_off)
    return {"drafts": figures["drafts"]}


async def _generate(
    run: Run, index: int, engine: VllmEngine, stream: IO[str], hand_off: dict[str, Any]
) -> dict[str, Any]:
    settings = run.config.generate
    policy, critic = _seats(run, index, engine, settings.draft)
    writer = Seat(engine, settings.revision, adapter=policy.adapter if settings.reviser == "policy" else None)
    method = Method(
        constitution=run.constitution,
        policy=policy,
        critic=critic,
        reviser=writer,
        verifier=critic,
        provenance=_provenance(run, index, policy.author, critic.author, writer.author),
        draw=settings.principles.draw,
        verify_all=settings.verify.principles == "all",
        asks=settings.verify.asks,
        few_shots=few_shot_turns(run.constitution, settings.few_shots),
        seed=run.config.seed,
    )
    prompts = run.prompts_of(index)
    title = "generate warm-up" if index == WARM_UP else f"generate round {index}"
    with progress(title, len(prompts), stream) as display:
        in_flight = settings.in_flight or max(1, engine.sequences * 5 // 4)
        figures = await generate_pairs(prompts, method, run.folder.round(index), in_flight=in_flight, display=display)
    return figures | {"train_pairs": figures["pairs"] - figures["validation_pairs"]} | hand_off


def _provenance(run: Run, index: int, policy: Author, critic: Author, writer: Author) -> Provenance:
    settings = run.config.generate
    return Provenance(
        run=Path(run.folder.path).name,
        round=index,
        constitution=run.constitution.name,
        constitution_digest=run.constitution.digest,
        template_digest=run.constitution.template_digest,
        policy=policy,
        critic=critic,
        reviser=writer,
        verifier=critic,
        asks=settings.verify.asks,
    )
