"""The monoid of a stage as NumPy: its state, the move to a new peak, the merge of two states."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from lossmith.codegen.kernel import Power, Slot, Stage
from lossmith.codegen.targets.np_module import safe

Powers = tuple[tuple[str, int, int], ...]


def state_names(stage: Stage) -> list[str]:
    """The parts of a state, in order: peaks; sums below the peak and ties; slots; captures."""
    names = [f"{f.name}_peak" for f in stage.families]
    names += [f"{f.name}_{part}" for f in stage.families for part in ("below", "ties")]
    return names + [s.name for s in stage.slots] + [c.name for c in stage.captures]


def unit_state(stage: Stage, family: str, extra: str) -> str:
    """The state that holds one extra element of one family and nothing else."""
    parts = [extra if f.name == family else "-np.inf" for f in stage.families]
    parts += [text for f in stage.families for text in ("0.0", "1.0" if f.name == family else "0.0")]
    parts += ["0.0" for _ in stage.slots] + ["-0.0" for _ in stage.captures]
    return f"({', '.join(parts)})"


def powers_text(slot: Slot) -> list[str]:
    """The factors gap ** p and exp(-gap) ** q of a slot's element."""
    found = []
    for p in slot.powers:
        decay, gap = " * ".join([f"{p.family}_decay"] * p.q), " * ".join([f"{p.family}_gap"] * p.p)
        if p.p and p.q:
            found.append(f"_vanish({decay}, {gap})")
        elif p.p or p.q:
            found.append(decay or gap)
    return found


def merge_lines(stage: Stage, moved: str | None) -> list[str]:
    """The merge of two states: both are moved to the larger peak, then added part by part."""
    lines = ['"""The state of two chunks from the states of each."""', "if one is None:", "    return other"]
    if moved is None:
        return [*lines, "return tuple(a + b for a, b in zip(one, other))"]
    peaks = [f"{f.name}_peak" for f in stage.families]
    lines += [f"{p} = np.maximum(one[{i}], other[{i}])" for i, p in enumerate(peaks)]
    text = ", ".join(peaks)
    return [*lines, f"parts = zip({moved}(one, {text}), {moved}(other, {text}))",
            f"return ({text}, *(a + b for a, b in parts))"]


def moved_lines(stage: Stage) -> list[str]:
    """A state seen from new peaks, without the peaks: exp(-gap) shrinks, gap ** p shifts by its binomial."""
    names = [safe(n) for n in state_names(stage)]
    old = [f"old_{n}" if i < len(stage.families) else n for i, n in enumerate(names)]
    lines = ['"""The parts of a state, without its peaks, as seen from new peaks."""',
             f"{', '.join(old)}{',' if len(old) == 1 else ''} = state"]
    parts = []
    for f in stage.families:
        lines += [
            f"{f.name}_decay = _decay(old_{f.name}_peak, {f.name}_peak)",
            f"{f.name}_stays = np.equal(old_{f.name}_peak, {f.name}_peak)",
        ]
        if any(p.family == f.name and p.p for s in stage.slots for p in s.powers):
            lines.append(f"{f.name}_rise = _gap({f.name}_peak, old_{f.name}_peak)")
        # Elements that attained the old peak lie below the new one.
        parts += [f"{f.name}_decay * ({f.name}_below + np.where({f.name}_stays, 0, {f.name}_ties))",
                  f"np.where({f.name}_stays, {f.name}_ties, 0)"]
    parts += [_moved_slot(stage, s) for s in stage.slots] + [safe(c.name) for c in stage.captures]
    return [*lines, "return (", *(line for p in parts for line in _item(p)), ")"]


def _item(text: str) -> list[str]:
    """An element of a tuple, a long sum with a line for each term."""
    if len(text) <= 100:
        return [f"    {text},"]
    first, *rest = text.split(" + ")
    return [f"    {first}", *(f"    + {t}" for t in rest[:-1]), f"    + {rest[-1]},"] if rest else [f"    {text},"]


def _moved_slot(stage: Stage, slot: Slot) -> str:
    """A slot from new peaks: the sum over lower powers j of binom(p, j) rise ** (p - j) exp(-q rise) slot[j]."""
    powers = [p for p in slot.powers if p.p or p.q]
    terms = []
    for lower in itertools.product(*(range(p.p, -1, -1) for p in powers)):
        source = _slot_named(stage, slot, tuple((p.family, j, p.q) for p, j in zip(powers, lower) if j or p.q))
        text = safe(source.name)
        weight = math.prod(math.comb(p.p, j) for p, j in zip(powers, lower))
        for p, j in zip(powers, lower):
            if p.p - j:
                text = f"_vanish({' * '.join([f'{p.family}_rise'] * (p.p - j))}, {text})"
            if p.q:
                text = f"_vanish({' * '.join([f'{p.family}_decay'] * p.q)}, {text})"
        terms.append(text if weight == 1 else f"{weight} * {text}")
    return " + ".join(terms)


def _slot_named(stage: Stage, slot: Slot, powers: Powers) -> Slot:
    for other in stage.slots:
        if other.weight is slot.weight and _powers(other.powers) == tuple(sorted(powers)):
            return other
    raise ValueError(f"the slot {slot.name} needs the sum with powers {powers} beside it in its stage")


def _powers(powers: Sequence[Power]) -> Powers:
    return tuple(sorted((p.family, p.p, p.q) for p in powers if p.p or p.q))
