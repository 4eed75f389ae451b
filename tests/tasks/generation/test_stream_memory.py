"""What a process remembers of its streams, and how it is put together and taken apart."""

import pytest
import torch

from app.tasks.generation.stream_memory import StreamMemory


def states(streams, layers=2, positions=3, width=4):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(positions, streams, width, generator=generator) for _ in range(layers)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("streams", [1, 2, 5])
def test_shares_of_all_processes_are_the_whole(streams, world_size, monkeypatch):
    whole, memories = states(streams), [StreamMemory() for _ in range(world_size)]
    for rank, memory in enumerate(memories):
        memory.take(whole, rank, world_size)
        assert memory.states[0].shape[1] == max(1, len(range(rank, streams, world_size)))
    own = [memory.gather() for memory in memories]  # without a process group each gives its own
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world_size)
    monkeypatch.setattr(torch.distributed, "all_gather_object", lambda into, _: into.__setitem__(slice(None), own))
    gathered = memories[0].gather()
    assert all(torch.equal(a, b) for a, b in zip(gathered, whole, strict=True))


def test_a_process_without_a_stream_gives_nothing():
    memory = StreamMemory()
    memory.take(states(2), rank=2, world_size=3)
    assert memory.states[0].shape[1] == 1 and memory.gather() is None
    memory.keep(states(1), is_dummy=False)
    assert memory.gather() is not None


def test_gradients_end_at_the_memory():
    memory = StreamMemory()
    memory.keep([state.requires_grad_() for state in states(2)], is_dummy=False)
    assert not any(state.requires_grad for state in memory.states)


def test_nothing_is_remembered_at_first_and_after_forgetting():
    memory = StreamMemory()
    assert memory.gather() is None and memory.at(torch.device("cpu")) is None
    memory.keep(states(2), is_dummy=False)
    memory.forget()
    assert memory.gather() is None
    memory.take(None, 0, 1)
    assert memory.states is None


def test_shares_of_unequal_length_are_cut_to_the_shortest(monkeypatch):
    own = [states(1, positions=3), states(1, positions=2)]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", lambda into, _: into.__setitem__(slice(None), own))
    gathered = StreamMemory().gather()
    assert [state.shape for state in gathered] == [(2, 2, 4)] * 2
    assert torch.equal(gathered[0][:, :1], own[0][0][-2:]) and torch.equal(gathered[0][:, 1:], own[1][0])
