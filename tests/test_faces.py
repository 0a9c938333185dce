"""The faces: generated functions computed in C are the same in all but time, and fall back where C cannot be had."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from lossmith.codegen import compiled, faces
from lossmith.codegen.generate import generate

UNITS = ("sigmoid_cross_entropy", "sparse_softmax_cross_entropy", "binary_cross_entropy_clipped")
ENDS = {"np": ("py",), "pt": ("py",), "c": ("c", "h")}
RNG = np.random.default_rng(7)
needs_compiler = pytest.mark.skipif(compiled.compiler() is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules and the C of a few units, one package for all the tests."""
    folder = tmp_path_factory.mktemp("faces")
    found = [Path(f"{kind}/{unit}.{end}") for unit in UNITS for kind, ends in ENDS.items() for end in ends]
    if all((ROOT / "generated" / path).exists() for path in found):
        for path in found:
            (folder / "generated" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "generated" / path, folder / "generated" / path)
        return folder
    generate(UNITS, ("np", "pt", "c"), folder / "generated", False, 1)
    return folder


def module(place: Path, kind: str, unit: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"faced_{kind}.{unit}", place / "generated" / kind / f"{unit}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def pair(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], tuple[ModuleType, ModuleType]]:
    """A module with C and the same as it is written; C is insisted on."""
    monkeypatch.setenv("LOSSMITH_BACKEND", "c")
    monkeypatch.setattr(faces, "pure", lambda kind, unit: module(place, kind, unit))
    faces.refusals.clear()

    def both(kind: str, unit: str) -> tuple[ModuleType, ModuleType]:
        faced = module(place, kind, unit)
        faces.attach(faced)
        return faced, module(place, kind, unit)

    return both


def _arguments(unit: str, dtype: str, count: int = 33) -> list[Any]:
    x = (RNG.normal(size=(count, 7)) * 3).astype(dtype)
    if unit == "sparse_softmax_cross_entropy":
        return [x, RNG.integers(0, 7, count)]
    z = RNG.random((count, 7)).astype(dtype)
    return [x, z] if unit == "sigmoid_cross_entropy" else [RNG.random((count, 7)).astype(dtype), z]


def _paired(found: Any, values: Any) -> Any:
    return zip(found, values) if type(found) is tuple else [(found, values)]


def _poisoned(faced: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the module's own way an error: what is asked now is computed in C."""
    for name in ("_run", "_derivative", "_evaluate"):
        if hasattr(faced, name):
            monkeypatch.setattr(faced, name, lambda *a: pytest.fail("the module computed it itself"))


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("unit", UNITS)
def test_numpy_is_the_same_in_class(pair: Any, monkeypatch: pytest.MonkeyPatch, unit: str, dtype: str) -> None:
    faced, pure = pair("np", unit)
    arguments = _arguments(unit, dtype)
    wanted = {e: getattr(pure, e)(*arguments) for e in ("loss", "gradient", "loss_gradient", "gradient_hessian")}
    _poisoned(faced, monkeypatch)
    for entry, values in wanted.items():
        found = getattr(faced, entry)(*arguments)
        assert type(found) is type(values)
        for ours, theirs in _paired(found, values):
            assert (ours.dtype, ours.shape, type(ours)) == (theirs.dtype, theirs.shape, type(theirs))
            eps = float(np.finfo(dtype).eps)
            assert np.allclose(ours.astype(float), theirs.astype(float), rtol=40 * eps, atol=2 * eps), entry


@needs_compiler
def test_numpy_out_and_what_is_left_to_the_module(pair: Any) -> None:
    faced, pure = pair("np", "sigmoid_cross_entropy")
    x, z = _arguments("sigmoid_cross_entropy", "float32")
    out = np.empty_like(x)
    assert faced.loss(x, z, out=out) is out and np.allclose(out, pure.loss(x, z))
    held = x.copy()
    assert faced.gradient(held, z, out=held) is held and np.allclose(held, pure.gradient(x, z))
    for a, b in ((x.T, z.T), (x[::2], z[::2]), (1.5, 0.5), (x, z[0]), (x[0, 0], z[0, 0]), (x[:0], z[:0])):
        ours, theirs = faced.loss(a, b), pure.loss(a, b)
        assert type(ours) is type(theirs) and ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert np.allclose(ours, theirs)
    assert np.array_equal(faced.gradient(x, z, wrt="z"), pure.gradient(x, z, wrt="z"))
    assert np.array_equal(faced.hessian(x, z), pure.hessian(x, z))


@needs_compiler
@pytest.mark.parametrize("change", [{"z": 1.5}, {"tier": "best"}, {"out": np.empty(3)}, {"z": "a"}])
def test_numpy_says_the_same_of_bad_input(pair: Any, change: dict[str, Any]) -> None:
    faced, pure = pair("np", "sigmoid_cross_entropy")
    x, z = _arguments("sigmoid_cross_entropy", "float32")
    options = {"z": np.full_like(z, change["z"]) if change.get("z") == 1.5 else change.get("z", z)}
    options |= {k: v for k, v in change.items() if k != "z"}
    with pytest.raises((TypeError, ValueError)) as theirs:
        pure.loss(x, **options)
    with pytest.raises(theirs.type) as ours:
        faced.loss(x, **options)
    assert str(ours.value) == str(theirs.value)


@needs_compiler
def test_labels_out_of_range_are_said_and_not_read(pair: Any) -> None:
    for kind in ("np", "pt"):
        faced, pure = pair(kind, "sparse_softmax_cross_entropy")
        x, y = _arguments("sparse_softmax_cross_entropy", "float32")
        y[3] = 7
        given = (x, y)
        if kind == "pt":
            torch = pytest.importorskip("torch")
            given = (torch.from_numpy(x), torch.from_numpy(y))
        name = "loss" if kind == "np" else "sparse_softmax_cross_entropy"
        for found in (faced, pure):
            with pytest.raises(ValueError, match="but"):
                getattr(found, name)(*given)


@needs_compiler
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("unit", UNITS)
def test_torch_is_the_same_in_class(pair: Any, unit: str, dtype: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    faced, pure = (getattr(m, unit) for m in pair("pt", unit))
    x, other = (torch.from_numpy(a) for a in _arguments(unit, dtype))
    for tier in ("fast", "accurate"):
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        a, b = (f(t, other, reduction=reduction, tier=tier) for f, t in ((faced, ours), (pure, theirs)))
        assert type(a.grad_fn).__name__ == "CompiledLossBackward" and (a.dtype, a.shape) == (b.dtype, b.shape)
        weights = torch.linspace(0, 2, a.numel(), dtype=a.dtype).reshape(a.shape)
        for _ in range(2):  # the second time nothing is kept
            a.backward(weights, retain_graph=True)
            b.backward(weights, retain_graph=True)
        eps = torch.finfo(x.dtype).eps
        assert ours.grad is not None and ours.grad.dtype == x.dtype
        assert torch.allclose(a, b, rtol=20 * eps, atol=eps)
        assert torch.allclose(ours.grad, theirs.grad, rtol=40 * eps, atol=eps)


@needs_compiler
@pytest.mark.parametrize("unit", UNITS[:2])
def test_torch_second_derivatives_transforms_and_the_rest(pair: Any, unit: str) -> None:
    torch = pytest.importorskip("torch")
    faced, pure = (getattr(m, unit) for m in pair("pt", unit))
    x, other = (torch.from_numpy(a) for a in _arguments(unit, "float64", 3))
    assert torch.autograd.gradcheck(lambda t: faced(t, other), x.clone().requires_grad_())
    assert torch.autograd.gradgradcheck(lambda t: faced(t, other), x.clone().requires_grad_())
    same: Any = torch.allclose
    assert same(torch.func.grad(faced)(x, other), torch.func.grad(pure)(x, other))
    assert same(torch.func.jvp(lambda t: faced(t, other), (x,), (x,))[1],
                torch.func.jvp(lambda t: pure(t, other), (x,), (x,))[1])
    mapped = torch.func.vmap(lambda t, o: faced(t, o))(x, other)
    assert same(mapped, torch.stack([pure(t, o) for t, o in zip(x, other)]))
    leaf = x.clone().requires_grad_()
    loss = faced(leaf, other, reduction="none")
    many = torch.autograd.grad(loss, leaf, torch.ones(2, *loss.shape, dtype=loss.dtype), is_grads_batched=True)[0]
    assert same(many[0], torch.func.grad(lambda t: pure(t, other, reduction="sum"))(x))
    assert same(faced(x.clone().t().contiguous().t(), other), pure(x, other))
    with torch.no_grad():
        assert faced(leaf, other).grad_fn is None


@needs_compiler
@pytest.mark.parametrize("unit", UNITS[:2])
@pytest.mark.parametrize("count", [1200, 20000])  # several blocks; several threads
def test_torch_sums_blocks_to_the_same(pair: Any, unit: str, count: int) -> None:
    torch = pytest.importorskip("torch")
    faced, pure = (getattr(m, unit) for m in pair("pt", unit))
    x, other = (torch.from_numpy(a) for a in _arguments(unit, "float64", count))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    values = [f(t, other) for f, t in ((faced, ours), (pure, theirs))]
    assert torch.allclose(*values, rtol=1e-14)
    assert torch.allclose(*(torch.autograd.grad(v, t)[0] for v, t in zip(values, (ours, theirs))), rtol=1e-13)
    wrong = other.clone()
    wrong[-1] = 9  # in the last block
    with pytest.raises(ValueError, match="but holds 9"):
        faced(ours, wrong)


@needs_compiler
def test_the_bits_of_a_sum_are_the_same_for_any_number_of_threads(pair: Any) -> None:
    torch = pytest.importorskip("torch")
    faced = getattr(pair("pt", UNITS[0])[0], UNITS[0])
    x, z = torch.randn(300_001).requires_grad_(), torch.rand(300_001)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            value = faced(x, z)
            found.append((value.item(), torch.autograd.grad(value, x)[0]))
    finally:
        torch.set_num_threads(before)
    assert len({value for value, _ in found}) == 1 and all(torch.equal(g, found[0][1]) for _, g in found)


@needs_compiler
@pytest.mark.parametrize("by", [1.0, 3.0, 2.0**-10, 0.0])
def test_a_gradient_divided_below_the_normal_numbers_keeps_its_digits(pair: Any, by: float) -> None:
    """The gradient of a mean is divided by the count on the way; what comes from above may make it large again."""
    torch = pytest.importorskip("torch")
    faced, pure = (getattr(m, UNITS[0]) for m in pair("pt", UNITS[0]))
    x, z = torch.linspace(-87, -80, 4096), torch.zeros(4096)
    found = []
    for f in (faced, pure):
        leaf = x.clone().requires_grad_()
        (f(leaf, z) * (by * 2.0**40)).backward()
        found.append(leaf.grad)
    assert torch.allclose(*found, rtol=1e-6, atol=0)


@needs_compiler
def test_a_kernel_that_loses_digits_on_its_way_divides_as_any_other(pair: Any) -> None:
    """Probabilities below the normal numbers, in some blocks only: the bits are those of a division apart."""
    torch = pytest.importorskip("torch")
    faced = getattr(pair("pt", UNITS[1])[0], UNITS[1])
    x, y = torch.randn(3000, 100), torch.randint(0, 100, (3000,))
    x[1500:, 7] = 300.0
    mean, each = x.clone().requires_grad_(), x.clone().requires_grad_()
    faced(mean, y).backward()
    faced(each, y, reduction="none").sum().backward()
    assert torch.equal(mean.grad, each.grad * torch.tensor(1 / 3000))


@needs_compiler
def test_backward_twice_and_after_a_change(pair: Any) -> None:
    """The first time as saved, then anew; a tensor that was changed in between is said, as torch says it."""
    torch = pytest.importorskip("torch")
    faced = getattr(pair("pt", UNITS[0])[0], UNITS[0])
    leaf, z = torch.randn(50).requires_grad_(), torch.rand(50)
    x = leaf * 1.0
    value = faced(x, z)
    first, second = (torch.autograd.grad(value, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.allclose(first, second, rtol=1e-6)
    with torch.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(value, leaf)


@needs_compiler
def test_what_was_saved_goes_when_backward_has_run(pair: Any) -> None:
    torch = pytest.importorskip("torch")
    faced = getattr(pair("pt", UNITS[0])[0], UNITS[0])
    x, z = torch.randn(50, requires_grad=True), torch.rand(50)
    value, seen = faced(x, z), weakref.ref(z)
    value.backward()
    del z
    gc.collect()
    assert seen() is None and value.grad_fn is not None


@needs_compiler
def test_nothing_flows_on_as_nothing(pair: Any) -> None:
    torch = pytest.importorskip("torch")
    faced, _ = (getattr(m, UNITS[0]) for m in pair("pt", UNITS[0]))
    x = torch.tensor([1.0, float("nan"), -1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(faced(x, torch.tensor([0.0, 0.0, 1.0]), reduction="none"), x,
                                      torch.tensor([0.0, 0.0, -0.0]))
    assert gradient[0] == 0 and gradient[1].isnan() and gradient[2] == 0 and not gradient[2].signbit()


@needs_compiler
def test_a_module_of_torch_uses_it_too(pair: Any) -> None:
    torch = pytest.importorskip("torch")
    faced, _ = pair("pt", UNITS[0])
    x, z = (torch.from_numpy(a) for a in _arguments(UNITS[0], "float32"))
    assert type(faced.SigmoidCrossEntropy()(x.requires_grad_(), z).grad_fn).__name__ == "CompiledLossBackward"


@needs_compiler
def test_a_loss_of_ones_own_uses_it_beside_its_own_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("LOSSMITH_BACKEND", "c")
    (tmp_path / "mine.toml").write_text(
        'name = "own_square"\nformula = "(x - y)**2"\n[domain]\nx = "real"\ny = "[0,1]"\n', encoding="utf-8")
    generate([str(tmp_path / "mine.toml")], ("np", "pt", "c"), tmp_path / "generated", False, 1)
    faced, pure = (module(tmp_path, "pt", "own_square") for _ in range(2))
    faces.attach(faced)
    x, y = torch.tensor([1.5, -2, 0.25], requires_grad=True), torch.tensor([0.5, 1, 0.25])
    found = faced.own_square(x, y)
    assert type(found.grad_fn).__name__ == "CompiledLossBackward" and found == pure.own_square(x, y)
    with pytest.raises(ValueError, match="y must lie in"):
        faced.own_square(x, y + 2)


COMPILED = """
import torch
from lossmith.generated.pt.sigmoid_cross_entropy import sigmoid_cross_entropy as loss
x, z = torch.randn(40, requires_grad=True), torch.rand(40)
plain = loss(x, z)
whole = torch.compile(lambda a, b: loss(a, b), fullgraph=True, backend="aot_eager")(x, z)
same = torch.allclose(whole, plain) and torch.allclose(*(torch.autograd.grad(v, x)[0] for v in (whole, plain)))
print(type(plain.grad_fn).__name__, same, "CompiledLoss" in type(whole.grad_fn).__name__)
"""


@needs_compiler
@pytest.mark.skipif(not (ROOT / f"generated/c/{UNITS[0]}.c").exists(), reason="the C of the catalogue is not generated")
def test_imported_from_the_package_and_under_torch_compile(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "LOSSMITH_BACKEND": "c", "LOSSMITH_CACHE": str(tmp_path)})
    assert done.stdout == "CompiledLossBackward True False\n", done.stderr


SCRIPT = """
import sys, importlib.util, numpy as np
from lossmith.codegen import faces
spec = importlib.util.spec_from_file_location("faced.sigmoid_cross_entropy", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
faces.attach(module)
print(module.loss(np.zeros(2, np.float32), np.ones(2, np.float32)).tolist()[0] == np.float32(np.log(2)))
print(faces.refusals.get("sigmoid_cross_entropy", faces.refusals.get("faces", "C")))
"""


def run(place: Path, **environment: str) -> tuple[str, str, int]:
    """The value and what the faces say of it, in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CC", "LOSSMITH_NO_CACHE", "LOSSMITH_BACKEND")}
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(place / "generated/np/sigmoid_cross_entropy.py")],
                          env={**kept, **environment}, capture_output=True, text=True, timeout=200, check=False)
    lines = [*done.stdout.split("\n"), "", ""]
    return lines[0], lines[1] or done.stderr.strip().split("\n")[-1], done.returncode


def _fake(folder: Path, body: str) -> None:
    program = folder / "mycc"
    program.write_text(f"#!/bin/sh\ncase \"$*\" in *--version*) echo mine; exit 0;; esac\n{body}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(("trouble", "says"), [
    ("no compiler", "install gcc or clang"), ("fails", "failed: x.c:1: error: no"), ("writes nothing", "wrote nothing"),
    ("none such", "CC names 'none-such'")])
def test_trouble_is_silent_and_said_when_asked(place: Path, tmp_path: Path, trouble: str, says: str) -> None:
    given = {"LOSSMITH_CACHE": str(tmp_path / "cache")}
    given |= {"no compiler": {"PATH": str(tmp_path)}, "none such": {"CC": "none-such"},
              "fails": {"CC": str(tmp_path / "mycc")}, "writes nothing": {"CC": str(tmp_path / "mycc")}}[trouble]
    _fake(tmp_path, "exit 0" if trouble == "writes nothing" else "echo 'x.c:1: error: no' >&2; exit 1")
    value, why, status = run(place, **given)
    assert (value, status) == ("True", 0) and says in why
    value, why, status = run(place, **given, LOSSMITH_BACKEND="c")
    assert status == 1 and says in why


@needs_compiler
@pytest.mark.parametrize("trouble", ["a file", "open to all", "planted", "read-only"])
def test_a_cache_that_cannot_be_trusted_is_not_used(place: Path, tmp_path: Path, trouble: str) -> None:
    cache = tmp_path / "cache"
    given = {"LOSSMITH_CACHE": str(cache)}
    if trouble == "a file":
        cache.write_text("")
    elif trouble == "planted":
        assert run(place, **given)[1] == "C"
        libraries = sorted((cache / "c").glob("*.so"))
        assert len(libraries) == 2  # the loss, and the faces' own
        for library in libraries:
            library.unlink()
            library.write_bytes(b"planted")
    else:
        (cache / "c").mkdir(mode=0o700, parents=True)
        (cache / "c").chmod({"open to all": 0o777, "read-only": 0o500}[trouble])
    assert run(place, **given) == ("True", "C", 0)
    if trouble == "open to all":
        assert not list((cache / "c").iterdir())


@needs_compiler
def test_two_processes_at_once(place: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: run(place, LOSSMITH_CACHE=str(tmp_path / "cache")), range(2)))
    assert found == [("True", "C", 0)] * 2
    assert all(p.suffix in (".so", ".sha256") for p in (tmp_path / "cache/c").iterdir())


FORKED = """
import os
import numpy as np
from lossmith.generated.np import sigmoid_cross_entropy as m
from lossmith.codegen import faces
x = np.zeros(300_000, np.float32)
whole = m.loss(x, x + 0.5)  # with threads, where there are any
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(m.loss(x, x + 0.5), whole) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), faces.refusals)
"""


@needs_compiler
@pytest.mark.skipif(not (ROOT / f"generated/c/{UNITS[0]}.c").exists(), reason="the C of the catalogue is not generated")
def test_a_forked_child_does_not_wait_for_threads_that_it_has_not(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=100, check=False,
                          env={**os.environ, "LOSSMITH_BACKEND": "c", "LOSSMITH_CACHE": str(tmp_path)})
    assert done.stdout == "0 {}\n", done.stderr


def test_pure_leaves_modules_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSMITH_BACKEND", "pure")
    faced = module(place, "np", UNITS[0])
    own = faced._map
    faces.attach(faced)
    assert faced._map is own
    monkeypatch.setenv("LOSSMITH_BACKEND", "fast")
    with pytest.raises(ValueError, match="LOSSMITH_BACKEND is 'fast': set it to auto, pure or c"):
        faces.backend()


def test_c_of_another_formula_is_not_used(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSMITH_BACKEND", "auto")
    for kind in ("np", "c"):
        (tmp_path / "generated" / kind).mkdir(parents=True)
    name = UNITS[0]
    text = (place / f"generated/c/{name}.c").read_text().replace("// formula ", "// formula 0", 1)
    (tmp_path / f"generated/c/{name}.c").write_text(text)
    (tmp_path / f"generated/np/{name}.py").write_text((place / f"generated/np/{name}.py").read_text())
    faced = module(tmp_path, "np", name)
    own = faced._map
    faces.attach(faced)
    assert faced._map is own and "another formula" in faces.refusals.pop(name)
