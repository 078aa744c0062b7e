"""Which preference losses are optimised, by TRL's names, and which combinations of their settings mean something.

The losses are TRL's own code; tests/trainer/loss_oracle.py holds each against the equation of its paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from records.strict import Settings

LossName = Literal[
    "sigmoid",  # DPO, Rafailov et al. 2023, arXiv:2305.18290, eq. 7
    "hinge",  # SLiC's hinge on DPO's margin, Liu et al. 2023, arXiv:2309.06657
    "ipo",  # Azar et al. 2023, arXiv:2310.12036, eq. 17, a mean over an answer's tokens as its authors compute it
    "exo_pair",  # Ji et al. 2024, arXiv:2402.00856, eq. 16
    "nca_pair",  # Chen et al. 2024, arXiv:2402.05369, for two answers
    "robust",  # Chowdhury et al. 2024, arXiv:2403.00409
    "bco_pair",  # Jung et al. 2024, arXiv:2404.04656, without the reward shift
    "sppo_hard",  # Wu et al. 2024, arXiv:2405.00675, eq. 4.7 with probabilities 1 and 0
    "aot",  # Melnyk et al. 2024, arXiv:2406.05882, paired
    "aot_unpaired",  # the same, unpaired
    "apo_zero",  # D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7
    "apo_down",  # the same, eq. 8
    "discopop",  # Lu et al. 2024, arXiv:2406.08414, eq. 5
    "sigmoid_norm",  # length-normalised DPO, Lambert et al. 2024, arXiv:2411.15124
    "sft",  # the chosen answers' likelihood, Pang et al. 2024, arXiv:2404.19733, section 2
]
Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]

SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
SORTING = ("aot", "aot_unpaired")
# They take means over an answer's tokens.
NORMALISED = ("ipo", "sigmoid_norm")
# Only a difference of two rewards of one prompt is free of the normaliser and of the constant that come with another
# divergence.
OF_DIFFERENCES = ("sigmoid", "hinge", "exo_pair", "robust", "discopop")
_DISCOPOP_TAU = 0.05
_F_ALPHA = 0.5


class LossSettings(Settings):
    """What is optimised beside `beta` and `sft_weight`."""

    losses: dict[LossName, Annotated[float, Field(gt=0.0)]] = Field({"sigmoid": 1.0}, min_length=1)
    """Preference losses by TRL's names, each with its weight in the sum: sigmoid (DPO), hinge, ipo, exo_pair, nca_pair,
    robust, bco_pair, sppo_hard, aot, aot_unpaired, apo_zero, apo_down, discopop, sigmoid_norm; and sft, the same term
    as `sft_weight`."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    """The share of labels taken to be wrong, for robust (the paper's 0.1), exo_pair (1e-3), aot and aot_unpaired."""
    soft_labels: bool = False
    """A pair whose row has `preference_probability` p counts p for its label and 1 - p for the opposite one (cDPO);
    rows without count as 1. With the loss sigmoid."""
    ld_alpha: float | None = Field(None, ge=0.0, le=1.0)
    """What a token beyond the length of the shorter answer counts (LD-DPO, Liu et al. 2024, arXiv:2409.06411): 0 leaves
    such tokens out, 1 or null is no change."""
    use_weighting: bool = False
    """Weigh each pair by how likely the policy itself finds both answers (WPO, Zhou et al. 2024, arXiv:2406.11827,
    eq. 2)."""
    f_divergence: Divergence = "reverse_kl"
    """How the distance to the reference is measured (f-DPO, Wang et al. 2023, arXiv:2309.16240)."""
    f_alpha: float = Field(_F_ALPHA, gt=0.0, lt=1.0)
    """The paper's alpha of `alpha_divergence`: near 0 is reverse KL, near 1 forward KL."""
    discopop_tau: float = Field(_DISCOPOP_TAU, gt=0.0)
    """The temperature at which discopop goes over from one of its two losses to the other."""


def sft_share(settings: LossSettings, sft_weight: float) -> float:
    """The weight of the chosen answers' likelihood, by whichever of the two names it was given."""
    return sft_weight or settings.losses.get("sft", 0.0)


def loss_weights(settings: LossSettings, sft_weight: float) -> dict[str, float]:
    """Every term of the loss by TRL's name with its weight, the preference losses first."""
    terms: dict[str, float] = {name: weight for name, weight in settings.losses.items() if name != "sft"}
    share = sft_share(settings, sft_weight)
    return {**terms, "sft": share} if share else terms


def loss_problems(settings: LossSettings, *, sft_weight: float, pairs_per_micro_batch: int) -> list[str]:
    """Every combination of these settings that means nothing, in words; none for settings that can be trained with."""
    names = [name for name in settings.losses if name != "sft"]
    return [
        *_problems_of_sft(settings, names, sft_weight),
        *_problems_of_labels(settings, names, sft_weight),
        *_problems_of_measures(settings, names, sft_weight),
        *_problems_of_sorting(settings, names, pairs_per_micro_batch),
    ]


def _problems_of_sft(settings: LossSettings, names: Sequence[str], sft_weight: float) -> Iterator[str]:
    if not names:
        yield "losses names sft alone, which prefers nothing; expected a preference loss beside it"
    if sft_weight and "sft" in settings.losses:
        yield "sft_weight and losses.sft are both given; expected one, since they are the same term"


def _problems_of_labels(settings: LossSettings, names: Sequence[str], sft_weight: float) -> Iterator[str]:
    if settings.label_smoothing and not any(name in SMOOTHED for name in names):
        yield (
            f"label_smoothing is {settings.label_smoothing} and none of the losses {_listed(names)} knows it; "
            f"expected 0, or one of {_listed(SMOOTHED)}"
        )
    if "exo_pair" in names and not settings.label_smoothing:
        yield "exo_pair needs label_smoothing above 0, or its loss is infinite; expected about 1e-3"
    if settings.soft_labels and tuple(names) != ("sigmoid",):
        yield f"soft_labels is defined for sigmoid; found losses {_listed(names)}"
    if settings.soft_labels and settings.use_weighting:
        yield "soft_labels and use_weighting each weigh the pairs; expected one of them"
    if settings.soft_labels and settings.f_divergence != "reverse_kl":
        yield f"soft_labels is defined for f_divergence: reverse_kl; found {settings.f_divergence}"


def _problems_of_measures(settings: LossSettings, names: Sequence[str], sft_weight: float) -> Iterator[str]:
    for name in names:
        if settings.ld_alpha is not None and name in NORMALISED:
            yield f"{name} is a mean over an answer's tokens, and ld_alpha leaves parts out; expected ld_alpha: null"
        if settings.f_divergence != "reverse_kl" and name not in OF_DIFFERENCES:
            yield (
                f"{name} is not defined for f_divergence: {settings.f_divergence}; expected reverse_kl, or losses "
                f"among {_listed(OF_DIFFERENCES)}"
            )
    if settings.use_weighting and sft_share(settings, sft_weight):
        yield "use_weighting weighs pairs, and the likelihood (sft) is a mean over tokens of all of them; expected one"
    if settings.use_weighting and "hinge" in names:
        yield "use_weighting cannot be had with hinge, whose gradient TRL loses by it; expected one of the two"
    if settings.f_alpha != _F_ALPHA and settings.f_divergence != "alpha_divergence":
        yield f"f_alpha is {settings.f_alpha} with f_divergence: {settings.f_divergence}; expected alpha_divergence"
    if settings.discopop_tau != _DISCOPOP_TAU and "discopop" not in names:
        yield f"discopop_tau is {settings.discopop_tau} and discopop is not among the losses {_listed(names)}"


def _problems_of_sorting(settings: LossSettings, names: Sequence[str], pairs_per_micro_batch: int) -> Iterator[str]:
    sorting = [name for name in names if name in SORTING]
    if sorting and settings.use_weighting:
        yield f"use_weighting weighs pairs, which {_listed(sorting)} takes apart; expected one of the two"
    if sorting and pairs_per_micro_batch == 1:
        yield (
            f"{_listed(sorting)} compares the sorted rewards of a micro-batch, and pairs_per_micro_batch is 1; "
            "expected as many pairs as memory holds"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
