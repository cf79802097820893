// The kernels of convolution.py, compiled behind numbers.cuh. tiling.py chooses the
// tiles; `Geometry` there has the same fields in the same order.

struct Geometry {
    int height, width, channels;
    int kernel_height, kernel_width;
    int stride_y, stride_x;
    int before_y, before_x;  // padding above and on the left
    int rows, columns;       // positions of the convolution
    int window_height, window_width;
    int step_y, step_x;
    int window_before_y, window_before_x;
    int out_rows, out_columns, n_filters;
    // a block of threads computes a tile of the output, for some images and filters
    int tile_images, tile_rows, tile_columns, tile_filters;
    int tiles_down, tiles_across, filter_blocks;
    int conv_rows, conv_columns;      // under a tile
    int image_rows, pitch, plane;     // layout of the pixels in shared memory
    int chunk;                        // number of channels in shared memory at a time
    int position_threads;             // number of threads that share filters
};

// A thread keeps the sums of POSITIONS positions and 32 bytes of filters in registers.
constexpr int POSITIONS = 8;

template <typename T>
struct alignas(16) Vector {  // one instruction reads it
    T values[16 / sizeof(T)];
};

struct Tile {
    long long image;  // the first one
    int row, column, filter;
    __device__ Tile(long long job, const Geometry& g) {
        filter = int(job % g.filter_blocks) * g.tile_filters;
        job /= g.filter_blocks;
        column = int(job % g.tiles_across) * g.tile_columns;
        job /= g.tiles_across;
        row = int(job % g.tiles_down) * g.tile_rows;
        image = job / g.tiles_down * g.tile_images;
    }
};

// Copy the pixels under a tile to shared memory, channel by channel; pixels outside of
// the images are zeros.
template <typename I, typename T>
__device__ void load_images(const I* images, long long n_images, const Tile& tile,
                            int channel, int count, T* to, const Geometry& g) {
    int top = (tile.row * g.step_y - g.window_before_y) * g.stride_y - g.before_y;
    int left = (tile.column * g.step_x - g.window_before_x) * g.stride_x - g.before_x;
    int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int line = warp; line < g.tile_images * g.image_rows; line += warps) {
        long long image = tile.image + line / g.image_rows;
        int y = top + line % g.image_rows;
        bool inside = image < n_images && y >= 0 && y < g.height;
        const I* from = images + (image * g.height + y) * g.width * g.channels + channel;
        for (int i = threadIdx.x % 32; i < g.pitch * count; i += 32) {
            int x = i / count, c = i - x * count;
            int at = left + x;
            bool there = inside && at >= 0 && at < g.width;
            T value = there ? T(from[(long long)at * g.channels + c]) : T(0);
            to[c * g.plane + line * g.pitch + x] = value;
        }
    }
}

// Return the larger of two numbers, or NaN if one of them is NaN.
template <typename T>
__device__ T larger(T one, T other) {
    return other > one || other != other ? other : one;
}

// Compute the maximum of each window of the convolution in shared memory.
template <typename T>
__device__ void pool(const T* values, long long n_images, const Tile& tile, T start,
                     T* out, const Geometry& g) {
    int pitch = POSITIONS * g.position_threads + 1;
    int f = threadIdx.x % g.tile_filters, filter = tile.filter + f;
    if (filter >= g.n_filters) return;
    int many = g.tile_images * g.tile_rows * g.tile_columns;
    for (int i = threadIdx.x / g.tile_filters; i < many;
         i += blockDim.x / g.tile_filters) {
        int line = i / g.tile_columns, x = i - line * g.tile_columns;
        int which = line / g.tile_rows, y = line - which * g.tile_rows;
        long long image = tile.image + which;
        int row = tile.row + y, column = tile.column + x;
        if (image >= n_images || row >= g.out_rows || column >= g.out_columns) continue;
        int above = row * g.step_y - g.window_before_y;
        int left = column * g.step_x - g.window_before_x;
        const T* window = values + f * pitch +
            (which * g.conv_rows + y * g.step_y) * g.conv_columns + x * g.step_x;
        int first_y = max(0, -above), last_y = min(g.window_height, g.rows - above);
        int first_x = max(0, -left), last_x = min(g.window_width, g.columns - left);
        T largest = start;
        for (int dy = first_y; dy < last_y; ++dy)
            for (int dx = first_x; dx < last_x; ++dx) {
                T value = window[dy * g.conv_columns + dx];
                largest = larger(largest, value);
            }
        long long at = (image * g.out_rows + row) * g.out_columns + column;
        out[at * g.n_filters + filter] = largest;
    }
}

// Convolve and pool. Weights are (channels, kernel height, kernel width, filters), with
// the number of filters rounded up to whole blocks. The width of the filters is a
// template parameter, so that the compiler unrolls the innermost loop.
template <typename I, typename T, int KERNEL_WIDTH>
__global__ void __launch_bounds__(128)
convolve(const I* images, const T* weights, T* out, T start, long long n_images,
         Geometry g) {
    constexpr int FILTERS = 32 / sizeof(T), LANES = 16 / sizeof(T);
    alignas(16) extern __shared__ double memory[];  // aligned for Vector
    int lane = threadIdx.x % g.position_threads, group = threadIdx.x / g.position_threads;
    int area = g.conv_rows * g.conv_columns, positions = g.tile_images * area;
    int taps = g.kernel_height * KERNEL_WIDTH;
    int padded = g.filter_blocks * g.tile_filters;
    T* filters = reinterpret_cast<T*>(memory);
    T* image = filters + g.chunk * taps * g.tile_filters;

    int offsets[POSITIONS];  // of the first pixel under each position
    #pragma unroll
    for (int r = 0; r < POSITIONS; ++r) {
        int position = lane + r * g.position_threads;
        if (position >= positions) position = 0;
        int which = position / area, line = position / g.conv_columns;
        int x = position - line * g.conv_columns, y = line - which * g.conv_rows;
        offsets[r] = (which * g.image_rows + y * g.stride_y) * g.pitch + x * g.stride_x;
    }
    long long groups = (n_images + g.tile_images - 1) / g.tile_images;
    long long jobs = groups * g.tiles_down * g.tiles_across * g.filter_blocks;
    for (long long job = blockIdx.x; job < jobs; job += gridDim.x) {
        Tile tile(job, g);
        T sums[POSITIONS][FILTERS] = {};
        for (int channel = 0; channel < g.channels; channel += g.chunk) {
            int count = min(g.chunk, g.channels - channel);
            __syncthreads();
            load_images(images, n_images, tile, channel, count, image, g);
            const T* from = weights + (long long)channel * taps * padded + tile.filter;
            for (int i = threadIdx.x; i < count * taps * g.tile_filters;
                 i += blockDim.x) {
                int tap = i / g.tile_filters;
                filters[i] = from[(long long)tap * padded + i - tap * g.tile_filters];
            }
            __syncthreads();
            for (int line = 0; line < count * g.kernel_height; ++line) {
                int c = line / g.kernel_height, dy = line - c * g.kernel_height;
                const T* pixels = image + c * g.plane + dy * g.pitch;
                const T* factors =
                    filters + line * KERNEL_WIDTH * g.tile_filters + group * FILTERS;
                #pragma unroll(KERNEL_WIDTH < 8 ? KERNEL_WIDTH : 8)
                for (int dx = 0; dx < KERNEL_WIDTH; ++dx) {
                    auto* both = reinterpret_cast<const Vector<T>*>(
                        factors + dx * g.tile_filters);
                    Vector<T> factor[2] = {both[0], both[1]};
                    #pragma unroll
                    for (int r = 0; r < POSITIONS; ++r) {
                        T pixel = pixels[offsets[r] + dx];
                        #pragma unroll
                        for (int f = 0; f < FILTERS; ++f)
                            sums[r][f] += pixel * factor[f / LANES].values[f % LANES];
                    }
                }
            }
        }
        __syncthreads();  // the sums overwrite pixels and filters
        #pragma unroll
        for (int r = 0; r < POSITIONS; ++r)
            #pragma unroll
            for (int f = 0; f < FILTERS; ++f)
                filters[(group * FILTERS + f) * (POSITIONS * g.position_threads + 1) +
                        lane + r * g.position_threads] = sums[r][f];
        __syncthreads();
        pool(filters, n_images, tile, start, out, g);
    }
}

// Compute the maximum of every window. Each block of threads computes rows of the output.
template <typename I, typename T>
__global__ void max_pool(const I* images, T* out, T start, long long n_images,
                         Geometry g) {
    for (long long line = blockIdx.x; line < n_images * g.out_rows; line += gridDim.x) {
        long long image = line / g.out_rows;
        int above = int(line % g.out_rows) * g.step_y - g.window_before_y;
        int top = max(0, above), bottom = min(above + g.window_height, g.height);
        for (int i = threadIdx.x; i < g.out_columns * g.channels; i += blockDim.x) {
            int column = i / g.channels, c = i - column * g.channels;
            int before = column * g.step_x - g.window_before_x;
            int left = max(0, before), right = min(before + g.window_width, g.width);
            T largest = start;
            for (int y = top; y < bottom; ++y)
                for (int x = left; x < right; ++x) {
                    long long at = (image * g.height + y) * g.width + x;
                    T value = T(images[at * g.channels + c]);
                    largest = larger(largest, value);
                }
            out[line * g.out_columns * g.channels + i] = largest;
        }
    }
}
