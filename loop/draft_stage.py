"""The stage process that holds the engines: one policy's hand-off proof, its evaluation, and its next drafts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from evaluation.measure import choose_prompts, evaluate_policy
from evaluation.rows import DraftRow, read_drafts
from evaluation.summary import summarise
from evaluation.sway import measure_sway
from generator.engine import Sampling
from generator.generate import Elsewhere, generate_pairs
from generator.method import Method
from generator.principles import few_shot_turns
from generator.seat import Seat
from loop.engines import Engines, open_engines
from loop.folder import WARM_UP, begin_stage, end_stage, stage_key
from loop.hand_off import prove_hand_off
from loop.inputs import Run, evaluate_inputs, generate_inputs
from loop.published import published_at
from records.atomic import write_json_atomic
from records.chat import check_template, encodable
from records.features import write_card
from records.progress import Progress, progress
from records.publish import publish_round, try_place
from records.rows import Author, Message, Prompt, Provenance
from records.shard import DamagedShardError, count_damaged, set_aside
from records.store import RowStore


async def draft_stage(run: Run, index: int, stages: tuple[str, ...], stream: IO[str], began: float) -> None:
    """Do what is not yet done of `stages` for the policy of a round, with one start of the engines.

    Args:
        run: the run.
        index: the round.
        stages: of "evaluate" and "generate".
        stream: where progress is shown.
        began: `time.monotonic()` at the start of the process; the first stage's seconds count from it.

    Raises:
        StageError: the hand-off failed, rows could not be written, or an endpoint stayed away.
        StaleStageError: a stage was made from other inputs.
    """
    inputs = {"evaluate": evaluate_inputs, "generate": generate_inputs}
    todo = [stage for stage in stages if begin_stage(run.folder, stage, index, inputs[stage](run, index))]
    if not todo:
        return
    if "generate" in todo and (address := published_at(run, index)):
        try_place(address)
    spread = run.config.scale.spread
    if spread:
        from loop.cluster import set_environment

        set_environment(run.config.scale)
    engines = open_engines(run, index, [stage for stage in todo if not (spread and stage == "generate")], stream)
    stream.write(f"round {index}: {' and '.join(todo)}\n")
    hand_off: dict[str, Any] | None = None
    try:
        for stage in todo:
            if stage == "generate" and spread:
                await engines.close()  # the workers' engines get this machine's GPUs
                outputs = await _generate_on_workers(run, index, engines, stream)
            else:
                if hand_off is None:
                    await engines.start(stream)
                    check_template(engines.policy.tokenizer)
                    hand_off = await prove_policy(run, index, engines)
                work = _evaluate if stage == "evaluate" else _generate
                outputs = await work(run, index, engines, stream, hand_off) | engines.figures
            seconds, began = time.monotonic() - began, time.monotonic()
            end_stage(run.folder, stage, index, inputs[stage](run, index), outputs=outputs, seconds=seconds)
    finally:
        await engines.close()


def _seats(run: Run, index: int, engines: Engines, sampling: Sampling) -> tuple[Seat, Seat]:
    """The policy's seat, which draws by `sampling`, and the critic's: the frozen base, or the model of its own."""
    return Seat(engines.policy, sampling, adapter=run.policy(index)), Seat(engines.critic, run.config.generate.critic)


async def prove_policy(run: Run, index: int, engines: Engines) -> dict[str, Any]:
    """Proof that this engine speaks as the round before trained; once for each engine, before its first draft."""
    policy = run.policy(index)
    if policy is None:
        return {}
    return {"hand_off": await prove_hand_off(engines.policy, policy, run.folder.round(index - 1) / "probe.json")}


async def prove_drafters(run: Run, index: int, engines: Engines) -> dict[str, Any]:
    """The same for all that draft on this engine."""
    return await prove_policy(run, index, engines) | await _hand_off_of_round_0(run, index, engines)


async def _hand_off_of_round_0(run: Run, index: int, engines: Engines) -> dict[str, Any]:
    """The same proof for the policy of round 0, where it drafts in a later round."""
    _, initial = run.drafters(index).get("round_0", (0.0, None))
    if initial is None or index <= 0:
        return {}
    proof = await prove_hand_off(engines.policy, initial, run.folder.round(WARM_UP) / "probe.json")
    return {"hand_off_round_0": proof}


async def _evaluate(
    run: Run, index: int, engines: Engines, stream: IO[str], hand_off: dict[str, Any]
) -> dict[str, Any]:
    settings = run.config.evaluate
    policy, critic = _seats(run, index, engines, settings.sampling)
    folder = run.folder.round(index)
    prompts = choose_prompts(run.prompts.of("test"), settings)
    shots = few_shot_turns(run.constitution, run.config.generate.few_shots)
    with progress(f"evaluate round {index}", len(prompts) * settings.drafts, stream) as display:
        while True:
            try:
                await _draft(folder / "drafts", prompts, run, (policy, critic), shots, display)
                rows = read_drafts(folder / "drafts")
                break
            except DamagedShardError as error:
                display.note(set_aside(error))
    figures = summarise(rows, run.constitution)
    if settings.sway_drafts:
        figures["sway"] = await measure_sway(rows, run.constitution, critic, settings.sway_drafts, shots)
    if damaged := count_damaged(folder / "drafts"):
        figures["damaged_shards"] = damaged
    write_json_atomic(folder / "evaluation.json", figures | hand_off)
    return {"drafts": figures["drafts"]}


async def _draft(
    folder: Path,
    prompts: Sequence[Prompt],
    run: Run,
    seats: tuple[Seat, Seat],
    shots: tuple[Message, ...],
    display: Progress,
) -> None:
    """The drafts of an evaluation that have no row yet."""
    store = RowStore(folder)
    write_card(folder, DraftRow)
    display.advance(len(store.ids) - display.done)
    try:
        settings = run.config.evaluate
        await evaluate_policy(prompts, run.constitution, *seats, settings, store, display.advance, shots)
    finally:
        store.close()


async def _generate(
    run: Run, index: int, engines: Engines, stream: IO[str], hand_off: dict[str, Any]
) -> dict[str, Any]:
    hand_off = hand_off | await _hand_off_of_round_0(run, index, engines)
    return await _generate_rows(run, index, engines, stream, None) | hand_off


async def _generate_rows(
    run: Run, index: int, engines: Engines, stream: IO[str], elsewhere: Elsewhere | None
) -> dict[str, Any]:
    method, in_flight = generation(run, index, engines)
    prompts = run.prompts_of(index)
    title = "generate warm-up" if index == WARM_UP else f"generate round {index}"
    with progress(title, len(prompts) * method.chains_per_prompt, stream) as display:
        figures = await generate_pairs(
            prompts,
            method,
            run.folder.round(index),
            in_flight=in_flight,
            display=display,
            filters=run.config.generate.filters,
            elsewhere=elsewhere,
            left_at=rows_address(run, index),
        )
        if address := published_at(run, index):
            copied = publish_round(run.folder.round(index), address)
            display.note(f"{copied} files copied to {address}, each held against its digest")
    return figures | {"train_pairs": figures["pairs"] - figures["validation_pairs"]}


async def _generate_on_workers(run: Run, index: int, engines: Engines, stream: IO[str]) -> dict[str, Any]:
    """The same on workers, each of which proves all that draft; the engines given here only say who the authors are."""
    from loop.cluster import Cluster
    from loop.spread import Spread
    from loop.worker import job_of

    scale = run.config.scale
    stream.write(f"starting {scale.workers} workers {f'at {scale.address}' if scale.address else 'on this machine'}\n")
    cluster = Cluster(scale, run.folder.path / "logs")
    try:
        left_at = rows_address(run, index)
        spread = Spread(scale, partial(job_of, run, index), cluster.hire, run.folder.round(index), left_at)
        return await _generate_rows(run, index, engines, stream, spread) | spread.figures
    finally:
        cluster.close()


def generation(run: Run, index: int, engines: Engines) -> tuple[Method, int]:
    """What the settings come to for a round's chains, and how many of them are at work at once.

    The warm-up is the supervised stage of the method, which trains on revisions: whatever the rounds' strategy is, it
    revises, and where that chooses among drafts it revises one draft a prompt.
    """
    settings = run.config.generate
    policy, critic = _seats(run, index, engines, settings.draft)
    writer = replace(policy if settings.reviser == "policy" else critic, sampling=settings.revision)
    strategy = "revision" if index == WARM_UP else settings.strategy
    provenance = _provenance(run, index, policy.author, critic.author, writer.author)
    if settings.judge or strategy in ("ai_feedback", "rating"):
        provenance = provenance.model_copy(update={"judge": critic.author})
    method = Method(
        constitution=run.constitution,
        policy=policy,
        critic=critic,
        reviser=writer,
        verifier=critic,
        provenance=provenance,
        drafters=tuple((share, replace(policy, adapter=who)) for share, who in run.drafters(index).values()),
        draw=settings.principles.draw,
        passes=settings.passes,
        verify_all=settings.verify.principles == "all",
        asks=settings.verify.asks,
        draft_asks=settings.verify.draft_asks,
        drafts=settings.drafts_per_prompt if strategy == settings.strategy else 1,
        strategy=strategy,
        margin=settings.rating.margin,
        gate=settings.judge,
        few_shots=few_shot_turns(run.constitution, settings.few_shots),
        seed=run.config.seed,
    )
    return method, settings.in_flight or engines.chains_in_flight


def rows_address(run: Run, index: int) -> str | None:
    """Where workers put the rows of a round's stage, if not into the run folder; no other stage uses the place."""
    if run.config.scale.rows is None:
        return None
    folder, key = run.folder, stage_key(run.folder, "generate", index)
    return f"{run.config.scale.rows.rstrip('/')}/{encodable(folder.path.name)}/{folder.round(index).name}-{key}"


def _provenance(run: Run, index: int, policy: Author, critic: Author, writer: Author) -> Provenance:
    return Provenance(
        run=encodable(Path(run.folder.path).name),
        round=index,
        constitution=run.constitution.name,
        constitution_digest=run.constitution.digest,
        template_digest=run.constitution.template_digest,
        policy=policy,
        critic=critic,
        reviser=writer,
        verifier=critic,
        asks=1 if index != WARM_UP and run.config.generate.verifies_nothing else run.config.generate.verify.asks,
    )
