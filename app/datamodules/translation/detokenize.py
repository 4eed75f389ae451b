"""Plain text from corpora that were published tokenised, in the manner of Moses."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from html.entities import html5

from app.languages import short_code

_ENTITY = re.compile(r"&#?\w+;")
_TOKENISED_ENTITY = re.compile(r"&amp; (amp|quot|apos|lt|gt) ;")  # it was in the text before it was tokenised
_NOT = re.compile(r"(?<=[^\W\d_]) (n't)\b", re.IGNORECASE)
_LAST_QUOTE = re.compile(r" ([\"'])$")


def detokenize(texts: Sequence[str], language: str) -> list[str]:
    """The texts in normal spelling: `"I don't," he said` for `&quot; I don &apos;t , &quot; he said`.

    The rules are those of Moses' detokenizer, with all entities resolved; in English also `do n't`, as in the Penn
    Treebank, and in any language a quotation mark at the end of the text, which Moses mistakes for an opening one if
    the quotation began in an earlier text.

    What tokenisation lost cannot be restored: which straight quotation mark opens if their number in a text is odd, an
    apostrophe at the beginning or end of a word (`the &apos; 60s`, and `Draeger &apos;s` in a language without the
    English rule), and marks that the publisher did not separate (`, "` is joined, `,"` after a space is not).

    Args:
        texts: one sentence each, its tokens separated by white space.
        language: code such as en or eng_Latn; Moses has special rules for cs, en, fi, fr, ga, it and ko.
    """
    from sacremoses import MosesDetokenizer  # here, because its import is slow and few corpora need it

    language = short_code(language)
    moses = MosesDetokenizer(lang=language)
    resolved = (unescape_entities(_TOKENISED_ENTITY.sub(r"&\1;", text)) for text in texts)
    plain = [moses.detokenize(text.split(), unescape=False) for text in resolved]
    if language == "en":
        plain = [_NOT.sub(r"\1", text) for text in plain]
    return [_LAST_QUOTE.sub(r"\1", text) for text in plain]


def unescape_entities(text: str) -> str:
    """Replace each HTML entity of a text, such as `&apos;` or `&#91;`, by its character, once."""
    return _ENTITY.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    entity = match.group()
    is_known = entity[1] == "#" or entity[1:] in html5  # html.unescape would also resolve &copycat; as &copy and cat;
    return html.unescape(entity) if is_known else entity
