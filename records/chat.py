"""From messages to token ids, once, the same for drafting, judging and training.

The chat template is applied once and its text is tokenised without adding special tokens, so there is one BOS: the
template's own. A text that spells a chat marker (`<|im_end|>`) stays text: before the template sees it, a separator is
put after the marker's first character, so that neither template nor tokeniser knows it, and the separator's own id is
taken out of the result. A text that spells no marker is tokenised exactly as without this. Words that were tokenised
before are remembered where that provably gives the same ids (records/words.py).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from records.errors import ConfigError
from records.rows import Message
from records.words import TurnIds, WordIds, reads_by_word

# Private-use code points, which no template and no tokeniser gives a meaning.
_SEPARATOR = "\ue0f0\ue0f1"
# What control tokens look like: added tokens of this shape and those that a template writes are markers too.
_CONTROL = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{2,40}\]")


def encode_chat(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
    """Token ids of a conversation under the tokeniser's chat template.

    Args:
        tokenizer: a Hugging Face fast tokeniser with a chat template.
        messages: the turns; their contents are data, and never yield a special token.
        add_generation_prompt: end with the header of an assistant turn.

    Raises:
        ConfigError: the tokeniser has no chat template, or its template refuses the order of the roles.
    """
    turns = [{"role": message.role, "content": _guarded(tokenizer, message.content)} for message in messages]
    return _encode(tokenizer, _rendered(tokenizer, turns, add_generation_prompt=add_generation_prompt))


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text in which nothing is special, whatever it spells."""
    return _encode(tokenizer, _guarded(tokenizer, text))


def holds_special(tokenizer: Any, text: str) -> bool:
    """Whether the text spells a marker: a special or control token, or one that the chat template writes."""
    return _markers(tokenizer).within(text)


def encode_pair(tokenizer: Any, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Prompt ids and answer ids of one side of a pair, tokenised the canonical way.

    The answer's ids end with the turn's closing tokens as the template writes them (EOS kept).

    Raises:
        ValueError: the prompt's ids are not a prefix of the whole conversation's ids under this template.
    """
    prompt_ids = encode_chat(tokenizer, prompt, add_generation_prompt=True)
    whole = encode_chat(tokenizer, [*prompt, *answer], add_generation_prompt=False)
    if whole[: len(prompt_ids)] != prompt_ids:
        raise ValueError("the chat template does not render the prompt as a prefix of prompt and answer")
    return prompt_ids, whole[len(prompt_ids) :]


def check_template(tokenizer: Any) -> None:
    """Find out before any draft is made whether pairs written under this chat template could be trained on.

    Raises:
        ConfigError: a conversation's beginning is not rendered as the beginning of the whole.
    """
    try:
        encode_pair(tokenizer, [Message(role="user", content="Why?")], [Message(role="assistant", content="So.")])
    except ValueError as error:
        raise ConfigError(
            f"{tokenizer.name_or_path}: {error}, so nothing could be trained on what it drafts; expected a template "
            "whose generation prompt is how an answer begins. Choose another model, or save a template with its "
            "tokeniser (tokenizer.chat_template) that opens no further mark, such as <think>, there."
        ) from error


def render_pair(template: Any, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[str, str]:
    """Prompt and answer of one side of a pair as the strings that the template writes; joined, they are its rendering.

    The prompt ends with the header of an assistant turn, the answer with what closes one. Strings hold no separators,
    so the caller looks whether a text spells a marker (`holds_special`).

    Args:
        template: a tokeniser with a chat template, or a template file (records/chat_template.py).
        prompt: the turns before the answer.
        answer: the assistant turn.

    Raises:
        ValueError: the prompt's rendering does not begin that of the whole conversation.
        ConfigError: the template refuses the order of the roles.
    """
    turns = [message.model_dump() for message in (*prompt, *answer)]
    head = _rendered(template, turns[: len(prompt)], add_generation_prompt=True)
    whole = _rendered(template, turns, add_generation_prompt=False)
    if not whole.startswith(head):
        raise ValueError("the chat template does not render the prompt as a prefix of prompt and answer")
    return head, whole[len(head) :]


def encodable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, as U+FFFD; any other text as it is."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _rendered(tokenizer: Any, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
    """What the chat template makes of the turns, as it stands; raises as `encode_chat` does."""
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"{tokenizer.name_or_path}: the model has no chat template; expected an instruction-tuned model. "
            "Choose one, or save a template with its tokeniser (tokenizer.chat_template)."
        )
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
    # A template comes from outside: besides refusing it may add a text to a number, or divide by nothing.
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as fault:
        roles = ", ".join(turn["role"] for turn in turns)
        raise ConfigError(
            f"{tokenizer.name_or_path}: the model's chat template refuses a conversation of {roles} ({fault}); "
            "expected turns that it takes. Take such prompts out of the prompt file, or choose another model."
        ) from fault


def _guarded(tokenizer: Any, text: str) -> str:
    """The text with a separator after the first character of every marker in it.

    Lone surrogates, which no tokeniser can hold, become U+FFFD; rows keep them until they are Parquet.
    """
    text, markers = encodable(text), _markers(tokenizer)
    return markers.pattern.sub(rf"\g<0>{_SEPARATOR}", text) if markers.within(text) else text


@dataclass(frozen=True)
class _Markers:
    """The markers of a tokeniser under a template.

    `pattern` matches the first character of every marker, those that begin inside another one too. `heads` are the
    first two characters of each: where none of them stands, which is quickly seen, no marker does.
    """

    template: str
    pattern: re.Pattern[str]
    heads: tuple[str, ...]

    def within(self, text: str) -> bool:
        return any(head in text for head in self.heads) and self.pattern.search(text) is not None


def _markers(tokenizer: Any) -> _Markers:
    template = str(tokenizer.chat_template or "")
    cached: _Markers | None = getattr(tokenizer, "_constitute_markers", None)
    if cached is None or cached.template != template:
        added = tokenizer.added_tokens_decoder.values()
        markers = {str(token) for token in added if token.special or _CONTROL.fullmatch(str(token))}
        markers |= {*tokenizer.all_special_tokens, *_CONTROL.findall(template), _SEPARATOR}
        spelled = sorted(marker for marker in markers if len(marker.strip()) > 1)
        pattern = re.compile(rf"(?={'|'.join(map(re.escape, spelled))}).", re.DOTALL)
        cached = _Markers(template, pattern, tuple(sorted({marker[:2] for marker in spelled})))
        tokenizer._constitute_markers = cached
    return cached


def _encode(tokenizer: Any, text: str) -> list[int]:
    if _SEPARATOR not in text:
        return _plainly_encoded(tokenizer, text)
    separating = getattr(tokenizer, "_constitute_separating", None)
    if separating is None:
        from tokenizers import AddedToken

        separating = copy.deepcopy(tokenizer)
        separating.add_tokens([AddedToken(_SEPARATOR, special=True, normalized=False)], special_tokens=True)
        tokenizer._constitute_separating = separating
    separator = separating.convert_tokens_to_ids(_SEPARATOR)
    return [id for id in separating.encode(text, add_special_tokens=False) if id != separator]


def _plainly_encoded(tokenizer: Any, text: str) -> list[int]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.truncation is not None or backend.padding is not None:
        return tokenizer.encode(text, add_special_tokens=False)
    # What transformers adds around this call takes as long as the call itself on short texts. It also sets this switch
    # before each call, so whoever called last has left it somewhere.
    backend.encode_special_tokens = tokenizer.split_special_tokens
    turns = None if tokenizer.split_special_tokens else _turns(tokenizer, backend)
    return backend.encode(text, add_special_tokens=False).ids if turns is None else turns(text)


# By tokeniser: the size of its vocabulary, and its turns, or None for one that is not cut for. Kept beside it, since a
# copy of it must not take them along.
_TURNS: WeakKeyDictionary[Any, tuple[int, TurnIds | None]] = WeakKeyDictionary()


def _turns(tokenizer: Any, backend: Any) -> TurnIds | None:
    size = backend.get_vocab_size()
    known = _TURNS.get(tokenizer)
    if known is None or known[0] != size:
        words = WordIds(lambda text: backend.encode(text, add_special_tokens=False).ids)
        known = _TURNS[tokenizer] = size, TurnIds(backend, words) if reads_by_word(backend) else None
    return known[1]
