// Number types of all kernels; launch.py puts this file before the others.

// float16; CUDA's own type needs a header that some installations lack
struct Half {
    unsigned short bits;
    __device__ operator float() const {
        unsigned exponent = bits & 0x7c00u, digits = bits & 0x3ffu;
        float value;
        if (exponent == 0x7c00u)  // infinity or NaN
            value = __uint_as_float(0x7f800000u | digits << 13);
        else if (exponent)
            value = __uint_as_float((exponent | digits) << 13) * 0x1p112f;
        else  // subnormal; its bits as a float are subnormal too, which -ftz=true flushes
            value = float(int(digits)) * 0x1p-24f;
        return bits & 0x8000u ? -value : value;
    }
};
