"""The files that belong to the catalogue as a whole: the manifest, the packages, the page of identities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lossmith.codegen import provenance
from lossmith.codegen.kernel import Origin
from lossmith.derivations import catalogue

MANIFEST = "manifest.json"
COMMAND = "lossmith generate"
_INIT = (
    '"""{0}, written by lossmith: `lossmith list` says what there is.\n\n'
    'Each module stands alone: it imports {1}.\n"""\n'
)
PACKAGES = {
    "np": ("np/__init__.py", _INIT.format("NumPy kernels", "NumPy and nothing else")),
    "pt": ("pt/__init__.py", _INIT.format("PyTorch functions and modules", "torch and nothing else")),
}


def files(targets: Sequence[str]) -> dict[str, str]:
    """Path under the output directory to text. Raises ArithmeticError where an identity does not hold."""
    units = [catalogue.describe(u) for name in catalogue.names() for u in catalogue.units(name)]
    manifest = {MANIFEST: json.dumps({"units": units}, indent=1, ensure_ascii=True) + "\n"}
    return manifest | dict(PACKAGES[t] for t in targets if t in PACKAGES) | identities()


def missing_packages(root: Path, targets: Sequence[str]) -> dict[str, str]:
    """The packages' `__init__.py` where a part of the catalogue is written to a new directory."""
    found = [PACKAGES[t] for t in targets if t in PACKAGES]
    return {path: text for path, text in found if not (root / path).exists()}


def identities() -> dict[str, str]:
    """Every identity between losses, checked, as a page in Markdown and a document in LaTeX."""
    from lossmith.derivations import identities as found
    from lossmith.derivations.terms import show
    from lossmith.derivations.typeset.latex import unit_latex
    from lossmith.derivations.typeset.markdown import unit_markdown

    checked = found.checked()
    stated = [text for name in found.names() for line in found.load(name).lines for text in (show(line[0]), line[1])]
    origin = Origin("identities", "identities", "Identities", "derivations/identities", COMMAND, "", {}, {}, (), "",
                    provenance.digest(*stated))
    pages = (("md", "<!--", unit_markdown(checked)), ("tex", "%", unit_latex(checked)))
    return {
        f"{folder}/identities.{folder}": provenance.stamp_derivation(
            text, comment, origin, provenance.template_hash(folder))
        for folder, comment, text in pages
    }
