"""Five formulas whose stable forms take some thought, from the definition to a page that can be printed.

Run it from anywhere: `python examples/five_hard_ones.py`. It writes a LaTeX file for each into the
current directory (`pdflatex log_cosh.tex` sets one) and prints what was found.
"""

from pathlib import Path

from lossmith.derivations.typeset.latex import document

import lossmith as lm

NORMAL, FOCAL = "log((1 + erf(x/sqrt(2)))/2)", "-(1 - sigmoid(x))**0.5*log(sigmoid(x))"
FORMULAS = {
    "log_cosh": {"formula": "log(cosh(x))", "domain": "x=real"},
    "divergence_near_equality": {"formula": "p*log(p/q) - p + q", "domain": "p=(0,inf), q=(0,inf)"},
    "focal": {"formula": FOCAL, "domain": "x=real"},
    "focal_gradient": {"formula": FOCAL, "domain": "x=real", "wrt": "x"},
    "log_normal_cdf": {"formula": NORMAL, "domain": "x=real"},
    "label_smoothed": {"formula": "-(1 - e)*log(softmax(x)[y]) - e*mean(log_softmax(x))",
                       "domain": "x=real, e=[0,0.5]"},
}

if __name__ == "__main__":
    for name, given in FORMULAS.items():
        found = lm.stabilize(**given)
        print(found.to_text())
        Path(f"{name}.tex").write_text(document([found]), encoding="utf-8")
