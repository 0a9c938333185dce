"""CUDA on a CPU: the harness runs what is right and catches what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lossmith.codegen import host, prototypes

pytestmark = pytest.mark.skipif(host.compiler() is None, reason="no C++ compiler")

HEADER = """
//   x      (count)  values
//   total  (count)  results
cudaError_t lossmith_probe_loss_f32(const float* x, float* total, long long count, cudaStream_t stream);
"""

SOURCE = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

struct Job { const float* x; float* out; long long count; };

%s

extern "C" cudaError_t lossmith_probe_loss_f32(const float* x, float* total, long long count, cudaStream_t stream)
{
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(BLOCKS);
    config.blockDim = dim3(THREADS);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, Job{x, total, count});
}
"""


def probe(folder: Path, kernel: str, threads: int = 128, blocks: int = 1) -> host.HostLibrary:
    """A library with one kernel, for as many threads as it wants."""
    folder.chmod(0o700)
    source = folder / "probe.cu"
    source.write_text(SOURCE % kernel)
    source.with_suffix(".h").write_text(HEADER)
    return host.load(source, folder, (f"-DTHREADS={threads}", f"-DBLOCKS={blocks}"))


def run(library: host.HostLibrary, x: np.ndarray) -> np.ndarray:
    return library.call("probe", "loss", {"x": x})["total"]


def under_each_order(library: host.HostLibrary, x: np.ndarray) -> list[np.ndarray]:
    results = []
    for order in host.ORDERS:
        with host.each_order(library, order):
            results.append(run(library, x))
    return results


REVERSE = """
__global__ void kernel(const Job job)
{
    __shared__ float held[THREADS];
    held[threadIdx.x] = job.x[threadIdx.x];
    %s
    job.out[threadIdx.x] = held[THREADS - 1 - threadIdx.x];
}
"""


def test_shared_memory_and_barrier(tmp_path: Path) -> None:
    x = np.arange(128, dtype=np.float32)
    for got in under_each_order(probe(tmp_path, REVERSE % "__syncthreads();"), x):
        assert np.array_equal(got, x[::-1])


def test_a_missing_barrier_shows_in_some_order(tmp_path: Path) -> None:
    x = np.arange(128, dtype=np.float32)
    results = under_each_order(probe(tmp_path, REVERSE % ""), x)
    assert any(not np.array_equal(got, x[::-1]) for got in results)
    assert any(np.isnan(got).any() for got in results)  # poison, where nothing was written yet


@pytest.mark.parametrize("kernel, words", [
    ("if (threadIdx.x < 64) __syncthreads();\nelse\n    __syncthreads();", "different __syncthreads"),
    ("if (threadIdx.x < 64) __syncthreads();", "while others wait|has returned"),
    ("if (threadIdx.x % 32 < 16) __shfl_xor_sync(0xffffffffu, 1, 1); else __syncwarp();", "different \\*_sync"),
    ("__syncwarp(0xfffffffeu);", "not in the mask of its own"),
    ("if (threadIdx.x % 32 < 16) __shfl_xor_sync(0x0000ffffu, 1, 16);", "reads from a lane"),
    ("if (threadIdx.x % 32 < 16) __syncwarp();", "has returned|lanes of its warp wait for it|different barriers"),
    ("if (threadIdx.x < 32) __syncthreads(); else __syncwarp(); __syncthreads();", "different __syncthreads"),
])
def test_misuse_is_caught(tmp_path: Path, kernel: str, words: str) -> None:
    library = probe(tmp_path, f"__global__ void kernel(const Job)\n{{\n    {kernel}\n}}")
    x = np.zeros(128, np.float32)
    for order in host.ORDERS:
        with host.each_order(library, order), pytest.raises(host.HostError, match=words):
            run(library, x)


def test_a_failed_launch_leaves_the_library_sound(tmp_path: Path) -> None:
    kernel = """
__global__ void kernel(const Job job)
{
    if (job.x[0] < 0.0f && threadIdx.x < 5) return;
    __syncthreads();
    job.out[threadIdx.x] = job.x[threadIdx.x];
}
"""
    library, x = probe(tmp_path, kernel), np.ones(128, np.float32)
    with pytest.raises(host.HostError):
        run(library, -x)
    assert np.array_equal(run(library, x), x)


SHUFFLES = {
    "__shfl_sync(~0u, v, 3)": lambda lane: np.full_like(lane, 3) + lane // 32 * 32,
    "__shfl_sync(~0u, v, 9, 8)": lambda lane: lane // 8 * 8 + 1,
    "__shfl_xor_sync(~0u, v, 5)": lambda lane: lane ^ 5,
    "__shfl_xor_sync(~0u, v, 1, 4)": lambda lane: lane ^ 1,
    "__shfl_down_sync(~0u, v, 4)": lambda lane: np.where(lane % 32 + 4 < 32, lane + 4, lane),
    "__shfl_up_sync(~0u, v, 4, 16)": lambda lane: np.where(lane % 16 >= 4, lane - 4, lane),
    "static_cast<float>(__ballot_sync(~0u, threadIdx.x % 32 < 3))": lambda lane: np.full_like(lane, 7),
    "static_cast<float>(__any_sync(~0u, threadIdx.x == 32))": lambda lane: (lane >= 32).astype(int),
    "static_cast<float>(__all_sync(~0u, threadIdx.x < 32))": lambda lane: (lane < 32).astype(int),
}


def test_primitives_of_a_warp(tmp_path: Path) -> None:
    lines = "\n".join(f"    job.out[{i} * THREADS + threadIdx.x] = {text};" for i, text in enumerate(SHUFFLES))
    kernel = f"__global__ void kernel(const Job job)\n{{\n    const float v = job.x[threadIdx.x];\n{lines}\n}}"
    library, lane = probe(tmp_path, kernel, threads=64), np.arange(64)
    x = np.resize(lane.astype(np.float32), 64 * len(SHUFFLES))
    for got in under_each_order(library, x):
        for row, (text, wanted) in zip(got.reshape(-1, 64), SHUFFLES.items(), strict=True):
            assert np.array_equal(row, wanted(lane)), text


def test_blocks_and_three_dimensional_threads(tmp_path: Path) -> None:
    kernel = """
__global__ void kernel(const Job job)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    job.out[i] = job.x[i] + static_cast<float>(gridDim.x);
}
"""
    x = np.arange(96, dtype=np.float32)
    assert np.array_equal(run(probe(tmp_path, kernel, threads=32, blocks=3), x), x + 3)


HALVES = """
__global__ void kernel(const Job job)
{
    const float v = job.x[threadIdx.x];
    job.out[threadIdx.x] = __half2float(__float2half_rn(v));
    job.out[THREADS + threadIdx.x] = __bfloat162float(__float2bfloat16_rn(v));
}
"""


def test_half_types_round_as_ieee_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2**32, 1000, dtype=np.uint32).view(np.float32)
    near = (rng.integers(0, 0x7c00, 20, dtype=np.uint16).view(np.float16).astype(np.float32) * np.float32(1 + 2.0**-11))
    special = np.float32([0, -0.0, 65519.99, 65520, 2.0**-25, 2.0**-24 * 1.5, np.inf, -np.inf])
    x = np.concatenate([special, near, x])[:1024]
    x = np.concatenate([x, np.zeros(1024 - x.size, np.float32)])
    got = run(probe(tmp_path, HALVES, threads=1024), np.concatenate([x, x])).reshape(2, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.array_equal(got[0], x.astype(np.float16).astype(np.float32), equal_nan=True)
    import ml_dtypes

    assert np.array_equal(got[1], x.astype(ml_dtypes.bfloat16).astype(np.float32), equal_nan=True)


def test_a_file_that_does_not_compile_says_why(tmp_path: Path) -> None:
    with pytest.raises(host.HostError, match="nonsense"):
        probe(tmp_path, "__global__ void kernel(const Job) { nonsense(); }")


def test_libraries_come_from_private_folders_only(tmp_path: Path) -> None:
    (tmp_path / "probe.cu").write_text(SOURCE % "")
    tmp_path.chmod(0o755)
    with pytest.raises(host.HostError, match="private"):
        host.build(tmp_path / "probe.cu", tmp_path)


def test_a_header_is_read_back() -> None:
    (launcher,) = prototypes.read(HEADER)
    assert (launcher.unit, launcher.entry, launcher.dtype, launcher.tier) == ("probe", "loss", "f32", "fast")
    assert [p.kind for p in launcher.parameters] == ["input", "output", "size"]
    assert launcher.parameters[0].shape == ("count",)
    with pytest.raises(ValueError, match="no launcher"):
        prototypes.read("int main(void);")


