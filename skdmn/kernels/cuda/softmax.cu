// The softmax of logits and its residuals, compiled behind numbers.cuh.

// Add the intercepts to the products of some rows and the coefficients. Overwrite them
// with weights (P - Y), and write -weights log P[Y], for the probabilities P and the
// one-hot labels Y. A single column is that of the second of two classes.
template <typename T>
__global__ void residuals(T* products, const T* intercept, const long long* codes,
                          const T* weights, T* losses, long long n_rows, int n_outputs) {
    long long step = (long long)gridDim.x * blockDim.x;
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (; at < n_rows; at += step) {
        T* row = products + at * n_outputs;
        T largest = n_outputs > 1 ? row[0] + intercept[0] : T(0), total = 0;
        for (int i = 0; i < n_outputs; ++i) {
            row[i] += intercept[i];
            // a comparison with NaN is false: NaN stays in the sum
            if (row[i] > largest) largest = row[i];
        }
        T first = n_outputs > 1 ? T(0) : exp(-largest);  // of the class without a column
        for (int i = 0; i < n_outputs; ++i) total += exp(row[i] - largest);
        total += first;
        int label = int(codes[at]) - (n_outputs == 1);
        T score = label < 0 ? T(0) : row[label];
        losses[at] = -weights[at] * (score - largest - log(total));
        for (int i = 0; i < n_outputs; ++i)
            row[i] = (exp(row[i] - largest) / total - T(i == label)) * weights[at];
    }
}
