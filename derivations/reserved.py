"""Names that an argument cannot have: words that mean something else where it would be printed."""

from __future__ import annotations

import builtins
import keyword
import re

_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,31}$")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


C_WORDS = _words(
    """alignas alignof and and_eq asm atomic_cancel auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue
    decltype default delete do double dynamic_cast else enum explicit export extern false float for friend goto if
    inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public
    register reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct
    switch template this thread_local throw true try typedef typeid typename union unsigned using virtual void
    volatile wchar_t while xor xor_eq size_t ptrdiff_t intptr_t uintptr_t int8_t int16_t int32_t int64_t uint8_t
    uint16_t uint32_t uint64_t NULL INFINITY NAN EOF errno main stdin stdout stderr assert isnan isinf isfinite signbit
    linux unix"""
)
CUDA_WORDS = _words(
    """threadIdx blockIdx blockDim gridDim warpSize dim3 half half2 nv_bfloat16 nv_bfloat162 cudaStream_t cudaError_t
    cudaSuccess"""
) | {f"{kind}{n}" for kind in ("char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "longlong",
                               "ulonglong", "float", "double") for n in (1, 2, 3, 4)}
# Words that generated functions use for themselves: a parameter of this name would collide.
OWN_WORDS = frozenset({"out", "axis", "dim", "dtype", "tier", "reduction", "stream", "np", "numpy", "torch", "math",
                       "self", "pi"})
# Beside rows these are the number of classes and the class index; alone they are letters like any other.
AXIS_WORDS = frozenset({"C", "k"})


def why_reserved(name: str) -> str | None:
    """Why no argument can be called `name`, in words; None where one can."""
    if not name.isascii():
        return "names are written in ASCII"
    if not _NAME.match(name):
        return "a name is a letter, then letters, digits and underscores, 32 at most"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        return "it means something else in Python"
    if name in C_WORDS:
        return "it means something else in C"
    if name in CUDA_WORDS:
        return "it means something else in CUDA"
    if name in OWN_WORDS or "__" in name or name.startswith(("tangent_", "lossmith")):
        return "generated code uses it"
    return None
