"""Torch is loaded on another thread while this one goes on."""

from __future__ import annotations

import subprocess
import sys

import napari_ld.torch_loading
from napari_ld.torch_loading import load_torch

WATCH = """
import gc, importlib, sys, threading, time
from napari_ld import torch_loading
assert "torch" not in sys.modules
freely, collecting, ticks = [], [], []
load_freely, import_module = torch_loading._load_freely, importlib.import_module
def load(path):
    ticks.clear()
    load_freely(path)
    freely.append((path.name, len(ticks)))
def imported(name):
    collecting.append(gc.isenabled())
    return import_module(name)
torch_loading._load_freely, importlib.import_module = load, imported
threads = [threading.Thread(target=torch_loading.load_torch) for _ in range(2)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    ticks.append(time.perf_counter())
    time.sleep(0.001)
import torch
print(torch.ones(2).sum().item(), [name for name, _ in freely[:2]], freely[1][1] > 5, collecting[0], gc.isenabled())
"""


def test_another_thread_goes_on_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=True)
    if sys.platform == "linux":
        assert done.stdout.strip() == "2.0 ['libc10.so', 'libtorch_cpu.so'] True False True"


def test_what_is_loaded_is_not_loaded_again() -> None:
    import torch

    load_torch()
    assert sys.modules["torch"] is torch
    assert napari_ld.torch_loading._libraries() or sys.platform == "win32"
