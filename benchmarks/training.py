"""This trainer against stock `trl.DPOTrainer`: `python benchmarks/training.py [--shapes ...] [--repeats N]`.

The same random Llama, pairs (as token ids, so TRL need not tokenise), LoRA, pairs a step and pairs a micro-batch, two
epochs. Each variant runs in a process of its own, the variants by turns, and is measured from the loaded model to the
end of training, so making the trainer, our self-check and the reference's pass are all in it:

- `ours`: the defaults of this project; `ours_checkpointing`: with gradient checkpointing
- `default`: TRL as it comes (the reference anew at every step, checkpointing); on a CPU in float32, since bfloat16
  takes ten times longer where the hardware has no units for it
- `tuned`: TRL at its best: reference precomputed, no checkpointing, pairs of like length together

A line for each variant, then one JSON object. Speed-ups are ratios of medians of time on the clock, with `_processor`
of processor time, which other work on the machine adds less to (with `--threads 1` next to nothing). `memory_ratio` is
that of peaks above the loaded model, ours to `tuned`, and `memory_ratio_checkpointing` ours to `default`, both with
checkpointing. `--device cuda` adds the share of the device's peak that useful arithmetic takes (docs/performance.md
says what counts).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

VARIANTS = ("ours", "default", "tuned", "ours_checkpointing")
EPOCHS = 2
# Of outputs of Constitutional AI: tokens of prompt, revision and first answer, counted at 4.3 bytes each.
RAGGED = [tuple(lengths) for lengths in json.loads((ROOT / "benchmarks" / "cai_lengths.json").read_text())]
SHAPES = {
    "128-32-32": [(128, 32, 32)],
    "256-128-128": [(256, 128, 128)],
    "64-256-256": [(64, 256, 256)],
    "500-250-250": [(500, 250, 250)],
    "ragged": RAGGED,
}
# Hidden size, size between, layers, heads, heads of keys, vocabulary.
MODELS = {
    "tiny": (64, 128, 2, 2, 1, 512),
    "13m": (384, 1024, 6, 6, 3, 8192),
    "1b": (2048, 8192, 16, 32, 8, 128256),
    "8b": (4096, 14336, 32, 32, 8, 128256),
}
BARS = {
    "128-32-32": {"speedup_default": 2.0, "speedup_tuned": 1.25},
    "ragged": {"speedup_default": 1.5, "speedup_tuned": 1.15},
    "any": {"speedup_tuned": 0.97, "memory_ratio": 1.05, "memory_ratio_checkpointing": 1.05},
}


def lengths_of(shape: str, pairs: int) -> list[tuple[int, ...]]:
    """So many pairs' tokens of prompt, chosen and rejected answer, the same every time."""
    return Random(0).choices(SHAPES[shape], k=pairs)


def make_pairs(lengths: list[tuple[int, ...]], vocabulary: int) -> list[Any]:
    """Random token ids."""
    from trainer.data import EncodedPair

    drawn = Random(1)
    return [
        EncodedPair(str(number), *([drawn.randrange(3, vocabulary) for _ in range(count)] for count in of))
        for number, of in enumerate(lengths)
    ]


def make_model(name: str, device: str) -> Any:
    """A random Llama, frozen, on the device; float32 on a CPU and bfloat16 on a GPU."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, between, layers, heads, key_heads, vocabulary = MODELS[name]
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=between, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_heads, max_position_embeddings=4096,
        tie_word_embeddings=name != "8b", bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return model.eval().requires_grad_(False)


def make_tokenizer(vocabulary: int) -> Any:
    """One that TRL takes; nothing is tokenised."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0, "</s>": 1, "<pad>": 2} | {f"w{number}": number for number in range(3, vocabulary)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def useful_flops(name: str, lengths: list[tuple[int, ...]]) -> float:
    """Arithmetic that the training cannot do without: every token of a pair once, forward three times, backward twice.

    The reference goes forward once and each epoch forward and backward. Backward is counted as forward: gradients
    reach activations, not the frozen weights; those of the adapter are small and left out.
    """
    hidden, between, layers, heads, key_heads, vocabulary = MODELS[name]
    weights = layers * (2 * hidden * hidden * (1 + key_heads / heads) + 3 * hidden * between)
    forward = 0.0
    for prompt, chosen, rejected in lengths:
        tokens = prompt + chosen + rejected - 2
        seen = prompt * (prompt + 1) / 2 + sum(
            (side - 1) * prompt + (side - 1) * side / 2 for side in (chosen, rejected)
        )
        forward += 2 * weights * tokens + 4 * layers * hidden * seen + 2 * vocabulary * hidden * (chosen + rejected)
    return forward * (1 + 2 * EPOCHS)


def settings_of(variant: str, arguments: argparse.Namespace, folder: Path) -> Any:
    """Ours as the project sets them, TRL's as they come or tuned; the same wherever the work is the same."""
    from trl import DPOConfig

    from trainer.config import TrainConfig
    from trainer.pair_trainer import training_arguments

    on_cpu = arguments.device == "cpu"
    if variant.startswith("ours"):
        config = TrainConfig(
            pairs_per_step=arguments.step, pairs_per_micro_batch=arguments.micro, epochs=EPOCHS, learning_rate=1e-4,
            warm_up_share=0.0, gradient_checkpointing=variant == "ours_checkpointing",
        )  # fmt: skip
        dtype = "float32" if on_cpu else "bfloat16"
        return training_arguments(config, steps=1, folder=folder, seed=0, device=arguments.device, dtype=dtype)
    tuned = {"precompute_ref_log_probs": True, "precompute_ref_batch_size": 4 * arguments.micro,
             "gradient_checkpointing": False, "train_sampling_strategy": "group_by_length",
             "remove_unused_columns": False,
             "dataloader_pin_memory": not on_cpu} if variant == "tuned" else {}  # fmt: skip
    return DPOConfig(
        output_dir=str(folder), per_device_train_batch_size=arguments.micro, learning_rate=1e-4, seed=0,
        gradient_accumulation_steps=arguments.step // arguments.micro, num_train_epochs=EPOCHS, save_strategy="no",
        report_to="none", disable_tqdm=True, logging_steps=1, use_cpu=on_cpu, bf16=not on_cpu, **tuned,
    )  # fmt: skip


def train(variant: str, policy_of: Any, pairs: list[Any], tokenizer: Any, settings: Any) -> Any:
    """One training of a variant."""
    from datasets import Dataset
    from trl import DPOTrainer

    from trainer.micro_batches import Room
    from trainer.reference import columns

    if variant.startswith("ours"):
        from trainer.pair_trainer import attach_reference, build_trainer
        from trainer.self_check import settle_layout

        spare = 2 if settings.gradient_checkpointing else 4
        room = Room(settings.per_device_eval_batch_size // 2, spare=spare)
        trainer = build_trainer(policy_of(), tokenizer, pairs, [], settings, room)
        print(f"shared prompts: {settle_layout(trainer, pairs, 'auto')}", file=sys.stderr)
        attach_reference(trainer, pairs, [], None)
    else:

        class OnIds(DPOTrainer):
            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset

            def _send_telemetry(self) -> None:
                """Nothing is sent to anyone."""

        rows = Dataset.from_list([{**columns(pair), "length": pair.tokens} for pair in pairs])
        trainer = OnIds(model=policy_of(), args=settings, train_dataset=rows, processing_class=tokenizer)
        # As with `peft_config`, the base is the reference; ours measures against the same.
        trainer.model.delete_adapter("ref")
    trainer.train()
    return trainer


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One variant on one shape in this process."""
    from trainer.model import prepare_environment

    prepare_environment(str(ROOT))
    import torch

    from trainer.adapter import begin_adapter
    from trainer.config import LoraSettings

    torch.set_num_threads(arguments.threads)
    vocabulary = MODELS[arguments.model][-1]
    lengths = lengths_of(arguments.shape, arguments.pairs)
    pairs, tokenizer = make_pairs(lengths, vocabulary), make_tokenizer(min(vocabulary, 8192))
    model = make_model(arguments.model, arguments.device)

    def policy() -> Any:
        torch.manual_seed(0)
        return begin_adapter(model, LoraSettings(), name=arguments.model, start=None)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = folder
        settings = settings_of(arguments.variant, arguments, Path(folder))
        begin_peak(arguments.device)
        before, began, worked = memory(arguments.device, "now"), time.perf_counter(), time.process_time()
        trainer = train(arguments.variant, policy, pairs, tokenizer, settings)
        seconds, worked = time.perf_counter() - began, time.process_time() - worked
        peak = memory(arguments.device, "peak") - before
    tokens = EPOCHS * sum(2 * prompt + chosen + rejected for prompt, chosen, rejected in lengths)
    figures = {
        "shape": arguments.shape, "variant": arguments.variant, "seconds": round(seconds, 2),
        "processor_seconds": round(worked, 2), "pairs_per_second": round(EPOCHS * len(pairs) / seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1), "peak_mib": round(peak / 2**20, 1),
        "losses": [round(line["loss"], 4) for line in trainer.state.log_history if "loss" in line],
    }  # fmt: skip
    if arguments.device == "cuda":
        possible = seconds * arguments.peak_tflops * 1e12
        figures["useful_flop_share"] = round(useful_flops(arguments.model, lengths) / possible, 4)
    return figures


def begin_peak(device: str) -> None:
    """Forget the highest memory so far."""
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")
        return
    import torch

    torch.cuda.reset_peak_memory_stats()


def memory(device: str, what: str) -> int:
    """Bytes in use `now` or at their `peak` since it was last forgotten."""
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated() if what == "now" else torch.cuda.max_memory_allocated()
    held = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(held["VmRSS" if what == "now" else "VmHWM"].split()[0])


def compare(runs: list[dict[str, Any]]) -> dict[str, float]:
    """A shape's ratios from the figures of all its runs."""

    def middle(variant: str, figure: str) -> float:
        return statistics.median(run[figure] for run in runs if run["variant"] == variant)

    found = {run["variant"] for run in runs}
    ratios = {}
    for baseline in found & {"default", "tuned"}:
        for name, figure in (("", "seconds"), ("_processor", "processor_seconds")):
            ratios[f"speedup_{baseline}{name}"] = middle(baseline, figure) / middle("ours", figure)
    for name, one, other in (("", "ours", "tuned"), ("_checkpointing", "ours_checkpointing", "default")):
        if {one, other} <= found:
            ratios[f"memory_ratio{name}"] = middle(one, "peak_mib") / middle(other, "peak_mib")
    for figure in {"pairs_per_second", "tokens_per_second", "peak_mib", "useful_flop_share"} & set(runs[0]):
        ratios[figure] = middle("ours", figure)
    return {name: round(value, 3) for name, value in sorted(ratios.items())}


def main() -> None:
    """Run all variants by turns, or the one that `--variant` names in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES))
    parser.add_argument("--model", choices=tuple(MODELS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    for name, usual in (("pairs", 32), ("step", 16), ("micro", 4)):
        parser.add_argument(f"--{name}", type=int, default=usual, help="pairs in all, of a step, of a micro-batch")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that the CPU computes with")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU, dense bfloat16")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--shape", choices=tuple(SHAPES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.model = arguments.model or ("1b" if arguments.device == "cuda" else "13m")
    if arguments.variant:
        print(json.dumps(measure(arguments)))
        return
    own = ["500-250-250"] if arguments.device == "cuda" else ["128-32-32", "256-128-128", "64-256-256", "ragged"]
    handed = [f"--{name.replace('_', '-')}={getattr(arguments, name)}"
              for name in ("model", "device", "pairs", "step", "micro", "peak_tflops", "threads")]  # fmt: skip
    load, shapes = os.getloadavg()[0], {}
    for shape in arguments.shapes or own:
        runs = []
        for variant in arguments.variants * arguments.repeats:
            command = [sys.executable, __file__, *handed, f"--variant={variant}", f"--shape={shape}"]
            line = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
            print(line, flush=True)
            runs.append(json.loads(line))
        shapes[shape] = compare(runs)
    about = {"model": arguments.model, "threads": arguments.threads, "load": [load, os.getloadavg()[0]]}
    print(json.dumps({"shapes": shapes, **about, "bars": BARS}))


if __name__ == "__main__":
    main()
