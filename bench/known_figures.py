"""Functions of torch and SciPy that others have measured: our audit of each, with the known figures beside it.

    python bench/known_figures.py [--only WORD] [--count N] [--every N] [--record]

Forward, gradient and second derivative in every format; then all numbers of float32 for what is known of those
(`--every 1` for all of them, 16 for every sixteenth block of 16,384; a share is always counted over all 2^32). A figure
that is known from elsewhere is of normal results (subnormal ones are given apart); it agrees where ours is within 5
percent of it, or is larger, being the worst of more inputs; else the record says NO.
"""

from __future__ import annotations

import argparse
import datetime
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
import torch
from lossmith.audit.foreign import ForeignAdapter
from lossmith.audit.measure import Report
from lossmith.audit.result import Result
from lossmith.audit.run import audit
from lossmith.audit.subject import of_truth
from lossmith.audit.whole import Sweep, Tally, run, sweeps
from lossmith.derivations.ulp import FORMATS

F = torch.nn.functional
RECORDS = Path(__file__).parent / "records"
DTYPES = ("float32", "float16", "bfloat16", "float64")


def focal(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """The focal loss of Lin et al. as frameworks write it: from the logistic function and the cross entropy."""
    alpha, gamma = 0.25, 2.0
    p = torch.sigmoid(x)
    right = p * z + (1 - p) * (1 - z)
    weight = alpha * z + (1 - alpha) * (1 - z)
    return weight * (1 - right) ** gamma * F.binary_cross_entropy_with_logits(x, z, reduction="none")


def logsumexp(x: Any) -> Any:
    return scipy.special.logsumexp(x, axis=-1)


@dataclass(frozen=True)
class Item:
    """A function and what it should compute."""

    name: str
    function: Callable[..., Any]
    truth: str
    domain: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


FOCAL = ("(0.25*z + 0.75*(1 - z)) * (1 - sigmoid(x)*z - (1 - sigmoid(x))*(1 - z))**2"
         " * (-z*log(sigmoid(x)) - (1 - z)*log(1 - sigmoid(x)))")
ITEMS = (
    Item("torch binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, "sigmoid_cross_entropy"),
    Item("torch cross_entropy", F.cross_entropy, "softmax_cross_entropy"),
    Item("torch softplus", F.softplus, "softplus"),
    Item("torch logsigmoid", F.logsigmoid, "log(sigmoid(x))", {"x": "extended"}),
    Item("torch kl_div", F.kl_div, "kl_divergence_from_log_probabilities"),
    Item("torch soft_margin_loss", F.soft_margin_loss, "log(1 + exp(-y*x))", {"x": "extended", "y": "{-1,1}"}),
    Item("torch huber_loss", F.huber_loss, "where(abs(x - y) <= 1, (x - y)**2/2, abs(x - y) - 1/2)",
         {"x": "real", "y": "real"}),
    Item("scipy log_expit", scipy.special.log_expit, "log(sigmoid(x))", {"x": "extended"}),
    Item("scipy logsumexp", logsumexp, "logsumexp(x)", {"x[k]": "extended"}),
    Item("scipy rel_entr", scipy.special.rel_entr, "x*log(x/y)", {"x": "(0,inf)", "y": "(0,inf)"}),
    Item("focal loss, torchvision's formula", focal, FOCAL, {"x": "real", "z": "{0,1}"}),
)


@dataclass(frozen=True)
class Known:
    """A figure from elsewhere: an error in ulp, or a share of all numbers."""

    item: str
    output: str
    dtype: str
    figure: float
    said: str
    held: str = ""  # the label, where the figure is of one of them: asked of all numbers of float32
    share: bool = False


KNOWN = (
    Known("torch binary_cross_entropy_with_logits", "loss", "float32", 1.68e7, "forward, z = 0", "z=0"),
    Known("torch binary_cross_entropy_with_logits", "gradient_x", "float32", 2.48, "gradient, z = 0", "z=0"),
    Known("torch binary_cross_entropy_with_logits", "loss", "float32", 1.50, "forward, z = 1", "z=1"),
    Known("torch binary_cross_entropy_with_logits", "gradient_x", "float32", 1.68e7, "gradient, z = 1", "z=1"),
    Known("torch softplus", "loss", "float64", 5.8e5, "forward, float64"),
    Known("torch soft_margin_loss", "loss", "float32", 0.237, "share of float32 that gives inf, y = 1", "y=1", True),
)


def audited(item: Item, dtype: str, count: int) -> Result:
    return audit(item.function, dtype=dtype, truth=item.truth, domain=item.domain, count=count, ways=False,
                 classes=(1, 2, 3, 10), options=item.options)


def swept(item: Item, output: str, held: str, every: int) -> Tally:
    """All numbers of float32, or some parts, for one label."""
    return run(_chosen(item, output, held), None, -1, every)


COUNTED_PARTS = 16
COUNTED = 2**18  # numbers that are computed at once where only infinities are counted


def infinite(item: Item, output: str, held: str) -> tuple[int, int, int]:
    """Of all 2^32 numbers: how many give an infinity where there is a number, how many there are, and the first such
    number's bits. The exact value is asked for only where the function's is infinite."""
    from joblib import Parallel, delayed

    parts = Parallel(n_jobs=-1)(delayed(_infinite_part)(item, output, held, n) for n in range(COUNTED_PARTS))
    return sum(p[0] for p in parts), sum(p[1] for p in parts), next((p[2] for p in parts if p[2]), 0)


def _infinite_part(item: Item, output: str, held: str, number: int) -> tuple[int, int, int]:
    chosen = _chosen(item, output, held)
    reference = chosen.reference()
    lost, numbers, at = 0, 0, 0
    size = 2**32 // COUNTED_PARTS
    for first in range(number * size, (number + 1) * size, COUNTED):
        bits = np.arange(first, first + COUNTED, dtype=np.uint32)
        with np.errstate(all="ignore"):
            x = bits.view(np.float32).astype(np.float64)
            got = chosen.given.call(chosen.subject, output, chosen.batch(x), "float32", "fast")
            places = np.flatnonzero(np.isinf(got) & np.isfinite(x))
            numbers += len(x)
            if len(places):
                values, bounds = reference({chosen.moved: x[places]})
                wrong = np.abs(values) + bounds < FORMATS["float32"].largest
                at = at or (int(bits[places[np.argmax(wrong)]]) if wrong.any() else 0)
                lost += int(wrong.sum())
    return lost, numbers, at


def _chosen(item: Item, output: str, held: str) -> Sweep:
    """The sweep of an item for one label, written as z=0."""
    subject = of_truth(item.truth, item.domain)
    name, _, value = held.partition("=")
    found = sweeps(subject, ForeignAdapter(item.function, item.name), "fast", [output])
    return next(s for s in found if dict(s.held)[name] == float(value))


def compared(known: Known, results: Mapping[tuple[str, str], Result], every: int) -> tuple[str, ...]:
    """A row: what is known, ours, where, whether they agree."""
    item = next(i for i in ITEMS if i.name == known.item)
    if known.share:
        lost, numbers, at = infinite(item, known.output, known.held)
        ours, where = lost / numbers, f"{lost:,} of {numbers:,}, first x={float(np.uint32(at).view(np.float32)).hex()}"
    elif known.held:
        tally = swept(item, known.output, known.held, every)
        ours = tally.normal_ulp
        where = f"x={tally.where}, {tally.numbers:,} numbers"
        if tally.max_ulp > ours:
            where = f"{tally.numbers:,} numbers; subnormal results apart: {tally.max_ulp:.4g} ulp at x={tally.where}"
    else:
        report = max((r for r in results[known.item, known.dtype].reports if r.output == known.output),
                     key=lambda r: r.max_ulp)
        ours, where = report.normal_ulp, report.where
    near = math.isclose(ours, known.figure, rel_tol=0.05)
    verdict = "agrees" if near else "larger, on more inputs" if ours > known.figure and not known.share else "NO"
    shown = (lambda v: f"{v:.2%}") if known.share else (lambda v: f"{v:.4g} ulp")
    return known.item, known.said, shown(known.figure), shown(ours), f"`{where}`", verdict


def rows(item: Item, result: Result) -> Iterator[tuple[str, ...]]:
    for r in result.reports:
        yield (item.name, r.dtype, r.output, r.group, f"{r.max_ulp:.4g}", _share(r), _wrong(r), f"`{r.where}`",
               f"`{r.got}`", f"`{r.wanted}`")
    for f in dict.fromkeys(result.failures):
        yield item.name, f.dtype, f.output, f.group, "", "", f.reason, "", "", ""


def _share(r: Report) -> str:
    return f"{r.spread.over(4):.2%}" if r.spread.over(4) else ""


def _wrong(r: Report) -> str:
    kinds = ((r.wrong_nan, "nan"), (r.wrong_inf, "inf"), (r.wrong_sign, "sign"), (r.flushed, "zero"))
    return ", ".join(f"{n} {what}" for n, what in kinds if n)


def table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def main() -> int:
    asks = argparse.ArgumentParser(description="figures known from elsewhere, beside ours")
    asks.add_argument("--only", default="", help="items whose name has this word")
    asks.add_argument("--count", type=int, default=2000, help="drawn points of each elementwise function")
    asks.add_argument("--every", type=int, default=1, help="only every N-th block of all numbers of float32")
    asks.add_argument("--only-known", action="store_true", help="no audits beside the known figures")
    asks.add_argument("--record", action="store_true", help="write bench/records/<date>-known-figures.md")
    options = asks.parse_args()
    started = time.process_time(), time.monotonic()
    chosen = [i for i in ITEMS if options.only in i.name]
    results, body, silent = {}, [], []
    for item in chosen:
        asked = [k.dtype for k in KNOWN if k.item == item.name and not k.held] if options.only_known else DTYPES
        for dtype in asked:
            result = results[item.name, dtype] = audited(item, dtype, options.count)
            body += rows(item, result)
            silent += [f"{item.name} {dtype}: {line}" for line in result.not_run]
        print(f"{item.name}: {time.monotonic() - started[1]:.0f} s", file=sys.stderr)
    known = [compared(k, results, options.every) for k in KNOWN if any(i.name == k.item for i in chosen)]
    part = "all numbers of float32"
    if options.every > 1:
        part = f"every {options.every}th block of 16,384 of all numbers of float32"
    text = "\n".join([
        f"# Figures known from elsewhere, {datetime.date.today().isoformat()}", "",
        f"`python {shlex.join(['bench/known_figures.py', *sys.argv[1:]])}`, torch {torch.__version__}, SciPy "
        f"{scipy.__version__}; {time.process_time() - started[0]:.0f} s of this process, "
        f"{time.monotonic() - started[1]:.0f} s in all.", "",
        f"Where a label is named, {part} were tried; else the points of a default audit.", "",
        table(("function", "what", "known", "ours", "at", ""), known), "",
        "## Every output in every format", "",
        "`hard`: labels at the ends of their domain; `soft`: between. Wrong: values wrong in kind, counted apart. What",
        "only the rounding of the inputs explains, near a root, is not in the worst error.", "",
        table(("function", "format", "output", "labels", "worst ulp", "> 4 ulp", "wrong", "at", "computed", "exact"),
              body), "", "Not measured:", "", *(f"- {line}" for line in dict.fromkeys(silent)), ""])
    print(text)
    if options.record:
        (RECORDS / f"{datetime.date.today().isoformat()}-known-figures.md").write_text(text, encoding="utf-8")
    return 0 if all(k[-1] != "NO" for k in known) else 1


if __name__ == "__main__":
    sys.exit(main())
