"""Fits and runs on Dask: more images than memory, more machines than one.

`fit` takes an estimator of this package, or a Pipeline of them, and dask arrays, and
leaves the plain fitted estimator, which needs no Dask to be used. `transform`,
`predict` and `predict_proba` make dask arrays of dask arrays.
"""

try:
    import dask.array  # noqa: F401
except ImportError as error:
    raise ImportError(
        "skdmn.distributed needs Dask, which is not installed; pip install "
        '"skdmn[dask]".'
    ) from error

from skdmn.distributed.estimators import fit, predict, predict_proba, transform

__all__ = ["fit", "predict", "predict_proba", "transform"]
