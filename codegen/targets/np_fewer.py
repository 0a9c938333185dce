"""The same values in fewer passes over memory: signs that another operation takes in."""

from __future__ import annotations

from dataclasses import replace as changed

from lossmith.codegen.kernel import Elementwise, Let, Program
from lossmith.derivations.terms import Term, add, is_const, make, rebuild, sub


def shortened(kernel: Elementwise) -> Elementwise:
    """The kernel with max(-a, 0) + b as b - min(a, 0), and b - max(-a, 0) as b + min(a, 0): the same but for the sign
    of a zero."""
    program, done = kernel.program, dict[Term, Term]()
    lets = tuple(Let(let.name, _of(let.term, done), let.comment) for let in program.lets)
    return changed(kernel, program=Program(lets, {name: _of(t, done) for name, t in program.outputs.items()}))


def _of(term: Term, done: dict[Term, Term]) -> Term:
    if term not in done:
        found = rebuild(term, tuple(_of(a, done) for a in term.args)) if term.args else term
        done[term] = _taken_in(found)
    return done[term]


def _taken_in(term: Term) -> Term:
    if term.op == "add":
        for held, other in (term.args, term.args[::-1]):
            if (inner := _negative(held)) is not None:
                return sub(other, inner)
    if term.op == "sub" and (inner := _negative(term.args[1])) is not None:
        return add(term.args[0], inner)
    return term


def _negative(term: Term) -> Term | None:
    """min(a, 0) where a term is max(-a, 0): the same with the other sign."""
    if term.op == "max" and term.args[0].op == "neg" and is_const(term.args[1], 0):
        return make("min", term.args[0].args[0], term.args[1])
    return None
