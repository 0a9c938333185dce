"""Random formulas through the search: forms that differ from their definition, crashes, harm done, time.

    python bench/soundness.py --count 200                 the first 200 formulas of seed 1, a table
    python bench/soundness.py --count 2000 --state FILE   resumable: what FILE holds is not run again
    python bench/soundness.py --count 2000 --record       a dated record in bench/records/
    python bench/soundness.py --only 17 --verbose         one formula, with its form
    python bench/soundness.py --rows --count 100          formulas with sums over classes

Each formula runs in a process of its own, killed after the hard bound. A form differs where the
balls of both do not overlap at a fresh point (a series: by more than its remainder bound allows);
it does harm where its worst error on fresh points, in either format, exceeds what went in. The worst of
few points is luck where errors are without bound: what looks like harm is measured on more of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import multiprocessing
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lossmith.derivations import balls, domains, evaluate, points, prove, refute, search
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import machine
from lossmith.derivations.measure import apart
from lossmith.derivations.rules import RULES
from lossmith.derivations.rules.base import pattern_term
from lossmith.derivations.terms import Term, const, is_const, leaves, make, name_of, number, replace, show, var, walk
from lossmith.derivations.ulp import FORMATS, Format

sys.path.insert(0, str(Path(__file__).resolve().parent))
RECORDS = Path(__file__).resolve().parent / "records"
WORK_BOUND, HARD_BOUND = 10.0, 60.0  # seconds of processor time that few formulas take; when one is stopped
GRACE = 15.0  # checking takes time too
CHECKED, MEASURED = 70, 500  # fresh points for balls, and for errors in each format
CONFIRMING = 6000  # more of them, where the errors of the first look like harm
REACHED = 16.0  # ulp between a limit and what the form computes there
LOST = 2.0**20  # ulp: nothing is left
SMALL_ERROR, HARM = 4.0, 1.5  # ulp; how many times worse counts
REMAINDER = 2.0**-50  # what a form with a series or a sum for an integral may be off by, relative
MEMORY = 2**30

UNARY = ("exp", "log", "sqrt", "neg", "log1p", "expm1", "tanh", "abs", "sinh", "cosh", "sigmoid", "softplus", "asinh",
         "atan", "sin", "cos", "erf", "erfc", "square", "reciprocal", "atanh", "acosh")
WEIGHTS = (9, 9, 5, 5, 3, 3, 3, 3, 1, 2, 3, 2, 1, 1, 1, 1, 1, 1, 4, 3, 1, 1)
BINARY = ("add", "sub", "mul", "div", "pow", "max", "min", "logaddexp", "xlogy")
BINARY_WEIGHTS = (8, 9, 8, 7, 1, 1, 1, 1, 1)
DOMAINS = ("real", "real", "real", "(0,inf)", "[0,inf)", "[0,1]", "(0,1)", "[-1,1]", "(-1,1)", "(-inf,0)", "nonzero",
           "[1,inf)", "[-8,8]")
NUMBERS = ("1", "1", "1", "2", "2", "3", "1/2", "1/4", "1/10", "4", "10", "-1")
SHAPES = (
    "log(1 + exp(x))", "log(1 + exp(x)) - y*x", "-y*log(z) - (1 - y)*log(1 - z)", "exp(x)/(exp(x) + exp(y))",
    "log(exp(x) + exp(y)) - x", "sqrt(x**2 + y**2) - x", "sqrt(1 + x) - 1", "1/x - 1/y", "x/y - 1",
    "x*log(x/y) - x + y", "log(x) - log(y)", "exp(x) - exp(y)", "(exp(x) - 1)/x", "log(1 + x)/x", "1 - cos(x)",
    "log(cosh(x))", "1 - tanh(x)**2", "1/(1 + exp(-x))", "exp(-x)/(1 + exp(-x))**2", "log(1/(1 + exp(-x)))",
    "(1 - 1/(1 + exp(-x)))**y", "x*sigmoid(x)", "x**2/(1 + x**2)", "log(1 + x**2)", "log(x + sqrt(x**2 + 1))",
    "(1 + x)**y - 1", "x**y - 1", "log(exp(x) - exp(y))", "log(1 - exp(-x))", "x**2 - y**2", "sqrt(x) - sqrt(y)",
    "exp(x*(y - z))", "max(x, 0) - x*y + log(1 + exp(-abs(x)))", "1 - erf(x)", "x - sin(x)", "exp(-x**2/2)",
    "(x - y)/(x + y)", "x/sqrt(x**2 + y**2)", "exp(x) + exp(-x) - 2", "log((1 + x)/(1 - x))/2",
)
FORMS = ("{}", "{}", "log({})", "exp({})", "{}*{}", "{} - {}", "{} + {}", "{}/{}", "sqrt({})", "1 - {}", "{}**2")


@dataclass
class Case:
    """One formula: what is stabilized."""

    number: int
    term: Term
    arguments: tuple[Argument, ...]
    given: tuple[Term, ...] = ()

    def text(self) -> str:
        names = ", ".join(f"{a.name} in {a.domain}" for a in self.arguments)
        where = f" where {', '.join(show(g) for g in self.given)}" if self.given else ""
        return f"{show(self.term)}  ({names}){where}"


@dataclass
class Outcome:
    """What became of it. `before`, `after`: worst ulp by format on fresh points; `spoiled`: points of
    which the definition was right and the form is lost; `refused`: what a check said of a form that was not given."""

    number: int
    formula: str
    verdict: str = ""
    form: str = ""
    steps: list[str] = field(default_factory=list)
    seconds: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    differs: str = ""
    worse: str = ""
    spoiled: str = ""
    crash: str = ""
    refused: str = ""
    memory: int = 0

    @property
    def late(self) -> bool:
        return self.seconds > HARD_BOUND

    @property
    def findings(self) -> list[str]:
        names = ("differs", "worse", "spoiled", "crash", "refused")
        out = [n for n in names if getattr(self, n)]
        return out + ["late"] * self.late + ["memory"] * (self.memory > MEMORY)


def case(seed: int, number: int) -> Case:
    """The formula of a number: the same in every process and on every machine."""
    for attempt in range(200):
        rng = random.Random(f"{seed}/{number}/{attempt}")
        count = rng.choice((1, 1, 2, 2, 3))
        arguments = tuple(Argument(n, "input", domains.parse_domain(rng.choice(DOMAINS))) for n in "xyz"[:count])
        term = _random_term(rng, rng.randint(3, 25), count) if rng.random() < 0.5 else _mutated(rng, count)
        given = _relation(rng, arguments) if count > 1 and rng.random() < 0.15 else ()
        made = Case(number, term, arguments, given)
        if 3 <= term.size <= 60 and term.sort == "scalar" and _has_values(made):
            used = {name_of(t) for t in (*leaves(term), *(t for g in given for t in leaves(g)))}
            made.arguments = tuple(a for a in arguments if a.name in used)
            return made
    raise RuntimeError(f"no formula has number {number}")


def _relation(rng: random.Random, arguments: Sequence[Argument]) -> tuple[Term, ...]:
    a, b = rng.sample([a.name for a in arguments], 2)
    return (make(rng.choice(("gt", "ge", "ne", "lt")), var(a), var(b)),)


def _random_term(rng: random.Random, size: int, count: int) -> Term:
    if size <= 1:
        return var("xyz"[rng.randrange(count)]) if rng.random() < 0.75 else pattern_term(rng.choice(NUMBERS))
    if size == 2 or rng.random() < 0.4:
        return _apply(rng.choices(UNARY, WEIGHTS)[0], _random_term(rng, size - 1, count))
    left = rng.randint(1, size - 2)
    op = rng.choices(BINARY, BINARY_WEIGHTS)[0]
    second = pattern_term(rng.choice(("2", "3", "1/2", "-1", "-1/2"))) if op == "pow" and rng.random() < 0.7 else \
        _random_term(rng, size - 1 - left, count)
    return make(op, _random_term(rng, left, count), second)


def _apply(op: str, a: Term) -> Term:
    if op == "square":
        return make("pow", a, const(2))
    return make("div", const(1), a) if op == "reciprocal" else make(op, a)


def _mutated(rng: random.Random, count: int) -> Term:
    """One or two shapes of a loss in a frame, with up to three changes at random places."""
    text = rng.choice(FORMS)
    while "{}" in text:
        text = text.replace("{}", f"({rng.choice(SHAPES)})", 1)
    term = pattern_term(text)
    names = {var(n): var("xyz"[rng.randrange(count)]) for n in "xyz"}
    term = replace(term, names)
    for _ in range(rng.randint(0, 3)):
        places = [t for t in walk(term) if t.sort == "scalar"]
        place = rng.choice(places)
        kind = rng.random()
        if kind < 0.4:
            other = _random_term(rng, rng.randint(1, 3), count)
        elif kind < 0.7:
            other = _apply(rng.choices(UNARY, WEIGHTS)[0], place)
        else:
            other = make(rng.choice(("add", "sub", "mul", "div")), place, _random_term(rng, rng.randint(1, 2), count))
        term = replace(term, {place: other})
    return term


def _has_values(made: Case) -> bool:
    """Whether it depends on an argument and has finite values that differ at some ordinary points."""
    if not any(True for _ in leaves(made.term)) or any(_infinite(t) for t in walk(made.term)):
        return False
    rng, found = random.Random(9), set()
    for _ in range(24):
        env = {a.name: _ordinary(a, rng) for a in made.arguments}
        if all(refute.holds(g, env) for g in made.given):
            value = refute.value(made.term, env)
            if math.isfinite(value):
                found.add(value)
    return len(found) >= 5


def _infinite(t: Term) -> bool:
    """A part without inputs that has no finite value: refused long before a search."""
    return not any(True for _ in leaves(t)) and t.sort == "scalar" and not math.isfinite(refute.value(t, {}))


def _ordinary(a: Argument, rng: random.Random) -> float:
    for _ in range(100):
        value = rng.choice((rng.uniform(-1, 1), rng.gauss(0, 4)))
        if a.domain.holds(value):
            return value
    return float(a.domain.high if math.isfinite(a.domain.high) else a.domain.low)


def judged(made: Case) -> Outcome:
    """Stabilize one formula and look at what came out."""
    out = Outcome(made.number, made.text())
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps, form = search.stabilize(made.term, made.arguments, given=made.given, time_limit=HARD_BOUND)
            out.seconds = round(time.process_time() - started, 2)
            out.refused = form.remaining if search.REFUSED in form.remaining else ""
            out.verdict, out.form, out.steps = form.verdict, show(form.term), [s.rule for s in steps]
            series = any(word in s.rule for s in steps for word in ("series", "taylor", "integral"))
            out.differs = _difference(made, form.term, series)
            for name in ("float32", "float64"):
                _measure(made, form.term, name, out)
    except Exception:
        out.seconds = out.seconds or round(time.process_time() - started, 2)
        out.crash = traceback.format_exc(limit=-4)
    out.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return out


def _difference(made: Case, form: Term, series: bool) -> str:
    """Where the form is not the definition; empty where it is everywhere."""
    for env in _fresh(made, form):
        if math.isnan(balls_value(made, made.term, env)) or balls.overlaps(made.term, form, env,
                                                                           arguments=made.arguments):
            continue
        one, other = balls_value(made, made.term, env), balls_value(made, form, env)
        at = evaluate.Evaluator({n: np.array([v + 0.0]) for n, v in env.items()})
        computed, given = (float(np.broadcast_to(at(t), 1)[0]) for t in (form, machine(made.term)))
        if math.isnan(other) or not math.isfinite(given):
            # Balls know no value, or a limit by approaching: directions may disagree, or the way be too short to tell.
            # What the form computes counts: the limit, or what the definition computes there too.
            other = computed
            if other == given or (math.isnan(other) and math.isnan(given)):
                continue
            if apart(other, one, FORMATS["float64"]) <= REACHED:
                continue
        if series and (one == other or abs(one - other) <= REMAINDER * abs(one)):
            continue
        return f"at {env}: {one!r} became {other!r}"
    return ""


def balls_value(made: Case, term: Term, env: dict[str, float]) -> float:
    found = balls.truth(term, env, FORMATS["float64"], made.arguments)
    assert isinstance(found, float)
    return found


def _fresh(made: Case, form: Term) -> list[dict[str, float]]:
    """Fresh points: drawn ones that seek trouble, and both sides of every number that the form compares with."""
    spots = [float(number(t)) for c in walk(form) if c.sort == "truth" for t in c.args if is_const(t)]
    columns = points.scalar_points(made.arguments, CHECKED, 977, FORMATS["float64"], spots, given=made.given)
    drawn = [{n: float(c[i]) for n, c in columns.items()} for i in range(len(next(iter(columns.values()))))]
    rng, near = random.Random(5), []
    for spot in spots[:8]:
        for value in (spot, math.nextafter(spot, -math.inf), math.nextafter(spot, math.inf), -spot):
            for a in made.arguments:
                env = {**{b.name: _ordinary(b, rng) for b in made.arguments}, a.name: value}
                if a.domain.holds(value) and all(refute.holds(g, env) for g in made.given):
                    near.append(env)
    ordinary = [{a.name: _ordinary(a, rng) for a in made.arguments} for _ in range(CHECKED // 2)]
    return [*drawn, *near, *(e for e in ordinary if all(refute.holds(g, e) for g in made.given))]


def _measure(made: Case, form: Term, name: str, out: Outcome) -> None:
    errors = _errors_on(made, form, name, MEASURED, 1009)
    if errors is None:
        return
    out.before[name], out.after[name] = (round(float(e.max()), 2) for e in (errors.before, errors.after))
    if _harm(made, errors) and (more := _errors_on(made, form, name, CONFIRMING, 2003)) is not None:
        out.worse = out.worse or _harm(made, errors.joined(more))
    out.spoiled = out.spoiled or _spoiled(made, errors)


@dataclass
class Errors:
    """The errors of the definition and of a form on fresh points of one format."""

    fmt: Format
    columns: dict[str, Any]
    truth: Any
    before: Any
    after: Any

    def joined(self, more: Errors) -> Errors:
        columns = {n: np.concatenate([c, more.columns[n]]) for n, c in self.columns.items()}
        both = ((a, b) for a, b in ((self.truth, more.truth), (self.before, more.before), (self.after, more.after)))
        return Errors(self.fmt, columns, *(np.concatenate(pair) for pair in both))

    def point(self, i: int) -> dict[str, float]:
        return {n: float(c[i]) for n, c in self.columns.items()}

    def capped(self) -> tuple[Any, Any]:
        """At 2**precision ulp no digit is left: more is no worse."""
        return np.minimum(self.before, 2.0**self.fmt.precision), np.minimum(self.after, 2.0**self.fmt.precision)

    def where(self, i: int) -> str:
        at = ", ".join(f"{n} = {v!r}" for n, v in self.point(i).items())
        before, after = self.capped()
        return f"{self.fmt.name} at {at}: {before[i]:.3g} became {after[i]:.3g} ulp"


def _errors_on(made: Case, form: Term, name: str, count: int, seed: int) -> Errors | None:
    fmt = FORMATS[name]
    columns = points.scalar_points(made.arguments, count, seed, fmt, given=made.given)
    truth = balls.truth_many(made.term, columns, fmt, made.arguments)
    keep = np.isfinite(truth)
    if not keep.any():
        return None
    columns, truth = {n: c[keep] for n, c in columns.items()}, truth[keep]
    run = evaluate.Evaluator(columns, fmt)
    with np.errstate(all="ignore"):
        before, after = (apart(np.broadcast_to(np.asarray(run(t), dtype=np.float64), truth.shape), truth, fmt)
                         for t in (machine(made.term), form))
    return Errors(fmt, columns, truth, before, after)


def _harm(made: Case, errors: Errors) -> str:
    """Where the form is off by more than the definition is anywhere; empty where it is nowhere."""
    before, after = errors.capped()
    harmed = np.nonzero(after > max(SMALL_ERROR, HARM * before.max()))[0]
    for i in harmed[np.argsort(-after[harmed], kind="stable")][:40].tolist():
        # Where a value moves by more when its inputs do, the error of any form is a matter of luck.
        if after[i] > SMALL_ERROR * _condition(made, errors.point(i), errors.truth[i], errors.fmt):
            return errors.where(i)
    return ""


def _spoiled(made: Case, errors: Errors) -> str:
    """Points of which the definition is right and the form has lost everything."""
    before, after = errors.capped()
    lost = np.nonzero((before <= SMALL_ERROR) & (after > LOST))[0]
    lost = [i for i in lost[np.argsort(-after[lost], kind="stable")][:40].tolist()
            if after[i] > SMALL_ERROR * _condition(made, errors.point(i), errors.truth[i], errors.fmt)
            and not _by_luck(made, errors.point(i), errors.fmt)]
    return f"{len(lost)} points, {errors.where(lost[0])}" if lost else ""


def _by_luck(made: Case, env: dict[str, float], fmt: Format) -> bool:
    """Whether the definition is right at a point but has lost everything at one of the numbers beside it."""
    beside = [{**env, n: points.step(v, s, fmt)} for n, v in env.items() for s in (-3, -2, -1, 1, 2, 3)]
    columns = {n: np.array([e[n] for e in beside]) for n in env}
    truth = balls.truth_many(made.term, columns, fmt, made.arguments)
    got = np.broadcast_to(evaluate.Evaluator(columns, fmt)(machine(made.term)), truth.shape)
    keep = np.isfinite(truth)
    return bool((apart(got[keep], truth[keep], fmt) > LOST).any())


def _condition(made: Case, env: dict[str, float], truth: float, fmt: Format) -> float:
    """By how many ulp the truth moves when every input moves by half an ulp."""
    total = 0.0
    for name, value in env.items():
        beside = [{**env, name: points.step(value, sign, fmt)} for sign in (-1, 1)]
        moved = [balls.truth(made.term, near, fmt, made.arguments) for near in beside]
        total += max((float(apart(m, truth, fmt)) / 2 for m in moved if math.isfinite(m)), default=0.0)
    return max(1.0, total)


def _worker(made: Case, pipe: Any) -> None:
    pipe.send(judged(made))
    pipe.close()


def run_one(made: Case) -> Outcome:
    """In a process of its own, stopped at the hard bound."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_worker, args=(made, sending))
    child.start()
    sending.close()
    try:
        if receiving.poll(3 * (HARD_BOUND + GRACE)):
            return receiving.recv()  # type: ignore[no-any-return]
        return Outcome(made.number, made.text(), crash="still running at the hard bound", seconds=3 * HARD_BOUND)
    except EOFError:
        return Outcome(made.number, made.text(), crash=f"the process ended: {child.exitcode}")
    finally:
        child.kill()
        child.join()


def _known(state: Path | None) -> dict[int, Outcome]:
    if state is None or not state.exists():
        return {}
    rows = [json.loads(line) for line in state.read_text().splitlines() if line.strip()]
    return {row["number"]: Outcome(**row) for row in rows}


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of a run."""
    times = sorted(o.seconds for o in outcomes) or [0.0]
    kinds = ("differs", "crash", "worse", "spoiled", "refused", "late", "memory")
    counts = {k: sum(k in o.findings for o in outcomes) for k in kinds}
    verdicts = {v: sum(o.verdict == v for o in outcomes) for v in ("stable", "improved", "unchanged")}
    good = {f"{side} {name}": sum(getattr(o, side).get(name, math.inf) <= 16 for o in outcomes)
            for side in ("before", "after") for name in ("float32", "float64")}
    share = {"median": 0.5, "95th percentile": 0.95, "worst": 1.0}
    seconds = {name: times[int(q * (len(times) - 1))] for name, q in share.items()}
    slow = sum(o.seconds > WORK_BOUND for o in outcomes)
    return {"formulas": len(outcomes), "findings": counts, "verdicts": verdicts, "within 16 ulp": good,
            "seconds": seconds, f"over {WORK_BOUND:g} s": slow,
            "most memory, MiB": max((o.memory for o in outcomes), default=0) >> 20}


def show_table(outcomes: Sequence[Outcome]) -> None:
    for name, value in summary(outcomes).items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:18} {shown}")


def _print(out: Outcome, verbose: bool) -> None:
    if not (out.findings or verbose):
        return
    print(f"#{out.number} {out.formula}\n   {', '.join(out.findings) or 'well'}; {out.verdict} in {out.seconds} s")
    if verbose or out.differs or out.worse or out.spoiled:
        print(f"   form: {out.form[:400]}\n   steps: {' '.join(out.steps)}\n   before {out.before} after {out.after}")
    for text in (out.differs, out.worse, out.spoiled, out.crash, out.refused):
        if text:
            print("   " + text.rstrip().replace("\n", "\n   "))
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Random formulas through the search, each checked.")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, action="append", help="these numbers alone, in this process")
    parser.add_argument("--state", type=Path, help="a file of outcomes, added to as they come")
    parser.add_argument("--record", action="store_true", help="write a dated record")
    parser.add_argument("--verbose", action="store_true")
    chosen = parser.parse_args(arguments)
    known = _known(chosen.state)
    wanted = chosen.only or range(chosen.start, chosen.start + chosen.count)
    for rule in RULES:
        prove.prove_rule(rule)  # once for all the processes
    for n in wanted:
        if n in known:
            continue
        made = case(chosen.seed, n)
        known[n] = out = judged(made) if chosen.only else run_one(made)
        if chosen.state:
            with chosen.state.open("a") as f:
                f.write(json.dumps(asdict(out)) + "\n")
        _print(out, chosen.verbose)
    outcomes = [known[n] for n in wanted]
    show_table(outcomes)
    if chosen.record:
        _write_record(chosen.seed, outcomes)
    return 1 if any(o.findings for o in outcomes) else 0


def _write_record(seed: int, outcomes: Sequence[Outcome]) -> None:
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    found = [asdict(o) for o in outcomes if o.findings]
    body = {"date": day, "seed": seed, **summary(outcomes), "what was found": found}
    path = RECORDS / f"{day}-soundness.json"
    path.write_text(json.dumps(body, indent=1) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
