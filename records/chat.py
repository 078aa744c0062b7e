"""From messages to token ids, once, the same for drafting, judging and training.

The chat template is applied once and its text is tokenised without adding special tokens, so there is one BOS: the
template's own. A text that spells a chat marker (`<|im_end|>`) stays text: before the template sees it, a separator is
put after the marker's first character, so that neither template nor tokeniser knows it, and the separator's own id is
taken out of the result. A text that spells no marker is tokenised exactly as without this.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from records.errors import ConfigError
from records.rows import Message

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
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"{tokenizer.name_or_path}: the model has no chat template; expected an instruction-tuned model. "
            "Choose one, or save a template with its tokeniser (tokenizer.chat_template)."
        )
    from jinja2 import TemplateError

    turns = [{"role": message.role, "content": _guarded(tokenizer, message.content)} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        raise ConfigError(
            f"{tokenizer.name_or_path}: the model's chat template refuses a conversation of {roles} ({error}); "
            "expected turns that it takes. Take such prompts out of the prompt file, or choose another model."
        ) from error
    return _encode(tokenizer, text)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text in which nothing is special, whatever it spells."""
    return _encode(tokenizer, _guarded(tokenizer, text))


def holds_special(tokenizer: Any, text: str) -> bool:
    """Whether the text spells a marker: a special or control token, or one that the chat template writes."""
    return bool(_markers(tokenizer).search(text))


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


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for lone surrogates, which no tokeniser and no UTF-8 can hold; rows on disk keep them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _guarded(tokenizer: Any, text: str) -> str:
    """The text with a separator after the first character of every marker in it."""
    return _markers(tokenizer).sub(rf"\g<0>{_SEPARATOR}", without_surrogates(text))


def _markers(tokenizer: Any) -> re.Pattern[str]:
    """Matches the first character of every marker, those that begin inside another one too."""
    template = str(tokenizer.chat_template or "")
    cached = getattr(tokenizer, "_constitute_markers", None)
    if cached is None or cached[0] != template:
        added = tokenizer.added_tokens_decoder.values()
        markers = {str(token) for token in added if token.special or _CONTROL.fullmatch(str(token))}
        markers |= {*tokenizer.all_special_tokens, *_CONTROL.findall(template), _SEPARATOR}
        spelled = "|".join(re.escape(marker) for marker in sorted(markers) if len(marker.strip()) > 1)
        cached = template, re.compile(rf"(?={spelled}).", re.DOTALL)
        tokenizer._constitute_markers = cached
    return cached[1]


def _encode(tokenizer: Any, text: str) -> list[int]:
    if _SEPARATOR not in text:
        return tokenizer.encode(text, add_special_tokens=False)
    separating = getattr(tokenizer, "_constitute_separating", None)
    if separating is None:
        from tokenizers import AddedToken

        separating = copy.deepcopy(tokenizer)
        separating.add_tokens([AddedToken(_SEPARATOR, special=True, normalized=False)], special_tokens=True)
        tokenizer._constitute_separating = separating
    separator = separating.convert_tokens_to_ids(_SEPARATOR)
    return [id for id in separating.encode(text, add_special_tokens=False) if id != separator]
