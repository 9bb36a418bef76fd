"""Two processes with half a batch each compute what one computes with the whole."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_ld.errors import ConfigError
from src_train.checkpoint import load_checkpoint
from src_train.distributed import World, process_group
from src_train.engine import train
from tests.src_train.shared_run import group_norm_parts
from tests.src_train.two_processes import contrast_state, first_gradients, with_full_memory

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def both(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what the two processes wrote."""
    out = tmp_path_factory.mktemp("both")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.src_train.two_processes", str(images), str(out)]
    processes = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank)}, cwd=ROOT, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    told = [process.communicate(timeout=240)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    return out


def test_loss_and_gradients_are_those_of_one_process(images: Path, both: Path) -> None:
    expected = first_gradients(images, World())
    assert {"pixel", "level", "patch", "mixup", "region", "entropy", "balance", "mutual"} == {
        name.removeprefix("term/") for name in expected if name.startswith("term/")
    }
    for rank in range(2):
        found = load_file(both / f"first-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            scale = float(value.abs().max())
            torch.testing.assert_close(found[name], value, atol=2e-5 * scale + 1e-7, rtol=1e-5, msg=name)


def test_twins_queues_and_super_pixels_are_those_of_one_process(images: Path, both: Path) -> None:
    expected = contrast_state(images, World())
    assert {"term/instance", "term/dense", "term/lrc", "queue/queue", "queue/dense_queue"} <= expected.keys()
    for rank in range(2):
        found = load_file(both / f"contrast-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            limit = 1e-3 if name.startswith("queue/") else 2e-5 * float(value.abs().max()) + 1e-7
            torch.testing.assert_close(found[name], value, atol=limit, rtol=1e-4, msg=name)


def test_a_run_of_two_processes_is_resumed_by_one(images: Path, both: Path) -> None:
    straight, batches = group_norm_parts(images, World())
    assert train(straight, batches)
    resumed, batches = group_norm_parts(images, World())
    assert load_checkpoint(both / "last.ckpt", resumed).step == 2
    assert train(resumed, batches)
    for name, value in straight.averaged.state_dict().items():
        torch.testing.assert_close(resumed.averaged.state_dict()[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_a_full_memory_of_one_process_halves_the_batch_of_all(images: Path, both: Path) -> None:
    straight, ended = with_full_memory(images, World(), "terms", rank=0)
    assert ended == {"told": [(1, 4, 2)], "error": ""}
    for rank in range(2):
        assert json.loads((both / f"terms-{rank}.json").read_text()) == {"told": [[1, 4, 2]], "error": ""}
        found = load_file(both / f"terms-{rank}.safetensors")
        for name, value in straight.averaged.state_dict().items():
            torch.testing.assert_close(found[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_a_memory_that_is_full_while_weights_change_ends_all_processes(both: Path) -> None:
    errors = [json.loads((both / f"change-{rank}.json").read_text()) for rank in range(2)]
    assert errors[0] == {"told": [], "error": "out of memory in another process of this run"}
    assert errors[1] == {"told": [], "error": "DefaultCPUAllocator: can't allocate memory"}


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    with process_group(torch.device("cpu")) as world:
        assert world == World()
        rows = torch.ones(2, 3)
        assert world.gather(rows) is rows
        assert world.total(rows) is rows
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.is_available", lambda: False)
    with pytest.raises(ConfigError, match="cannot run several processes"), process_group(torch.device("cpu")):
        pass
