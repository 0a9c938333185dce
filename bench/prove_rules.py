"""Proves every rule that has no proof on file, and keeps what was found in derivations/rules/proofs.json.

    python bench/prove_rules.py           rules whose text is new
    python bench/prove_rules.py --all     every rule again

A rule's text is its key: a rule that is changed in any way is proved again. Ends with status 1,
writing nothing, where a rule has a counterexample.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from lossmith.derivations import prove
from lossmith.derivations.rules import RULES


def main(arguments: list[str]) -> int:
    before = {} if "--all" in arguments or not prove.PROOFS.exists() else json.loads(prove.PROOFS.read_text())
    found = {}
    for rule in RULES:
        if rule.text in before:
            found[rule.text] = before[rule.text]
            continue
        try:
            evidence = prove.proved_afresh(rule)
        except ArithmeticError as error:
            print(error)
            return 1
        found[rule.text] = [evidence.kind, evidence.method, evidence.points]
        print(f"{rule.name:36}{evidence.kind:10}{evidence.method}", flush=True)
    lines = ",\n".join(f" {json.dumps(text)}: {json.dumps(kept)}" for text, kept in found.items())
    prove.PROOFS.write_text("{\n" + lines + "\n}\n")
    print(dict(Counter(kept[0] for kept in found.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
