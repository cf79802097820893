// Contrasts of patches, and sums of their outer products; compiled behind numbers.cuh.
// jobs.py divides the work; `Patches` and `Job` there have the same fields in the same
// order.

struct Patches {
    int height, width, channels;
    int kernel_height, kernel_width;
    int rows, columns;         // positions of a patch in an image
    int entries;               // of a patch
    // the rest is for `moments` and `add_parts`
    int has_sums;              // 1 if a further entry is the constant 1, else 0
    int side;                  // a thread's entries are this far apart
    int pairs, n_blocks;       // pairs of entry sets of a block; blocks that share a job
    int lanes;                 // threads that share the patches of a pair
    int at_once, pitch;        // patches in shared memory, and the values of each
};

// Some patches of one group of images, in the order of the images
struct Job {
    long long members;         // where the indices of the group's images start
    long long first, count;    // the patches of the job among those of the group
    long long top, left, rows, columns;  // the positions that count
};

// Compute the mean of every patch, and 1 / sqrt(variance + floor). In float64, squares of
// float32 neither overflow nor underflow.
template <typename I, typename T>
__global__ void contrasts(const I* images, T* out, long long n_images, double floor,
                          Patches g) {
    long long end = n_images * g.rows * g.columns;
    long long step = (long long)gridDim.x * blockDim.x;
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    int run = g.kernel_width * g.channels, pitch = g.width * g.channels;
    for (; at < end; at += step) {
        long long line = at / g.columns, image = line / g.rows;
        int x = int(at - line * g.columns), y = int(line - image * g.rows);
        const I* patch = images + (image * g.height + y) * pitch + x * g.channels;
        double sum = 0, squares = 0;
        for (int dy = 0; dy < g.kernel_height; ++dy)
            for (int i = 0; i < run; ++i) sum += T(patch[dy * pitch + i]);
        double mean = sum / g.entries;
        for (int dy = 0; dy < g.kernel_height; ++dy)
            for (int i = 0; i < run; ++i) {
                double value = T(patch[dy * pitch + i]) - mean;
                squares += value * value;
            }
        out[2 * at] = T(mean);
        out[2 * at + 1] = T(1 / sqrt(squares / g.entries + floor));
    }
}

// Copy every patch of some images into a row, normalized by its mean and factor.
template <typename I, typename T>
__global__ void normalized(const I* images, const T* normal, T* out, int n_images,
                           Patches g) {
    int run = g.kernel_width * g.channels, pitch = g.width * g.channels;
    int end = n_images * g.rows * g.columns * g.entries;  // fits, because tiles are small
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < end;
         i += gridDim.x * blockDim.x) {
        int patch = i / g.entries, e = i - patch * g.entries;
        int line = patch / g.columns, x = patch - line * g.columns;
        int image = line / g.rows, y = line - image * g.rows;
        int dy = e / run;
        int at = (image * g.height + y + dy) * pitch + x * g.channels + e - dy * run;
        out[i] = (T(images[at]) - normal[2 * patch]) * normal[2 * patch + 1];
    }
}

// Add the products of all pairs of entries over the patches of a job. A thread has the
// products of TILE and TILE entries, which are `side` apart, over every patch or over
// one of several lanes of patches. If `normal` is not null, it holds the mean and the
// factor of every patch, by which patches are normalized.
template <typename I, int TILE>
__global__ void __launch_bounds__(128)
moments(const I* images, const double* normal, const long long* members,
        const Job* jobs, double* parts, Patches g) {
    alignas(16) extern __shared__ double memory[];
    double* values = memory;
    double* means = values + g.at_once * g.pitch;
    double* factors = means + g.at_once;
    long long* pixels = reinterpret_cast<long long*>(factors + g.at_once);
    int* offsets = reinterpret_cast<int*>(pixels + g.at_once);

    Job job = jobs[blockIdx.x / g.n_blocks];
    int block = blockIdx.x % g.n_blocks, lane = threadIdx.x % g.lanes;
    int rest = block * g.pairs + threadIdx.x / g.lanes, first = 0;
    bool works = threadIdx.x < g.pairs * g.lanes && rest < g.side * (g.side + 1) / 2;
    while (works && rest >= g.side - first) rest -= g.side - first++;
    int second = works ? first + rest : 0;
    if (!works) lane = g.at_once;

    int run = g.kernel_width * g.channels;
    for (int e = threadIdx.x; e < g.entries; e += blockDim.x)
        offsets[e] = e / run * g.width * g.channels + e % run;
    // entries beyond those of the patches, of which all but the first are not used
    int beyond = g.pitch - g.entries;
    for (int i = threadIdx.x; i < g.at_once * beyond; i += blockDim.x) {
        int k = i / beyond, e = g.entries + i % beyond;
        values[k * g.pitch + e] = e == g.entries ? 1.0 : 0.0;
    }
    double sums[TILE][TILE] = {};
    for (long long start = 0; start < job.count; start += g.at_once) {
        int n = int(min((long long)g.at_once, job.count - start));
        __syncthreads();
        for (int k = threadIdx.x; k < n; k += blockDim.x) {
            long long patch = job.first + start + k;
            long long line = patch / job.columns, which = line / job.rows;
            long long x = job.left + patch - line * job.columns;
            long long y = job.top + line - which * job.rows;
            long long image = members[job.members + which];
            pixels[k] = ((image * g.height + y) * g.width + x) * g.channels;
            if (normal) {
                long long at = (image * g.rows + y) * g.columns + x;
                means[k] = normal[2 * at];
                factors[k] = normal[2 * at + 1];
            }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < n * g.entries; i += blockDim.x) {
            int k = i / g.entries, e = i - k * g.entries;
            double value = double(images[pixels[k] + offsets[e]]);
            if (normal) value = (value - means[k]) * factors[k];
            values[k * g.pitch + e] = value;
        }
        __syncthreads();
        for (int k = lane; k < n; k += g.lanes) {
            const double* patch = values + k * g.pitch;
            double left[TILE], right[TILE];
            #pragma unroll
            for (int i = 0; i < TILE; ++i) {
                left[i] = patch[first + i * g.side];
                right[i] = patch[second + i * g.side];
            }
            #pragma unroll
            for (int i = 0; i < TILE; ++i)
                #pragma unroll
                for (int j = 0; j < TILE; ++j) sums[i][j] += left[i] * right[j];
        }
    }
    // add the lanes, in a fixed order, for reproducible bytes
    double* to = parts + (long long)blockIdx.x * g.pairs * TILE * TILE;
    #pragma unroll
    for (int i = 0; i < TILE; ++i) {
        __syncthreads();
        #pragma unroll
        for (int j = 0; j < TILE; ++j)
            memory[j * blockDim.x + threadIdx.x] = sums[i][j];
        __syncthreads();
        for (int at = threadIdx.x; at < g.pairs * TILE; at += blockDim.x) {
            int j = at / g.pairs, pair = at - j * g.pairs;
            double total = 0;
            for (int l = 0; l < g.lanes; ++l)
                total += memory[j * blockDim.x + pair * g.lanes + l];
            to[(i * TILE + j) * g.pairs + pair] = total;
        }
    }
}

// Add the parts of every group: of jobs starts[group] to starts[group + 1].
template <int TILE>
__global__ void add_parts(const double* parts, const long long* starts, double* out,
                          long long n_groups, Patches g) {
    int d = g.entries + g.has_sums;
    long long step = (long long)gridDim.x * blockDim.x;
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (; at < n_groups * d * d; at += step) {
        long long group = at / (d * d);
        int entry = int(at - group * d * d), e = entry / d, f = entry - e * d;
        if (e % g.side > f % g.side) {  // only one of two equal products is computed
            int other = e;
            e = f, f = other;
        }
        int first = e % g.side, second = f % g.side;
        int pair = first * g.side - first * (first - 1) / 2 + second - first;
        int block = pair / g.pairs, tile = e / g.side * TILE + f / g.side;
        long long size = (long long)g.pairs * TILE * TILE;
        const double* from = parts + block * size + tile * g.pairs + pair % g.pairs;
        double total = 0;
        for (long long job = starts[group]; job < starts[group + 1]; ++job)
            total += from[job * g.n_blocks * size];
        out[at] = total;
    }
}
