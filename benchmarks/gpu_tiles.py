"""Time the CUDA convolution with many tiles, and fit the costs that choose among them.

    python benchmarks/gpu_tiles.py [--json FILE]

For each layer of `gpu.py`, and one without pooling, the 18 tiles of the lowest
estimated cost are timed, and 12 of the next ones. The costs `_COPY` and `_POOL` of
`skdmn.kernels.cuda.tiling` are fitted to these times. The data are random.
"""

from statistics import median

import numpy as np
from scipy.optimize import nnls

import machine
from gpu import POOL, SHAPES
from skdmn.kernels.cuda import tiling
from skdmn.kernels.geometry import WHOLE

REPEATS, BEST, OTHERS, AMONG = 3, 18, 12, 70
LAYERS = {
    **{shape[0]: (shape, POOL) for shape in SHAPES},
    "64 filters of CIFAR-10, no pooling": (("", 20_000, 32, 32, 3, "uint8", 64), WHOLE),
}


def geometry(name: str) -> tiling.Geometry:
    """Return the geometry of a layer without tiles."""
    (_, _, *shape, _, n_filters), window = LAYERS[name]
    return tiling.whole(tuple(shape), n_filters, (3, 3), (1, 1), "valid", window)


def measured(name: str) -> list[dict]:
    """Time a layer with some of its tiles."""
    import cupy

    from skdmn.kernels.cuda import convolution

    (_, n, *shape, dtype, n_filters), window = LAYERS[name]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    images = cupy.asarray(images).astype(dtype)
    filters = rng.normal(size=(n_filters, 3, 3, shape[-1])).astype(np.float32)
    filters = cupy.asarray(filters)
    fits = [
        tile
        for tile in tiling.tiles(geometry(name), 4)
        if tile.shared_bytes(4) <= tiling.SHARED_BYTES
    ]
    fits.sort(key=lambda tile: tile.cost(4))
    others = rng.permutation(np.arange(BEST, min(len(fits), AMONG)))[:OTHERS]
    found, chooses = [], convolution.tiled
    try:
        for tile in [*fits[:BEST], *(fits[i] for i in others)]:
            tile = tiling._spread(tile, 4)
            convolution.tiled = lambda g, itemsize, tile=tile: tile
            arguments = images, filters, (1, 1), "valid", "relu", window
            times = []
            for _ in range(1 + REPEATS):
                start, end = cupy.cuda.Event(), cupy.cuda.Event()
                start.record()
                convolution.convolve(*arguments)
                end.record()
                end.synchronize()
                times.append(cupy.cuda.get_elapsed_time(start, end))
            found.append({"name": name, "ms": median(times[1:]), **tile._asdict()})
    finally:
        convolution.tiled = chooses
    return found


def tile_of(row: dict) -> tiling.Geometry:
    """Return the tile of a measurement."""
    return tiling.Geometry(*(row[field] for field in tiling.Geometry._fields))


def fit(rows: list[dict]) -> dict[str, float]:
    """Fit the costs to relative times; return them as multiples of a product's."""
    terms = []
    for row in rows:
        tile, n_images = tile_of(row), LAYERS[row["name"]][0][1]
        blocks = tile.jobs(n_images) * tile.waiting(4)
        counts = np.array(tile.counts(4)) * blocks
        terms.append(counts / row["ms"])
    costs, _ = nnls(np.array(terms), np.ones(len(terms)))
    product, copied, pooled = costs
    return {"_COPY": copied / product, "_POOL": pooled / product}


def main() -> None:
    options = machine.parser(__doc__.splitlines()[0], "gpu_tiles.json").parse_args()
    facts = machine.gpu()
    tiles = [row for name in LAYERS for row in measured(name)]
    print(fit(tiles))
    machine.write(options.json, {**facts, "tiles": tiles})


if __name__ == "__main__":
    main()
