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
    // a thread computes a region of positions, for some filters
    int region_rows, region_columns, pool_rows, pool_columns;
    int regions_down, regions_across;             // under a tile, for each image
    int image_rows, image_columns;                // pixels under a tile
    int length, pitch, image_pitch, plane;        // their layout in shared memory
    int chunk;             // number of channels in shared memory at a time
    int position_threads;  // number of threads that share filters
};

template <typename T, int N>
struct alignas(N * sizeof(T)) Vector {  // one instruction reads or writes it
    T values[N];
};

// Division of numbers below 2^16 by the same number, in two instructions.
struct Divisor {
    unsigned by, factor;
    __device__ Divisor(int by) : by(by), factor(0xffffffffu / by + 1) {}
    __device__ int quotient(int n) const {
        return by == 1 ? n : int((unsigned long long)n * factor >> 32);
    }
};

struct Tile {
    long long image;  // the first one
    int row, column, filter;
    __device__ Tile(int job, const Geometry& g) {
        filter = job % g.filter_blocks * g.tile_filters;
        job /= g.filter_blocks;
        column = job % g.tiles_across * g.tile_columns;
        job /= g.tiles_across;
        row = job % g.tiles_down * g.tile_rows;
        image = (long long)(job / g.tiles_down) * g.tile_images;
    }
};

// Copy the pixels under a tile to shared memory, channel by channel; pixels outside of
// the images are zeros. Threads whose regions are neighbours read columns that are STEP
// apart. These lie side by side, so that the threads read from different banks.
template <int STEP, typename I, typename T>
__device__ void load_images(const I* __restrict__ images, long long n_images,
                            const Tile& tile, int channel, int count, T* to,
                            const Geometry& g) {
    constexpr int LINES = 4;  // of which values are on their way at the same time
    int top = (tile.row * g.step_y - g.window_before_y) * g.stride_y - g.before_y;
    int left = (tile.column * g.step_x - g.window_before_x) * g.stride_x - g.before_x;
    int n_lines = g.tile_images * g.image_rows, values = g.image_columns * count;
    int n_left = int(min(n_images - tile.image, (long long)g.tile_images));
    int per_line = max(1, int(blockDim.x) / 32 / n_lines) * 32;  // threads
    int line = threadIdx.x / per_line, lines = blockDim.x / per_line;
    Divisor by_count(count), by_rows(g.image_rows);
    for (; line < n_lines; line += LINES * lines) {
        const I* from[LINES];
        T* row[LINES];
        bool inside[LINES], exists[LINES];
        #pragma unroll
        for (int k = 0; k < LINES; ++k) {
            int image = by_rows.quotient(line + k * lines);
            int below = line + k * lines - image * g.image_rows, y = top + below;
            exists[k] = line + k * lines < n_lines;
            inside[k] = image < n_left && y >= 0 && y < g.height;
            long long above = (tile.image + image) * g.height + y;
            from[k] = images + (above * g.width + left) * g.channels + channel;
            row[k] = to + image * g.image_pitch + below * g.pitch;
        }
        for (int i = threadIdx.x % per_line; i < values; i += per_line) {
            int x = by_count.quotient(i), c = i - x * count;
            int at = c * g.plane + x % STEP * g.length + x / STEP;
            bool there = x + left >= 0 && x + left < g.width;
            T read[LINES];
            #pragma unroll
            for (int k = 0; k < LINES; ++k)
                read[k] = inside[k] && there ? T(from[k][x * g.channels + c]) : T(0);
            #pragma unroll
            for (int k = 0; k < LINES; ++k)
                if (exists[k]) row[k][at] = read[k];
        }
    }
}

// Return the larger of two numbers, or NaN if one of them is NaN.
template <typename T>
__device__ T larger(T one, T other) {
    return other > one || other != other ? other : one;
}

// The positions that a thread computes, and their windows if it pools them itself.
template <int ROWS_, int COLUMNS_, int POOL_ROWS, int POOL_COLUMNS>
struct Region {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, SIZE = ROWS * COLUMNS;
    static constexpr bool POOLED = POOL_ROWS > 0;
    static constexpr int HEIGHT = POOLED ? POOL_ROWS : 1;
    static constexpr int WIDTH = POOLED ? POOL_COLUMNS : 1;
    static constexpr int DOWN = ROWS / HEIGHT, ACROSS = COLUMNS / WIDTH;  // windows
};

// Where the windows of a thread are in the output.
struct Position {
    long long image;
    int row, column, filter;     // the first ones
    int last_row, last_column;   // the ends of the tile, or 0 for a thread without work
};

// Add the products of some columns of filters to the sums of a thread.
template <typename R, int STEP, int STRIDE, int COLUMNS, typename T, int FILTERS>
__device__ void add_products(const T* pixels, const T* factors,
                             T (&sums)[R::SIZE][FILTERS], const Geometry& g) {
    constexpr int LANES = 16 / sizeof(T);
    constexpr int READ = (R::COLUMNS - 1) * STRIDE + COLUMNS;
    T read[R::ROWS][READ];
    #pragma unroll
    for (int y = 0; y < R::ROWS; ++y)
        #pragma unroll
        for (int x = 0; x < READ; ++x)
            read[y][x] = pixels[y * g.stride_y * g.pitch + x % STEP * g.length + x / STEP];
    #pragma unroll
    for (int dx = 0; dx < COLUMNS; ++dx) {
        using Read = Vector<T, LANES>;
        auto* both = reinterpret_cast<const Read*>(factors + dx * g.tile_filters);
        Read factor[2] = {both[0], both[1]};
        #pragma unroll
        for (int r = 0; r < R::SIZE; ++r)
            #pragma unroll
            for (int f = 0; f < FILTERS; ++f)
                sums[r][f] += read[r / R::COLUMNS][r % R::COLUMNS * STRIDE + dx] *
                              factor[f / LANES].values[f % LANES];
    }
}

// Write neighbouring values, N at a time; `left` of them are wanted.
template <int N, typename T, int FILTERS>
__device__ void write(const T (&values)[FILTERS], T* to, int left) {
    #pragma unroll
    for (int f = 0; f < FILTERS; f += N) {
        Vector<T, N> some;
        #pragma unroll
        for (int k = 0; k < N; ++k) some.values[k] = values[f + k];
        if (f < left) *reinterpret_cast<Vector<T, N>*>(to + f) = some;
    }
}

// Write the maxima of the windows of a thread. `place` is the first position.
template <typename R, typename T, int FILTERS>
__device__ void pool(const T (&sums)[R::SIZE][FILTERS], const Position& place, T start,
                     T* out, const Geometry& g) {
    constexpr int ALL = 16 / sizeof(T);
    #pragma unroll
    for (int w = 0; w < R::DOWN * R::ACROSS; ++w) {
        int top = w / R::ACROSS * R::HEIGHT, left = w % R::ACROSS * R::WIDTH;
        int row = place.row + w / R::ACROSS, column = place.column + w % R::ACROSS;
        int above = row * R::HEIGHT - g.window_before_y;
        int before = column * R::WIDTH - g.window_before_x;
        T kept[FILTERS];
        #pragma unroll
        for (int f = 0; f < FILTERS; ++f) kept[f] = start;
        #pragma unroll
        for (int p = 0; p < R::HEIGHT * R::WIDTH; ++p) {
            int y = above + p / R::WIDTH, x = before + p % R::WIDTH;
            bool inside = y >= 0 && y < g.rows && x >= 0 && x < g.columns;
            #pragma unroll
            for (int f = 0; f < FILTERS; ++f) {
                T value = sums[(top + p / R::WIDTH) * R::COLUMNS + left + p % R::WIDTH][f];
                kept[f] = inside ? larger(kept[f], value) : kept[f];
            }
        }
        if (row >= place.last_row || column >= place.last_column) continue;
        long long line = place.image * g.out_rows + row;
        T* to = out + (line * g.out_columns + column) * g.n_filters + place.filter;
        int left_over = g.n_filters - place.filter;
        if (g.n_filters % ALL == 0) write<ALL>(kept, to, left_over);
        else if (g.n_filters % 2 == 0) write<2>(kept, to, left_over);
        else write<1>(kept, to, left_over);
    }
}

// Write a tile of the output; shared memory has the sums of all regions, of which the
// windows are still to be pooled.
template <typename R, typename T>
__device__ void pool_tile(const T* sums, int pitch, long long n_images, const Tile& tile,
                          T start, T* out, const Geometry& g) {
    int area = g.tile_rows * g.tile_columns;
    Divisor by_filters(g.tile_filters), by_area(area), by_columns(g.tile_columns);
    int end = g.tile_images * area * g.tile_filters;
    int per_image = g.regions_down * g.regions_across;
    for (int i = threadIdx.x; i < end; i += blockDim.x) {
        int place = by_filters.quotient(i), f = i - place * g.tile_filters;
        int in_tile = by_area.quotient(place), rest = place - in_tile * area;
        int y = by_columns.quotient(rest), x = rest - y * g.tile_columns;
        int row = tile.row + y, column = tile.column + x;
        long long image = tile.image + in_tile;
        if (image >= n_images || row >= g.out_rows || column >= g.out_columns ||
            tile.filter + f >= g.n_filters) continue;
        int above = row * g.step_y - g.window_before_y;
        int left = column * g.step_x - g.window_before_x;
        int last_y = min(g.window_height, g.rows - above);
        int last_x = min(g.window_width, g.columns - left);
        T largest = start;
        for (int dy = max(0, -above); dy < last_y; ++dy)
            for (int dx = max(0, -left); dx < last_x; ++dx) {
                int down = y * g.step_y + dy, across = x * g.step_x + dx;
                int lane = in_tile * per_image + across / R::COLUMNS +
                           down / R::ROWS * g.regions_across;
                int r = down % R::ROWS * R::COLUMNS + across % R::COLUMNS;
                T value = sums[f * pitch + r * g.position_threads + lane];
                largest = larger(largest, value);
            }
        long long line = image * g.out_rows + row;
        out[(line * g.out_columns + column) * g.n_filters + tile.filter + f] = largest;
    }
}

// Convolve and pool; each block computes a tile. Weights are (channels, kernel height,
// kernel width, filters), with the number of filters rounded up to whole blocks. A
// thread keeps the sums of a region and 32 bytes of filters in registers. The size of
// the region, the width of the filters and the horizontal stride are template
// parameters, so that the compiler unrolls the loops.
template <typename I, typename T, int KERNEL_WIDTH, int STRIDE, int ROWS, int COLUMNS,
          int POOL_ROWS, int POOL_COLUMNS>
__global__ void __launch_bounds__(256)
convolve(const I* images, const T* weights, T* out, T start, long long n_images,
         Geometry g) {
    using R = Region<ROWS, COLUMNS, POOL_ROWS, POOL_COLUMNS>;
    constexpr int FILTERS = 32 / sizeof(T), STEP = COLUMNS * STRIDE;
    // wide filters are applied some columns at a time: few registers are enough
    constexpr int PART = KERNEL_WIDTH <= 8 ? KERNEL_WIDTH : (STEP + 3) / STEP * STEP;
    alignas(16) extern __shared__ double memory[];  // aligned for Vector
    int lane = threadIdx.x % g.position_threads, group = threadIdx.x / g.position_threads;
    int taps = g.kernel_height * KERNEL_WIDTH;
    int padded = g.filter_blocks * g.tile_filters;
    T* filters = reinterpret_cast<T*>(memory);
    T* image = filters + g.chunk * taps * g.tile_filters;

    int per_image = g.regions_down * g.regions_across;
    int place = lane < g.tile_images * per_image ? lane : 0;
    int which = place / per_image, in_image = place % per_image;
    int down = in_image / g.regions_across, across = in_image % g.regions_across;
    const T* first = image + which * g.image_pitch + across +
        down * ROWS * g.stride_y * g.pitch;
    Divisor by_filters(g.tile_filters);
    Tile tile(blockIdx.x, g);
    T sums[R::SIZE][FILTERS] = {};
    for (int channel = 0; channel < g.channels; channel += g.chunk) {
        int count = min(g.chunk, g.channels - channel);
        __syncthreads();
        load_images<STEP>(images, n_images, tile, channel, count, image, g);
        const T* from = weights + (long long)channel * taps * padded + tile.filter;
        for (int i = threadIdx.x; i < count * taps * g.tile_filters; i += blockDim.x) {
            int tap = by_filters.quotient(i);
            filters[i] = from[(long long)tap * padded + i - tap * g.tile_filters];
        }
        __syncthreads();
        const T* factors = filters + group * FILTERS;
        for (int c = 0; c < count; ++c)
            for (int dy = 0; dy < g.kernel_height; ++dy) {
                const T* pixels = first + c * g.plane + dy * g.pitch;
                for (int part = 0; part < KERNEL_WIDTH / PART; ++part) {
                    add_products<R, STEP, STRIDE, PART>(pixels + part * PART / STEP,
                                                        factors, sums, g);
                    factors += PART * g.tile_filters;
                }
                constexpr int REST = KERNEL_WIDTH % PART;
                if constexpr (REST > 0) {
                    constexpr int BEFORE = (KERNEL_WIDTH - REST) / STEP;
                    add_products<R, STEP, STRIDE, REST>(pixels + BEFORE, factors, sums,
                                                        g);
                    factors += REST * g.tile_filters;
                }
            }
    }
    if constexpr (R::POOLED) {
        bool works = lane < g.tile_images * per_image && tile.image + which < n_images;
        Position windows = {
            tile.image + which,
            tile.row + down * R::DOWN,
            tile.column + across * R::ACROSS,
            tile.filter + group * FILTERS,
            works ? min(tile.row + g.tile_rows, g.out_rows) : 0,
            min(tile.column + g.tile_columns, g.out_columns),
        };
        pool<R>(sums, windows, start, out, g);
    } else {
        int pitch = R::SIZE * g.position_threads + 1;
        T* kept = filters + group * FILTERS * pitch + lane;
        __syncthreads();  // the sums overwrite pixels and filters
        #pragma unroll
        for (int r = 0; r < R::SIZE; ++r)
            #pragma unroll
            for (int f = 0; f < FILTERS; ++f)
                kept[f * pitch + r * g.position_threads] = sums[r][f];
        __syncthreads();
        pool_tile<R>(filters, pitch, n_images, tile, start, out, g);
    }
}

// Compute the maximum of every window; a thread computes AT_ONCE of them at a time.
template <typename I, typename T>
__global__ void max_pool(const I* __restrict__ images, T* __restrict__ out, T start,
                         long long n_images, Geometry g) {
    constexpr int AT_ONCE = 4;
    int per_image = g.out_rows * g.out_columns * g.channels;
    long long size = n_images * per_image, many = AT_ONCE * blockDim.x;
    for (long long begin = blockIdx.x * many; begin < size; begin += gridDim.x * many) {
        long long image = begin / per_image;
        int rest = int(begin - image * per_image) + threadIdx.x;
        #pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            long long to = begin + threadIdx.x + k * blockDim.x;
            if (to >= size) break;
            unsigned at = rest + k * blockDim.x, among = at / per_image;
            at -= among * per_image;
            unsigned pixel = at / g.channels, c = at - pixel * g.channels;
            int row = pixel / g.out_columns, column = pixel - row * g.out_columns;
            int above = row * g.step_y - g.window_before_y;
            int before = column * g.step_x - g.window_before_x;
            int top = max(0, above), bottom = min(above + g.window_height, g.height);
            int left = max(0, before), right = min(before + g.window_width, g.width);
            const I* from = images + (image + among) * g.height * g.width * g.channels + c;
            T largest = start;
            for (int y = top; y < bottom; ++y)
                for (int x = left; x < right; ++x) {
                    long long offset = (long long)(y * g.width + x) * g.channels;
                    largest = larger(largest, T(from[offset]));
                }
            out[to] = largest;
        }
    }
}
