"""Tables of the work on a GPU; see `tables`."""

from speed_tables import read, table


def gpu_kernels() -> str:
    """Return the table of the CUDA kernels, compared with torch and with floors."""
    results = read("gpu")
    rows = []
    for kernel in results["kernels"]:
        seconds = kernel["seconds"]
        rows.append(
            [
                kernel["name"],
                f"{1e3 * seconds['ours']:.2f}",
                f"{1e3 * seconds['torch']:.2f}",
                f"{seconds['torch'] / seconds['ours']:.1f}",
                f"{1e3 * seconds['floor']:.2f}",
            ]
        )
    head = ["layer", "skdmn, ms", "torch, ms", "times faster", "lower bound, ms"]
    return table(head, rows) + (
        "\n\nConvolution, ReLU and 2 x 2 max pooling in one pass. The lower bound is "
        "what bandwidth and arithmetic of this GPU allow. "
        f"{_where(results, 'gpu.py --data DIR')}"
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
