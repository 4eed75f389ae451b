"""ByteData: what a model without and with memory gets, the fixed probe, limits, baselines, prompts."""

import logging

import numpy as np
import pytest

from app.datamodules import ByteData
from app.errors import InputError

SIZE = 2000
CONTENT = np.random.default_rng(0).integers(97, 123, SIZE, dtype=np.uint8).tobytes()


@pytest.fixture
def data(tmp_path):
    (tmp_path / "raw").write_bytes(CONTENT)

    def make(**settings):
        defaults = {"name": "tiny", "source": str(tmp_path / "raw"), "cache_dir": str(tmp_path / "cache")}
        return ByteData(
            **{**defaults, "segment": 10, "streams": 3, "eval_streams": 4, "eval_batch_size": 3, **settings}
        )

    return make


def targets(batches):
    """Positions' pairs (input, target) that count, in the order of the batches' examples."""
    found = []
    for batch in batches:
        for row, index in enumerate(batch.index.tolist()):
            counts = batch.labels[row] != -100
            found.append((index, bytes(batch.input_ids[row][counts]), bytes(batch.labels[row][counts])))
    return sorted(found)


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_loaders_give_every_byte_once(data, memory, part):
    module = data(memory=memory)
    begin, end = {"train": (0, 1800), "val": (1800, 1900), "test": (1900, 2000)}[part]
    loader = {
        "train": module.train_dataloader, "val": lambda: module.val_dataloader()[0], "test": module.test_dataloader
    }[part]()  # fmt: skip
    batches = list(loader)
    assert sum(batch.tokens for batch in batches) == end - begin
    found = targets(batches)  # in the order of the text, also where streams are read side by side
    assert [row[0] for row in found if row[2]] == list(range(sum(bool(row[2]) for row in found)))
    assert b"".join(row[2] for row in found) == CONTENT[begin:end]
    assert b"".join(row[1] for row in found) == (b"\n" + CONTENT)[begin:end]


def test_without_memory_training_is_shuffled_by_seed_and_epoch(data):
    module = data(seed=1)
    assert {len(batch) for batch in module.plan.epoch(0)} == {3}
    orders = [np.concatenate(data(seed=seed).plan.epoch(epoch)).tolist() for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({tuple(order) for order in orders}) == 3
    assert np.concatenate(module.plan.epoch(0)).tolist() == orders[0]
    assert [sorted(order) for order in orders] == [list(range(180))] * 3


def test_with_memory_streams_go_on_from_batch_to_batch(data):
    batches = list(data(memory=True, seed=1).train_dataloader())
    assert [batch.begins for batch in batches] == [True] + [False] * 59
    for before, after in zip(batches[:-1], batches[1:], strict=True):
        assert before.stream.tolist() == after.stream.tolist() == [0, 1, 2]
        assert (after.input_ids[:, 0] == before.labels[:, -1]).all()


@pytest.mark.parametrize("memory", [True, False])
def test_a_score_is_of_the_same_rows_whatever_the_batch_size(data, memory):
    found = [targets(data(memory=memory, eval_batch_size=size).test_dataloader()) for size in (1, 3, 64)]
    rows = [[row for row in rows if row[2]] for rows in found]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("memory", [True, False])
def test_the_probe_is_the_same_for_every_seed_and_scored_as_validation_is(data, memory):
    modules = [data(memory=memory, seed=seed) for seed in (0, 1)]
    probes = [targets(module.val_dataloader()[1]) for module in modules]
    assert probes[0] == probes[1]
    assert modules[0].probe.fingerprint() == modules[1].probe.fingerprint()
    content = b"".join(row[2] for row in probes[0])
    assert len(content) == 100
    assert all(row[2] in CONTENT[:1800] for row in probes[0])
    val, probe = modules[0].splits["val"], modules[0].probe
    assert type(val) is type(probe) and np.array_equal(val.units, probe.units)
    pieces = [probe.content.begin + position for position in (probe._begins if memory else probe._begins[::5])]
    assert pieces == [0, 450, 900, 1350]  # spread over the training part
    assert len(data(memory=memory, train_probe=False).val_dataloader()) == 1


@pytest.mark.parametrize("memory", [True, False])
def test_a_limit_shortens_validation_and_probe_and_never_the_test(data, memory, caplog):
    with caplog.at_level(logging.INFO):
        module = data(memory=memory, eval_limit=50)
        sizes = [split.units.sum() for split in (*module.splits.values(), module.probe)]
    assert sizes == [1800, 50, 100, 50]
    assert "read 2000 bytes, kept 1800 train, 100 val, 100 test" in caplog.text
    assert "validation uses the first 50 of 100 bytes, and the train probe as many; the test is whole" in caplog.text
    assert bytes(module.byte_ranges["val"].data) == CONTENT[1800:1850]
    assert module.fingerprint != data(memory=memory).fingerprint == data(memory=memory, eval_limit=100).fingerprint


def test_facts_tell_the_model_what_it_needs(data):
    data_spec = data().data_spec
    assert data_spec.model_options == {"vocab_size": 256} and data_spec.max_length == 10 and not data_spec.has_streams
    assert data(window=25).data_spec.max_length == 25 and data(window=5).data_spec.max_length == 10
    with_memory = data(memory=True).data_spec
    assert with_memory.max_length is None and with_memory.has_streams
    assert data_spec.baselines == with_memory.baselines == data().baselines
    assert list(data_spec.baselines) == ["gzip", "bzip2"] and all(
        4 < bits < 12 for bits in data_spec.baselines.values()
    )


def test_windows_overlap_by_half_by_default(data):
    split = data(window=20).splits["test"]
    assert (split.window, split.stride) == (20, 10)
    assert split.lengths.tolist() == [10] + [20] * 9
    assert data(segment=1).splits["test"].stride == 1


def test_prompts_come_one_a_batch_in_order(data, tmp_path):
    (tmp_path / "in.txt").write_text("Once upon\n\nthe Häuschen \n", encoding="utf-8")
    module = data(predict_source=str(tmp_path / "in.txt"))
    (split,) = module.predict_splits()
    batches = list(module.eval_loader(split))
    assert [bytes(batch.input_ids[0].tolist()).decode() for batch in batches] == [
        "\nOnce upon",
        "\n",
        "\nthe Häuschen ",
    ]
    assert [batch.index.tolist() for batch in batches] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"segment": 0}, "data.segment is 0; it must be >= 1"),
        ({"streams": 0}, "data.streams is 0"),
        ({"eval_streams": 0}, "data.eval_streams is 0"),
        ({"eval_batch_size": -1}, "data.eval_batch_size is -1"),
        ({"eval_limit": 0}, "data.eval_limit is 0"),
        ({"window": 0}, "data.window is 0"),
        ({"workers": -1}, "data.workers is -1"),
        ({"eval_stride": 0}, "data.eval_stride is 0; it must be 1 to data.window, which is 10"),
        ({"window": 8, "eval_stride": 9}, "data.eval_stride is 9; it must be 1 to data.window, which is 8"),
        ({"memory": True, "window": 20}, "are for data.memory false"),
        ({"memory": True, "streams": 1801}, "data.streams is 1801, but the train split has 1800 bytes"),
        ({"memory": True, "eval_streams": 51, "eval_limit": 50}, "data.eval_streams is 51, but the val split has 50"),
        ({"predict_source": None}, "nothing to read"),
        ({"source": "module://this"}, "allowed: module://pydoc_data.topics"),
    ],
    ids=str,
)
def test_wrong_settings_are_answered(data, settings, words):
    with pytest.raises(InputError, match=words):
        module = data(**settings)
        assert module.splits
        list(module.predict_splits())
