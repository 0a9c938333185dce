"""Which rules fire: for every rule, derivations in which the search uses it.

    python bench/reach.py                      all formulas; a table of rules, the unused ones first
    python bench/reach.py --state FILE         resumable
    python bench/reach.py --write              tests/data/reached.json: a derivation for every rule that has one
    python bench/reach.py --missing --write    only what the file does not know yet, by left sides alone

A rule is `answered` by a formula where it is on the way to the answer that the search gives;
`good` where it is on the way to another form of the pool within the target; `tried` where it
yields a form in the pool at all. Formulas: the set in bench/formulas, the elementwise losses with
their gradients and Hessians, and each rule's own left side, alone and beside a part that cancels
(a left side that is good as it stands is not searched).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formula_set import items
from lossmith.derivations import beam, catalogue, domains, prove, refute, search
from lossmith.derivations.calculus import derivative
from lossmith.derivations.derive import orders
from lossmith.derivations.importer import to_term
from lossmith.derivations.loss import Argument
from lossmith.derivations.match import CONSTANTS
from lossmith.derivations.rules import BY_NAME, RULES, Rule
from lossmith.derivations.rules.base import pattern_term
from lossmith.derivations.terms import Term, const, leaves, mul, name_of, replace, var

WRITTEN = Path(__file__).resolve().parent.parent / "tests" / "data" / "reached.json"
SECONDS = 60
LETTERS = dict(zip("abcdefghv", "xyzwpqrsu"))
KINDS = ("answered", "good", "tried")


@dataclass(frozen=True)
class Formula:
    """What is stabilized, under a label."""

    label: str
    term: Term
    arguments: tuple[Argument, ...]
    given: tuple[Term, ...] = ()


def formulas() -> Iterator[Formula]:
    """Left sides of the rules first, since they are quick; then losses; then the set."""
    for rule in RULES:
        yield from own_sides(rule)
    for name in catalogue.names():
        unit = catalogue.load(name)
        if unit.shape == "elementwise":
            definition = to_term(unit.formula)
            for order in orders(unit):
                term = derivative(definition, order, unit.arguments) if order else definition
                yield Formula(f"{name} {' '.join(order)}".strip(), term, unit.arguments)
    for item in items():
        try:
            yield Formula(item.label, item.definition, item.arguments, item.relations)
        except ValueError as error:  # the set may hold what is refused
            print(f"{item.label}: {str(error).splitlines()[0]}", file=sys.stderr)


def own_sides(rule: Rule) -> Iterator[Formula]:
    """The left side over arguments of the domains that the condition names; numbers for n, m and k."""
    names = sorted({name_of(t) for t in leaves(rule.pattern)})
    mapping = {var(n): const(3) if n in CONSTANTS else var(LETTERS[n]) for n in names}
    arguments = tuple(Argument(LETTERS[n], "input", _domain(rule, n)) for n in names if n not in CONSTANTS)
    given = tuple(replace(c, mapping) for c in rule.conditions
                  if len({name_of(t) for t in leaves(c)} - CONSTANTS) > 1)
    side = refute.numeric(replace(rule.pattern, mapping))
    yield Formula(f"left side of {rule.name}", side, arguments, given)
    more = (*arguments, Argument("v", "input", domains.parse_domain("real")))
    yield Formula(f"left side of {rule.name} times expm1", mul(side, pattern_term("exp(v) - 1")), more, given)


def _domain(rule: Rule, name: str) -> domains.Domain:
    low, high = refute.bounds(rule, name)
    opened = {c.op for c in rule.conditions if name_of(next(leaves(c))) == name}
    text = f"{'(' if low is None or 'gt' in opened else '['}{'-inf' if low is None else low}," \
           f"{'inf' if high is None else high}{')' if high is None or 'lt' in opened else ']'}"
    return domains.parse_domain("real" if low is None and high is None else text)


def reached(formula: Formula) -> dict[str, dict[str, list[str]]]:
    """For each rule, the kinds in which the search used it, with the shortest way there (names of steps)."""
    seen: list[beam.Search] = []
    original = beam.Search.run

    def run(self: beam.Search) -> None:
        seen.append(self)
        original(self)

    beam.Search.run = run  # type: ignore[method-assign]
    try:
        steps, _ = search.stabilize(formula.term, formula.arguments, given=formula.given, time_limit=SECONDS)
    finally:
        beam.Search.run = original  # type: ignore[method-assign]
    found: dict[str, dict[str, list[str]]] = {}
    answer = [s.rule for s in steps]
    ways: dict[str, list[list[str]]] = {"answered": [answer], "good": [], "tried": []}
    for one in seen:
        good = {c.serial for c in one.good()}
        for c in one.pool.values():
            ways["good" if c.serial in good else "tried"].append([m.name for m in c.moves])
    for kind, paths in ways.items():
        for path in sorted(paths, key=len):
            for name in path:
                if name in BY_NAME:
                    found.setdefault(name, {}).setdefault(kind, path)
    return found


def _worker(formula: Formula, pipe: Any) -> None:
    pipe.send(reached(formula))


def collected(state: Path | None, wanted: Sequence[Formula]) -> dict[str, dict[str, dict[str, list[str]]]]:
    """By formula, then rule, then kind: the way. Each formula in a process of its own."""
    known: dict[str, dict[str, dict[str, list[str]]]] = {}
    if state is not None and state.exists():
        known = dict(json.loads(line) for line in state.read_text().splitlines())
    for rule in RULES:
        prove.prove_rule(rule)
    context = multiprocessing.get_context("fork")
    for formula in wanted:
        if formula.label in known:
            continue
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=_worker, args=(formula, sending))
        child.start()
        sending.close()
        try:
            known[formula.label] = receiving.recv() if receiving.poll(4 * SECONDS) else {}
        except EOFError:
            known[formula.label] = {}
            print(f"no answer for {formula.label}", file=sys.stderr)
        child.kill()
        child.join()
        if state is not None:
            with state.open("a") as f:
                f.write(json.dumps([formula.label, known[formula.label]]) + "\n")
    return known


def table(known: dict[str, dict[str, dict[str, list[str]]]]) -> list[tuple[str, dict[str, int]]]:
    """Rules with how many formulas used them in each kind, the least used first."""
    counts = {r.name: dict.fromkeys(KINDS, 0) for r in RULES}
    for by_rule in known.values():
        for name, kinds in by_rule.items():
            for kind in kinds:
                if name in counts:
                    counts[name][kind] += 1
    return sorted(counts.items(), key=lambda x: [x[1][k] for k in KINDS])


def best_ways(known: dict[str, dict[str, dict[str, list[str]]]], out: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For each rule one formula: of the best kind, with the shortest way, a formula of the set before a left side.

    What `out` knows already stays.
    """
    for rule in RULES:
        options = [(KINDS.index(kind), label.startswith("left side"), len(path), label, path)
                   for label, by_rule in known.items() for kind, path in by_rule.get(rule.name, {}).items()]
        if options and rule.name not in out:
            kind, _, _, label, path = min(options)
            out[rule.name] = {"kind": KINDS[kind], "formula": label, "way": path}
    return {name: out[name] for name in BY_NAME if name in out}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Which rules fire in the search, and where.")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--write", action="store_true", help="write tests/data/reached.json")
    parser.add_argument("--missing", action="store_true", help="only rules that the file does not know")
    chosen = parser.parse_args(arguments)
    before = json.loads(WRITTEN.read_text()) if chosen.missing and WRITTEN.exists() else {}
    missing = [f for r in RULES if r.name not in before for f in own_sides(r)]
    known = collected(chosen.state, missing if chosen.missing else list(formulas()))
    for name, counts in table(known):
        if name not in before:
            print(f"{name:36}" + "".join(f"{counts[k]:6}" for k in KINDS))
    ways = best_ways(known, before)
    print("not reached:", *(r.name for r in RULES if r.name not in ways))
    if chosen.write:
        WRITTEN.parent.mkdir(exist_ok=True)
        WRITTEN.write_text(json.dumps(ways, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
