"""Five changes as pull requests bring them are told apart, by the comparison and by the command's exit status."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from lossmith import cli

EXAMPLE = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "five_pull_requests.py"))
CHANGES: tuple[Any, ...] = EXAMPLE["CHANGES"]
SAID = {"better": "sound, and more accurate\n", "no better": "sound, but no more accurate",
        "wrong": "NOT the same formula", "wrong at a seam": "right but for a seam, where it is WRONG"}
STATUS = {"better": 0, "no better": 0, "wrong": 1, "wrong at a seam": 1}


def test_two_are_sound_and_each_of_the_others_is_another_way_to_be_none() -> None:
    assert [c.verdict for c in CHANGES] == ["better", "better", "wrong", "no better", "wrong at a seam"]


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.title)
def test_each_is_told_apart(change: Any, capsys: pytest.CaptureFixture[str]) -> None:
    domains = [part for text in change.domain for part in ("--domain", text)]
    status = cli.main(["audit", "--before", change.before, "--after", change.after, *domains])
    said = capsys.readouterr().out
    assert status == STATUS[change.verdict] and SAID[change.verdict] in said, said


@pytest.mark.parametrize("change", [c for c in CHANGES if c.verdict == "better"], ids=lambda c: c.title)
def test_what_is_better_the_other_way_round_is_worse(change: Any) -> None:
    found = EXAMPLE["compared"](change._replace(before=change.after, after=change.before))
    assert found.sound and found.verdict == "worse"


def test_the_seam_is_named() -> None:
    found = EXAMPLE["compared"](CHANGES[4])
    assert {a.seam for a in found.accuracy} == {"x = 0"}


def test_the_lost_sign_is_refuted_by_a_plain_input_and_nearly_everywhere() -> None:
    found = EXAMPLE["compared"](CHANGES[2])
    one = found.counterexamples[0]
    assert found.relation == "refuted" and max(map(abs, one.point.values())) < 1.01 and one.before != one.after
    assert "of the points tried" in found.region or found.region == "everywhere"
