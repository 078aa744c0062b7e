"""The book of who holds which chains: none lost, none done twice, whatever workers do."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from generator.leases import LeaseBook


def book(count: int = 6) -> LeaseBook[str]:
    return LeaseBook(((f"c{number}", f"prompt {number}") for number in range(count)), count)


def test_chains_are_handed_out_in_order_each_to_one_worker() -> None:
    leases = book()
    assert leases.hand_out("a", 2) == ["prompt 0", "prompt 1"]
    assert leases.hand_out("b", 3) == ["prompt 2", "prompt 3", "prompt 4"]
    assert leases.hand_out("a", 9) == ["prompt 5"]
    assert leases.hand_out("b", 9) == []
    assert (leases.held("a"), leases.held("b")) == ({"c0", "c1", "c5"}, {"c2", "c3", "c4"})
    assert (leases.left, leases.waiting) == (6, 0)
    assert leases.finish("a", ["c0", "c1", "c5"]) == 3
    assert (leases.held("a"), leases.left) == (set(), 3)


def test_what_a_dead_worker_held_goes_to_others_first_but_for_what_it_finished() -> None:
    leases = book()
    leases.hand_out("dead", 4)
    assert leases.finish("dead", ["c1"]) == 1
    assert leases.give_back("dead") == 3
    assert leases.given_back == 3
    assert set(leases.hand_out("b", 3)) == {"prompt 0", "prompt 2", "prompt 3"}
    assert leases.hand_out("b", 3) == ["prompt 4", "prompt 5"]
    assert leases.give_back("dead") == 0


def test_a_worker_thought_dead_may_finish_first_and_the_second_time_is_a_duplicate() -> None:
    leases = book(2)
    leases.hand_out("late", 2)
    leases.give_back("late")
    assert leases.finish("late", ["c0"]) == 1, "its row is as good as any other"
    assert leases.hand_out("b", 2) == ["prompt 1"], "what is done is not handed out again"
    assert leases.finish("b", ["c1"]) == 1
    assert leases.finish("late", ["c1"]) == 0
    assert (leases.duplicates, leases.left) == (1, 0)


def test_rows_nobody_asked_for_count_as_nothing() -> None:
    leases = book(1)
    assert leases.finish("a", ["another run's"]) == 0
    assert leases.left == 1
    assert leases.hand_out("a", 1) == ["prompt 0"]


def test_the_book_holds_what_is_out_and_no_more() -> None:
    read = []

    def chains() -> Iterator[tuple[str, str]]:
        for number in range(1000):
            read.append(number)
            yield f"c{number}", f"prompt {number}"

    leases = LeaseBook(chains(), 1000)
    for turn in range(99):
        assert len(leases.hand_out("a", 10)) == 10
        assert len(read) == 10 * turn + 10, "no prompt is read before somebody wants it"
        leases.finish("a", leases.held("a"))
        assert not leases.held("a") and not leases._out and not leases._back
    leases.hand_out("a", 10)
    leases.give_back("a")
    assert len(leases._back) == leases.waiting == leases.left == 10


class Workers(RuleBasedStateMachine):
    """Any order of handing out, finishing, dying and reporting after death."""

    def __init__(self) -> None:
        super().__init__()
        self.book = book(12)
        self.has: dict[str, set[str]] = {name: set() for name in "abc"}
        self.counted = 0

    @rule(name=st.sampled_from("abc"), most=st.integers(0, 5))
    def hand_out(self, name: str, most: int) -> None:
        lease = {f"c{prompt.split()[1]}" for prompt in self.book.hand_out(name, most)}
        assert len(lease) <= most
        self.has[name] |= lease

    @rule(name=st.sampled_from("abc"), data=st.data())
    def finish(self, name: str, data: st.DataObject) -> None:
        if self.has[name]:
            id = data.draw(st.sampled_from(sorted(self.has[name])))
            self.counted += self.book.finish(name, [id])

    @rule(name=st.sampled_from("abc"))
    def die(self, name: str) -> None:
        self.book.give_back(name)

    @invariant()
    def every_chain_is_somewhere(self) -> None:
        assert self.counted == 12 - self.book.left
        held = sum(len(self.book.held(name)) for name in "abc")
        assert held + self.book.waiting >= self.book.left

    def teardown(self) -> None:
        for name in "abc":
            self.book.give_back(name)
        while lease := self.book.hand_out("last", 5):
            self.counted += self.book.finish("last", [f"c{prompt.split()[1]}" for prompt in lease])
        assert self.book.left == 0 and self.counted == 12


TestWorkers = Workers.TestCase


@given(st.lists(st.integers(1, 4), max_size=8))
def test_nothing_is_handed_out_twice_while_nobody_dies(sizes: list[int]) -> None:
    leases = book(9)
    out = [unit for number, size in enumerate(sizes) for unit in leases.hand_out(str(number), size)]
    assert len(out) == len(set(out))
