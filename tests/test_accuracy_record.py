"""The record of an accuracy table: what is kept of it beside the page."""

from __future__ import annotations

import json
from pathlib import Path

from lossmith.audit.measure import Report
from lossmith.audit.spread import Spread
from lossmith.audit.table import Missing, record


def test_a_record_is_data_with_a_line_for_each_report(tmp_path: Path) -> None:
    found = [Report("mean_squared_error", output, "c", "float32", "fast", "hard", 3, 0.5, bound=4.0,
                    spread=Spread({-8: 2, 40: 1})) for output in ("loss", "gradient_x")]
    page = record([*found, Missing("mean_squared_error", "cu", "no compiler")], "command", "2026-01-02").write(tmp_path)
    text = page.with_suffix(".json").read_text()
    data = json.loads(text)
    assert page.name == "2026-01-02-accuracy.md" and "2 figures of generated kernels, 0 of them" in page.read_text()
    assert [(r["output"], r["max_ulp"], r["holds"]) for r in data["reports"]] == [("loss", 0.5, True),
                                                                                 ("gradient_x", 0.5, True)]
    assert data["missing"] == [{"unit": "mean_squared_error", "target": "cu", "reason": "no compiler"}]
    assert data["reports"][0]["spread"]["p99.9"] > 0 and "histogram" not in text
    assert len(text.splitlines()) == len(found) + 2
