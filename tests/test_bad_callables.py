"""Functions that do anything but compute: each is told so in one line, and the audit goes on with the rest."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lossmith.audit.foreign import resolve
from lossmith.audit.result import Result
from lossmith.audit.run import audit

torch = pytest.importorskip("torch")
F = torch.nn.functional


def reasons(function: Any, truth: str = "softplus", **options: Any) -> tuple[Result, dict[str, str]]:
    found = audit(function, truth=truth, count=60, ways=False, **{"seconds": 0.3, **options})
    return found, {f.output: f.reason for f in found.failures}


def leaves(x: Any) -> Any:
    raise SystemExit(3)


def interrupts(x: Any) -> Any:
    raise KeyboardInterrupt


CASES: dict[str, tuple[Any, str]] = {
    "nothing": (lambda x: None, "it returns NoneType, not an array"),
    "text": (lambda x: "words", "it returns str, not an array"),
    "a tuple": (lambda x: (x, x), "it returns a tuple of 2, not an array"),
    "complex numbers": (lambda x: x + 0j, "it returns complex numbers"),
    "one number": (lambda x: 1.0, "it returns the shape () where"),
    "a column": (lambda x: np.logaddexp(0, x)[:, None], "it returns the shape ("),
    "objects": (lambda x: np.array([object()] * len(x)), "it raises TypeError"),
    "exits": (leaves, "it raises SystemExit: 3"),
    "interrupts": (interrupts, "it raises KeyboardInterrupt"),
    "needs more": (lambda x, y: x, "missing 1 required positional argument"),
    "too much memory": (lambda x: np.zeros(10**14), "it raises MemoryError"),
    "a column of tensors": (lambda x: F.softplus(x)[:, None], "it returns the shape ("),
    "a tuple of tensors": (lambda x: (F.softplus(x), 1), "it returns tuple, not a tensor"),
    "a GPU": (lambda x: F.softplus(x.to("cuda")) if not torch.cuda.is_available() else 1 / 0, "it raises "),
}


@pytest.mark.parametrize("case", CASES)
def test_what_it_returns_or_raises_is_said(case: str) -> None:
    function, said = CASES[case]
    found, told = reasons(function, seconds=60.0)
    assert told["loss"].startswith(said) or said in told["loss"], told
    assert not found.holds and "\n" not in told["loss"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_input_that_is_changed(dtype: str) -> None:
    told = reasons(lambda x: F.softplus(x.data.add_(1)), dtype=dtype)[1]
    assert told["loss"] == "it changes its input 'x' in place"

    def clips(x: Any) -> Any:
        x[x > 80] = 80
        return np.logaddexp(0, x)

    assert reasons(clips)[1]["loss"] == "it changes its input 'x' in place"


def test_a_function_that_hangs_is_asked_twice_and_no_more() -> None:
    calls: list[int] = []

    def hangs(x: Any) -> Any:
        calls.append(1)
        time.sleep(1)
        return F.softplus(x)

    started = time.monotonic()
    told = reasons(hangs)[1]
    assert told["loss"] == "it did not return within 0.3 s" and told["hessian_x"].endswith("it is not asked again")
    assert len(calls) == 2 and time.monotonic() - started < 5


def test_what_works_is_measured_beside_what_does_not() -> None:
    found, told = reasons(lambda x: 1 / 0 if np.isnan(x).any() else np.logaddexp(0, x))
    assert told["loss"].startswith("with NaN in the batch it raises ZeroDivisionError")
    assert found.reports and found.reports[0].holds and not found.holds

    def narrow(x: Any) -> Any:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return F.softplus(x)

    both = reasons(narrow, dtype="bfloat16")[0] + reasons(narrow)[0]
    assert any("BFloat16" in f.reason for f in both.failures) and any(r.dtype == "float32" for r in both.reports)


def test_tensors_are_tried_where_arrays_will_not_do() -> None:
    found, told = reasons(lambda x: x.exp().log1p())
    assert not told and {r.output for r in found.reports} == {"loss", "gradient_x", "hessian_x"}


def test_a_module_that_fails_while_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "leaving_module.py").write_text("import sys\nsys.exit(7)\n")
    (tmp_path / "broken_module.py").write_text("def f(:\n")
    for name, said in (("leaving_module", "SystemExit: 7"), ("broken_module", "SyntaxError")):
        with pytest.raises(RuntimeError, match=f"{name} cannot be imported: {said}"):
            resolve(f"{name}:f")
        sys.modules.pop(name, None)


def test_what_it_prints_is_no_part_of_the_answer(tmp_path: Path, command: Any) -> None:
    text = "import numpy as np\ndef f(x):\n    print('NOISE')\n    return np.logaddexp(0, x)\n"
    (tmp_path / "noisy.py").write_text(text)
    done = command("audit", "noisy:f", "--truth", "softplus", "--json")
    assert json.loads(done.stdout)["holds"] and "NOISE" in done.stderr


def test_a_domain_that_does_not_fit() -> None:
    found, _ = reasons(np.log, "log(x)", domain={"x": "[-4,4]"})
    said = next(line for line in found.not_run if line.startswith("the truth has no value at"))
    assert "of its domain, as at x=-0x1.0000000000000p" in said and found.holds
    assert not any("no value" in line for line in reasons(np.log, "log(x)", domain={"x": "(0,4]"})[0].not_run)
    with pytest.raises(ValueError, match="no value anywhere in its domain"):
        reasons(np.log, "log(-1 - x**2)", domain={"x": "real"})
    with pytest.raises(ValueError, match="its arguments have no domain"):
        reasons(np.log, "log(x)")
