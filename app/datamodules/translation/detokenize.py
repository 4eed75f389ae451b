"""Plain text out of corpora that were published tokenised, in the manner of Moses."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from html.entities import html5

_ENTITY = re.compile(r"&#?\w+;")
_TOKENISED_ENTITY = re.compile(r"&amp; (amp|quot|apos|lt|gt) ;")  # one that stood in the text before it was tokenised
_NOT = re.compile(r"(?<=[^\W\d_]) (n't)\b", re.IGNORECASE)
_LAST_QUOTE = re.compile(r" ([\"'])$")


def detokenize(texts: Sequence[str], language: str) -> list[str]:
    """The texts as a person would write them: `"I don't," he said` for `&quot; I don &apos;t , &quot; he said`.

    Rules are those of Moses' detokenizer, with all entities resolved; in English also `do n't`, as the Penn Treebank
    has it, and in any language a quotation mark that ends the text, which Moses takes for an opening one where the
    quotation began in an earlier text.

    What tokenising lost stays lost: which straight quotation mark opens where their number in a text is odd, an
    apostrophe that begins or ends a word (`the &apos; 60s`, and `Draeger &apos;s` in a language without the English
    rule), and marks that the publisher left glued together (`, "` is closed up, `,"` after a space is not).

    Args:
        texts: one sentence each, its tokens with white space between them.
        language: code such as en; Moses has rules of its own for cs, en, fi, fr, ga, it and ko.
    """
    from sacremoses import MosesDetokenizer  # here, because it takes long to import and few corpora need it

    language = re.split("[-_]", language.lower())[0]  # en of en_GB
    moses = MosesDetokenizer(lang=language)
    resolved = (unescape_entities(_TOKENISED_ENTITY.sub(r"&\1;", text)) for text in texts)
    plain = [moses.detokenize(text.split(), unescape=False) for text in resolved]
    if language == "en":
        plain = [_NOT.sub(r"\1", text) for text in plain]
    return [_LAST_QUOTE.sub(r"\1", text) for text in plain]


def unescape_entities(text: str) -> str:
    """`text` with each HTML entity, such as `&apos;` or `&#91;`, as the character that it stands for; resolved once."""
    return _ENTITY.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    entity = match.group()
    is_known = entity[1] == "#" or entity[1:] in html5  # html.unescape would also take &copycat; for a sign and cat;
    return html.unescape(entity) if is_known else entity
