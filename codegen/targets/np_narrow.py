"""Which functions of an elementwise kernel may be computed by NumPy's own float32 loops.

These loops are two to nine times as fast as those of float64, and less exact: what each was seen to lose, on
machines with and without vectors, stands in `np_loops.json`, which `bench/numpy_loops.py` measures. A function is left
to them where the promise of the fast tier still holds for every output that reads it: at points that seek trouble, its
value is moved by what the loop may lose there, and what that does to the outputs is added to their own error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from lossmith.codegen.kernel import Elementwise, Input, Program
from lossmith.derivations import points
from lossmith.derivations.domains import Domain, inside, parse_domain
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, add, replace, var, walk
from lossmith.derivations.ulp import FORMATS, Array, Doubles, ulp_of

# Not among them: what is not better everywhere (sine and cosine of large arguments, pow).
LOOPS: Mapping[str, str] = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
    "exp2": "exp2", "log2": "log2", "asinh": "arcsinh", "atan": "arctan", "atanh": "arctanh",
}
LOWEST, HIGHEST, EIGHTHS = -11, 6, 8  # binades that are told apart, those beyond with the outermost; parts of each
FIRST, SECOND = 4.0, 6.0  # ulps that the fast tier promises: loss and gradient; second derivatives
COUNT = 1500  # points
WIDEST = 64  # functions of one kernel that are asked after: each costs an evaluation of all of it
WOBBLE = "wobble"
F32, F64 = FORMATS["float32"], FORMATS["float64"]
Columns = Mapping[str, Doubles]


def narrow(kernel: Elementwise) -> frozenset[Term]:
    """The terms of a kernel, as its program has them, that float32 loops may compute."""
    found, outputs = _expanded(kernel.program)
    order = list(dict.fromkeys(found.values()))
    if not order or len(order) > WIDEST or not all(i.kind in ("scalar", "parameter") for i in kernel.inputs):
        return frozenset()
    margin = _Margin(kernel.inputs, outputs)
    chosen = {t: margin.moved(t) for t in order}
    while chosen and (worst := margin.worst(list(chosen.values()))) is not None:
        chosen.pop(max(chosen, key=lambda t: float(chosen[t][worst[0]][worst[1]])))
    return frozenset(t for t, whole in found.items() if whole in chosen)


def _expanded(program: Program) -> tuple[dict[Term, Term], dict[str, Term]]:
    """The functions in question with temporaries put in: as printed to whole; and the outputs, whole."""
    whole: dict[Term, Term] = {}
    found: dict[Term, Term] = {}
    for let in program.lets:
        found |= {t: replace(t, whole) for t in walk(let.term) if t.op in LOOPS}
        whole[var(let.name)] = replace(let.term, whole)
    for term in program.outputs.values():
        found |= {t: replace(t, whole) for t in walk(term) if t.op in LOOPS}
    return found, {name: replace(t, whole) for name, t in program.outputs.items()}


@dataclass
class _Margin:
    """What the outputs may lose, at each of the points, before the promise is broken."""

    inputs: Sequence[Input]
    outputs: Mapping[str, Term]

    def __post_init__(self) -> None:
        self.columns = points.scalar_points([_argument(i) for i in self.inputs], COUNT, 0, F32)
        self.values = self._run(self.columns, self.outputs)
        own = self._run(self.columns, self.outputs, "float32")
        self.room: dict[str, Doubles] = {}
        excuses = self._excuses()
        for name in self.outputs:
            limit = SECOND if name.startswith("hessian") else FIRST
            lost = self._ulps(name, own[name])
            # Where the form alone loses more than is promised, its functions are not to make it much worse.
            self.room[name] = np.maximum(limit * (1 + excuses[name]) - lost, lost / 2)

    def _run(self, columns: Columns, terms: Mapping[str, Term], fmt: str = "float64") -> dict[str, Doubles]:
        run = Evaluator(columns, FORMATS[fmt])
        size = len(next(iter(self.columns.values())))
        return {n: np.broadcast_to(np.asarray(run(t), np.float64), (size,)) for n, t in terms.items()}

    def _ulps(self, name: str, other: Doubles) -> Doubles:
        with np.errstate(all="ignore"):
            lost = np.abs(other - self.values[name]) / ulp_of(self.values[name], F32)
        representable = np.abs(self.values[name]) <= F32.largest
        return np.where(np.isfinite(lost) & representable, lost, 0.0)

    def _excuses(self) -> dict[str, Doubles]:
        """Near a root: by how many ulps truth moves when inputs move by half an ulp. Elsewhere 0."""
        condition = {n: np.zeros_like(v) for n, v in self.values.items()}
        beside = {n: np.zeros(v.shape, bool) for n, v in self.values.items()}
        for given in self.inputs:
            domain, held = parse_domain(given.domain), self.columns[given.name]
            for by, near in ((ulp_of(held, F32) / 2, False), (-held / 2, True), (held / 2, True), (held, True)):
                there = self._run({**self.columns, given.name: _within(domain, held, held + by)}, self.outputs)
                for n in self.outputs:
                    if near:
                        beside[n] |= np.sign(there[n]) * np.sign(self.values[n]) <= 0
                    else:
                        condition[n] += self._ulps(n, there[n])
        return {n: np.where(beside[n], condition[n], 0.0) for n in self.outputs}

    def moved(self, function: Term) -> dict[str, Doubles]:
        """What each output loses, in ulps, where one function is off by as much as its loop may be."""
        value = self._run(self.columns, {"f": function})["f"]
        columns = {**self.columns, WOBBLE: _beyond_rounding(function, value)}
        terms = {n: replace(t, {function: add(function, var(WOBBLE))}) for n, t in self.outputs.items()}
        return {n: self._ulps(n, v) for n, v in self._run(columns, terms).items()}

    def worst(self, moves: Sequence[Mapping[str, Doubles]]) -> tuple[str, int] | None:
        """Output and point at which some functions together lose most beyond what is promised."""
        found: tuple[str, int] | None = None
        most = 0.0
        for name in self.outputs:
            over = np.sum([m[name] for m in moves], axis=0) - self.room[name]
            place = int(np.argmax(over))
            if over[place] > most:
                most, found = float(over[place]), (name, place)
        return found


def _argument(given: Input) -> Argument:
    role = "input" if given.role == "tangent" else given.role
    return Argument(given.name, role, parse_domain(given.domain))


def _beyond_rounding(function: Term, value: Doubles) -> Doubles:
    """By how much a loop may be further off than correct rounding, which the form's own error has in it."""
    lost = np.array(losses(function.op))[bins(value)[0]]
    return np.asarray(np.maximum(lost - 0.5, 0.0) * ulp_of(value, F32))


@cache
def losses(name: str) -> tuple[float, ...]:
    """How many ulps a function's loop was seen to lose, for each of the `bins`."""
    table = json.loads(Path(__file__).with_name("np_loops.json").read_text(encoding="utf-8"))
    return tuple(float(v) for v in table[name])


def bins(values: Doubles) -> tuple[Array, int]:
    """Where each value lies, by its sign, binade and eighth of that; and how many such places there are."""
    fraction, exponent = np.frexp(np.where(np.isfinite(values), np.abs(values), 1.0))
    binade = np.clip(exponent - 1, LOWEST, HIGHEST) - LOWEST
    eighth = np.clip((2 * fraction - 1) * EIGHTHS, 0, EIGHTHS - 1).astype(np.int64)
    size = (HIGHEST - LOWEST + 1) * EIGHTHS
    return np.signbit(values) * size + binade * EIGHTHS + eighth, 2 * size


def _within(domain: Domain, held: Doubles, values: Doubles) -> Doubles:
    """The moved values, those that were not in the domain as they were held."""
    return np.where(inside(domain, values), values, held)
