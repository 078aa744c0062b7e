"""Where tokens stand in a batch, by hand and by comparison with sequences run one at a time."""

from __future__ import annotations

import pytest

from trainer.layout import fill_rows, places, plain_layout, shared_layout

A_PAIR = ([1, 2, 3], [4, 5], [6, 7, 8])


def test_one_pair_by_hand():
    layout = shared_layout([A_PAIR], width=6)
    assert layout["input_ids"].tolist() == [[1, 2, 3, 4, 6, 7]]
    assert layout["position_ids"].tolist() == [[0, 1, 2, 3, 3, 4]]
    assert layout["side"].tolist() == [[0, 0, 0, 1, 2, 2]]
    # The prompt's last row predicts both first tokens.
    assert layout["take"].tolist() == [2, 3, 2, 4, 5]
    assert layout["labels"].tolist() == [4, 5, 6, 7, 8]
    # Of TRL's 2 sequences of 5 log-probabilities: answers begin behind the prompt's third token.
    assert layout["place"].tolist() == [2, 3, 7, 8, 9]


def test_the_plain_layout_takes_the_same_tokens_from_trls_own_rows():
    layout = plain_layout([A_PAIR], width=6)
    assert layout["take"].tolist() == [2, 3, 8, 9, 10]
    assert layout["labels"].tolist() == [4, 5, 6, 7, 8]
    assert layout["place"].tolist() == [2, 3, 7, 8, 9]


def test_without_a_prompt_the_first_tokens_are_not_scored():
    pair = ([], [4, 5], [6, 7, 8])
    for layout in (shared_layout([pair], width=3), plain_layout([pair], width=3)):
        assert layout["labels"].tolist() == [5, 7, 8]
        assert layout["place"].tolist() == [0, 2, 3]


def test_short_pairs_share_a_row_and_rows_are_filled_up():
    pairs = [([1], [2, 3], [4, 5]), ([1] * 5, [2, 3, 4], [5, 6, 7]), ([1], [2], [3, 4])]
    layout = shared_layout(pairs, width=8)
    assert layout["pair"].tolist() == [[1] * 9, [0] * 3 + [2] * 2 + [-1] * 4]
    wide = shared_layout(pairs, width=8, row_tokens=100, multiple=16)
    assert wide["pair"].tolist() == [[1] * 9 + [0] * 3 + [2] * 2 + [-1] * 2]


@pytest.mark.parametrize("room", [10, 17, 40])
def test_every_pair_is_in_one_row_that_takes_it(room):
    sizes = [7, 10, 3, 3, 9, 1, 4, 2]
    rows = fill_rows(sizes, room)
    assert sorted(index for row in rows for index in row) == list(range(len(sizes)))
    assert all(sum(sizes[index] for index in row) <= room for row in rows)


def test_places_are_what_is_run():
    pairs = [A_PAIR, ([1] * 9, [2], [3, 4])]
    for pair in pairs:
        lengths = tuple(len(ids) for ids in pair)
        assert shared_layout([pair], width=11)["input_ids"].numel() == places(lengths, shared=True)
    assert places((128, 32, 32), shared=True) == 190
    assert places((128, 32, 30), shared=False) == 320


def test_who_sees_whom():
    """By the definition: of one's own pair, earlier, and of the prompt or one's own answer."""
    from trainer.answer_head import attention_mask, visible

    layout = shared_layout([A_PAIR, ([9], [8, 7], [6, 5])], width=6, row_tokens=10)
    pairs, sides = (layout[name][0].tolist() for name in ("pair", "side"))
    seen = visible(layout["pair"], layout["side"])[0, 0]
    for query in range(len(pairs)):
        for key in range(len(pairs)):
            expected = pairs[query] == pairs[key] and key <= query and sides[key] in (0, sides[query])
            assert bool(seen[query, key]) == expected
    # FlexAttention's mask of blocks says the same; it is only run on a GPU.
    import torch

    block = attention_mask("flex_attention", layout, torch.float32)
    count = len(pairs)
    index = torch.arange(count)
    assert torch.equal(block.mask_mod(torch.tensor(0), None, index[:, None], index[None, :]), seen)
    with pytest.raises(ValueError, match="flash_attention_2 takes no mask"):
        attention_mask("flash_attention_2", layout, torch.float32)


def test_pairs_are_read_off_trls_batch():
    """And what is no batch of pairs with one prompt each is left to TRL."""
    import torch

    from tests.trainer.tiny import build_tokenizer
    from trainer.answer_head import AnswerHead, pairs_of
    from trainer.reference import collator_for

    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    pairs = [A_PAIR, ([], [4, 5], [6, 7, 8]), ([9], [4], [4, 5])]
    batch = collator_for(build_tokenizer())([dict(zip(names, pair, strict=True)) for pair in pairs])
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
    assert pairs_of(inputs) == pairs
    assert pairs_of({name: value[[1, 2, 4, 5]] for name, value in inputs.items()}) == pairs[1:]
    for name, row, column in (("input_ids", 0, 1), ("labels", 0, 3), ("labels", 3, 5), ("attention_mask", 2, 1)):
        changed = {**inputs, name: inputs[name].clone()}
        changed[name][row, column] = -100 if name == "labels" else 0
        assert pairs_of(changed) is None, name
    assert pairs_of({name: value[:5] for name, value in inputs.items()}) is None
    assert pairs_of({**inputs, "labels": torch.full_like(labels, -100)}) is None
    assert AnswerHead("stock").of(inputs) is None
