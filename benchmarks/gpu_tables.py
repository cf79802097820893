"""Tables of the work on a GPU; see `tables`."""

from gpu_tiles import geometry, tile_of
from skdmn.kernels.cuda import tiling
from speed_tables import read, table


def gpu_kernels() -> str:
    """Return the table of the convolution kernel, with torch and lower bounds."""
    others, timed = read("gpu"), read("gpu_tiles")
    rows = []
    for kernel in others["kernels"]:
        name, seconds = kernel["name"], kernel["seconds"]
        tiles = {
            tile_of(row): row["ms"] for row in timed["tiles"] if row["name"] == name
        }
        chosen = tiling.tiled(geometry(name), 4)
        torch = 1e3 * seconds["torch"]
        rows.append(
            [
                name,
                f"{tiles[chosen]:.2f}",
                f"{min(tiles.values()):.2f}",
                f"{torch:.2f}",
                f"{torch / tiles[chosen]:.1f}",
                f"{1e3 * seconds['floor']:.2f}",
            ]
        )
    head = [
        *("layer", "skdmn, ms", "with the fastest tile, ms", "torch, ms"),
        *("times faster", "lower bound, ms"),
    ]
    return table(head, rows) + (
        "\n\nConvolution, ReLU and 2 x 2 max pooling in one pass. The lower bound is "
        "what bandwidth and arithmetic of this GPU allow for all positions of the "
        "convolution; windows need fewer. "
        f"{_where(timed, 'gpu_tiles.py')} Lower bounds and torch are of another run on "
        "such a machine, printed by `python benchmarks/gpu.py --data DIR`."
    )


def gpu_stages() -> str:
    """Return the table of the stages of the work on a GPU."""
    results = read("gpu_stages")
    rows = [
        [name, _milliseconds(found["first"]), _milliseconds(found["fastest"])]
        if "first" in found
        else [name, "-", str(found)]
        for name, found in results["stages"].items()
    ]
    return table(["stage", "first call, ms", "fastest of more, ms"], rows) + (
        f"\n\nTransfers, products and kernel starts come first, as lower bounds. "
        f"{_where(results, 'gpu_stages.py')}"
    )


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _where(results: dict, command: str) -> str:
    machine = results["machine"]
    gpu = results.get("gpu", machine.get("gpu"))
    cupy = results.get("cupy", machine.get("cupy"))
    return (
        f"{gpu}, CuPy {cupy}, {machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}. Printed by `python benchmarks/{command}`."
    )


TABLES = (gpu_kernels, gpu_stages)
