// bfloat16 storage on a CPU: the upper half of a float32, round to nearest even.
#pragma once
#include "cuda_on_host.h"

struct __nv_bfloat16 {
    unsigned short bits;
};

inline float __bfloat162float(__nv_bfloat16 b) { return __int_as_float(static_cast<int>(static_cast<unsigned>(b.bits) << 16)); }

inline __nv_bfloat16 __float2bfloat16_rn(float v)
{
    const unsigned bits = static_cast<unsigned>(__float_as_int(v));
    if (v != v) return {0x7fff};
    return {static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}
