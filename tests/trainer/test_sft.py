"""Supervised fine-tuning through the real TRL on a tiny random model."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from records.digest import adapter_digest
from records.errors import DataError, StageError
from records.rows import Message
from tests.trainer.tiny import build_model, build_tokenizer
from trainer.config import LoraSettings
from trainer.sft import NOT_IN_LOSS, encode_row, encode_rows, join_rows, train_sft
from trainer.sft_config import SftConfig, SftJob, SftRow

FULL = SftConfig(learning_rate=1e-2, rows_per_step=4, rows_per_micro_batch=4, lora=None, device="cpu", autocast="off")
LORA = FULL.model_copy(update={"lora": LoraSettings(r=8, alpha=16)})


def row(question: str, answer: str) -> SftRow:
    return SftRow(prompt=(Message(role="user", content=question),), answer=answer)


def rows(count: int) -> list[SftRow]:
    return [row(f"say {index}" + "!" * (index % 3), "ab" * (1 + index % 4)) for index in range(count)]


def in_loss(encoded: dict) -> list[int]:
    return [id for id, label in zip(encoded["input_ids"], encoded["labels"], strict=True) if label != NOT_IN_LOSS]


def test_the_loss_is_on_the_answer_and_its_eos_alone() -> None:
    tokenizer = build_tokenizer()
    system = Message(role="system", content="be brief")
    encoded = encode_row(tokenizer, SftRow(prompt=(system, *row("why", "x").prompt), answer="because"))
    assert tokenizer.decode(in_loss(encoded)) == "because</s>"
    assert all(label in (NOT_IN_LOSS, id) for id, label in zip(encoded["input_ids"], encoded["labels"], strict=True))
    assert encoded["input_ids"].count(tokenizer.bos_token_id) == 1


def test_the_loss_on_a_conversation_is_on_every_token_of_it() -> None:
    tokenizer = build_tokenizer()
    encoded = encode_row(tokenizer, row("why", "because"), "conversation")
    assert encoded["labels"] == encoded["input_ids"]
    assert tokenizer.decode(encoded["labels"]) == "<s><user>why</s><assistant>because</s>"


@pytest.mark.model
@pytest.mark.parametrize("pad_token", ["</s>", None, "<pad>"])
def test_the_final_eos_is_in_the_loss_of_a_padded_batch(pad_token, tmp_path) -> None:
    """A collator that masks by the padding id would drop the EOS where the two are one token."""
    import io

    from records.progress import Progress
    from trainer.model import load_model, load_tokenizer
    from trainer.row_trainer import build_trainer

    folder = build_model(tmp_path / "model", pad_token=pad_token)
    tokenizer = load_tokenizer(str(folder))
    encoded, _ = encode_rows(tokenizer, [row("say", "a"), row("say", "abcdef")], 256)
    model = load_model(str(folder), device="cpu", dtype="float32").requires_grad_(True)
    job = SftJob(model=str(folder), output=tmp_path / "out", config=FULL)
    trainer = build_trainer(model, tokenizer, encoded, job, tmp_path / "scratch", Progress("", 1, io.StringIO()))
    batch = next(iter(trainer.get_train_dataloader()))
    kept = [labels[labels != NOT_IN_LOSS].tolist() for labels in batch["labels"]]
    eos = tokenizer.eos_token_id
    assert sorted(kept, key=len) == [[*tokenizer.encode("a"), eos], [*tokenizer.encode("abcdef"), eos]]


@pytest.mark.model
def test_all_weights_learn_the_answer_and_are_saved_as_a_model(tiny, tmp_path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = SftJob(
        model=str(tiny), output=tmp_path / "model", config=FULL, log=tmp_path / "training.jsonl", tensorboard=tmp_path
    )
    figures = train_sft(job, [row("say", "yes")] * 120)
    assert figures["rows"] == 120 and figures["steps"] == 30 and figures["too_long"] == 0
    lines = [json.loads(line) for line in job.log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert lines[0]["loss"] > 3 and figures["loss"] < 0.2
    assert list(tmp_path.glob("**/events.out.tfevents*"))
    tokenizer = AutoTokenizer.from_pretrained(job.output)
    model = AutoModelForCausalLM.from_pretrained(job.output)
    assert model.dtype == torch.bfloat16
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "say"}], add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    reply = model.generate(prompt, max_new_tokens=8, do_sample=False)[0, prompt.shape[1] :]
    assert tokenizer.decode(reply) == "yes</s>"


@pytest.mark.model
def test_an_adapter_is_written_that_peft_loads_and_that_changes_the_policy(tiny, tmp_path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    job = SftJob(model=str(tiny), output=tmp_path / "adapter", config=LORA)
    figures = train_sft(job, [row("say", "yes")] * 40)
    assert math.isfinite(figures["loss"])
    assert {"adapter_model.safetensors", "adapter_config.json"} <= {path.name for path in job.output.iterdir()}
    assert adapter_digest(job.output)
    base = AutoModelForCausalLM.from_pretrained(tiny)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, job.output)(ids).logits
    assert not torch.allclose(before, after)


@pytest.mark.model
def test_the_probe_holds_what_adapter_and_base_give_to_the_answers(tiny, tmp_path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    job = SftJob(model=str(tiny), output=tmp_path / "adapter", config=LORA, probe=tmp_path / "probe.json")
    train_sft(job, [row("say", "yes")] * 8 + [row("what", "no way")] * 8)
    probe = json.loads(job.probe.read_text())
    assert probe["new_digest"] == adapter_digest(job.output) and probe["previous_digest"] == ""
    base = AutoModelForCausalLM.from_pretrained(tiny)
    tokenizer = build_tokenizer()

    def logps(model, sequence):
        ids = torch.tensor([sequence["token_ids"]])
        with torch.no_grad():
            everything = model(ids).logits[0].log_softmax(-1)
        return [everything[place - 1, ids[0, place]].item() for place in range(sequence["first"], ids.shape[1])]

    before = [logps(base, sequence) for sequence in probe["sequences"]]
    after = [logps(PeftModel.from_pretrained(base, job.output), sequence) for sequence in probe["sequences"]]
    answers = {tokenizer.decode(sequence["token_ids"][sequence["first"] :]) for sequence in probe["sequences"]}
    assert answers == {"yes</s>", "no way</s>"}
    for sequence, old, new in zip(probe["sequences"], before, after, strict=True):
        assert sequence["previous"] == pytest.approx(old, abs=1e-4)
        assert sequence["new"] == pytest.approx(new, abs=1e-4)
        assert sequence["new"] != pytest.approx(sequence["previous"], abs=1e-2)


@pytest.mark.model
def test_a_micro_batch_changes_memory_and_not_the_result(tiny, tmp_path) -> None:
    losses = []
    for size in (4, 1):
        config = FULL.model_copy(update={"rows_per_micro_batch": size})
        job = SftJob(model=str(tiny), output=tmp_path / f"size-{size}", config=config, log=tmp_path / f"{size}.jsonl")
        train_sft(job, rows(4))
        losses.append(json.loads(job.log.read_text().splitlines()[0])["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_rows_too_long_are_counted_and_never_cut(tiny, tmp_path) -> None:
    tokenizer = build_tokenizer()
    long, short = row("say", "z" * 300).model_copy(update={"id": "long"}), row("say", "z")
    encoded, too_long = encode_rows(tokenizer, [long, short], 64)
    assert (len(encoded), too_long) == (1, ["long"]) and tokenizer.decode(in_loss(encoded[0])) == "z</s>"
    job = SftJob(model=str(tiny), output=tmp_path / "none", config=LORA)
    with pytest.raises(DataError, match="1 rows are longer than 256 tokens"):
        train_sft(job, [long])
    assert not job.output.exists()
    figures = train_sft(job.model_copy(update={"left_out": tmp_path / "left.json"}), [long, *[short] * 4])
    assert figures["too_long"] == 1 and json.loads((tmp_path / "left.json").read_text()) == {"too_long": ["long"]}


def test_what_is_there_is_not_overwritten(tiny, tmp_path) -> None:
    with pytest.raises(StageError, match="exists already"):
        train_sft(SftJob(model=str(tiny), output=tmp_path), [row("say", "yes")])


def test_micro_batches_must_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="multiple"):
        SftConfig(rows_per_step=10, rows_per_micro_batch=4)


def test_joined_rows_keep_every_token_once_but_the_unfilled_end() -> None:
    encoded, _ = encode_rows(build_tokenizer(), rows(40), 1024, "conversation")
    blocks = join_rows(encoded, 32, seed=3)
    assert {len(block[name]) for block in blocks for name in ("input_ids", "labels")} == {32}
    before = Counter(token for entry in encoded for token in entry["input_ids"])
    after = Counter(token for block in blocks for token in block["input_ids"])
    assert not after - before
    assert 0 <= sum((before - after).values()) < 32
    assert blocks == join_rows(encoded, 32, seed=3) != join_rows(encoded, 32, seed=4)


def test_joined_labels_stay_beside_their_tokens() -> None:
    encoded, _ = encode_rows(build_tokenizer(), rows(40), 1024)
    for block in join_rows(encoded, 32, seed=0):
        assert all(label in (NOT_IN_LOSS, id) for id, label in zip(block["input_ids"], block["labels"], strict=True))
