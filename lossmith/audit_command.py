"""What `lossmith audit` does: a loss of the catalogue, anyone's function, or two forms of one formula."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from typing import Any

from lossmith.derivations import catalogue
from lossmith.errors import EXIT_FINDING, EXIT_WELL, UsageError
from lossmith.own import CompiledAdapter, is_vocabulary


def run(options: argparse.Namespace) -> int:
    """One audit; a finding where the contract, or --fail-over, is broken, or a form is not sound."""
    _check(options)
    if options.before is not None:
        return _compared(options)
    from lossmith.audit.adapters import Unavailable
    from lossmith.audit.result import Result

    if options.exhaustive and "float32" in (options.dtype or ["float32"]):
        from lossmith.sweep_command import swept

        return swept(options)
    try:
        result = Result(())
        for dtype in options.dtype or ["float32"]:
            for tier in options.tier or ["fast"]:
                result += _one(options, dtype, tier)
        if options.report is not None:
            result.to_html(options.report, shlex.join(["lossmith", *sys.argv[1:]]))
    except (ValueError, Unavailable) as error:
        raise UsageError(str(error)) from None
    if options.json:
        print(json.dumps(_finite({"reports": result.to_json(), "failures": [vars(f) for f in result.failures],
                                  "not_run": list(result.not_run), "holds": result.holds,
                                  "ways": [w.to_json() for w in result.ways]}), indent=1, allow_nan=False))
    else:
        print(result.to_text())
        if options.fix:
            _print_fixes(result)
    limit = options.fail_over
    well = result.holds if limit is None else not (result.wrong or result.failures) and result.max_ulp <= limit
    return EXIT_WELL if well else EXIT_FINDING


def _print_fixes(result: Any) -> None:
    """For every output that fails: a stable form, and its measured error."""
    from lossmith.audit.findings import stable_form
    from lossmith.derivations.terms import show

    wanted = {(o.subject.name, w.output): o.subject for o in result.origins for w in result.ways}
    for (_, output), subject in wanted.items():
        try:
            form = stable_form(subject, output)
        except (ValueError, ArithmeticError) as problem:
            print(f"\n{output}: no stable form was found: {problem}")
            continue
        worst = "; ".join(f"{e.dtype} {e.ulp:.3g} ulp at {e.where}" for e in form.errors)
        print(f"\n{output} = {show(form.term)}\n  worst error measured, functions correctly rounded: {worst}"
              + (f"\n  {form.remaining}" if form.remaining else ""))


def _check(options: argparse.Namespace) -> None:
    """That what was asked for goes together. Raises UsageError."""
    pair = (options.before is not None) + (options.after is not None)
    if pair == 1:
        raise UsageError("two forms are compared: give both --before and --after")
    if pair and options.loss is not None:
        raise UsageError("either a loss or a function is audited, or --before and --after are compared")
    if not pair and options.loss is None:
        raise UsageError("name what to audit: a loss, module:function with --truth, or --before and --after")
    if pair and not options.domain:
        raise UsageError('say what is known of the arguments: --domain "x=real"')
    if not pair and ":" not in options.loss:
        if options.truth is not None:
            raise UsageError(f"--truth is for functions, written as module:function, and '{options.loss}' is not one")
        if not is_vocabulary(options.loss):
            catalogue.load(options.loss)  # before what is slow to import: a wrong name should be quick to learn of
    elif not pair and options.truth is None:
        raise UsageError(f"say what {options.loss} should compute: --truth LOSS, or --truth FORMULA with --domain")


def _one(options: argparse.Namespace, dtype: str, tier: str) -> Any:
    from lossmith.audit.run import audit, audited
    from lossmith.audit.subject import of_truth

    if is_vocabulary(options.loss):
        return audited(of_truth(options.loss), CompiledAdapter(), dtype, tier, exhaustive=options.exhaustive)
    if ":" not in options.loss:
        return audit(options.loss, options.target, dtype, tier, exhaustive=options.exhaustive)
    sys.path.insert(0, "")  # a user's own module beside which the command is typed
    from lossmith.derivations.declarations import table_of

    domain = table_of(options.domain) if options.domain else None
    order = [n.strip() for n in options.arguments.split(",")] if options.arguments else ()
    return audit(options.loss, dtype=dtype, truth=options.truth, domain=domain, where=options.where, order=order,
                 exhaustive=options.exhaustive)


def _compared(options: argparse.Namespace) -> int:
    """--before against --after."""
    from lossmith.audit.equivalence import compare
    from lossmith.formula import dtypes_of, formula_unit

    before, after = (formula_unit(text, options.domain, options.where) for text in (options.before, options.after))
    if "row" in (before.shape, after.shape):
        raise UsageError("two forms of a single value are compared; for rows audit the function: module:function")
    dtypes = dtypes_of(options.dtype) or ("float32", "float64")
    known = {a.name: a for a in (*before.arguments, *after.arguments)}
    found = compare(before.formula, after.formula, tuple(known.values()), before.given, dtypes)
    print(json.dumps(_finite(found.to_json()), indent=1, allow_nan=False) if options.json else found.to_text())
    if options.report is not None:
        from lossmith.audit.pair_page import write_pair

        unit = dataclasses.replace(before, arguments=found.arguments)
        write_pair(found, unit, options.report, shlex.join(["lossmith", *sys.argv[1:]]))
    worst = max((a.after.ulp for a in found.accuracy), default=0.0)
    within = options.fail_over is None or worst <= options.fail_over
    return EXIT_WELL if found.sound and found.verdict != "worse" and within else EXIT_FINDING


def _finite(value: Any) -> Any:
    """The same data with infinities and NaN as text: JSON has no number for them."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
