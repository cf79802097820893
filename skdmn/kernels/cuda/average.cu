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
        T up = 0, down = 0;
        for (int y = top; y < bottom; ++y) {
            const I* row = images + (image * g.height + y) * g.width * g.channels + c;
            T row_up = 0, row_down = 0;  // sums of rows first, for fewer rounding errors
            for (int x = left; x < right; ++x) {
                T value = T(row[(long long)x * g.channels]);
                row_up += TWO_SIDED ? above(value, threshold) : value;
                if (TWO_SIDED) row_down += above(-value, threshold);
            }
            up += row_up;
            down += row_down;
        }
        T count = T((bottom - top) * (right - left));
        T* to = out + window * g.channels * (TWO_SIDED ? 2 : 1) + c;
        to[0] = signed_power(up / count, power);
        if (TWO_SIDED) to[g.channels] = signed_power(down / count, power);
    }
}
