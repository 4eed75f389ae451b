"""The first twenty updates of every YAML are those that were kept: a refactoring changes no bit of any training."""

import json

import pytest

from tests.exactness.first_updates import CONFIGS, KEPT, UPDATES, differences, measure, processor

kept = json.loads(KEPT.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_config_trains_as_it_did(config, sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, now = kept["configs"][str(config)], measure(config, tmp_path, sources)
    assert len(now["losses"]) == UPDATES
    if processor() == kept["processor"]:
        assert not differences({"configs": {"it": before}}, {"configs": {"it": now}})
    else:  # sums are taken in another order: the same training, other last bits
        assert now["losses"] == pytest.approx(before["losses"], rel=1e-5)
        assert now["scores"].keys() == before["scores"].keys()


def test_a_difference_is_told_with_its_place():
    run = {"losses": [float(step) for step in range(UPDATES)], "weights": "a", "scores": {"val/loss": 1.0}}
    other = {**run, "losses": [*run["losses"][:7], 0.0, *run["losses"][8:]], "weights": "b"}
    assert not differences({"configs": {"x": run}}, {"configs": {"x": run}})
    assert differences({"configs": {"x": run}}, {"configs": {"x": other, "new": run}}) == [
        "x: losses differ from update 8 on",
        "x: weights differ",
    ]
