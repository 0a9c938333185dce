"""NumPy kernels in blocks: what is written over, and which functions are left to NumPy's float32 loops."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Let, Program
from lossmith.codegen.targets import np_narrow
from lossmith.codegen.targets.np import render
from lossmith.derivations.terms import ONE, Term, add, const, make, mul, neg, sub, var
from np_bundles import bundle

X, Z = var("x"), var("z")


def made(term: Term, *lets: Let) -> Bundle:
    inputs = (Input("x", "scalar", "input", "[-30, 30]"), Input("z", "scalar", "target", "[0, 1]"))
    return bundle("made", Elementwise("made", inputs, Program(lets, {"loss": term})), "x", ())


def module(given: Bundle) -> Any:
    found = types.ModuleType("made")
    exec(compile(render(given)[0].body, "made", "exec"), found.__dict__)
    return found


def drawn(size: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.uniform(-5, 5, size), rng.random(size)


SHARED = add(mul(var("a"), var("b")), mul(var("b"), add(make("abs", var("a")), Z)))  # nothing cancels
LETS = (Let("a", make("abs", mul(X, Z))), Let("b", mul(var("a"), add(var("a"), ONE))))


@pytest.mark.parametrize("shape", [(3,), (40_000,), (300, 301)])
def test_no_value_is_written_over_before_it_is_read(shape: tuple[int, ...]) -> None:
    x, z = (v.reshape(shape) for v in drawn(int(np.prod(shape))))
    a = np.abs(x * z)
    b = a * (a + 1)
    want = a * b + b * (np.abs(a) + z)
    found = module(made(SHARED, *LETS))
    assert np.array_equal(found.loss(x, z), want)
    for target in (0, 1):
        given = [x.copy(), z.copy()]
        assert np.array_equal(found.loss(*given, out=given[target]), want)
    assert np.array_equal(found.loss(x.T, z.T), want.T)


def test_buffers_are_used_again() -> None:
    assert "room.take(2)" in render(made(SHARED, *LETS))[0].body


def test_nothing_is_written_where_a_later_block_leaves_its_domain() -> None:
    x, z = drawn(200_000)
    z[-1] = 2
    out = np.full(x.shape, 7.0)
    with pytest.raises(ValueError, match="z must lie in"):
        module(made(SHARED, *LETS)).loss(x, z, out=out)
    assert np.all(out == 7)
    with pytest.raises(ValueError, match="z must lie in"):
        module(made(SHARED, *LETS)).loss(x, z)


def test_a_function_is_narrow_only_where_its_error_stays_small() -> None:
    exp = make("exp", X)

    def narrow(term: Term) -> frozenset[Term]:
        kernel = made(term).kernel
        assert isinstance(kernel, Elementwise)
        return np_narrow.narrow(kernel)

    assert narrow(exp) == {exp}
    assert narrow(make("pow", exp, const(4))) == frozenset()
    assert "np.exp(x" in render(made(exp))[0].body


def test_the_sign_bit_is_set_by_minus_abs() -> None:
    found = module(made(neg(make("abs", X))))
    x = np.array([0.0, -0.0, 3, -4, np.nan])
    got = found.loss(x, np.zeros(5))
    assert np.array_equal(got, -np.abs(x), equal_nan=True) and np.all(np.signbit(got[:4]))


def test_a_sign_is_taken_in_by_the_sum_that_reads_it() -> None:
    positive = make("max", neg(X), const(0))
    for term, want in ((add(positive, Z), lambda x, z: np.maximum(-x, 0) + z),
                       (sub(Z, positive), lambda x, z: z - np.maximum(-x, 0))):
        text = render(made(term))[0].body
        assert "np.minimum(x" in text and "np.negative" not in text
        x, z = np.array([-3.5, -0.0, 0, 2, 30, -30, np.nan]), np.full(7, 0.5)
        assert np.array_equal(module(made(term)).loss(x, z), want(x, z), equal_nan=True)


def test_long_buffers_begin_where_a_line_of_the_cache_does() -> None:
    found = module(made(SHARED, *LETS))
    for size, aligned in ((4096, True), (100_000, True), (10, False)):
        room = found._Room(np.dtype(np.float32), size)
        room.fit((size,))
        places = [b.ctypes.data % 64 for b in (*room.take(3), room.mask(np.int32), room.level(0))]
        assert not aligned or places == [0] * 5
        assert np.all(room.level(0) == 0) and room.level(0).dtype == np.float32
