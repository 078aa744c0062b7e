"""The words of the demo's world: household things, what one does with them, and the phrases that break a principle.

Everything the tiny model can say is built from these tables by demo/grammar.py. A faulty phrase stands beside the
phrase that mends it, so a revision is one sentence exchanged for another in the same place, of much the same length.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Act:
    """Something one can do with a thing.

    `ways` are ways of doing it that hold for any thing; `marks` are the words in each way that no other act uses, so
    their presence shows which act a text explains. `reason` is why a harmful act is refused.
    """

    verb: str
    ways: tuple[str, str, str]
    marks: tuple[str, str, str]
    harmful: bool = False
    severity: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Phrase:
    """A sentence with a fault in it: the words at fault, how grave it is, and the sentence that mends it."""

    text: str
    words: str
    severity: int
    mended: str


_THINGS = """
    kettle lamp mirror chair clock bicycle kite boat tent basket drum guitar piano ladder bench gate fence door window
    shelf desk sofa carpet curtain pillow blanket coat hat bag suitcase umbrella statue vase teapot bowl bucket barrel
    wagon sled swing doll globe telescope camera radio flute toolbox painting
"""
THINGS = tuple(_THINGS.split())
OWNERS = ("neighbour", "boss", "teacher", "cousin", "landlord", "rival")

BENIGN_ACTS = (
    Act(
        "clean",
        ("wipe it with a damp cloth", "rinse it with warm water", "scrub it with mild soap"),
        ("damp cloth", "warm water", "mild soap"),
    ),
    Act(
        "polish",
        ("rub it with soft wax", "buff it with a wool rag", "shine it with a little oil"),
        ("soft wax", "wool rag", "a little oil"),
    ),
    Act(
        "paint",
        ("brush on a thin primer", "add two coats of colour", "seal it with clear varnish"),
        ("thin primer", "two coats", "clear varnish"),
    ),
    Act(
        "repair",
        ("glue the loose parts", "tighten every screw", "replace the worn pieces"),
        ("loose parts", "every screw", "worn pieces"),
    ),
    Act(
        "dry",
        ("put it in the sun", "pat it with a dry towel", "leave it near a fan"),
        ("in the sun", "dry towel", "near a fan"),
    ),
    Act(
        "pack",
        ("roll it in bubble wrap", "place it in a sturdy box", "fill the gaps with paper"),
        ("bubble wrap", "sturdy box", "fill the gaps"),
    ),
    Act(
        "carry",
        ("lift it with both hands", "ask a friend to hold one end", "strap it to a small cart"),
        ("both hands", "hold one end", "small cart"),
    ),
    Act(
        "store",
        ("keep it in a cool room", "set it on a high rack", "drape a dust sheet over it"),
        ("cool room", "high rack", "dust sheet"),
    ),
    Act(
        "measure",
        ("hold a tape along each side", "write down its height", "check the width twice"),
        ("hold a tape", "its height", "the width"),
    ),
    Act(
        "decorate",
        ("tie a ribbon around it", "glue on paper stars", "add a string of lights"),
        ("a ribbon", "paper stars", "string of lights"),
    ),
    Act(
        "label",
        ("print its name on a sticker", "stick the tag on the back", "add the date in ink"),
        ("on a sticker", "the tag", "date in ink"),
    ),
    Act(
        "weigh",
        ("set it on a flat scale", "wait for the needle to rest", "read the number in grams"),
        ("flat scale", "the needle", "in grams"),
    ),
    Act(
        "photograph",
        ("find bright daylight", "steady the lens on a tripod", "take three shots"),
        ("daylight", "tripod", "three shots"),
    ),
    Act(
        "draw",
        ("sketch its outline in pencil", "shade the darker side", "trace the lines with a pen"),
        ("its outline", "darker side", "with a pen"),
    ),
    Act(
        "sell",
        ("choose a fair price", "post an advert in town", "meet the buyer by day"),
        ("fair price", "an advert", "the buyer"),
    ),
    Act(
        "wrap",
        ("cut a sheet of gift paper", "fold the corners neatly", "close it with sticky tape"),
        ("gift paper", "fold the corners", "sticky tape"),
    ),
)

HARMFUL_ACTS = (
    Act(
        "steal",
        ("wait until nobody is home", "slip it under a big cloak", "run off before dawn"),
        ("nobody is home", "big cloak", "before dawn"),
        harmful=True,
        severity=2,
        reason="it belongs to someone else",
    ),
    Act(
        "smash",
        ("swing a heavy hammer at it", "throw a brick at the middle", "kick what is left"),
        ("heavy hammer", "a brick", "kick what"),
        harmful=True,
        severity=3,
        reason="it would ruin what others own",
    ),
    Act(
        "burn",
        ("pour heating oil over it", "strike a long match", "let the flames spread"),
        ("heating oil", "long match", "the flames"),
        harmful=True,
        severity=3,
        reason="a fire could hurt people",
    ),
    Act(
        "vandalise",
        ("spray red slogans on it", "scratch it with a rusty key", "smear tar on the front"),
        ("red slogans", "rusty key", "smear tar"),
        harmful=True,
        severity=2,
        reason="someone would have to pay for it",
    ),
    Act(
        "sabotage",
        ("saw halfway through it", "hide a nail inside", "loosen what holds it up"),
        ("saw halfway", "a nail", "what holds it"),
        harmful=True,
        severity=3,
        reason="someone could be injured by it",
    ),
    Act(
        "wreck",
        ("push it down the stairs", "drop it from the roof", "drive a truck over it"),
        ("the stairs", "the roof", "a truck"),
        harmful=True,
        severity=2,
        reason="it would do lasting damage",
    ),
)

INSULTS_BEFORE = (
    Phrase("Only a fool would ask this.", "fool", 2, "Many people ask this."),
    Phrase("Listen well, you idiot.", "idiot", 3, "Thanks for asking."),
    Phrase("What a stupid question.", "stupid", 2, "That is a fair question."),
    Phrase("Pay attention, you lazy oaf.", "oaf", 2, "I am happy to help."),
)
INSULTS_AFTER = (
    Phrase("Even a moron can do that.", "moron", 3, "Most people can do that."),
    Phrase("Try not to be a dunce about it.", "dunce", 1, "Take your time with it."),
)
FLATTERY = (
    Phrase("What a brilliant question!", "brilliant", 1, "That is a common question."),
    Phrase("You must be a genius to ask.", "genius", 1, "It is good that you ask."),
    Phrase("I adore your superb taste.", "superb", 2, "Let me explain how."),
    Phrase("Nobody is as gifted as you.", "gifted", 2, "Here is one way."),
)
PROMISES = (
    Phrase("This never fails.", "never fails", 1, "This mostly works."),
    Phrase("It is guaranteed to work.", "guaranteed", 2, "It should work."),
    Phrase("Nothing can possibly go wrong.", "possibly go wrong", 2, "A few things may go wrong."),
    Phrase("The result is always perfect.", "always perfect", 1, "The result is often good."),
    Phrase("Success is absolutely certain.", "absolutely certain", 2, "Success is quite likely."),
)

NEUTRAL_BEFORE = tuple(phrase.mended for phrase in (*INSULTS_BEFORE, *FLATTERY))
NEUTRAL_AFTER = tuple(phrase.mended for phrase in (*INSULTS_AFTER, *PROMISES))

MAIN_FORMS = (
    "To {verb} the {thing}, {one}, then {two}.",
    "First {one}, then {two}, and the {thing} is done.",
    "You can {verb} the {thing} like this: {one} and {two}.",
    "With the {thing}, begin like so: {one}. After that, {two}.",
    "Bring the {thing} to a table. Now {one}. Next, {two}.",
)
SHORT_FORMS = ("To {verb} the {thing}, {one}.", "For the {thing}, just {one}.")
REFUSALS = (
    "I can't help you {verb} the {thing}, because {reason}.",
    "I won't help anyone {verb} the {thing}: {reason}.",
    "I cannot help with a plan to {verb} the {thing}, since {reason}.",
)

QUESTIONS = (
    "How do I {verb} {owned}?",
    "How can I {verb} {owned}?",
    "What is a good way to {verb} {owned}?",
    "Can you tell me how to {verb} {owned}?",
    "I want to {verb} {owned}. How is it done?",
    "Please explain how to {verb} {owned}.",
)
SECOND_QUESTIONS = ("And how do I {verb} {owned}?", "Thanks. Now, how can I {verb} {owned}?")
SYSTEM_LINES = {"short": "Keep it short.", "greet": "Greet the person first.", "plain": "You help people at home."}
GREETING = "Good day."
