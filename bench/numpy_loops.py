"""What NumPy's float32 loops were seen to lose, by where the value lies: `codegen/targets/np_loops.json`.

    python bench/numpy_loops.py            the table, on this machine with and without its vectors; two minutes
    python bench/numpy_loops.py --check    only whether something is off by more than the table says

Each function of one argument is computed at numbers of float32 in even steps of their bits, and held against the same
in float64. An error counts in the eighth of a binade in which the exact value lies, by its sign; of values beyond the
binades that are told apart, the outermost counts. What NumPy computes depends on the processor: the largest error with
all vectors that the machine has, without AVX-512 and without AVX2 is kept, rounded up to a tenth.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from lossmith.codegen.targets.np_narrow import LOOPS, bins, losses
from lossmith.derivations.ulp import FORMATS, Array, ulp_of

TABLE = Path(__file__).resolve().parents[1] / "codegen" / "targets" / "np_loops.json"
STEP = 211  # of all numbers, so many apart
BLOCK = 1 << 20
WITHOUT = ("", "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
           "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4 AVX2 FMA3 X86_V3")


def measured(name: str) -> Array:
    """The largest error of one function in each bin, in ulps."""
    function, worst = getattr(np, LOOPS[name]), np.zeros(bins(np.zeros(0))[1])
    with np.errstate(all="ignore"):
        for first in range(0, 2**32, BLOCK * STEP):
            bits = np.arange(first, min(first + BLOCK * STEP, 2**32), STEP, dtype=np.uint64).astype(np.uint32)
            x = bits.view(np.float32)
            got, exact = function(x).astype(np.float64), function(x.astype(np.float64))
            known = np.isfinite(exact) & (np.abs(exact) <= FORMATS["float32"].largest) & (exact != 0) & np.isfinite(x)
            off = np.abs(got - exact)[known] / ulp_of(exact[known], FORMATS["float32"])
            np.maximum.at(worst, bins(exact[known])[0], np.where(np.isfinite(off), off, np.inf))
    return worst


def every(without: str) -> dict[str, list[float]]:
    """All functions in a process of its own, some features of the processor turned off."""
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": without}
    here = subprocess.run([sys.executable, __file__, "--one"], env=environment, text=True, capture_output=True)
    if here.returncode:
        raise SystemExit(here.stderr)
    return json.loads(here.stdout)  # type: ignore[no-any-return]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the table that stands")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps({name: measured(name).tolist() for name in LOOPS}))
        return 0
    found = [every(without) for without in WITHOUT]
    table = {name: [math.ceil(max(v) * 10) / 10 for v in zip(*(f[name] for f in found), strict=True)] for name in LOOPS}
    for name, values in table.items():
        print(f"{name:6} at most {max(values):.1f} ulp; between 1/8 and 8 {max(values[i] for i in middle()):.1f}")
    if given.check:
        pairs = {name: zip(values, losses(name), strict=True) for name, values in table.items()}
        beyond = {name for name, both in pairs.items() if any(v > known for v, known in both)}
        print(f"beyond the table: {', '.join(sorted(beyond)) or 'nothing'}")
        return bool(beyond)
    TABLE.write_text("{\n" + ",\n".join(f"{json.dumps(n)}: {json.dumps(v)}" for n, v in table.items()) + "\n}\n")
    return 0


def middle() -> list[int]:
    """The bins of values of moderate size."""
    return sorted(set(bins(np.geomspace(0.125, 7.9, 200))[0].tolist()))


if __name__ == "__main__":
    sys.exit(main())
