"""What can be asked and answered in the demo's world, with the truth about every answer.

An answer is a row of sentences, each with its kind, so the grammar knows which principle an answer breaks without
reading it, and what the smallest mending is. All draws come from the `Random` that is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from demo import words
from demo.words import Act, Phrase
from records.rows import Message

# Principle ids of constitution/library/demo.yaml.
INSULT, PROMISE, FLATTERY, HARM = "no-insults", "no-empty-promises", "no-flattery", "refuse-harm"
PRINCIPLES = (INSULT, PROMISE, FLATTERY, HARM)

FAULT_RATE = {INSULT: 0.42, PROMISE: 0.42, FLATTERY: 0.42}
COMPLY_RATE = 0.6


@dataclass(frozen=True)
class Question:
    """A prompt of this world: an act on a thing, in the words of its messages.

    `combos` are all (verb, thing) the conversation speaks of; held-out combos appear in no conversation of the corpus.
    """

    act: Act
    thing: str
    messages: tuple[Message, ...]
    system: str = ""
    first: tuple[str, str] | None = None

    @property
    def combos(self) -> frozenset[tuple[str, str]]:
        """Every (verb, thing) that the conversation asks about."""
        return frozenset({(self.act.verb, self.thing)} | ({self.first} if self.first else set()))


@dataclass(frozen=True)
class Sentence:
    """One sentence of an answer. `kind` is a principle's id where the sentence breaks it, else what it is for."""

    kind: str
    text: str
    phrase: Phrase | None = None


Answer = tuple[Sentence, ...]


def text_of(answer: Answer) -> str:
    """The answer as plain text."""
    return " ".join(sentence.text for sentence in answer)


def question(
    random: Random, act: Act, thing: str, *, system: str = "", first: tuple[Act, str] | None = None
) -> Question:
    """A conversation that asks about the act on the thing.

    Args:
        random: source of the wording.
        act: what is asked about; a harmful act is asked about somebody else's thing.
        thing: a word of `words.THINGS`.
        system: a key of `words.SYSTEM_LINES`, or empty for no system turn.
        first: an earlier, answered question of the same conversation.
    """
    turns = [Message(role="system", content=words.SYSTEM_LINES[system])] if system else []
    if first:
        opening = question(random, *first)
        turns += opening.messages
        turns.append(Message(role="assistant", content=text_of(clean_answer(random, opening))))
    form = random.choice(words.SECOND_QUESTIONS if first else words.QUESTIONS)
    owned = f"my {random.choice(words.OWNERS)}'s {thing}" if act.harmful else f"{random.choice(['my', 'the'])} {thing}"
    turns.append(Message(role="user", content=form.format(verb=act.verb, owned=owned)))
    return Question(act, thing, tuple(turns), system, (first[0].verb, first[1]) if first else None)


def main_sentence(random: Random, asked: Question) -> Sentence:
    """The sentence that explains how the act is done, right for a benign act and compliance for a harmful one."""
    one, two = random.sample(asked.act.ways, 2)
    form = random.choice(words.SHORT_FORMS if asked.system == "short" else words.MAIN_FORMS)
    text = form.format(verb=asked.act.verb, thing=asked.thing, one=one, two=two)
    return Sentence(HARM if asked.act.harmful else "main", text)


def refusal(random: Random, asked: Question) -> Sentence:
    """The sentence that refuses a harmful act."""
    form = random.choice(words.REFUSALS)
    return Sentence("refusal", form.format(verb=asked.act.verb, thing=asked.thing, reason=asked.act.reason))


def clean_answer(random: Random, asked: Question) -> Answer:
    """An answer that breaks no principle."""
    return _answer(random, asked, faults=frozenset())


def draft_answer(random: Random, asked: Question, *, comply: bool | None = None) -> Answer:
    """An answer as the untrained policy drafts it: each fault at its rate, independent of the others.

    Args:
        random: source of all draws.
        asked: the question.
        comply: on a harmful act, whether the draft complies; drawn at `COMPLY_RATE` when absent.
    """
    faults = {id for id, rate in FAULT_RATE.items() if random.random() < rate}
    if asked.act.harmful and (comply if comply is not None else random.random() < COMPLY_RATE):
        faults.add(HARM)
    return _answer(random, asked, faults=frozenset(faults))


def _answer(random: Random, asked: Question, *, faults: frozenset[str]) -> Answer:
    refuses = asked.act.harmful and HARM not in faults
    before, after = [], []
    if FLATTERY in faults:
        before.append(_faulty(random, FLATTERY, words.FLATTERY))
    if INSULT in faults and (random.random() < 0.6 or refuses):
        before.append(_faulty(random, INSULT, words.INSULTS_BEFORE))
    elif INSULT in faults:
        after.append(_faulty(random, INSULT, words.INSULTS_AFTER))
    if PROMISE in faults and not refuses:
        after.append(_faulty(random, PROMISE, words.PROMISES))
    if not before and asked.system != "short" and random.random() < 0.6:
        before.append(Sentence("neutral", random.choice(words.NEUTRAL_BEFORE)))
    if not after and not refuses and asked.system != "short" and random.random() < 0.5:
        after.append(Sentence("neutral", random.choice(words.NEUTRAL_AFTER)))
    random.shuffle(before)
    random.shuffle(after)
    greeting = [Sentence("neutral", words.GREETING)] if asked.system == "greet" else []
    main = refusal(random, asked) if refuses else main_sentence(random, asked)
    return (*greeting, *before, main, *after)


def scrambled_answer(random: Random, asked: Question) -> Answer:
    """Sentences of this world in any number and order, so that the critic reads words and not the usual shape."""
    phrases = [(INSULT, phrase) for phrase in (*words.INSULTS_BEFORE, *words.INSULTS_AFTER)]
    phrases += [(FLATTERY, phrase) for phrase in words.FLATTERY] + [(PROMISE, phrase) for phrase in words.PROMISES]
    mains = [refusal(random, asked) if asked.act.harmful and random.random() < 0.5 else main_sentence(random, asked)]
    n_faulty, n_neutral = random.choice([0, 1, 1, 2]), random.choice([0, 1, 2])
    if random.random() < 0.5 and not asked.act.harmful:
        # One lone sentence: here the critic learns the words at fault soonest.
        mains, n_neutral = [], 0 if n_faulty else 1
    faulty = [Sentence(kind, phrase.text, phrase) for kind, phrase in random.sample(phrases, n_faulty)]
    pool = (*words.NEUTRAL_BEFORE, *words.NEUTRAL_AFTER, words.GREETING)
    sentences = [*faulty, *(Sentence("neutral", text) for text in random.sample(pool, n_neutral)), *mains]
    random.shuffle(sentences)
    return tuple(sentences)


def _faulty(random: Random, kind: str, phrases: tuple[Phrase, ...]) -> Sentence:
    phrase = random.choice(phrases)
    return Sentence(kind, phrase.text, phrase)


def faults_of(answer: Answer) -> frozenset[str]:
    """Ids of the principles that the answer breaks."""
    return frozenset(sentence.kind for sentence in answer) & frozenset(PRINCIPLES)


def mend(random: Random, asked: Question, answer: Answer, principle: str) -> Answer:
    """The smallest change that keeps to one principle; other faults stay.

    Compliance with harm becomes a refusal, and what followed it goes with it.
    """
    if principle != HARM:
        return tuple(
            Sentence("neutral", sentence.phrase.mended) if sentence.kind == principle and sentence.phrase else sentence
            for sentence in answer
        )
    where = next(index for index, sentence in enumerate(answer) if sentence.kind == HARM)
    return (*answer[:where], refusal(random, asked))


def severity_of(asked: Question, answer: Answer, principle: str) -> int:
    """How grave the answer's fault against this principle is, 0 where it has none."""
    if principle == HARM:
        return asked.act.severity if HARM in faults_of(answer) else 0
    return max((s.phrase.severity for s in answer if s.kind == principle and s.phrase), default=0)
