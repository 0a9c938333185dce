"""Proofs of rules, kept: a rule is proved once, and its proof is read back for as long as its text is the same.

`python -m lossmith.derivations.proofs` proves what is not in the record or has changed, with `--all`
every rule, and writes the record; until then such a rule is proved when it is used. Reading needs no
SymPy.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from lossmith.derivations.derivation import Evidence
from lossmith.derivations.rules import RULES, Rule

RECORD = Path(__file__).resolve().parent / "rules" / "proofs.json"


def of_rule(rule: Rule) -> Evidence:
    """The proof of a rule: as kept, else afresh. Raises ArithmeticError with a counterexample."""
    found = _record().get(rule.name)
    if found is not None and found["of"] == _mark(rule):
        return Evidence(found["kind"], found["method"], found["points"])  # type: ignore[arg-type]
    from lossmith.derivations.prove import prove_rule

    return prove_rule(rule)


@functools.cache
def _record() -> Mapping[str, Mapping[str, str | int]]:
    try:
        found = json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _mark(rule: Rule) -> str:
    """What a proof depends on: the rule as it is read."""
    read = f"{rule.pattern!r} -> {rule.replacement!r} if {rule.conditions!r}"
    return hashlib.sha256(read.encode()).hexdigest()[:16]


def written(afresh: bool = True) -> str:
    """The record of all rules as text; afresh: every one proved again."""
    from lossmith.derivations.prove import prove_rule

    lines = []
    for rule in sorted(RULES, key=lambda r: r.name):
        proof = prove_rule(rule) if afresh else of_rule(rule)
        entry = {"of": _mark(rule), "kind": proof.kind, "method": proof.method, "points": proof.points}
        lines.append(f"{json.dumps(rule.name)}: {json.dumps(entry)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def stale() -> list[str]:
    """The rules whose proof is not kept, or is that of another text; and what is kept of rules that are gone."""
    kept = _record()
    current = {r.name: _mark(r) for r in RULES}
    return sorted(n for n in {*kept, *current} if kept.get(n, {}).get("of") != current.get(n))


if __name__ == "__main__":
    RECORD.write_text(written(afresh="--all" in sys.argv[1:]), encoding="utf-8")
