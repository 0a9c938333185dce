"""Derive a loss and its gradient, and write the derivation for a terminal, a paper and a code host.

Run it from anywhere: `python examples/print_a_derivation.py [LOSS]`. It writes LOSS.tex and LOSS.md
into the current directory; `pdflatex LOSS.tex` sets the first.
"""

import sys
from pathlib import Path

from lossmith.derivations.typeset.latex import document
from lossmith.derivations.typeset.markdown import unit_markdown

import lossmith as lm


def main(loss: str = "sigmoid_cross_entropy") -> None:
    derivations = [lm.derive(loss), lm.derive(loss, of="gradient")]
    for derivation in derivations:
        print(derivation.to_text())
    Path(f"{loss}.tex").write_text(document(derivations), encoding="utf-8")
    Path(f"{loss}.md").write_text(unit_markdown(derivations), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
