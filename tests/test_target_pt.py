"""The PyTorch target, on bundles made by hand: shapes that no loss of the catalogue has, against balls."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from flint import arb, ctx
from lossmith.codegen.kernel import Input
from lossmith.codegen.targets import pt
from lossmith.codegen.targets.pt_printing import expm1mx_terms, log1pmx_terms
from lossmith.derivations.terms import var
from lossmith.derivations.ulp import FORMATS, error
from pt_bundles import BUNDLES, elementwise
from torch.func import grad, hessian, jacfwd, jacrev, vmap

torch.set_num_threads(1)
DOUBLE = torch.float64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The generated modules, imported by name from a directory that holds nothing else."""
    folder = tmp_path_factory.mktemp("pt")
    for build in BUNDLES:
        (rendered,) = pt.render(build())
        (folder / Path(rendered.path).name).write_text(rendered.body, encoding="utf-8")
    loaded: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in loaded:
            spec = importlib.util.spec_from_file_location(f"made_{name}", folder / f"{name}.py")
            assert spec is not None and spec.loader is not None
            loaded[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        return getattr(loaded[name], name)

    return load


# Truth: balls on the definition, the precision raised until it is known to 80 bits.


def _exact(compute: Callable[[], list[arb]]) -> list[Fraction]:
    for precision in (200, 2000, 40000):
        ctx.prec = precision
        try:
            values = compute()
            if all(v.rel_accuracy_bits() > 80 or v == 0 for v in values):
                return [_fraction(v) for v in values]
        finally:
            ctx.prec = 53
    raise AssertionError("not decided")


def _fraction(value: arb) -> Fraction:
    mantissa, exponent = value.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _ball(x: float) -> arb:
    top, bottom = x.as_integer_ratio()
    return arb(top) / bottom


def _logistic_truth(x: float, z: float) -> list[Fraction]:
    def compute() -> list[arb]:
        a, t = _ball(x), _ball(z)
        s = 1 / (1 + (-a).exp())
        return [-t * s.log() - (1 - t) * (1 - s).log(), s - t, s * (1 - s)]
    if x == 0 and z == 0.5:
        return [*_logistic_truth(x, 0.25)[:1], Fraction(0), Fraction(1, 4)]
    return _exact(compute)


def _row_truth(x: list[float], y: int | None) -> list[Fraction]:
    """Loss and gradient of log sum exp x - x[y]; without a label of log(1 + sum exp x)."""
    def compute() -> list[arb]:
        balls = [_ball(a) for a in x if a > -math.inf]
        place = iter(range(len(balls)))
        index = [next(place) if a > -math.inf else None for a in x]
        powers = [a.exp() for a in balls]
        total = sum(powers, arb(1 if y is None else 0))
        own = index[y] if y is not None else None
        loss = total.log() - (balls[own] if own is not None else 0)
        gradient = []
        for i in index:
            if i is None:
                gradient.append(arb(0))
            elif i == own:
                gradient.append(-sum((p for k, p in enumerate(powers) if k != i), arb(0)) / total)
            else:
                gradient.append(powers[i] / total)
        return [loss, *gradient]
    return _exact(compute)


def _worst(got: torch.Tensor, truth: list[Fraction]) -> float:
    name = str(got.dtype).removeprefix("torch.")
    return float(error(got.detach().double().reshape(-1).numpy(), truth, FORMATS[name]).max())


POINTS = [0.0, 5e-324, 1e-40, 1e-7, 0.2, 0.71, 1.0, 5.5, 16.6, 17.3, 20.0, 40.0, 87.5, 90.0, 100.0, 103.9, 1e4]
LOGISTIC = [(s * a, z) for a in POINTS for s in (1, -1) for z in (0.0, 1.0, 0.3, 0.95)]


def _logistic_outputs(f: Any, dtype: torch.dtype, tier: str) -> tuple[list[torch.Tensor], list[list[Fraction]]]:
    x = torch.tensor([p[0] for p in LOGISTIC], dtype=dtype, requires_grad=True)
    z = torch.tensor([p[1] for p in LOGISTIC], dtype=dtype)
    loss = f(x, z, reduction="none", tier=tier)
    (first,) = torch.autograd.grad(loss.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    rounded = zip(x.detach().double().tolist(), z.double().tolist())
    truths = [_logistic_truth(a, b) for a, b in rounded]
    hard = [i for i, (_, b) in enumerate(LOGISTIC) if b in (0.0, 1.0)]  # elsewhere the gradient has roots
    losses, gradients, hessians = (list(column) for column in zip(*truths))
    return [loss, first[hard], second], [losses, [gradients[i] for i in hard], hessians]


@pytest.mark.parametrize(("dtype", "tier", "bounds"), [
    (torch.float64, "fast", (2.0, 3.0, 4.0)), (torch.float32, "fast", (4.0, 4.0, 6.0)),
    (torch.float32, "accurate", (0.501, 0.501, 0.501)), (torch.float16, "fast", (0.501, 0.501, 0.501)),
    (torch.bfloat16, "fast", (0.501, 0.501, 0.501)), (torch.bfloat16, "accurate", (0.501, 0.501, 0.501)),
])
def test_elementwise_within_the_contract(made: Any, dtype: torch.dtype, tier: str, bounds: tuple[float, ...]) -> None:
    outputs, truths = _logistic_outputs(made("logistic"), dtype, tier)
    assert [_worst(o, t) <= b for o, t, b in zip(outputs, truths, bounds)] == [True] * 3, [
        _worst(o, t) for o, t in zip(outputs, truths)]


def test_tails_keep_what_torch_drops(made: Any) -> None:
    """The same points break torch's own function: this test can fail."""
    x, z = torch.tensor([-20.0, 20.0], requires_grad=True), torch.tensor([0.0, 1.0])
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(x, z, reduction="none")
    truth = [_logistic_truth(a, b)[0] for a, b in ((-20.0, 0.0), (20.0, 1.0))]
    assert _worst(theirs, truth) > 1e6
    assert _worst(made("logistic")(x, z, reduction="none"), truth) <= 4


def test_seam_has_the_gradient_of_the_definition(made: Any) -> None:
    x = torch.zeros(1, requires_grad=True)
    made("logistic")(x, torch.tensor([0.3])).backward()
    assert x.grad is not None and x.grad.item() == pytest.approx(0.2, rel=1e-7)


@pytest.mark.parametrize("tier", ["fast", "accurate"])
def test_infinities_and_nan(made: Any, tier: str) -> None:
    inf, nan = math.inf, math.nan
    x = torch.tensor([inf, inf, -inf, -inf, inf, nan], requires_grad=True)
    z = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.5])
    loss = made("logistic")(x, z, reduction="none", tier=tier)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    torch.testing.assert_close(loss, torch.tensor([0.0, inf, 0.0, inf, inf, nan]), equal_nan=True)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 1.0, 0.0, -1.0, 0.5, nan]), equal_nan=True)


def test_a_masked_infinite_gradient_does_not_leak(made: Any) -> None:
    """dL/dz is -x, infinite; where the loss is not used, what comes from above is 0."""
    x, z = torch.tensor([-math.inf, 1.0]), torch.tensor([0.0, 0.5], requires_grad=True)
    made("logistic")(x, z, reduction="none")[1].backward()
    assert z.grad is not None and z.grad.tolist() == [0.0, -1.0]


def _pair(rows: int = 4, columns: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(rows, columns, dtype=DOUBLE, generator=generator)
    return x, torch.rand(rows, columns, dtype=DOUBLE, generator=generator)


def test_gradcheck_elementwise(made: Any) -> None:
    f = made("logistic")
    x, z = (t.requires_grad_() for t in _pair())
    thin = z.detach()[0].requires_grad_()
    crossed = x.detach().T.contiguous().T.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: f(a, b, reduction="none"), (x, z), check_forward_ad=True,
                                    check_batched_grad=True)
    assert torch.autograd.gradgradcheck(f, (x, z), check_fwd_over_rev=True)
    assert torch.autograd.gradcheck(f, (crossed, thin)) and torch.autograd.gradgradcheck(f, (crossed, thin))
    g = made("scaled_gap")
    assert torch.autograd.gradcheck(lambda a, b: g(a, b, k=3.0), (x, z), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda a: g(a, z.detach(), k=3.0), (x,))


def test_gradcheck_rows(made: Any) -> None:
    x, y = _pair()[0].requires_grad_(), torch.tensor([0, 2, 1, 1])
    for f in (lambda a: made("labelled")(a, y, reduction="none"), lambda a: made("with_zero")(a, reduction="none")):
        assert torch.autograd.gradcheck(f, (x,), check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(f, (x,), check_fwd_over_rev=True)
    c = torch.randn(4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: made("spread")(x.detach(), c, reduction="none"), (c,))


def _shares(x: torch.Tensor, extra: float = 0.0) -> torch.Tensor:
    powers = torch.exp(x)
    return powers / (powers.sum() + extra)


def test_transforms_agree(made: Any) -> None:
    """Every way to a Hessian that torch has, against p (1 - p), and per-sample gradients."""
    x = _pair()[0][0]
    p = _shares(x)
    truth = torch.diag(p) - torch.outer(p, p)
    f = lambda a: made("labelled")(a, torch.tensor(1), reduction="none")  # noqa: E731
    for found in (hessian(f), jacrev(jacrev(f)), jacfwd(jacfwd(f)), jacrev(jacfwd(f))):
        torch.testing.assert_close(found(x), truth)
    batch, y = _pair()[0], torch.tensor([0, 2, 1, 1])
    each = vmap(grad(lambda a, b: made("labelled")(a, b)))(batch, y)
    whole = grad(lambda a: made("labelled")(a, y, reduction="sum"))(batch)
    torch.testing.assert_close(each, whole)
    q = _shares(x, 1.0)
    torch.testing.assert_close(hessian(lambda a: made("with_zero")(a))(x), torch.diag(q) - torch.outer(q, q))


@pytest.mark.parametrize("tier", ["fast", "accurate"])
@pytest.mark.parametrize("peak", [0.0, 20.0, 40.0, 90.0, 90.3])
def test_confident_rows(made: Any, peak: float, tier: str) -> None:
    """One logit far above the rest, as label and not; ties; -inf among them."""
    base = [peak, 0.0, -0.7, 0.3, 0.3, -math.inf]
    bound = 4.0 if tier == "fast" else 0.501
    for shift in (0.0, 1e4, -33.3):
        x = torch.tensor([[b + shift for b in base]] * 3, requires_grad=True)
        y = torch.tensor([0, 3, 2])
        loss = made("labelled")(x, y, reduction="none", tier=tier)
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        for i in range(3):
            truth = _row_truth([float(a) for a in x[i].detach()], int(y[i]))
            assert _worst(loss[i], truth[:1]) <= bound
            assert _worst(gradient[i], truth[1:]) <= bound


def test_rows_without_the_lost_part_would_fail() -> None:
    """exp(a - m) at a gap of 80 is many ulp off unless what the difference loses is put back."""
    a = torch.tensor([-20.002857208251953, 60.00236511230469])
    truth = _exact(lambda: [(_ball(float(a[0])) - _ball(float(a[1]))).exp()])
    assert _worst(torch.exp(a[:1] - a[1:]), truth) > 10


def test_extra_element_and_its_tie(made: Any) -> None:
    rows = [[0.0, -1.0], [-40.0, -90.0], [3.0, 3.0], [-math.inf, -math.inf], [50.0, -1.0]]
    x = torch.tensor(rows, requires_grad=True)
    loss = made("with_zero")(x, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    for i, values in enumerate(rows):
        if values[0] == -math.inf:
            assert loss[i] == 0 and gradient[i].tolist() == [0.0, 0.0]
            continue
        truth = _row_truth(values, None)
        assert _worst(loss[i], truth[:1]) <= 4 and _worst(gradient[i], truth[1:]) <= 4


def test_rows_without_a_limit_are_nan(made: Any) -> None:
    inf = math.inf
    x = torch.tensor([[-inf, -inf], [inf, inf], [inf, 1.0], [math.nan, 1.0], [1.0, inf]], requires_grad=True)
    loss = made("labelled")(x, torch.zeros(5, dtype=torch.long), reduction="none")
    assert loss[:2].isnan().all() and loss[2] == 0 and loss[3].isnan() and loss[4] == inf
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    assert gradient[:2].isnan().all() and gradient[2].tolist() == [0.0, 0.0] and gradient[4].tolist() == [-1.0, 1.0]


def test_powers_of_gaps_and_a_second_stage(made: Any) -> None:
    x = torch.tensor([[0.1, -3.0, 2.0, 2.0], [5.0, -math.inf, 1.0, 0.0]])
    got = made("spread")(x, torch.tensor([0.5, 0.0]), reduction="none")
    for values, c, found in zip(x.double().tolist(), (0.5, 0.0), got):
        top = max(values)
        powers = [math.exp(v - top) for v in values]
        p = [e / sum(powers) for e in powers]
        moment = sum(q * (top - v) ** 2 for q, v in zip(p, values) if q)
        assert found.item() == pytest.approx(c + moment + sum((q - 0.25) ** 2 for q in p), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_series_join_the_functions(made: Any, dtype: torch.dtype) -> None:
    """exp(d) - 1 - d and log(1 + d) - d from tiny to large, across the joints at -1, -1/2 and 1."""
    tried = [1e-30, 1e-8, 1e-3, 0.1, 0.49, 0.51, 0.99, 1.01, 2.0, 3.99, 4.01, 30.0]
    x = torch.tensor(tried + [-t for t in tried if t < 3.9], dtype=dtype)
    got = made("scaled_gap")(x, torch.zeros_like(x), reduction="none", k=1)

    def truth(d: float) -> Fraction:
        return _exact(lambda: [(_ball(d).exp() - 1 - _ball(d)) - ((1 + _ball(d) / 4).log() - _ball(d) / 4)])[0]

    assert _worst(got, [truth(float(d)) for d in x]) <= 4


def test_coefficients_of_the_series() -> None:
    assert log1pmx_terms(53, Fraction(1, 3))[:2] == (Fraction(1, 3), Fraction(1, 5))
    assert expm1mx_terms(53, Fraction(1))[:3] == (Fraction(1, 2), Fraction(1, 6), Fraction(1, 24))
    assert len(expm1mx_terms(24, Fraction(1))) < len(expm1mx_terms(53, Fraction(1)))


def test_reductions_types_and_empty_batches(made: Any) -> None:
    f = made("logistic")
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert f(torch.zeros(2, dtype=dtype), torch.zeros(2, dtype=dtype)).dtype == dtype
    empty = torch.zeros(0)
    assert f(empty, empty).isnan() and f(empty, empty, reduction="sum") == 0
    assert made("labelled")(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).isnan()
    many = torch.full((100_000,), 3.0, dtype=torch.float16)  # their sum overflows float16
    assert f(many, torch.zeros_like(many)).item() == pytest.approx(3.0485873, rel=1e-3)
    assert f(many, torch.zeros_like(many), reduction="sum").item() == math.inf
    wide = torch.zeros(2000, 1, dtype=torch.bfloat16, requires_grad=True)  # grows: summed before it is rounded
    f(wide, torch.full((2000, 7), 0.25, dtype=torch.bfloat16), reduction="sum").backward()
    assert wide.grad is not None and wide.grad.dtype == torch.bfloat16 and (wide.grad == 1.75).all()


def test_any_layout_gives_the_same_bits(made: Any) -> None:
    """Blocks, strides and the class axis change nothing; inputs are not written to."""
    x, z = (t.float() for t in _pair(300, 500))
    before = x.clone()
    f, g = made("logistic"), made("labelled")
    whole = f(x, z, reduction="none")
    assert torch.equal(whole[7:9], f(x[7:9], z[7:9], reduction="none"))
    assert torch.equal(whole.T, f(x.T, z.T, reduction="none")) and torch.equal(x, before)
    y = torch.arange(300) % 500
    assert torch.equal(g(x, y, reduction="none"), g(x.T, y, dim=0, reduction="none"))
    assert torch.equal(g(x, y, reduction="none")[50:60], g(x[50:60], y[50:60], reduction="none"))


ERRORS = [
    ("logistic", lambda f, x, z, y: f(x.long(), z), TypeError, "x must be floating point"),
    ("logistic", lambda f, x, z, y: f(x, z.float()), TypeError, "z is torch.float32"),
    ("logistic", lambda f, x, z, y: f(x, 1.0), TypeError, "z must be a tensor, not float"),
    ("logistic", lambda f, x, z, y: f(x, z[:2, :2]), ValueError, "do not broadcast: x (4, 3), z (2, 2)"),
    ("logistic", lambda f, x, z, y: f(x, z, reduction="avg"), ValueError, "reduction must be"),
    ("logistic", lambda f, x, z, y: f(x, z, tier="best"), ValueError, "tier must be"),
    ("logistic", lambda f, x, z, y: f(x, z + 1), ValueError, "z must lie in [0, 1], but holds 1."),
    ("logistic", lambda f, x, z, y: f(x, torch.where(z > 0.5, math.nan, 1.5 + 0 * z)), ValueError, "but holds 1.5"),
    ("scaled_gap", lambda f, x, z, y: f(x, z, k=0.0), ValueError, "k must lie in (0, inf), not 0.0"),
    ("scaled_gap", lambda f, x, z, y: f(x, z, k="2"), TypeError, "k must be a number, not str"),
    ("labelled", lambda f, x, z, y: f(x, y + 1), ValueError, "y must lie in [0, 3), but holds 3"),
    ("labelled", lambda f, x, z, y: f(x, y - 1), ValueError, "y must lie in [0, 3), but holds -1"),
    ("labelled", lambda f, x, z, y: f(x, y.double()), TypeError, "y must hold integers"),
    ("labelled", lambda f, x, z, y: f(x, y[:2]), ValueError, "y must have shape (4,)"),
    ("labelled", lambda f, x, z, y: f(x, y, dim=2), ValueError, "dim 2 is no axis of x (4, 3)"),
    ("labelled", lambda f, x, z, y: f(x[:, :0], y), ValueError, "no classes"),
]


@pytest.mark.parametrize(("name", "call", "kind", "says"), ERRORS)
def test_errors_are_one_line(made: Any, name: str, call: Any, kind: type[Exception], says: str) -> None:
    x, z = _pair()
    with pytest.raises(kind) as found:
        call(made(name), x, z, torch.tensor([0, 2, 1, 1]))
    assert says in str(found.value) and "\n" not in str(found.value)


def test_where_values_cannot_be_read_the_row_is_nan(made: Any) -> None:
    x, z = _pair()
    y = torch.tensor([0, 3, -1, 1])
    loss = vmap(lambda a, b: made("labelled")(a, b, reduction="none"))(x, y)
    assert loss.isnan().tolist() == [False, True, True, False]
    gradient = vmap(grad(lambda a, b: made("labelled")(a, b)))(x, y)
    assert gradient.isnan().all(-1).tolist() == [False, True, True, False]
    outside = vmap(lambda a, b: made("logistic")(a, b, reduction="none"))(x, z + (z > 0.5))
    assert torch.equal(outside.isnan(), z > 0.5)


def test_what_is_not_derived_says_so(made: Any) -> None:
    x, z = _pair()
    x.requires_grad_()
    (first,) = torch.autograd.grad(made("labelled")(x, torch.tensor([0, 2, 1, 1])), x, create_graph=True)
    (second,) = torch.autograd.grad(first[0, 0], x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no third derivative"):
        torch.autograd.grad(second.sum(), x)
    (first,) = torch.autograd.grad(made("logistic")(x, z), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no third derivative"):
        torch.autograd.grad(second.sum(), x)
    z.requires_grad_()
    (first,) = torch.autograd.grad(made("scaled_gap")(x, z), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"no derivative of gradient_x by y, pass y.detach\(\)"):
        torch.autograd.grad(first.sum(), x)
    with pytest.raises(NotImplementedError, match="no derivative by x"):
        made("spread")(x, torch.zeros(4, dtype=DOUBLE)).backward()


def test_autocast_changes_nothing(made: Any) -> None:
    f = made("logistic")
    x, z = (t.float() for t in _pair())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(f(x, z), f(x, z.clone())) and f(x.bfloat16(), z).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = f(x, z, reduction="none")
    assert torch.equal(inside, f(x, z, reduction="none"))


def test_defaults_of_parameters(made: Any) -> None:
    f = made("scaled_gap")
    x, z = _pair()
    assert torch.equal(f(x, z), f(x, z, k=2, floor=torch.finfo(DOUBLE).eps))
    module = f.__globals__["ScaledGap"](k=3.0, reduction="sum")
    assert torch.equal(module(x, z), f(x, z, k=3.0, reduction="sum")) and "k=3.0" in repr(module)


def test_text_of_a_module_is_plain() -> None:
    """Only torch and the standard library; nothing that a formula holds ends a docstring."""
    for build in BUNDLES:
        (first,), (second,) = pt.render(build()), pt.render(build())
        assert first == second and first.comment == "#" and first.path == f"pt/{build().origin.unit}.py"
        lines = first.body.splitlines()
        imports = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert imports <= {"__future__", "collections", "inspect", "math", "typing", "torch"}
        assert max(map(len, lines)) <= 120
        compile(first.body, first.path, "exec", dont_inherit=True)


def test_a_name_that_python_needs_is_refused() -> None:
    bundle = elementwise("plain", (Input("tier", "scalar", "input", "real"),), (), {"loss": var("tier")}, ("tier",))
    with pytest.raises(ValueError, match="'tier' has a meaning"):
        pt.render(bundle)


def _compiled_against_eager(f: Any, *tensors: torch.Tensor) -> float:
    """The largest distance in ulp between compiled and eager loss and gradient."""
    compiled = torch.compile(f, fullgraph=True)
    found = []
    for function in (compiled, f):
        x = tensors[0].clone().requires_grad_()
        loss = function(x, *tensors[1:], reduction="none")
        found.append((loss.detach(), *torch.autograd.grad(loss.sum(), x)))
    return max(_worst(a, [Fraction(float(v)) for v in b.reshape(-1)]) for a, b in zip(*found))


def test_compiled_rows_keep_the_lost_part(made: Any) -> None:
    """A compiler that reassociates would undo the exact differences: 45 ulp at a gap of 90."""
    x = torch.tensor([[90.3, 0.1, -0.7], [0.2, 55.5, 0.3], [1.0, 1.0, -33.3]])
    assert _compiled_against_eager(made("labelled"), x, torch.tensor([0, 2, 1])) <= 3


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["logistic", "scaled_gap", "with_zero"])
def test_compiled_modules(made: Any, name: str) -> None:
    x, z = (t.float() for t in _pair(50, 40))
    others = {"logistic": (z.round(),), "scaled_gap": (z - 5,), "with_zero": ()}  # away from roots of the gradient
    assert _compiled_against_eager(made(name), x, *others[name]) <= 4
