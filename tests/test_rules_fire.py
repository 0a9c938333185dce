"""Every rule is used by the search.

What counts: a derivation in which the search itself applies the rule, side condition decided and
the result measured, on the way to its answer (`answered`), to another form of its pool within the
target (`good`), or at least to a form in its pool (`tried`: where another rule is as good here).
tests/data/reached.json holds one such derivation for each rule: a formula of the set, a loss, or the
rule's own left side, alone or beside a part that cancels. `python bench/reach.py --missing --write`
adds what is missing; a rule that it cannot add is removed, or its reason is understood.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from lossmith.derivations.rules import BY_NAME, RULES

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
spec = importlib.util.spec_from_file_location("reach", ROOT / "bench" / "reach.py")
assert spec is not None and spec.loader is not None
reach = importlib.util.module_from_spec(spec)
sys.modules["reach"] = reach
spec.loader.exec_module(reach)
REACHED = json.loads((ROOT / "tests" / "data" / "reached.json").read_text())
SAMPLED = sorted(name for name in REACHED if REACHED[name]["formula"] == f"left side of {name}")[::32]


def test_every_rule_is_reached_by_a_derivation():
    assert [r.name for r in RULES if r.name not in REACHED] == []


def test_what_is_said_of_a_rule_is_about_it():
    for name, found in REACHED.items():
        if name in BY_NAME:
            assert name in found["way"] and found["kind"] in reach.KINDS and found["formula"]


@pytest.mark.parametrize("name", SAMPLED)
def test_the_search_still_gets_there(name):
    formula = next(f for r in RULES for f in reach.own_sides(r) if f.label == REACHED[name]["formula"])
    assert name in reach.reached(formula)


@pytest.mark.heavy
def test_the_search_still_gets_to_every_rule():
    formulas = {f.label: f for f in reach.formulas()}
    left = {name: found["formula"] for name, found in REACHED.items() if name in BY_NAME}
    for label in sorted(set(left.values())):
        found = reach.reached(formulas[label]) if label in formulas else {}
        left = {name: where for name, where in left.items() if where != label or name not in found}
    assert left == {}
