"""Studies that look before their end: what a look decides, and whose further seeds are not needed."""

from app.study.analysis.analyse import analyse, decided
from tests.study.made_up import result

SEEDS = tuple(range(1, 11))
NOISE = (0.3, -0.2, 0.1, -0.4, 0.25, -0.1, 0.35, -0.3, 0.05, -0.05)


def runs(accuracy, until=10, scale=1.0):
    """Results of the first seeds, around an accuracy in per cent."""
    return {
        seed: result(seed, 0, test={"accuracy": (accuracy + scale * NOISE[(3 * seed) % 10]) / 100})
        for seed in SEEDS[:until]
    }


def looked(made, until, adanorm=80.0):
    settings = {"looks": [5, 10], "margin": {"accuracy": 0.01}, "claims": []}
    found = {"layernorm": runs(75, until, 0.5), "adanorm": runs(adanorm, until), "none": runs(75.1, until, -1)}
    return made(found, SEEDS, **settings)


def test_before_the_first_look_there_is_no_verdict(made):
    study, trials = looked(made, 4)
    assert analyse(study, trials).preliminary and decided(study, trials) == {}


def test_a_look_decides_what_is_clear_and_leaves_the_rest_open(made):
    study, trials = looked(made, 7)
    found = analyse(study, trials)
    _, ada, none = (row.comparison for row in found.tables[0].rows)
    assert not found.preliminary and (ada.verdict, none.verdict) == ("better", "undecided")
    assert ada.look == none.look == 5 and ada.estimate.n == 5  # later seeds are for the next look
    assert "at the look after 5 seeds" in ada.words
    assert decided(study, trials) == {("rt", ada.variant): 5}  # the baseline is needed for the rest


def test_what_was_decided_stays_so(made):
    study, trials = looked(made, 10)
    for trial in trials:
        if trial.variant.norm.name == "adanorm" and trial.seed > 5:  # runs that were not needed any more
            next(trial.root.rglob("result.json")).unlink()
    found = analyse(study, trials)
    _, ada, none = (row.comparison for row in found.tables[0].rows)
    assert (ada.verdict, ada.look) == ("better", 5) and none.look == 10


def test_a_look_asks_for_more_than_the_end_does(made):
    """With one comparison, p = 0.01 to 0.05 at half of the seeds decides nothing."""
    found = {"layernorm": runs(75, 5, 0.0), "adanorm": runs(75.5, 5)}
    five = analyse(*made(found, SEEDS[:5], claims=[])).tables[0].rows[1].comparison
    assert five.verdict == "better" and five.look is None
    assert decided(*made(found, SEEDS, looks=[5, 10], claims=[])) == {}
