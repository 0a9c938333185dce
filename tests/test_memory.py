"""No allocation beyond the outputs and one block: peaks of resident memory while the generated functions run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from lossmith.codegen import compiled

COUNT = 1 << 21  # elements: arrays of 8 MiB, which the allocator takes from the system and gives back
BLOCKS = 3 << 20  # bytes: the buffers of one block of generated NumPy
LITTLE = 256 << 10  # bytes: what Python and C need besides
PEAK = """
def field(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

def peak(run):
    run()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    before, kept = field("VmRSS:"), run()
    return field("VmHWM:") - before
"""
NUMPY = """
import json, sys, numpy as np
from lossmith.codegen import faces
from lossmith.generated.np import sigmoid_cross_entropy, sparse_softmax_cross_entropy
n = int(sys.argv[1])
x, z = np.linspace(-9, 9, n, dtype="f4"), np.linspace(0, 1, n, dtype="f4")
rows, y = x.reshape(-1, 1024), np.arange(n // 1024) % 1024
found = {}
for way, of in (("c", lambda m: m), ("pure", lambda m: faces.pure("np", m.__name__.rpartition(".")[2]))):
    sigmoid, softmax = of(sigmoid_cross_entropy), of(sparse_softmax_cross_entropy)
    found[f"{way} sigmoid loss"] = peak(lambda: sigmoid.loss(x, z)) - 4 * n
    found[f"{way} sigmoid both"] = peak(lambda: sigmoid.loss_gradient(x, z)) - 8 * n
    found[f"{way} softmax both"] = peak(lambda: softmax.loss_gradient(rows, y)) - 4 * n
print(json.dumps(found))
"""
TORCH = """
import json, sys, torch
from lossmith.generated.pt.sigmoid_cross_entropy import sigmoid_cross_entropy
from lossmith.generated.pt.sparse_softmax_cross_entropy import sparse_softmax_cross_entropy
torch.set_num_threads(1)
n = int(sys.argv[1])

def both(loss, x, target):
    def run():
        x.grad = None
        loss(x, target).backward()
        kept, x.grad = x.grad, None
        return kept
    return run

x, z = torch.linspace(-9, 9, n).requires_grad_(), torch.linspace(0, 1, n)
rows, y = torch.linspace(-9, 9, n).reshape(-1, 1024).requires_grad_(), torch.arange(n // 1024) % 1024
print(json.dumps({"sigmoid": peak(both(sigmoid_cross_entropy, x, z)) - 4 * n,
                  "softmax": peak(both(sparse_softmax_cross_entropy, rows, y)) - 4 * n}))
"""
pytestmark = [
    pytest.mark.skipif(compiled.compiler() is None, reason="there is no C compiler"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are asked of Linux"),
    pytest.mark.skipif(not (ROOT / "generated/c/sigmoid_cross_entropy.c").exists(), reason="C is not generated"),
]


def _beyond_the_outputs(script: str, cache: Path) -> dict[str, int]:
    """Bytes at the peak, less those of the outputs. Large arrays come from the system, so that none is used again."""
    environment = {**os.environ, "LOSSMITH_BACKEND": "c", "LOSSMITH_CACHE": str(cache),
                   "MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}
    done = subprocess.run([sys.executable, "-c", PEAK + script, str(COUNT)], env=environment, capture_output=True,
                          text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_numpy_takes_its_outputs_and_one_block(tmp_path: Path) -> None:
    for what, beyond in _beyond_the_outputs(NUMPY, tmp_path).items():
        assert beyond <= (LITTLE if what.startswith("c ") else BLOCKS), (what, beyond)


def test_torch_takes_the_gradient_and_no_more(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for what, beyond in _beyond_the_outputs(TORCH, tmp_path).items():
        assert beyond <= LITTLE, (what, beyond)
