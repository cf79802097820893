// Averages of windows, compiled behind numbers.cuh. `Windows` in average.py has the same
// fields in the same order.

struct Windows {
    int height, width, channels;
    int window_height, window_width;
    int step_y, step_x;
    int before_y, before_x;  // padding above and on the left
    int out_rows, out_columns;
};

template <typename T>
__device__ T signed_power(T value, T power) {
    if (power == T(1)) return value;
    T size = fabs(value);
    size = power == T(0.5) ? sqrt(size) : pow(size, power);
    return value < T(0) ? -size : size;
}

// Return what is above a threshold, or 0; NaN stays NaN.
template <typename T>
__device__ T above(T value, T threshold) {
    T rest = value - threshold;
    return rest < T(0) ? T(0) : rest;
}

template <typename T>
__device__ bool is_finite(T value) {
    return value - value == T(0);
}

// Return the mean of `count` values from the sum of their multiples by `part`, which is 1
// or a power of 2 for which the sum does not overflow.
template <typename T>
__device__ T mean_of(T sum, T count, T part) {
    T mean = sum / count;
    if (part == T(1) || !is_finite(mean)) return mean;
    T most = part * (sizeof(T) == 4 ? T(0x1.fffffep127) : T(0x1.fffffffffffffp1023));
    return max(-most, min(mean, most)) / part;
}

// Compute the mean of each window over the pixels inside the image, and a signed power
// of it. If TWO_SIDED, first take each value's excess over a threshold, and that of minus
// the value, which make two channels.
template <typename I, typename T, bool TWO_SIDED>
__global__ void average(const I* images, T* out, long long n_images, T power, T threshold,
                        Windows g) {
    long long end = n_images * g.out_rows * g.out_columns * g.channels;
    long long step = (long long)gridDim.x * blockDim.x;
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (; at < end; at += step) {
        long long window = at / g.channels, line = window / g.out_columns;
        long long image = line / g.out_rows;
        int c = int(at - window * g.channels);
        int before_x = int(window - line * g.out_columns) * g.step_x - g.before_x;
        int before_y = int(line - image * g.out_rows) * g.step_y - g.before_y;
        int top = max(0, before_y), bottom = min(before_y + g.window_height, g.height);
        int left = max(0, before_x), right = min(before_x + g.window_width, g.width);
        T count = T((bottom - top) * (right - left)), part = 1, up, down;
        while (true) {
            up = down = 0;
            for (int y = top; y < bottom; ++y) {
                const I* row = images + (image * g.height + y) * g.width * g.channels + c;
                T row_up = 0, row_down = 0;  // rows first, for fewer rounding errors
                for (int x = left; x < right; ++x) {
                    T value = T(row[(long long)x * g.channels]);
                    row_up += part * (TWO_SIDED ? above(value, threshold) : value);
                    if (TWO_SIDED) row_down += part * above(-value, threshold);
                }
                up += row_up;
                down += row_down;
            }
            if (part < T(1) || (is_finite(up) && is_finite(down))) break;
            part = T(0.5);  // once more: the sum overflowed, but the mean may not
            while (part * count > T(1)) part *= T(0.5);
        }
        T* to = out + window * g.channels * (TWO_SIDED ? 2 : 1) + c;
        to[0] = signed_power(mean_of(up, count, part), power);
        if (TWO_SIDED) to[g.channels] = signed_power(mean_of(down, count, part), power);
    }
}
