"""BLEU and chrF are sacrebleu's own, whoever collected the translations."""

import subprocess
import sys

import pytest
import sacrebleu

from app.languages import has_no_spaces, short_code
from app.metrics import Translated, TranslationScores, bleu, bleu_counts, chrf, tokenized_bleu, tokenizer_of

REFERENCES = [
    "Das ist ein Haus, und es ist rot.", "Der Hund läuft.", "Ein Mann (alt) sieht \"nichts\".", "Kosten: 3,5 %!",
]  # fmt: skip
HYPOTHESES = ["Das ist ein rotes Haus, und es ist alt.", "Der Hund schläft.", "Ein Mann sieht nichts.", "Kosten: 3,5 %"]


def test_scores_are_sacrebleus():
    score, signature = bleu(HYPOTHESES, REFERENCES, "de")
    assert score == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    counts = bleu_counts([*HYPOTHESES, ""], [*REFERENCES, "Nichts."], "de")
    assert all(len(column) == 5 for column in counts.values()) and counts["sys_len"][4] == 0 < counts["ref_len"][4]
    total = {name: sum(column) for name, column in counts.items()}
    lists = ([total[f"{kind}_{n}"] for n in range(1, 5)] for kind in ("correct", "total"))
    whole = sacrebleu.BLEU.compute_bleu(*lists, total["sys_len"], total["ref_len"], smooth_method="exp").score
    assert whole == bleu([*HYPOTHESES, ""], [*REFERENCES, "Nichts."], "de")[0] > 0
    score, signature = chrf(HYPOTHESES, REFERENCES)
    assert score == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    assert "nc:6" in signature


def test_the_sacrebleu_command_gives_the_same_number(tmp_path):
    for name, lines in (("hypothesis", HYPOTHESES), ("reference", REFERENCES)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", str(tmp_path / "reference"), "-i", str(tmp_path / "hypothesis")]
    done = subprocess.run([*command, "-b", "-w", "6"], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(bleu(HYPOTHESES, REFERENCES, "de")[0], abs=1e-6)


def test_tokenised_bleu_counts_moses_tokens_and_says_so():
    score, signature = tokenized_bleu(HYPOTHESES, REFERENCES, "de")
    by_hand = [
        [
            "Das ist ein rotes Haus , und es ist alt .", "Der Hund schläft .", "Ein Mann sieht nichts .",
            "Kosten : 3,5 %",
        ],
        [
            "Das ist ein Haus , und es ist rot .", "Der Hund läuft .", 'Ein Mann ( alt ) sieht " nichts " .',
            "Kosten : 3,5 % !",
        ],
    ]  # fmt: skip
    assert score == sacrebleu.corpus_bleu(by_hand[0], [by_hand[1]], tokenize="none", force=True).score
    assert signature.startswith("moses.de|") and "tok:none" in signature


def test_examples_are_collected_in_the_order_of_the_set_and_once():
    scores = TranslationScores()
    scores.update([Translated(2, "c", "C", "CC"), Translated(0, "a", "A", "AA")])
    scores.update([Translated(1, "b", "B", "BB")])
    assert [example.hypothesis for example in scores.collect()] == ["A", "B", "C"]
    assert scores.collect() == []


def test_a_region_does_not_change_how_a_language_is_scored():
    texts = ["他喜欢红色的房子。"], ["他喜欢红色的老房子。"]
    assert bleu(*texts, "zh_CN") == bleu(*texts, "zh-TW") == bleu(*texts, "zh")
    assert "tok:zh" in bleu(*texts, "zh_CN")[1]
    assert tokenized_bleu(HYPOTHESES, REFERENCES, "de_AT") == tokenized_bleu(HYPOTHESES, REFERENCES, "de")


@pytest.mark.parametrize(
    ("codes", "tokenizer"),
    [
        ("zh zho chi cmn yue zh_CN zh-TW zh-Hant zho_Hans cmn_Hant ZH", "zh"),
        ("ja jpn ja_JP jpn_Jpan ja-JP.UTF-8", "ja-mecab"),
        ("ko kor ko_KR kor_Hang", "ko-mecab"),
        ("th tha_Thai lao mya my-MM km khm_Khmr bo", "char"),
        ("de deu deu_Latn en_GB vi vie_Latn sr@latin hin_Deva zho_Latn xx", "13a"),
    ],
)
def test_every_code_of_a_language_has_its_tokenizer(codes, tokenizer):
    assert {tokenizer_of(code) for code in codes.split()} == {tokenizer}


def test_a_code_of_three_letters_is_scored_as_that_of_two():
    texts = ["我喜欢猫和狗"], ["我喜欢猫和鸟"]
    assert bleu(*texts, "zho_Hans") == bleu(*texts, "zh") and bleu(*texts, "cmn")[0] > 50
    assert bleu(*texts, "zh", "13a")[0] == bleu(*texts, "de")[0] < 1
    assert tokenized_bleu(HYPOTHESES, REFERENCES, "deu_Latn") == tokenized_bleu(HYPOTHESES, REFERENCES, "de")
    assert [short_code(code) for code in ("ger", "por_Latn", "en-GB", "tlh", "sr@latin")] == "de pt en tlh sr".split()


def test_texts_without_spaces_are_known():
    assert all(map(has_no_spaces, (["我喜欢猫", "ok"], ["ฉันชอบแมว"], ["ねこがすき。"])))
    assert not any(map(has_no_spaces, (["I like 猫"], ["나는 고양이를 좋아한다"], ["", "1"])))
