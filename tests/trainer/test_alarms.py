from __future__ import annotations

import math

import pytest

from trainer.alarms import find_alarms, last_tenth

LN2 = math.log(2)


def log(losses, accuracies=None, chosen=None):
    """A log of steps; what is not given is healthy."""
    count = len(losses)
    accuracies = accuracies or [min(0.9, index / count) for index in range(count)]
    chosen = chosen or [0.0] * count
    return [
        {"loss": loss, "rewards/accuracies": accuracy, "rewards/chosen": reward}
        for loss, accuracy, reward in zip(losses, accuracies, chosen, strict=True)
    ]


FALLING = [LN2 - 0.01 * index for index in range(40)]
HUNDRED = [LN2 - 0.005 * index for index in range(100)]


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        (log(FALLING), []),
        (log([]), []),
        (log([LN2] * 40), ["loss_flat"]),
        (log([LN2 - 0.005] * 40), ["loss_flat"]),
        (log([LN2 - 0.02] * 40), []),
        # The end counts: a loss that fell and came back is flat, one that was flat at first is not.
        (log([0.3] * 36 + [LN2] * 4), ["loss_flat"]),
        (log([LN2] * 36 + [0.3] * 4), []),
        (log([LN2] * 36 + [LN2 + 0.3] * 4), []),
        (log(FALLING, accuracies=[0.5] * 2 + [1.0] * 38), ["perfect_early"]),
        (log(FALLING, accuracies=[0.5] * 3 + [1.0] + [0.9] * 36), []),
        (log(FALLING, accuracies=[0.5] * 5 + [1.0] * 35), []),
        # By luck at the first step, and any two in a row within the tenth, whatever comes after them.
        (log(FALLING, accuracies=[1.0, 1.0] + [0.9] * 38), []),
        (log(FALLING, accuracies=[0.5, 1.0, 1.0] + [0.9] * 37), ["perfect_early"]),
        (log(HUNDRED, accuracies=[0.5] * 4 + [1.0] * 2 + [0.9] * 94), ["perfect_early"]),
        (log(HUNDRED, accuracies=[0.5] * 8 + [1.0] * 2 + [0.9] * 90), ["perfect_early"]),
        (log(HUNDRED, accuracies=[0.5] * 9 + [1.0] * 91), []),
        (log(HUNDRED, accuracies=[0.5, 1.0] * 4 + [0.9] * 92), []),
        # A short log has no tenth to speak of: with 29 steps it ends at the second.
        (log(FALLING[:29], accuracies=[0.5] + [1.0] * 28), []),
        (log(FALLING[:30], accuracies=[0.5] + [1.0] * 29), ["perfect_early"]),
        # 0.2 of reward at beta 0.1 is 2 nats.
        (log(FALLING, chosen=[-0.2 * index / 39 for index in range(40)]), ["chosen_falls"]),
        (log(FALLING, chosen=[-0.05 * index / 39 for index in range(40)]), []),
        (log(FALLING, chosen=[0.5 * index / 39 for index in range(40)]), []),
        (log([LN2] * 40, chosen=[-0.3 * index / 39 for index in range(40)]), ["loss_flat", "chosen_falls"]),
    ],
)
def test_alarms_of_a_log(steps, names):
    assert [alarm["name"] for alarm in find_alarms(steps, beta=0.1)] == names


@pytest.mark.parametrize(("margin", "names"), [(0.01, ["loss_flat"]), (-0.01, ["loss_flat"]), (0.1, [])])
def test_with_a_likelihood_in_the_loss_the_margins_say_whether_it_is_flat(margin, names):
    steps = [{**step, "rewards/margins": margin} for step in log([1.5] * 40)]
    losses = {"sigmoid": 1.0, "sft": 1.0}
    assert [alarm["name"] for alarm in find_alarms(steps, beta=0.1, losses=losses)] == names


@pytest.mark.parametrize("told", [{"losses": {"ipo": 1.0}}, {"losses": {"sigmoid": 2.0}}, {"soft_labels": True}])
@pytest.mark.parametrize(("margin", "names"), [(0.0, ["loss_flat"]), (0.3, [])])
def test_where_a_loss_near_ln_2_says_nothing_the_margins_do(told, margin, names):
    """Another loss begins elsewhere and may end there; that of uncertain labels ends near where it began."""
    for end in (LN2, 25.0):
        steps = [{**step, "rewards/margins": margin} for step in log([end] * 40)]
        alarms = find_alarms(steps, beta=0.1, **told)
        assert [alarm["name"] for alarm in alarms] == names
        assert not alarms or "rewards/margins is 0.0000 over the last tenth of 40 steps" in alarms[0]["message"]


def test_a_loss_that_lowers_the_chosen_answers_on_purpose_gives_no_alarm_when_they_fall():
    fallen = log(FALLING, chosen=[-0.2 * index / 39 for index in range(40)])
    steps = [{**step, "rewards/margins": 0.5} for step in fallen]
    assert [alarm["name"] for alarm in find_alarms(steps, beta=0.1, losses={"apo_zero": 1.0})] == ["chosen_falls"]
    assert find_alarms(steps, beta=0.1, losses={"apo_down": 1.0}) == []


def test_an_alarm_says_its_numbers():
    (alarm,) = find_alarms(log([0.6925] * 20), beta=0.1)
    assert "0.6925 over the last tenth of 20 steps" in alarm["message"]
    (alarm,) = find_alarms(log(FALLING, chosen=[0.0] * 20 + [-0.3] * 20), beta=0.1)
    assert "fell by 3.0 nats" in alarm["message"]


def test_the_fall_is_in_nats_whatever_beta_is():
    steps = log(FALLING, chosen=[0.0] * 20 + [-0.3] * 20)
    assert find_alarms(steps, beta=0.5) == []


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (9, 1), (19, 1), (20, 2), (100, 10)])
def test_the_last_tenth_is_at_least_one_step(count, expected):
    assert len(last_tenth(log([0.5] * count))) == expected
