"""A chat template by name: the one of a model's folder, or a Jinja file that stands alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.errors import ConfigError

# What a tokeniser fills in. A file has no tokeniser, and Jinja would write nothing in their place, in silence.
_TOKEN_NAMES = re.compile(r"\b(?:bos|eos|pad|unk|sep|cls|mask)_token\b")


@dataclass(eq=False)
class TemplateFile:
    """A template without a tokeniser; has what rendering (records/chat.py) asks of one."""

    name_or_path: str
    chat_template: str

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """None: markers are known by the template's own text alone."""
        return {}

    @property
    def all_special_tokens(self) -> tuple[str, ...]:
        return ()

    def apply_chat_template(self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool) -> str:
        """Render one conversation, in the sandbox that transformers renders every template in."""
        from transformers.utils.chat_template_utils import render_jinja_template

        assert not tokenize
        rendered, _ = render_jinja_template(
            conversations=[turns], chat_template=self.chat_template, add_generation_prompt=add_generation_prompt
        )
        return rendered[0]


def open_template(name: str) -> Any:
    """The template of a model's folder, with its tokeniser, or a template file; either renders (`render_pair`).

    Raises:
        ConfigError: there is no such file or folder, or it holds no usable template.
    """
    path = Path(name)
    if path.is_dir():
        return _of_model(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--template {name}: cannot be read ({error}); expected a Jinja file or the folder of a model."
        ) from None
    if not text.strip():
        raise ConfigError(f"--template {name}: the file is empty; expected a chat template in Jinja.")
    tokens = sorted(set(_TOKEN_NAMES.findall(text)))
    if tokens:
        raise ConfigError(
            f"--template {name}: the template writes {', '.join(tokens)}, which a file does not spell out; expected "
            "the folder of the model, whose tokeniser does. Name that folder, or write the tokens into the file."
        )
    _refuse_broken(name, text)
    return TemplateFile(name, text)


def _of_model(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the readers of tokenisers have no common error: keys, types and Rust's own differ
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"--template {folder}: no tokeniser can be loaded ({words}); expected a model's folder with its own."
        ) from None
    if not isinstance(tokenizer.chat_template, str):
        raise ConfigError(
            f"--template {folder}: its tokeniser has no chat template, or several; expected one. Name a Jinja file."
        )
    _refuse_broken(str(folder), tokenizer.chat_template)
    return tokenizer


def _refuse_broken(name: str, text: str) -> None:
    """Compile the template once, so that one which is no Jinja is told before any row is read."""
    from jinja2 import TemplateSyntaxError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        render_jinja_template(conversations=[], chat_template=text)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"--template {name}: not a template (line {error.lineno}: {error.message}); expected Jinja. Mend it."
        ) from None
