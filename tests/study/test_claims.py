"""Claims: their files, which comparisons they ask a study for, and what made-up studies say of them."""

import itertools
import json
import math

import pytest
from scipy import stats

from app.backbones import PlacementSpec
from app.errors import InputError
from app.study.analysis.analyse import analyse
from app.study.analysis.answers import missing
from app.study.claims import claims_path, read_claims
from app.study.plan import read_study
from app.study.statistics.replication import at_least
from tests.conftest import ROOT
from tests.study.made_up import LUCK, result, seeds

PAIR = {"quantity": "score", "variant": "adanorm", "other": "layernorm", "expected": "better"}
CLAIM = {"id": "c", "words": "AdaNorm is better", "source": "we", "comparisons": [PAIR]}


@pytest.fixture
def write(tmp_path):
    def write(claim=None, **comparison):
        content = {"claims": [{**CLAIM, **(claim or {}), "comparisons": [{**PAIR, **comparison}]}]}
        path = tmp_path / "claims.yaml"
        path.write_text(json.dumps(content))  # JSON is YAML
        return path

    return write


@pytest.mark.parametrize("name", ["paper", "recent"])
def test_the_claims_that_come_with_the_project_are_read(name):
    claims = read_claims(claims_path(name))
    assert len({claim.id for claim in claims}) == len(claims) >= 4
    assert all(claim.source and "arXiv" in claim.source for claim in claims)


def test_each_claim_can_be_answered_by_a_study_that_is_there():
    studies = [read_study(path) for path in (ROOT / "configs/studies").glob("*.yaml")]
    for name in ("paper", "recent"):
        asking = [study for study in studies if name in study.claims]
        for claim in read_claims(claims_path(name)):
            assert any(not missing(claim, study, study.baseline.placement) for study in asking), claim.id


def test_a_claim_names_its_variants_exactly(write):
    native, peri = PlacementSpec(), PlacementSpec("peri")
    labels = {
        "adanorm": "adanorm(k=0.1,scale=1)",
        "adanorm(k=0.2,scale=1)@final": "adanorm(k=0.2,scale=1)@final",
        "layernorm[lr=0.001]": "layernorm[lr=0.001]",
    }
    for written, label in labels.items():
        (claim,) = read_claims(write(variant=written))
        assert [named.label_in(native) for named in claim.predictions[0].variant] == [label]
    (claim,) = read_claims(write(variant={"name": "adanorm", "options": {"k": 0.2}, "sites": "final"}))
    assert claim.predictions[0].variant[0].label_in(native) == "adanorm(k=0.2,scale=1)@final"
    (claim,) = read_claims(write(variant={"norm": "layernorm", "placement": "output"}))
    ours, theirs = (side[0].label_in(peri) for side in (claim.predictions[0].variant, claim.predictions[0].other))
    assert ours.startswith("layernorm~output") and theirs.startswith("layernorm~peri")


@pytest.mark.parametrize(
    ("claim", "comparison", "words"),
    [
        ({"idd": 1}, {}, "unknown key 'idd'; did you mean 'id'? allowed: id, words"),
        ({"words": ""}, {}, "words is ''; must be a text"),
        ({"published": "9 of 8"}, {}, "published is '9 of 8'; must be such as 7 of 8"),
        ({"tasks": "parsing"}, {}, "tasks is 'parsing'; must be a list"),
        ({}, {"quantity": "accuracy"}, "quantity is 'accuracy'; allowed: score, gap"),
        ({}, {"at": "best"}, "at is best, which score does not have"),
        ({}, {"expected": "beter"}, "expected is 'beter'; did you mean 'better'?"),
        ({}, {"variant": "layernorm"}, "variant and other are the same; name two"),
        ({}, {"margin": 0.5}, "margin is 0.5; must be sizes by metric"),
        ({}, {"margin": {"acuracy": 0.5}}, "unknown metric 'acuracy'"),
        ({"placements": ["perri"]}, {}, "unknown placement 'perri'; did you mean 'peri'?"),
        ({}, {"variant": "adanrm"}, "did you mean 'adanorm'?"),
        ({}, {"variant": ["adanorm", "none"]}, "make both a list of two"),
        ({}, {"variant": {"norm": "adanorm", "placement": "perry"}}, "did you mean 'peri'?"),
    ],
)
def test_what_is_wrong_in_a_file_of_claims_is_said_in_one_line(write, claim, comparison, words):
    with pytest.raises(InputError) as caught:
        read_claims(write(claim, **comparison))
    assert words in str(caught.value) and "claims.yaml: claim 1" in str(caught.value)


def test_claims_that_are_not_there():
    with pytest.raises(InputError, match="claims 'papr': no such file; did you mean 'paper'"):
        claims_path("papr")


def losses(accuracy, train, valid, spread=0.05):
    """Results whose losses are the same at the best and at the last validation, but for the luck of the seed."""
    runs = {}
    for number, seed in enumerate(LUCK):
        fitted, held_out = train * (1 + 0.01 * (-1) ** number), valid * (1 + 0.01 * (number % 3))
        at = {"train_probe": {"loss": fitted}, "val": {"loss": held_out}}
        gap = {"final": {"loss": held_out - fitted}}
        runs[seed] = result(seed, accuracy + spread * (-1) ** seed, final=at, best=at, gap=gap)
    return runs


def answered(study_and_trials):
    """The answers by the first words of their claim."""
    found = analyse(*study_and_trials)
    return found, {next(key for key in KEYS if key in answer.title): answer for answer in found.answers}


KEYS = ("Gain and bias", "derivatives", "AdaNorm does better", "LayerNorm reaches", "lacks")


def test_gain_and_bias_overfit_only_where_the_gap_is_larger(made):
    """A model without them that is better does not support the claim where LayerNorm under-fits."""
    simple = losses(75.5, train=0.20, valid=0.50, spread=0.1)
    overfits, underfits = losses(75, train=0.10, valid=0.60), losses(75, train=0.30, valid=0.50)
    for name, layernorm, verdict in (("a", overfits, "supported"), ("b", underfits, "contradicted")):
        found, by_claim = answered(made({"layernorm": layernorm, "layernorm_simple": simple}, name=name))
        assert by_claim["Gain and bias"].verdict == verdict
        (shown,) = (row.comparison for row in found.tables[0].rows if row.comparison)
        assert by_claim["Gain and bias"].words.startswith(shown.words)  # the table's numbers, to the letter


def test_no_loss_is_shown_by_the_margin_where_both_are_equal(made):
    equal = {s: result(s, 75 + 0.04 * s * (-1) ** s) for s in LUCK}
    results = {"layernorm": losses(75, train=0.1, valid=0.6), "layernorm_simple": equal}
    for baseline in results:  # either way round
        _, by_claim = answered(made(results, baseline=baseline, name=baseline))
        words = by_claim["Gain and bias"].words
        assert "layernorm_simple is not worse than layernorm by 0.5: shown" in words


@pytest.mark.parametrize(
    ("detach", "none", "verdict"),
    [(72, 71.5, "supported"), (76, 70, "contradicted"), (74, 70, "undecided"), (78.5, 70, "contradicted")],
)
def test_the_derivatives_are_compared_with_the_forward_pass(made, detach, none, verdict):
    """Simple at 78: it is not enough that it beats DetachNorm, which has to be nearer to no norm than to it."""
    results = {"layernorm_simple": seeds(78, 0.02), "detachnorm": seeds(detach, 0.15), "none": seeds(none, -0.1)}
    found, by_claim = answered(made(results))
    assert by_claim["derivatives"].verdict == verdict
    contrast = 78 - 2 * detach + none
    sign = "+" if contrast > 0 else "-"
    assert verdict == "undecided" or "(layernorm_simple - detachnorm) does" in by_claim["derivatives"].words
    assert f"{sign}{abs(contrast)}" in by_claim["derivatives"].words.replace("+0.00", "+0") or contrast == 0


def test_a_norm_that_diverges_does_not_make_its_claim_disappear(made):
    dead = {s: result(s, 0, status="diverged", test=None) for s in LUCK}
    results = {"layernorm": seeds(75), "layernorm_simple": seeds(75, 0.1), "detachnorm": dead, "none": dead}
    _, by_claim = answered(made(results))
    assert by_claim["derivatives"].verdict == "supported"
    words = by_claim["derivatives"].words
    assert "layernorm_simple diverged on 0 of 4 seeds, detachnorm on 4 of 4" in words
    assert "with the worst score for runs that diverged, (layernorm_simple - detachnorm) is the lower" in words


def test_another_variant_of_a_norm_does_not_answer_for_it(made):
    norms = [{"name": "adanorm", "sites": "final"}, "adanorm", "layernorm"]
    results = {"layernorm": seeds(75), "adanorm(k=0.1,scale=1)@final": seeds(76, 0.1), "adanorm": seeds(74, 0.1)}
    _, by_claim = answered(made(results, norms=norms, baseline="layernorm"))
    assert by_claim["AdaNorm does better"].verdict == "contradicted"
    _, by_claim = answered(made(results, norms=[norms[0], norms[2]], baseline="layernorm", name="final"))
    assert "AdaNorm does better" not in by_claim and by_claim["lacks"].verdict == "not asked"
    assert "AdaNorm (needs adanorm(k=0.1,scale=1))" in by_claim["lacks"].words
    assert "derivatives (needs layernorm_simple, detachnorm, none)" in by_claim["lacks"].words


def test_a_claim_whose_sides_are_one_variant_here_is_not_asked(made, write):
    path = write(variant={"norm": "layernorm", "placement": "native"})
    found = analyse(*made({"layernorm": seeds(75), "none": seeds(70)}, claims=[str(path)]))
    assert [answer.words for answer in found.answers] == ["c (needs another variant than layernorm)"]


def test_losses_are_compared_at_the_best_and_at_the_last_validation(made):
    layernorm, ada = losses(75, train=0.1, valid=0.6), losses(77, train=0.2, valid=0.5, spread=0.1)
    _, by_claim = answered(made({"layernorm": layernorm, "adanorm": ada}))
    words = by_claim["LayerNorm reaches"].words
    assert by_claim["LayerNorm reaches"].verdict == "supported"
    assert all(f"in {split} loss{at}:" in words for split in ("train", "valid") for at in ("", " at best"))
    at_best = {s: {**run, "best": ada[s]["best"]} for s, run in layernorm.items()}
    _, by_claim = answered(made({"layernorm": at_best, "adanorm": ada}, name="last"))
    assert by_claim["LayerNorm reaches"].verdict == "undecided"  # true of the last epoch only


def test_over_datasets_the_report_says_first_on_how_many(made):
    def both(difference):
        return {"layernorm": seeds(75, 0.1), "adanorm": seeds(75 + difference, -0.2)}

    small = {name: both(0.45) for name in ("sst5", "mnist", "ptb")}
    found, by_claim = answered(made(both(3), others={**small, "iwslt14_de_en": both(-2)}))
    answer = by_claim["AdaNorm does better"]
    assert [finding.verdict for finding in answer.findings][::4] == ["supported", "contradicted"]
    assert answer.words.startswith("It holds on at least 3 and at most 4 of 5 datasets") and "7 of 8" in answer.words
    assert answer.verdict == "contradicted"  # the paper's 7 of 8 would be all five
    assert len(answer.details) == 5 and answer.details[0].startswith("rt, bert-4x128: supported. ")
    for finding, table in zip(answer.findings, found.tables, strict=True):
        assert finding.words == table.rows[1].comparison.words


def test_before_its_end_a_study_answers_nothing(made):
    results = {"layernorm": seeds(75), "adanorm": {s: run for s, run in seeds(77).items() if s < 4}}
    _, by_claim = answered(made(results))
    assert by_claim["AdaNorm does better"].verdict == "preliminary"
    assert by_claim["LayerNorm reaches"].verdict == "preliminary"  # of which no run has the losses yet
    assert by_claim["LayerNorm reaches"].words.startswith("no finished run has train loss")


def test_a_user_asks_claims_of_their_own_with_a_margin_of_their_own(made, write, tmp_path):
    results = {"layernorm": seeds(75, 0.1), "adanorm": seeds(75.6, 0.2)}
    for margin, verdict in ((2.0, "supported"), (0.1, "contradicted")):
        path = write(expected="equal", margin={"accuracy": margin})
        found = analyse(*made(results, claims=[str(path)], name=f"m{margin}"))
        assert [answer.verdict for answer in found.answers] == [verdict]


def test_the_lower_bound_is_that_of_all_subsets():
    """Brute force: the effect is on fewer than k of n only if some n - k + 1 have none, which Fisher's test refuses."""
    cases = itertools.product((0.001, 0.02, 0.04, 0.3, 0.9), repeat=3)
    for p_values in cases:
        found = 0
        for k in range(1, 4):
            subsets = itertools.combinations(p_values, 3 - k + 1)
            if max(stats.chi2.sf(-2 * sum(map(math.log, subset)), 2 * len(subset)) for subset in subsets) >= 0.05:
                break
            found = k
        assert at_least(p_values) == found


def test_controls_are_right_where_the_twin_is_not_told_apart_and_the_broken_norm_is(made):
    labels = {"layernorm": seeds(75, 0.1), "layernorm[null-twin]": seeds(75.02, 0.2)}
    broken = "adanorm(k=0,scale=1e-06)[broken]"
    for name, twin, bad, are_right in (("a", 75.02, 50, True), ("b", 78, 50, False), ("c", 75.02, 75.01, False)):
        results = {**labels, "none": seeds(70), "layernorm[null-twin]": seeds(twin, 0.2), broken: seeds(bad, 0.3)}
        settings = {"norms": ["layernorm", "none"], "comparisons": [["none", "layernorm"]], "controls": True}
        found = analyse(*made(results, **settings, name=name)).controls
        assert found.are_right == are_right and ("are right" in found.words) == are_right
    few = {norm: {seed: run for seed, run in runs.items() if seed < 3} for norm, runs in results.items()}
    found = analyse(*made(few, (1, 2), **settings, name="f")).controls
    assert found.are_right is None and found.words.startswith("The study is too small to find even its broken norm: rt")
    results[broken] = {s: result(s, 0, status="diverged", test=None) for s in (1, 2, 3)} | {4: result(4, 50)}
    assert analyse(*made(results, **settings, name="e")).controls.are_right
    del results[broken][4]
    assert analyse(*made(results, **settings, name="d")).controls.are_right is None
