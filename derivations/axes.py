"""Which names of a formula run over the class axis, and which are labels: read from how they are used.

The rule: a name that is indexed is a row. A name that stands in a sum over the classes (`sum`,
`mean`, `max` of one argument, `logsumexp`, `softmax`, ..) is a row too, unless it also stands
outside of every such sum, or the sum names its index and the name does not carry it. What indexes
a row outside of a sum, and has no domain, is a label.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lossmith.derivations.loss import Argument
from lossmith.derivations.vocabulary import DOTTED, EITHER, MODULES, REDUCING

# Names of the class index inside a sum that does not say its own: sum(w[i]*exp(x[i])).
INDEX_LETTERS = frozenset("ijklmn")


def function_name(tree: ast.expr) -> str | None:
    """The function that is called, as we know it: `log` for log, np.log, scipy.special.log; None if none."""
    if isinstance(tree, ast.Name):
        return tree.id
    parts = dotted(tree)
    if parts is None or len(parts) < 2:
        return None
    last_two = ".".join(parts[-2:])
    if last_two in DOTTED and all(p in MODULES for p in parts[:-2]):
        return DOTTED[last_two]
    return parts[-1] if all(p in MODULES for p in parts[:-1]) else None


def dotted(tree: ast.expr) -> list[str] | None:
    """The parts of `a.b.c`; None for anything else."""
    parts: list[str] = []
    while isinstance(tree, ast.Attribute):
        parts.append(tree.attr)
        tree = tree.value
    if not isinstance(tree, ast.Name):
        return None
    return [tree.id, *reversed(parts)]


def reduces(tree: ast.AST) -> bool:
    """Whether a call runs over the class axis."""
    if not isinstance(tree, ast.Call):
        return False
    name = function_name(tree.func)
    return name in REDUCING or (name in EITHER and len(tree.args) == 1)


def own_index(call: ast.Call, labels: frozenset[str]) -> str:
    """The name of the class index in a sum: as it says, or the letter that its rows carry, or `k`."""
    if function_name(call.func) in ("sum", "mean") and len(call.args) == 2 and isinstance(call.args[1], ast.Name):
        return call.args[1].id
    return next((i for i in _indices(call) if i not in labels), "k")


def _indices(call: ast.Call) -> Iterator[str]:
    """The letters that index something directly inside a sum."""
    for tree in _direct(call):
        if isinstance(tree, ast.Subscript) and isinstance(tree.slice, ast.Name) and tree.slice.id in INDEX_LETTERS:
            yield tree.slice.id


def _direct(call: ast.Call) -> Iterator[ast.AST]:
    """Everything inside a sum and in no sum within it."""
    waiting: list[ast.AST] = [*call.args, *(k.value for k in call.keywords)]
    while waiting:
        tree = waiting.pop(0)
        if reduces(tree):
            continue
        yield tree
        waiting += _parts(tree)


def _parts(tree: ast.AST) -> list[ast.AST]:
    """What a formula holds below a node: not the names of functions and not indices."""
    if isinstance(tree, ast.Call):
        return [*tree.args, *(k.value for k in tree.keywords)]
    if isinstance(tree, ast.Subscript):
        return [] if isinstance(tree.value, ast.Name) else [tree.value]
    if isinstance(tree, ast.Attribute):
        return []
    return list(ast.iter_child_nodes(tree))


def _is_position(tree: ast.AST, known: Mapping[str, Argument]) -> bool:
    return isinstance(tree, ast.Name) and tree.id == "k" and "k" not in known


@dataclass
class _Uses:
    """How the names of a formula are used."""

    known: Mapping[str, Argument]
    indexed: dict[str, None] = field(default_factory=dict)
    labels: dict[str, None] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    sums: list[list[str]] = field(default_factory=list)  # the names directly in each sum, where they may be rows

    def visit(self, tree: ast.AST, index: str | None) -> None:
        """index: of the sum around; None outside of every sum."""
        if isinstance(tree, ast.Call) and reduces(tree):
            self._sum(tree)
            return
        if isinstance(tree, ast.Name) and index is None:
            self.outside.add(tree.id)
        if isinstance(tree, ast.Subscript):
            self._subscript(tree, index)
        elif isinstance(tree, ast.Call) and function_name(tree.func) in ("onehot", "one_hot"):
            self._label(*tree.args)
        elif isinstance(tree, ast.Compare) and any(_is_position(t, self.known) for t in ast.walk(tree)):
            self._label(tree.left, *tree.comparators)
        for part in _parts(tree):
            self.visit(part, index)

    def _sum(self, call: ast.Call) -> None:
        index = own_index(call, self._label_names())
        direct = list(_direct(call))
        names = [t.id for t in direct if isinstance(t, ast.Name) and t.id != index]
        says = len(call.args) == 2 and function_name(call.func) == "sum" and isinstance(call.args[1], ast.Name)
        carried = any(isinstance(t, ast.Subscript) and isinstance(t.slice, ast.Name) and t.slice.id == index
                      for t in direct)
        if says or carried:
            self.outside.update(names)  # an index is written, and not on these
        else:
            self.sums.append(names)
        for part in call.args[:1] if says else _parts(call):
            self.visit(part, index)

    def _subscript(self, tree: ast.Subscript, index: str | None) -> None:
        if isinstance(tree.value, ast.Name):
            self.indexed[tree.value.id] = None
        if isinstance(tree.slice, ast.Name):
            name = tree.slice.id
            if name not in self.known and name != index and name not in INDEX_LETTERS:
                self.labels[name] = None

    def _label(self, *trees: ast.AST) -> None:
        """These name a class: onehot(y), k == y."""
        for tree in trees:
            if isinstance(tree, ast.Name) and tree.id not in self.known and not _is_position(tree, self.known):
                self.labels[tree.id] = None

    def _label_names(self) -> frozenset[str]:
        return frozenset({*self.labels, *(n for n, a in self.known.items() if a.role == "label")})


def rows_and_labels(tree: ast.expr, known: Mapping[str, Argument], written: bool) -> tuple[list[str], list[str]]:
    """The names of `known` that are rows, and the undeclared names that are labels, in order of use.

    written: some domain is written x[k], so that exactly those arguments, and distributions, are rows.
    """
    uses = _Uses(known)
    uses.visit(tree, None)
    rows = {n for n, a in known.items() if a.axis == "class"}
    if written:
        return [], list(uses.labels)
    rows |= {n for n in uses.indexed if n in known}
    single = {n for n, a in known.items() if a.role in ("label", "parameter") or len(a.domain.values) == 1} - rows
    names = [[n for n in direct if n in known and n not in single] for direct in uses.sums]
    for direct in names:
        rows |= {n for n in direct if n not in uses.outside}
    for direct in names:  # in x - logsumexp(x) the sum would have no row at all
        if not rows & set(direct):
            rows |= set(direct)
    return [n for n in known if n in rows and known[n].axis != "class"], list(uses.labels)

