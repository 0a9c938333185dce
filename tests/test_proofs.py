"""Proofs of rules are kept: what is kept is of the rules as they are, and is what proving finds."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from lossmith.derivations import proofs, prove
from lossmith.derivations.rules import RULES
from lossmith.derivations.terms import ONE

REMEDY = "type: python -m lossmith.derivations.proofs"


def test_every_rule_has_its_proof_kept() -> None:
    assert proofs.stale() == [], REMEDY


@pytest.mark.parametrize("rule", RULES[::12], ids=lambda r: r.name)
def test_what_is_kept_is_what_proving_finds(rule: proofs.Rule) -> None:
    assert proofs.of_rule(rule) == prove.prove_rule(rule)


@pytest.mark.heavy
def test_all_that_is_kept_is_what_proving_finds() -> None:
    assert proofs.RECORD.read_text(encoding="utf-8") == proofs.written(), REMEDY


def test_a_changed_rule_is_proved_afresh() -> None:
    wrong = dataclasses.replace(RULES[0], replacement=ONE)
    with pytest.raises(ArithmeticError, match="is wrong at"):
        proofs.of_rule(wrong)


def test_stabilizing_reads_proofs_without_sympy() -> None:
    script = ("import sys, lossmith as lm; d = lm.stabilize('sqrt(x + 1) - 1', 'x=positive', dtype='float64');"
              "assert d.steps; sys.exit('sympy' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
