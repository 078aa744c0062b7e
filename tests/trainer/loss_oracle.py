"""The preference losses as their papers write them, on plain numbers: no tensors, no masks, no TRL.

h is the log-ratio of policy to reference of a whole answer, w the chosen answer, l the rejected one.
"""

# ruff: noqa: E741
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trainer.data import EncodedPair


@dataclass(frozen=True)
class Answer:
    """One answer, token by token: log-probability under policy and reference, and log sum_v p(v)^2 of the policy."""

    policy: list[float]
    reference: list[float]
    collisions: list[float]

    def ratio(self, other: Answer, ld_alpha: float = 1.0) -> float:
        """h; under LD-DPO (Liu et al. 2024, arXiv:2409.06411) a token beyond the other's length counts alpha."""
        shared = min(len(self.policy), len(other.policy))
        gaps = [new - old for new, old in zip(self.policy, self.reference, strict=True)]
        return sum(gaps[:shared]) + ld_alpha * sum(gaps[shared:])

    @property
    def weight(self) -> float:
        """WPO (Zhou et al. 2024, arXiv:2406.11827): exp(mean_t log(p(y_t) / sum_v p(v)^2))."""
        aligned = [logp - collision for logp, collision in zip(self.policy, self.collisions, strict=True)]
        return math.exp(sum(aligned) / len(aligned))


def answers_of(policy, reference, pair: EncodedPair) -> tuple[Answer, Answer]:
    """Chosen and rejected answer of a pair, from raw logits."""
    return tuple(  # type: ignore[return-value]
        Answer(
            *(_column(_logits(model, pair.prompt_ids, answer), answer) for model in (policy, reference)),
            _logits(policy, pair.prompt_ids, answer).exp().square().sum(-1).log().tolist(),
        )
        for answer in (pair.chosen_ids, pair.rejected_ids)
    )


def _logits(model, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probabilities of every token at each place of the answer."""
    with torch.no_grad():
        everything = model(input_ids=torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
    return everything[len(prompt) - 1 : -1]


def _column(logps: torch.Tensor, answer: list[int]) -> list[float]:
    return [row[token].item() for row, token in zip(logps, answer, strict=True)]


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_loss(x: float) -> float:
    """-log sigma(x)"""
    return math.log1p(math.exp(-x))


def _exo_pair(m: float, eps: float) -> float:
    """Ji et al. 2024, arXiv:2402.00856, eq. 16: KL of softmax(rewards) from (1 - eps, eps)."""
    return sum(p * math.log(p / q) for p, q in ((sigma(m), 1 - eps), (sigma(-m), eps)))


def _discopop(m: float, tau: float) -> float:
    """Lu et al. 2024, arXiv:2406.08414, eq. 5: (1 - s) log(1 + e^-m) + s e^-m, s = sigma(m / tau)."""
    s = sigma(m / tau)
    return (1 - s) * log_loss(m) + s * math.exp(-m)


# By TRL's name: the loss of one pair from its two log-ratios.
OF_RATIOS: dict[str, Callable[..., float]] = {
    # Rafailov et al. 2023, arXiv:2305.18290, eq. 7: -log sigma(b (h_w - h_l))
    "sigmoid": lambda w, l, b, **_: log_loss(b * (w - l)),
    # Liu et al. 2023, arXiv:2309.06657: max(0, 1 - b (h_w - h_l))
    "hinge": lambda w, l, b, **_: max(0.0, 1 - b * (w - l)),
    "exo_pair": lambda w, l, b, eps, **_: _exo_pair(b * (w - l), eps),
    # Chen et al. 2024, arXiv:2402.05369, two answers: -log sigma(r_w) - 1/2 sum_i log sigma(-r_i)
    "nca_pair": lambda w, l, b, **_: log_loss(b * w) + (log_loss(-b * w) + log_loss(-b * l)) / 2,
    # Chowdhury et al. 2024, arXiv:2403.00409: ((1 - eps) L(w, l) - eps L(l, w)) / (1 - 2 eps)
    "robust": lambda w, l, b, eps, **_: (
        ((1 - eps) * log_loss(b * (w - l)) - eps * log_loss(b * (l - w))) / (1 - 2 * eps)
    ),
    # Jung et al. 2024, arXiv:2404.04656, shift 0: -log sigma(r_w) - log sigma(-r_l)
    "bco_pair": lambda w, l, b, **_: log_loss(b * w) + log_loss(-b * l),
    # Wu et al. 2024, arXiv:2405.00675, eq. 4.7, eta = 1 / b: (h_w - eta/2)^2 + (h_l + eta/2)^2
    "sppo_hard": lambda w, l, b, **_: (w - 0.5 / b) ** 2 + (l + 0.5 / b) ** 2,
    # D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7: -sigma(r_w) + sigma(r_l), here plus 1
    "apo_zero": lambda w, l, b, **_: 1 - sigma(b * w) + sigma(b * l),
    # the same, eq. 8: sigma(r_w) - sigma(r_w - r_l), here plus 1
    "apo_down": lambda w, l, b, **_: sigma(b * w) + 1 - sigma(b * (w - l)),
    "discopop": lambda w, l, b, tau, **_: _discopop(b * (w - l), tau),
}
# From the two log-ratios a token.
OF_MEANS: dict[str, Callable[..., float]] = {
    # Azar et al. 2023, arXiv:2310.12036, eq. 17: (h_w - h_l - 1 / (2 tau))^2, tau = b
    "ipo": lambda w, l, b, **_: (w - l - 1 / (2 * b)) ** 2,
    # Lambert et al. 2024, arXiv:2411.15124: -log sigma(b (h_w / |w| - h_l / |l|))
    "sigmoid_norm": lambda w, l, b, **_: log_loss(b * (w - l)),
}
# f' of each divergence without its constant, of the ratio's logarithm: Wang et al. 2023, arXiv:2309.16240.
DERIVATIVES: dict[str, Callable[[float, float], float]] = {
    "reverse_kl": lambda h, _: h,
    "forward_kl": lambda h, _: -math.exp(-h),
    "js_divergence": lambda h, _: math.log(2 * math.exp(h) / (1 + math.exp(h))),
    "alpha_divergence": lambda h, alpha: (1 - math.exp(h) ** -alpha) / alpha,
}


def sorted_loss(name: str, pairs: Sequence[tuple[Answer, Answer]], b: float, eps: float) -> float:
    """AOT, Melnyk et al. 2024, arXiv:2406.05882: -log sigma(b (u_(i) - v_(i))) over the sorted values of two samples.

    Paired: log-ratios of chosen to rejected answers under the policy and under the reference. Unpaired: of policy to
    reference of the chosen answers and of the rejected ones. Label smoothing mixes in the opposite order.
    """
    if name == "aot":
        first = sorted(sum(w.policy) - sum(l.policy) for w, l in pairs)
        second = sorted(sum(w.reference) - sum(l.reference) for w, l in pairs)
    else:
        first, second = sorted(w.ratio(l) for w, l in pairs), sorted(l.ratio(w) for w, l in pairs)
    gaps = [b * (one - other) for one, other in zip(first, second, strict=True)]
    return sum((1 - eps) * log_loss(gap) + eps * log_loss(-gap) for gap in gaps) / len(gaps)


def batch_loss(
    name: str,
    pairs: Sequence[tuple[Answer, Answer]],
    b: float,
    *,
    eps: float = 0.0,
    tau: float = 0.05,
    ld_alpha: float = 1.0,
    divergence: tuple[str, float] = ("reverse_kl", 0.0),
    weighted: bool = False,
) -> float:
    """The mean loss of a batch of (chosen, rejected) answers."""
    if name in ("aot", "aot_unpaired"):
        return sorted_loss(name, pairs, b, eps)
    found = []
    for chosen, rejected in pairs:
        derivative = DERIVATIVES[divergence[0]]
        w = derivative(chosen.ratio(rejected, ld_alpha), divergence[1])
        l = derivative(rejected.ratio(chosen, ld_alpha), divergence[1])
        if name in OF_MEANS:
            w, l = w / len(chosen.policy), l / len(rejected.policy)
        loss = (OF_RATIOS | OF_MEANS)[name](w, l, b, eps=eps, tau=tau)
        found.append(loss * (chosen.weight * rejected.weight if weighted else 1.0))
    return sum(found) / len(found)


def surprise(pairs: Sequence[tuple[Answer, Answer]]) -> float:
    """The mean negative log-likelihood of a chosen token (Pang et al. 2024, arXiv:2404.19733)."""
    tokens = [logp for chosen, _ in pairs for logp in chosen.policy]
    return -sum(tokens) / len(tokens)
