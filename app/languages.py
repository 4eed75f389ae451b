"""Codes of languages as data has them, and as sacrebleu and Moses know them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# ISO 639-1 of what sacrebleu or Moses has rules for, or is written without spaces; then ISO 639-3 and 639-2
_CODES = """as asm, bn ben, bo bod tib, ca cat, cs ces cze, de deu ger, dz dzo, el ell gre, en eng, es spa, et est ekk,
fi fin, fr fra fre, ga gle, gu guj, hi hin, hu hun, is isl ice, it ita, ja jpn, km khm, kn kan, ko kor, lo lao, lt lit,
lv lav lvs, ml mal, mr mar, my mya bur, nl nld dut, or ori ory, pa pan, pl pol, pt por, ro ron rum, ru rus, sk slk slo,
sl slv, sv swe, ta tam, te tel, th tha, zh zho chi cmn yue wuu hak nan"""
_SHORT = {code: codes.split()[0] for codes in _CODES.split(",") for code in codes.split()}

# signs of scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, kana, Chinese characters
UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_SIGN, _LETTER = re.compile(f"[{UNSPACED}]"), re.compile(r"[^\W\d_]")


def short_code(code: str) -> str:
    """The language in a code, without region and script: zh for zho_Hans, zh-CN and cmn, pt for pt_BR and por_Latn."""
    language = re.split("[-_@.]", code.lower())[0]
    return _SHORT.get(language, language)


def has_no_spaces(texts: Iterable[str]) -> bool:
    """Whether most letters of some texts are of scripts without spaces between words."""
    signs = letters = 0
    for text in texts:
        signs += len(_SIGN.findall(text))
        letters += len(_LETTER.findall(text))
    return 2 * signs > letters
