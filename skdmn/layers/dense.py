"""Class-based PCA of rows: dense layers that are computed, not trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.utils.array_api import Array, own_backend
from skdmn.utils.state import State, floats


class ClassPCATransformer(ClassPCAPatchTransformer):
    """Multiply rows by filters computed from the density matrix of each class.

    This is the dense (fully connected) layer of the papers [1]_, [2]_. It is
    `ClassPCAPatchTransformer` for rows: a row counts as an image of one pixel, with the
    features as its channels. The filters are the leading eigenvectors of the density
    matrix of each class, that is the second-moment matrix of the rows of the class,
    divided by its trace. Layers can be stacked in a Pipeline.

    Parameters
    ----------
    n_filters : int or None, default=200
        Maximum number of filters; those of lowest energy, that is of largest
        eigenvalue, are kept. None keeps all. With ``signs="both"``, a filter and its
        negative count once.
    variance_cutoff : float in (0, 1], default=0.99
        For each class, keep the leading eigenvectors whose cumulative share of the
        variance does not exceed this value. The first one is kept in any case. 1.0
        keeps all with non-zero variance.
    correlation_cutoff : float in [0, 1], default=0.7
        Merge a filter into one that was kept before, of an earlier class, if the
        absolute cosine between them exceeds this value. 1.0 merges none.
    class_based : bool, default=True
        If True, compute one density matrix per class; `y` is required. If False,
        compute one for all rows (the papers' naive DMN); `y` is ignored.
    signs : {"one", "both"}, default="both"
        "both" appends the negatives of all filters, so that a ReLU loses no
        information (two-sided features, CReLU).
    activation : {"relu", None}, default="relu"
        Function applied to the products of rows and filters.
    centered : bool, default=False
        If True, subtract the mean row of a class before computing its second moments.
        The papers do not. `transform` has no bias in both cases.
    subsample : float in (0, 1] or int, default=1.0
        If float, the share of the rows of each class (rounded up) from which the
        density matrices are computed. If int, the number of rows in all, drawn in
        proportion to the classes, at least one per class.
    image_bound : float above 0 or None, default=None
        Largest sum of squares of a row, relative to the median row. A row above it is
        scaled down to it before it is added to the density matrices, so that damaged
        rows cannot determine the filters. `transform` does not scale rows. Finding the
        median needs one more pass over the rows. None sets no bound.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the device of `X`; for NumPy arrays, a GPU if
        the work is large and CuPy finds one, else the CPU.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices. They do not depend on `n_filters`, the cutoffs,
        `signs` or `activation`. Not used for a subsample without a fixed
        `random_state`.
    random_state : int, RandomState instance or None, default=None
        Determines which rows `subsample` draws.
    verbose : bool, default=False
        Print progress, about once per second. scikit-learn's callbacks
        (``set_callbacks``) are called for every batch.

    Attributes
    ----------
    filters_ : array of shape (n_filters, n_features_in_)
        The filters: unit vectors, lowest energy first. With ``signs="both"``, their
        negatives follow in the same order. float32 or float64, as `X` is computed in.
        Their signs are fixed as in `ClassPCAPatchTransformer`.
    energies_ : array of shape (n_filters,), float64
        Energy E = -log(p) of each filter, in nats, where p is its eigenvalue ([2]_,
        eq. 15).
    explained_variance_ratio_ : array of shape (n_filters,), float64
        The eigenvalues p: the share of each filter in the variance of its own class.
    filter_classes_ : array of shape (n_filters,)
        Label of the class from which each filter was computed.
    filter_members_ : list of list of (label, int)
        For each filter, the class and rank of the eigenvector it comes from, and of
        those that were merged into it.
    density_matrices_ : array of shape (n_classes, n_features_in_, n_features_in_)
        Second-moment matrices of the rows, divided by their trace ([1]_, eq. 15),
        float64. All zero for a class without variance.
    partition_functions_ : array of shape (n_classes,), float64
        The traces.
    means_ : array of shape (n_classes, n_features_in_), float64
        Mean row of each class. Only if `centered`.
    n_patches_, class_counts_ : arrays of shape (n_classes,), int64
        Number of rows from which each density matrix was computed.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; ``[0]`` if not `class_based`.
    image_bound_ : float
        The largest sum of squares of a row, in the squared unit of `X`; infinite
        without `image_bound`.
    kernel_size_ : (int, int)
        ``(1, 1)``: a row counts as one pixel.
    image_shape_, output_shape_ : (int, int, int)
        ``(1, 1, n_features_in_)`` and ``(1, 1, n_filters)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    Warns
    -----
    UserWarning
        If the cutoffs leave one filter, or fewer outputs than classes, and `n_filters`
        does not ask for so few. The message says which cutoff it was.

    See Also
    --------
    ClassPCAPatchTransformer : The same for patches of images.
    SoftmaxClassifier : The classification layer to put after this layer.
    sklearn.decomposition.PCA : Principal components of all rows, centred.

    Notes
    -----
    `X` may also hold images, such as the output of convolutional layers. Each is then
    flattened, in C order of (y, x, channel). Sparse matrices are refused, because
    density matrices are dense; use ``X.toarray()``.

    The first layer may take features of any unit, but features of larger variance
    determine its filters. Standardize features of different units before it.

    After a ReLU all values are positive, and the mean alone can hold 95 % of the
    variance. At the defaults of `ClassPCAPatchTransformer`, a second dense layer then
    keeps a single filter. The defaults of this layer were chosen by cross-validation of
    two layers and a softmax on training data; see ``benchmarks/dense.py``.

    Eigenvectors take time proportional to n_features_in_**3 per class. Density
    matrices take 8 n_classes n_features_in_**2 bytes, which `compact` frees.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.
    .. [2] N. Dehmamy, N. Rohani, A. Katsaggelos, "Convergence of deep neural networks
       to a hierarchical covariance matrix decomposition", arXiv:1703.04757v1, 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from skdmn import ClassPCATransformer, SoftmaxClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> dense = make_pipeline(
    ...     ClassPCATransformer(), ClassPCATransformer(), SoftmaxClassifier()
    ... ).fit(X[:1000], y[:1000])
    >>> dense[0].filters_.shape, dense[1].filters_.shape
    ((338, 64), (400, 338))
    >>> round(dense.score(X[1000:], y[1000:]), 2)
    0.95
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        name: allowed
        for name, allowed in ClassPCAPatchTransformer._parameter_constraints.items()
        if name not in ("kernel_size", "stride", "padding", "image_shape")
    }
    _state: ClassVar[State] = {"filters_": floats("n_filters", "channels")}
    _is_dense = _row_is_pixel = True
    kernel_size = 1
    stride = 1
    padding = "valid"
    image_shape = None

    def __init__(
        self,
        *,
        n_filters: int | None = 200,
        variance_cutoff: float = 0.99,
        correlation_cutoff: float = 0.7,
        class_based: bool = True,
        signs: Literal["one", "both"] = "both",
        activation: Literal["relu"] | None = "relu",
        centered: bool = False,
        subsample: float = 1.0,
        image_bound: float | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        memory: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_filters = n_filters
        self.variance_cutoff = variance_cutoff
        self.correlation_cutoff = correlation_cutoff
        self.class_based = class_based
        self.signs = signs
        self.activation = activation
        self.centered = centered
        self.subsample = subsample
        self.image_bound = image_bound
        self.device = device
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the outputs, such as ``f03``.

        Parameters
        ----------
        input_features : array-like of str or None
            Names of the input values, checked against `feature_names_in_`.

        Returns
        -------
        ndarray of shape (n_filters,), object

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the names or their number differ from those in `fit`.
        """
        names = super().get_feature_names_out(input_features)
        return np.array([name.rpartition("_")[2] for name in names], dtype=object)

    def _filter_shape(self) -> tuple[int, ...]:
        return (self.n_features_in_,)

    def _kernels(self) -> Array:
        xp = own_backend(self.filters_).xp
        return xp.reshape(self.filters_, (-1, *self.image_shape_))

    def _why_nothing(self) -> str:
        if self.centered:
            return "all rows of X are the same, or their squares underflow"
        return "the squares of all rows of X are 0, or underflow"

    def _less_memory(self) -> str:
        one = ", or class_based=False for one matrix" if self.class_based else ""
        return f"reduce the number of features before this layer, or of classes{one}"
