"""The twin and the queue: what they follow, and that validation leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from src_train.momentum import KeyQueue, MomentumTwin, frozen


def test_the_twin_follows_slowly_and_without_gradient() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    twin = MomentumTwin(network, momentum=0.9).train()
    before = twin.network[0].weight.clone()
    with torch.no_grad():
        network[0].weight += 1
        network[1].running_mean += 2
    twin.update(network)  # the first step moves by 1 - 1/10
    torch.testing.assert_close(twin.network[0].weight, before + 0.9)
    assert float(twin.network[1].running_mean.abs().sum()) == 0  # its own statistics
    for _ in range(200):
        twin.steps += 1
    before = twin.network[0].weight.clone()
    twin.update(network)  # later steps by 1 - m
    torch.testing.assert_close(twin.network[0].weight, 0.9 * before + 0.1 * network[0].weight)
    assert not twin(torch.ones(3, 2)).requires_grad
    assert not any(p.requires_grad for p in twin.parameters())


def test_the_twin_calls_what_it_is_given() -> None:
    twin = MomentumTwin(nn.Linear(2, 3))
    assert twin(torch.ones(1, 2)).shape == (1, 3)


def test_the_queue_wraps_around_at_any_batch() -> None:
    queue = KeyQueue(1, 5)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
    for first in (1, 4, 7):
        queue.push(torch.arange(first, first + 3, dtype=torch.float32)[:, None])
    # 1..9 in turn, the oldest replaced: 6 at place 0, 7 at 1 …
    assert queue.keys[:, 0].tolist() == [6, 7, 8, 9, 5]
    assert int(queue.cursor) == 4
    queue.push(torch.arange(20.0, 27.0)[:, None])  # more than fit: the last ones stay
    assert sorted(queue.keys[:, 0].tolist()) == [22, 23, 24, 25, 26]
    with pytest.raises(ValueError, match="at least one"):
        KeyQueue(3, 0)


def test_frozen_memories_do_not_change() -> None:
    network = nn.Linear(2, 2)
    parts = nn.ModuleDict({"twin": MomentumTwin(network), "queue": KeyQueue(2, 4), "online": network})
    with torch.no_grad():
        network.weight += 1
    before = {name: value.clone() for name, value in parts.state_dict().items()}
    with frozen(parts):
        parts["twin"].update(network)
        parts["queue"].push(torch.ones(2, 2))
    assert all(torch.equal(before[name], value) for name, value in parts.state_dict().items())
    parts["queue"].push(torch.ones(2, 2))
    assert not torch.equal(before["queue.keys"], parts.state_dict()["queue.keys"])


def test_memories_are_part_of_a_checkpoint() -> None:
    first, second = (
        nn.ModuleDict({"queue": KeyQueue(2, 4, seed=s), "twin": MomentumTwin(nn.Linear(2, 2))}) for s in (0, 1)
    )
    first["queue"].push(torch.ones(3, 2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second["queue"].keys, first["queue"].keys)
    assert int(second["queue"].cursor) == 3
