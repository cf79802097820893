"""Fit and predict with Dask, for data that exceed memory and for several machines.

`fit` fits an estimator of skdmn, or a Pipeline of them, on dask arrays. The fitted
estimator holds NumPy arrays and can be used without Dask. `transform`, `predict` and
`predict_proba` take dask arrays and return dask arrays.
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
