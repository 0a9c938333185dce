"""What memory alone would take: as many bytes as a loss reads and writes, copied and added by plain C.

Counted are the bytes that are asked for, inputs and outputs once each; that a store may read its line first
is the machine's affair, and is the same for a kernel.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from lossmith.audit.adapters import Unavailable
from lossmith.derivations.ulp import Array

NAMES = ("stream copy", "stream add")
PARALLEL = 1 << 16  # elements of an array that are worth a second thread
SOURCE = """#include <stdint.h>
void lossmith_stream_copy(const float *restrict a, float *restrict to, int64_t count, int threads) {
#pragma omp parallel for simd num_threads(threads) if (parallel: threads > 1)
    for (int64_t i = 0; i < count; ++i) to[i] = a[i];
}
void lossmith_stream_add(const float *restrict a, const float *restrict b, float *restrict to, int64_t count,
                         int threads) {
#pragma omp parallel for simd num_threads(threads) if (parallel: threads > 1)
    for (int64_t i = 0; i < count; ++i) to[i] = a[i] + b[i];
}
"""


@cache
def _library() -> ctypes.CDLL:
    compiled = importlib.import_module("lossmith.codegen.compiled")
    try:
        found: ctypes.CDLL = compiled.obtain(compiled.Source("stream", SOURCE.encode(), b""), "f32", "fast")
    except compiled.CompileError as problem:
        raise Unavailable(f"C: {problem}") from None
    return found


def streaming(name: str, total: int, threads: int) -> Callable[[], None]:
    """A call that moves about `total` bytes, reads and writes together: copy reads one array, add two. Raises
    Unavailable."""
    arrays = 2 if name == "stream copy" else 3
    function = getattr(_library(), f"lossmith_{name.replace(' ', '_')}")
    function.argtypes = (*[ctypes.c_void_p] * arrays, ctypes.c_int64, ctypes.c_int)
    function.restype = None
    count = max(1, round(total / 4 / arrays))
    threads = threads if count >= PARALLEL else 1
    held = [np.ones(count, dtype=np.float32) for _ in range(arrays)]
    places = [a.ctypes.data for a in held]

    def call(keep: object = held) -> None:
        function(*places, count, threads)

    return call


def traffic(arrays: Mapping[str, Array], rows: int, both: bool) -> int:
    """The bytes of the inputs and of the outputs: a loss per example (`rows` of them), a gradient like the first."""
    first = next(iter(arrays.values()))
    outputs = rows * first.itemsize + (first.nbytes if both else 0)
    return sum(a.nbytes for a in arrays.values()) + outputs
