"""The architecture page names every module: a reader finds from it which file is for what."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_module_is_named() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    plain = [f for d in ("derivations", "codegen", "audit", "lossmith") for f in sorted((ROOT / d).glob("*.py"))]
    missing = [str(f.relative_to(ROOT)) for f in plain if not f.name.startswith("_") and f.name not in page]
    assert not missing, f"docs/architecture.md does not say what these are for: {missing}"
