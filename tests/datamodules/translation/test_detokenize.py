"""Plain text out of tokenised text: what is restored, and what a tokeniser of the same manner took apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacremoses import MosesTokenizer

from app.datamodules.translation.detokenize import detokenize, unescape_entities

ENGLISH = {
    "And I said , &quot; It &apos;s Pat &apos;s , isn &apos;t it ? &quot;": "And I said, \"It's Pat's, isn't it?\"",
    "She does n't , ca n't and DO N'T .": "She doesn't, can't and DON'T.",
    "The actors &apos; work ( all of it ) cost $ 5 : 10 % more .": "The actors' work (all of it) cost $5: 10% more.",
    "low @-@ income R &amp; D &#91; laughs &#93; &lt; 3": "low-income R & D [laughs] < 3",
    "H &amp; amp ; M , AT &amp; T": "H & M, AT & T",
    "&amp;quot;": "&quot;",  # resolved once
    "They let me go . &quot;": 'They let me go."',  # opened in the line before
    "  two   spaces ": "two spaces",
    "": "",
}


@pytest.mark.parametrize("tokenised", ENGLISH)
def test_english(tokenised):
    assert detokenize([tokenised], "en") == [ENGLISH[tokenised]]


def test_other_languages():
    vietnamese = ["Bà nói &quot; tấn công &quot; , rồi 46 % ( ở Mỹ ) .", "Đây là &apos; tự kỉ &apos; , nó"]
    assert detokenize(vietnamese, "vi") == ['Bà nói "tấn công", rồi 46% (ở Mỹ).', "Đây là 'tự kỉ', nó"]
    assert detokenize(["Er sagt : &quot; Nein ! &quot;"], "de") == ['Er sagt: "Nein!"']
    assert detokenize(["He is n't"], "en-GB") == ["He isn't"]
    assert detokenize(["C&apos; est l&apos; homme !"], "fr") == ["C'est l'homme !"]


def test_every_text_stays_at_its_place():
    texts = ["a .", "", "b ?"]
    assert detokenize(texts, "en") == ["a.", "", "b?"]
    assert texts == ["a .", "", "b ?"]
    assert detokenize([], "en") == []


def test_entities():
    assert unescape_entities("&lt;b&gt; &#8217;&#x41; &copyright; &copy 2; a&b;") == "<b> ’A &copyright; &copy 2; a&b;"


words = st.sampled_from("we don't often see Ann's low-income 300 km U.S. café [so] &".split())
sentences = st.tuples(
    words, st.lists(st.tuples(st.sampled_from([" ", ", ", "; ", ": "]), words)), st.sampled_from(".?!")
)


@given(sentences.map(lambda parts: parts[0] + "".join(a + b for a, b in parts[1]) + parts[2]))
def test_what_moses_took_apart_is_put_together(sentence):
    tokenised = MosesTokenizer("en").tokenize(sentence, return_str=True)
    assert detokenize([tokenised], "en") == [sentence]
