"""A function that both sides of a choice call, each with its own argument, is called once, with the argument chosen.

Loops compute both sides of every choice: where(c, f(a), 2 f(b)) costs f twice, and where(c, t, 2 t) with
t = f(where(c, a, b)) once, for the same bits.
"""

from __future__ import annotations

from collections.abc import Collection

from lossmith.codegen.kernel import Let, Program
from lossmith.codegen.targets.c_printing import not_positive, units
from lossmith.derivations.terms import FUNCTIONS, OPS, Term, node, rebuild, replace, var, walk

COSTLY = frozenset({*(name for name in FUNCTIONS if OPS[name].arity == 1), "log1pmx", "expm1mx"})


def called_once(program: Program) -> Program:
    """The program with such functions as temporaries of their own, before what reads them."""
    work = _Work(program)
    for let in program.lets:
        work.lets.append(Let(let.name, work.of(let.term), let.comment))
    outputs = {name: work.of(term) for name, term in program.outputs.items()}
    return Program(tuple(work.lets), outputs)


class _Work:
    def __init__(self, program: Program) -> None:
        roots = [*(let.term for let in program.lets), *program.outputs.values()]
        within = [set(walk(root)) for root in roots]
        self.lets: list[Let] = []
        self.taken = {let.name for let in program.lets} | program.names()
        self.short = units(program.lets, roots)  # what C has a shorter function for
        self.common = {t for n, terms in enumerate(within) for t in terms
                       if t.op in COSTLY and any(t in other for other in within[n + 1:])}

    def of(self, term: Term) -> Term:
        """A term, innermost choices first."""
        found = rebuild(term, tuple(map(self.of, term.args)))
        if found.op != "where":
            return found
        condition, left, right = found.args
        while pair := self._pair(walk(left), walk(right), set(walk(condition))):
            argument = self.of(node("where", (condition, pair[0].args[0], pair[1].args[0])))
            held = self._named(node(pair[0].op, (argument,)))
            left, right = replace(left, {pair[0]: held}), replace(right, {pair[1]: held})
        return node("where", (condition, left, right))

    def _pair(self, left: list[Term], right: list[Term], known: Collection[Term]) -> tuple[Term, Term] | None:
        """The outermost calls of one function that either side has for itself."""
        def own(terms: list[Term], others: list[Term]) -> list[Term]:
            return [t for t in reversed(terms) if t.op in COSTLY and not self._short(t)
                    and t not in others and t not in known and t not in self.common]

        other = own(right, left)
        return next(((a, b) for a in own(left, right) for b in other if a.op == b.op), None)

    def _short(self, term: Term) -> bool:
        return term in self.short or not_positive(term.args[0]) or term.args[0] in self.short

    def _named(self, call: Term) -> Term:
        same = next((let.name for let in self.lets if let.term == call), None)
        if same is None:
            number, same = 2, f"{call.op}_chosen"
            while same in self.taken:
                number, same = number + 1, f"{call.op}_chosen_{number}"
            self.taken |= {same}
            self.lets.append(Let(same, call))
        return var(same)
