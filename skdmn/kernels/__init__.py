"""Functions of arrays that layers and classifiers call; they know no estimator."""
