"""Functions of arrays that layers and classifiers call; they know no estimator."""

from skdmn.kernels.warming import warmup

__all__ = ["warmup"]
