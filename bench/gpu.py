"""One command for a machine with a GPU: builds the generated .cu files, checks them, and measures them.

    python bench/gpu.py                     everything in generated/cu; writes bench/records/gpu-<date>.md
    python bench/gpu.py --dry-run           the same path at tiny sizes on this CPU: nothing is measured on a GPU

Needs Python 3.11+, NumPy, torch and nvcc; a C++ compiler for --dry-run and for the comparison of bits.
lossmith itself need not be installed.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import statistics
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def _make_importable() -> None:
    """`lossmith.codegen` from this checkout, where lossmith is not installed."""
    try:
        import lossmith.codegen.host  # noqa: F401
    except ImportError:
        for name, folder in (("lossmith", "lossmith"), ("lossmith.codegen", "codegen")):
            module = types.ModuleType(name)
            module.__path__ = [str(ROOT / folder)]
            sys.modules[name] = module


_make_importable()

import numpy as np  # noqa: E402
from lossmith.codegen import host, nvcc, prototypes  # noqa: E402

LARGEST = {"f64": np.inf, "f32": 2.0**128, "f16": 65520.0, "bf16": 2.0**128}
DIGITS = {"f64": 53, "f32": 24, "f16": 11, "bf16": 8}
LOWEST = {"f64": -1074, "f32": -149, "f16": -24, "bf16": -133}
BOUNDS = {"f64": 4.0, "f32": 4.0, "f32 accurate": 1.0, "f16": 0.501, "bf16": 0.501}


@dataclass(frozen=True)
class Sizes:
    """How large the measured problems are: elements, and for rows the columns that are tried."""

    elements: int
    row_elements: int
    columns: tuple[int, ...]
    repeats: int
    checked: int


FULL = Sizes(10**8, 2**27, (1024, 4096, 16384, 65536, 262144), 20, 200_000)
TINY = Sizes(2000, 4096, (64, 1024), 1, 2000)


# Where a launcher runs: on the GPU with torch tensors, or on this CPU with NumPy arrays.


class Gpu:
    """Launchers from a library that nvcc built, on torch tensors."""

    def __init__(self, source: Path, folder: Path) -> None:
        import torch

        self.torch = torch
        major, minor = torch.cuda.get_device_capability()
        library = folder / f"{source.stem}.so"
        nvcc.compile_file(source, library, f"sm_{major}{minor}", ("-shared", "-Xcompiler=-fPIC"))
        self._library = ctypes.CDLL(str(library))
        self.prototypes = by_key(source)

    def array(self, values: np.ndarray, dtype: str) -> Any:
        kinds = {"f32": self.torch.float32, "f64": self.torch.float64, "f16": self.torch.float16,
                 "bf16": self.torch.bfloat16, "label": self.torch.int64}
        return self.torch.from_numpy(np.ascontiguousarray(values)).to("cuda").to(kinds[dtype])

    def call(self, prototype: prototypes.Prototype, values: Mapping[str, Any],
             sizes: Mapping[str, int]) -> dict[str, Any]:
        run, outputs = self.prepare(prototype, values, sizes)
        run()
        self.torch.cuda.synchronize()
        return {name: out.double().cpu().numpy() for name, out in outputs.items()}

    def prepare(self, prototype: prototypes.Prototype, values: Mapping[str, Any],
                sizes: Mapping[str, int]) -> tuple[Callable[[], None], dict[str, Any]]:
        """A function that launches once, on buffers that are there already, and those buffers."""
        like = next(v for p in prototype.parameters if p.kind == "input" for v in [values[p.name]])
        outputs = {p.name: self.torch.empty([sizes[axis] for axis in p.shape], dtype=like.dtype, device="cuda")
                   for p in prototype.parameters if p.kind == "output"}
        arguments = [c_argument(p, values, outputs, sizes, lambda a: a.data_ptr()) for p in prototype.parameters]
        launch = getattr(self._library, prototype.symbol)
        stream = ctypes.c_void_p(self.torch.cuda.current_stream().cuda_stream)

        def run() -> None:
            status = launch(*arguments, stream)
            if status:
                raise SystemExit(f"{prototype.symbol} returned CUDA error {status}")

        return run, outputs

    def seconds(self, run: Callable[[], Any], repeats: int) -> float:
        """The median time of one call, by the device's own clock."""
        for _ in range(3):
            run()
        times = []
        for _ in range(repeats):
            start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return statistics.median(times)


class Cpu:
    """The same launchers on the host harness."""

    def __init__(self, source: Path) -> None:
        self._library = host.load(source)
        self.prototypes = by_key(source)

    def array(self, values: np.ndarray, dtype: str) -> np.ndarray:
        return np.ascontiguousarray(values, dtype=np.int64 if dtype == "label" else host.storage(dtype))

    def call(self, prototype: prototypes.Prototype, values: Mapping[str, Any],
             sizes: Mapping[str, int]) -> dict[str, Any]:
        outputs = {p.name: np.empty([sizes[axis] for axis in p.shape], host.storage(prototype.dtype))
                   for p in prototype.parameters if p.kind == "output"}
        arguments = [c_argument(p, values, outputs, sizes, lambda a: a.ctypes.data) for p in prototype.parameters]
        self._library.launch(prototype.symbol, arguments)
        return {name: out.astype(np.float64) for name, out in outputs.items()}


def by_key(source: Path) -> dict[tuple[str, str, str], prototypes.Prototype]:
    """The launchers of a file by entry, dtype and tier."""
    found = prototypes.read(source.with_suffix(".h").read_text(encoding="utf-8"))
    return {(p.entry, p.dtype, p.tier): p for p in found}


def c_argument(p: prototypes.Parameter, values: Mapping[str, Any], outputs: Mapping[str, Any], sizes: Mapping[str, int],
               address: Callable[[Any], int]) -> Any:
    if p.kind == "number":
        return ctypes.c_double(values[p.name])
    if p.kind == "size":
        return ctypes.c_longlong(sizes[p.name])
    return ctypes.c_void_p(address((outputs if p.kind == "output" else values)[p.name]))


# Inputs, by what the header says of them.


def draw(prototype: prototypes.Prototype, sizes: Mapping[str, int], domains: Mapping[str, str],
         seed: int) -> dict[str, Any]:
    """Values in each input's domain: logits a few wide, probabilities inside (0, 1), rows that sum to one."""
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {}
    for p in prototype.parameters:
        shape, domain = [sizes[axis] for axis in p.shape], domains.get(p.name, "real")
        if p.kind == "label":
            values[p.name] = rng.integers(0, sizes["classes"], shape)
        elif p.kind == "number":
            eps = 2.0 ** (1 - DIGITS[prototype.dtype])
            values[p.name] = eps if "eps" in p.name else -100.0 if "floor" in p.name else 1.0
        elif p.kind == "input" and "simplex" in domain:
            weights = rng.exponential(size=shape) + 1e-3
            values[p.name] = weights / weights.sum(-1, keepdims=True)
        elif p.kind == "input":
            values[p.name] = rng.random(shape) if "1" in domain else rng.normal(size=shape) * 4
    return values


def domains_of(source: Path) -> dict[str, str]:
    """What the header says of each array, after its shape."""
    found = {}
    for line in source.with_suffix(".h").read_text(encoding="utf-8").splitlines():
        words = line.removeprefix("//").split()
        if line.startswith("//   ") and len(words) > 1 and words[1].startswith(("(", "number")):
            found[words[0]] = line
    return found


def sizes_for(prototype: prototypes.Prototype, elements: int, columns: int) -> dict[str, int]:
    rows = max(1, elements // columns)
    return {"count": elements, "rows": rows, "classes": columns}


def is_row(prototype: prototypes.Prototype) -> bool:
    return any("classes" in p.shape for p in prototype.parameters)


# Checks: float64 on this device stands for truth; the accurate tier is compared with the CPU, bit by bit.


def ulps(got: np.ndarray, true: np.ndarray, dtype: str) -> np.ndarray:
    """|got - true| in units in the last place of `dtype`; NaN where NaN is right counts as 0."""
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.abs(true)))
        unit = np.exp2(np.maximum(np.where(np.isfinite(exponent), exponent, -1100) - DIGITS[dtype] + 1, LOWEST[dtype]))
        apart = np.abs(got - true) / unit
    overflows = np.isinf(got) & (np.abs(true) >= LARGEST[dtype]) & (np.sign(got) == np.sign(true))
    return np.where((got == true) | (np.isnan(got) & np.isnan(true)) | overflows, 0, apart)


def check(source: Path, device: Any, reference: Any, sizes: Sizes) -> Iterator[str]:
    """Rows of a table: the worst and the 99.9th percentile of the error of each entry, dtype and tier.

    reference: the same launchers on the CPU, or None. Float64, which stands for truth, is compared
    with them; the accurate tier must agree with them bit by bit.
    """
    domains = domains_of(source)
    for (entry, dtype, tier), prototype in device.prototypes.items():
        if entry not in ("loss", "loss_gradient") or (dtype == "f64" and reference is None):
            continue
        shape = sizes_for(prototype, sizes.checked, 1000 if is_row(prototype) else 1)
        stored = {n: quantised(v, dtype) for n, v in draw(prototype, shape, domains, 1).items()}
        got = device.call(prototype, placed(device, prototype, stored, dtype), shape)
        judge = reference if dtype == "f64" else device
        wide = judge.prototypes[entry, "f64", "fast"]
        true = judge.call(wide, placed(judge, wide, stored, "f64"), shape)
        again = None
        if tier == "accurate" and reference is not None:
            again = reference.call(prototype, placed(reference, prototype, stored, dtype), shape)
        for name in got:
            label = dtype if tier == "fast" else f"{dtype} {tier}"
            same = None if again is None else np.array_equal(again[name], got[name], equal_nan=True)
            apart = ulps(got[name], true[name], dtype)
            yield verdict(f"{source.stem} | {entry}: {name} | {label}", apart, BOUNDS[label], same)


def verdict(what: str, apart: np.ndarray, bound: float, same_bits: bool | None) -> str:
    """One row of the table of errors."""
    worst, most = float(np.nanmax(apart)), float(np.nanpercentile(apart, 99.9))
    notes = [] if worst <= bound else ["above the bound: near a root, or wrong"]
    if same_bits is not None:
        notes.append("bits as on the CPU" if same_bits else "BITS DIFFER from the CPU")
    return f"| {what} | {worst:.3g} | {most:.3g} | {'; '.join(notes)} |"


def quantised(values: Any, dtype: str) -> Any:
    """The values as `dtype` holds them, in float64; labels and numbers as they are."""
    if not isinstance(values, np.ndarray) or values.dtype.kind == "i":
        return values
    if dtype == "bf16":
        bits = values.astype(np.float32).view(np.uint32)
        return (bits & np.uint32(0xffff0000)).view(np.float32).astype(np.float64)
    return values.astype({"f32": np.float32, "f16": np.float16, "f64": np.float64}[dtype]).astype(np.float64)


def placed(device: Any, prototype: prototypes.Prototype, values: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The inputs on the device, each in the type that the launcher takes."""
    kinds = {p.name: p.kind for p in prototype.parameters}
    return {n: v if kinds[n] == "number" else device.array(v, "label" if kinds[n] == "label" else dtype)
            for n, v in values.items()}


# Speed.


def peers(unit: str) -> Callable[[Any, Mapping[str, Any]], Any] | None:
    """What torch offers for the same loss, unreduced; None where it offers nothing."""
    from torch.nn import functional as F  # noqa: N812

    table: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
        "sigmoid_cross_entropy": lambda x, v: F.binary_cross_entropy_with_logits(x, v["z"], reduction="none"),
        "binary_cross_entropy": lambda p, v: F.binary_cross_entropy(p, v["z"], reduction="none"),
        "mean_squared_error": lambda x, v: F.mse_loss(x, v["y"], reduction="none"),
        "sparse_softmax_cross_entropy": lambda x, v: F.cross_entropy(x, v["y"], reduction="none"),
        "softmax_cross_entropy": lambda x, v: F.cross_entropy(x, v["t"], reduction="none"),
    }
    return table.get(unit)


def bytes_moved(prototype: prototypes.Prototype, sizes: Mapping[str, int]) -> int:
    """Each input read once and each output written once: what cannot be avoided."""
    item = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2}[prototype.dtype]
    return sum(int(np.prod([sizes[a] for a in p.shape])) * (8 if p.kind == "label" else item)
               for p in prototype.parameters if p.kind in ("input", "output", "label"))


def copy_bandwidth(gpu: Gpu, repeats: int) -> float:
    """Bytes a second of a device copy of 1 GiB, read and write counted."""
    torch = gpu.torch
    source = torch.empty(2**28, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / gpu.seconds(lambda: target.copy_(source), repeats)


def speed(source: Path, gpu: Gpu, sizes: Sizes, bandwidth: float) -> Iterator[str]:
    """Rows of a table: the share of a copy's bandwidth, and torch's, for each entry, dtype and length."""
    domains = domains_of(source)
    for (entry, dtype, tier), prototype in gpu.prototypes.items():
        if dtype == "f64" or entry == "gradient_hessian" or (dtype == "f16" and entry != "loss_gradient"):
            continue
        for columns in sizes.columns if is_row(prototype) else (1,):
            elements = sizes.row_elements if is_row(prototype) else sizes.elements
            shape = sizes_for(prototype, elements, columns)
            values = placed(gpu, prototype, draw(prototype, shape, domains, 2), dtype)
            run, outputs = gpu.prepare(prototype, values, shape)
            moved = bytes_moved(prototype, shape)
            share = moved / gpu.seconds(run, sizes.repeats) / bandwidth
            del outputs
            theirs = torch_seconds(source.stem, gpu, entry, prototype, values, sizes)
            others = [f"{moved / t / bandwidth:.0%}" if t else "" for t in theirs]
            what = f"{shape['rows']} x {columns}" if is_row(prototype) else f"{elements:.0e}"
            label = dtype if tier == "fast" else f"{dtype} accurate"
            yield f"| {source.stem} | {entry} | {label} | {what} | {share:.0%} | {' | '.join(others)} |"


def torch_seconds(unit: str, gpu: Gpu, entry: str, prototype: prototypes.Prototype, values: Mapping[str, Any],
                  sizes: Sizes) -> tuple[float, float]:
    """Torch eager and torch.compile on the same tensors; 0 where torch has no such loss or cannot."""
    peer = peers(unit)
    if peer is None or prototype.tier == "accurate":
        return 0.0, 0.0
    name = next(p.name for p in prototype.parameters if p.kind == "input")
    x, torch = values[name].detach().requires_grad_(entry != "loss"), gpu.torch

    def timed(function: Callable[..., Any]) -> float:
        def run() -> None:
            loss = function(x, values)
            if entry != "loss":
                torch.autograd.grad(loss, x, torch.ones_like(loss))

        try:
            return gpu.seconds(run, sizes.repeats)
        except (RuntimeError, torch.cuda.OutOfMemoryError) as problem:
            print(f"torch cannot do {unit} {entry} here: {str(problem).splitlines()[0]}", file=sys.stderr)
            return 0.0

    return timed(peer), timed(torch.compile(peer, dynamic=False))


# The record.

CHECK_HEADER = ("| unit | entry | dtype | worst ulp | 99.9 % | |", "|---|---|---|---|---|---|")
SPEED_HEADER = ("| unit | entry | dtype | size | lossmith | torch eager | torch.compile |",
                "|---|---|---|---|---|---|---|")


def dry_run(sources: Sequence[Path]) -> list[str]:
    lines = ["# Dry run on the CPU", "",
             "**Nothing was measured on a GPU**: the .cu files ran on the host harness at tiny sizes.", "",
             *CHECK_HEADER]
    for source in sources:
        lines += list(check(source, Cpu(source), None, TINY))
        say(source.stem)
    return lines


def real_run(sources: Sequence[Path], with_cpu: bool) -> list[str]:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: run this where there is one, or with --dry-run")
    with tempfile.TemporaryDirectory() as folder:
        devices = {source: Gpu(source, Path(folder)) for source in sources}
        gpu = devices[sources[0]]
        bandwidth = copy_bandwidth(gpu, FULL.repeats)
        lines = [f"# {torch.cuda.get_device_name()}", "",
                 f"torch {torch.__version__}; a device copy moves {bandwidth / 1e12:.2f} TB/s, read and write counted.",
                 "Shares are of that, for each input read once and each output written once.",
                 "", "## Error, against float64 on the device", "", *CHECK_HEADER]
        for source, device in devices.items():
            lines += list(check(source, device, Cpu(source) if with_cpu else None, FULL))
            say(f"checked {source.stem}")
        lines += ["", "## Share of a copy's bandwidth", "", *SPEED_HEADER]
        for source, device in devices.items():
            lines += list(speed(source, device, FULL, bandwidth))
            say(f"measured {source.stem}")
    return lines


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("units", nargs="*", help="names of losses; all that are generated if none is named")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on this CPU")
    parser.add_argument("--folder", type=Path, default=ROOT / "generated" / "cu", help="where the .cu files are")
    parser.add_argument("--records", type=Path, default=ROOT / "bench" / "records", help="where to write the record")
    parser.add_argument("--no-cpu", action="store_true", help="leave out the comparison of bits with this CPU")
    given = parser.parse_args(arguments)
    sources = [given.folder / f"{u}.cu" for u in given.units] or sorted(given.folder.glob("*.cu"))
    missing = [s for s in sources if not s.exists()]
    if missing or not sources:
        say(f"gpu: {missing[0] if missing else f'no .cu file in {given.folder}'}: run `lossmith generate` first")
        return 2
    if given.dry_run:
        print("\n".join(dry_run(sources)))
        return 0
    text = "\n".join(real_run(sources, not given.no_cpu and host.compiler() is not None)) + "\n"
    given.records.mkdir(parents=True, exist_ok=True)
    record = given.records / f"gpu-{datetime.date.today().isoformat()}.md"
    record.write_text(text, encoding="utf-8")
    print(text)
    say(f"written to {record}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
