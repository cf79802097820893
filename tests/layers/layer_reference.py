"""Slow definitions, and small images, that the tests of the layers share."""

import numpy as np


def make_images(n=24, height=7, width=6, channels=2, seed=0, dtype=np.float64):
    """Return smooth positive images and their labels, three classes unlike."""
    rng = np.random.default_rng(seed)
    noise = rng.random((n, height + 1, width + 1, channels))
    labels = np.arange(n) % 3
    along = np.array([1.0, 0.2, 0.6])[labels, None, None, None]
    images = along * noise[:, 1:, 1:] + (1 - along) * noise[:, :-1, 1:]
    images = images + 0.5 * noise[:, 1:, :-1] * (labels == 1)[:, None, None, None]
    images *= np.linspace(0.5, 1.0, channels)
    if np.issubdtype(dtype, np.integer):
        images = images * 150
    return images.astype(dtype), labels


def all_patches(images, kernel):
    """Return every valid patch as a row, C order of (y, x, channel)."""
    n, height, width, _ = images.shape
    return np.array(
        [
            images[i, y : y + kernel[0], x : x + kernel[1]].ravel()
            for i in range(n)
            for y in range(height - kernel[0] + 1)
            for x in range(width - kernel[1] + 1)
        ],
        dtype=np.float64,
    )


def density_matrix(images, kernel, centered=False):
    """Return the density matrix of some images and its trace before division."""
    rows = all_patches(images, kernel)
    if centered:
        rows = rows - rows.mean(axis=0)
    moment = rows.T @ rows / len(rows)
    return moment / np.trace(moment), np.trace(moment)


def signed(vector):
    """Return a filter with the sign that the rules give it."""
    total = vector.sum()
    if abs(total) < 0.05 * np.abs(vector).sum():
        large = np.abs(vector) >= 0.5 * np.abs(vector).max()
        total = vector[np.flatnonzero(large)[0]]
    return vector if total > 0 else -vector


def expected_filters(densities, variance=0.95, correlation=0.9, n_filters=None):
    """Return (filter, share, class, members) of every filter, by energy."""
    kept = []
    for label, density in enumerate(densities):
        values, vectors = np.linalg.eigh(density)
        values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
        for rank, value in enumerate(values):
            cut = values[: rank + 1].sum() > variance + 1e-12 * len(values)
            if value < 1e-14 or (rank and cut):
                break
            # those of the same class are orthogonal
            cosines = [
                abs(vectors[:, rank] @ other[0]) * (other[2] != label) for other in kept
            ]
            if cosines and correlation < 1 and max(cosines) > correlation:
                kept[int(np.argmax(cosines))][3].append((label, rank))
            else:
                kept.append((vectors[:, rank], value, label, [(label, rank)]))
            if cut:
                break
    kept = sorted(kept, key=lambda one: (-one[1], one[2], one[3][0][1]))[:n_filters]
    return [(signed(one[0]), *one[1:]) for one in kept]


def same_padded(images, kernel, stride, value):
    """Return images padded as ONNX's SAME_UPPER."""
    widths = [(0, 0)]
    for size, window, step in zip(images.shape[1:3], kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + window - size, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(images, [*widths, (0, 0)], constant_values=value)


def windows(images, kernel, stride, padding, value):
    """Yield (y, x, window) of every output position."""
    if padding == "same":
        images = same_padded(images, kernel, stride, value)
    rows = range(0, images.shape[1] - kernel[0] + 1, stride[0])
    columns = range(0, images.shape[2] - kernel[1] + 1, stride[1])
    for y, top in enumerate(rows):
        for x, left in enumerate(columns):
            yield y, x, images[:, top : top + kernel[0], left : left + kernel[1]]


def convolution(images, filters, stride=(1, 1), padding="valid", activation="relu"):
    """Return every patch times every filter, then the activation."""
    images = np.asarray(images, dtype=np.float64)
    found = {
        (y, x): np.einsum("nijc,fijc->nf", window, filters.astype(np.float64))
        for y, x, window in windows(images, filters.shape[1:3], stride, padding, 0.0)
    }
    out = _placed(found)
    return np.maximum(out, 0) if activation == "relu" else out


def pooling(images, size, stride, padding):
    """Return the largest value of every window."""
    images = np.asarray(images, dtype=np.float64)
    found = windows(images, size, stride, padding, -np.inf)
    return _placed({(y, x): window.max(axis=(1, 2)) for y, x, window in found})


def _placed(values):
    height, width = np.max(list(values), axis=0) + 1
    rows = [[values[y, x] for x in range(width)] for y in range(height)]
    return np.moveaxis(np.array(rows), 2, 0)
