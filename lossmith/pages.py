"""A derivation as a page that stands alone (HTML): nothing to fetch, nothing to run."""

from __future__ import annotations

import html

from lossmith.derivations.derivation import Derivation

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 Georgia, serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}
pre {{ font: 14px/1.4 ui-monospace, monospace; overflow-x: auto; }}
</style>
<h1>{title}</h1>
<pre>{body}</pre>
</html>"""


def page(derivation: Derivation) -> str:
    """The derivation as one HTML page."""
    return _PAGE.format(title=html.escape(derivation.title), body=html.escape(derivation.to_text()))
