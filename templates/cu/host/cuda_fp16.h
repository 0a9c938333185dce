// float16 storage on a CPU: IEEE binary16, round to nearest even.
#pragma once
#include "cuda_on_host.h"

struct __half {
    unsigned short bits;
};

inline float __half2float(__half h)
{
    const unsigned sign = (h.bits & 0x8000u) << 16, exponent = h.bits >> 10 & 31u, digits = h.bits & 0x3ffu;
    if (exponent == 31) return __int_as_float(static_cast<int>(sign | 0x7f800000u | digits << 13));
    if (exponent) return __int_as_float(static_cast<int>(sign | (exponent + 112) << 23 | digits << 13));
    const float size = static_cast<float>(digits) * 0x1p-24f;
    return sign ? -size : size;
}

inline __half __float2half_rn(float v)
{
    const unsigned bits = static_cast<unsigned>(__float_as_int(v)), sign = bits >> 16 & 0x8000u;
    const float size = __builtin_fabsf(v);
    if (size != size) return {0x7fff};
    if (size >= 65520.0f) return {static_cast<unsigned short>(sign | 0x7c00u)};
    if (size < 0x1p-14f)  // the sum rounds to a multiple of 2^-24, the step of subnormals
        return {static_cast<unsigned short>(sign | static_cast<unsigned>(__float_as_int(size + 0.5f) - __float_as_int(0.5f)))};
    const unsigned magnitude = bits & 0x7fffffffu, odd = magnitude >> 13 & 1u;
    return {static_cast<unsigned short>(sign | ((magnitude + 0xfffu + odd - 0x38000000u) >> 13))};
}
