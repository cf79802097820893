"""Whole networks: layers, then a softmax."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

from sklearn.pipeline import Pipeline

from skdmn.core.convolve import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.pooling import MaxPool2DTransformer
from skdmn.softmax import SoftmaxClassifier

Signs = Literal["one", "both"]


def make_dmn(
    n_layers: int = 2,
    *,
    kernel_size: int | Pair | list[int | Pair] = 3,
    n_filters: int | list[int | None] | Literal["auto"] | None = "auto",
    variance_cutoff: float | list[float] = 0.999,
    correlation_cutoff: float | list[float] = 0.7,
    class_based: bool = True,
    signs: Signs | list[Signs] = "both",
    activation: Literal["relu"] | None = "relu",
    centered: bool = False,
    padding: Padding = "same",
    pool_size: int | Pair | list[int | Pair] | Literal["auto"] = "auto",
    subsample: float = 1.0,
    C: float = 0.01,
    max_iter: int = 200,
    image_shape: tuple[int, ...] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    memory: Any = None,
    random_state: Any = None,
    verbose: bool = False,
) -> Pipeline:
    """Make a Density Matrix Network: computed layers, each pooled, and a softmax.

    Returns a plain Pipeline with the steps ``conv1, pool1, ..., flatten, softmax``,
    whose parameters can be set and searched by their names. A list gives one value for
    each layer.

    Parameters
    ----------
    n_layers : int, default=2
        How many convolutions.
    kernel_size : int, (int, int) or list of these, default=3
        Height and width of the patches.
    n_filters : int, None, "auto" or list of int or None, default="auto"
        At most so many filters, before signs; None: all that the cutoffs leave.
        "auto": 8 in the first layer and 96 in those above, 16 in a single layer.
    variance_cutoff : float or list of float, default=0.999
        Share of each class's variance up to which components are kept.
    correlation_cutoff : float or list of float, default=0.7
        Overlap above which filters are merged.
    class_based : bool, default=True
        A density matrix for each class, or one for all (the naive DMN).
    signs : {"one", "both"} or list of these, default="both"
        "both" adds the negative of every filter.
    activation : {"relu", None}, default="relu"
        What is applied to the products.
    centered : bool, default=False
        Take mean patches away before second moments.
    padding : {"valid", "same"}, default="same"
        Of convolutions and pooling. Even with "same" each pooling halves an image, and
        density matrices need images at least as large as the kernel: 8 x 8 pixels
        are enough for two layers, 16 x 16 for three.
    pool_size : int, (int, int), "auto" or list of int or pairs, default="auto"
        Height and width of the pooling behind each convolution. "auto": 3 behind the
        last, 2 behind the others.
    subsample : float or int, default=1.0
        Share or number of the images that density matrices are computed from.
    C : float, default=0.01
        Inverse strength of the softmax's L2 penalty. It multiplies a sum over images:
        the best value falls as their number grows.
    max_iter : int, default=200
        Of the softmax's solver; where it stops there, it warns.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and channels, where `X` will hold images as rows.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices.
    random_state : int, RandomState instance or None, default=None
        Seed of `subsample`.
    verbose : bool, default=False
        Print the progress.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Unfitted. Takes images (n, height, width) or (n, height, width, channels).

    Raises
    ------
    ValueError
        Where a list has not one value for each layer. Values are checked by `fit`.

    See Also
    --------
    ClassPCAPatchTransformer : The convolutions, and what their parameters mean.
    DensityMatrixNetwork : The same layers, without the feature maps between them.
    SoftmaxClassifier : The classifier; it standardizes the features.

    Notes
    -----
    The defaults were chosen by validation on training images of MNIST, MNIST inverted,
    digits, CIFAR-10 and CIFAR-10 in grey, 6,000 to learn from and 3,000 to score on
    (``benchmarks/choose_defaults.py``, whose results are kept beside it): the same for
    all five, no test image used. What decided:

    - The papers' variance cutoff of 0.95 suits MNIST, whose ground is black. On bright
      images the constant filter alone holds most of the uncentred variance, and 0.95
      leaves one filter (28 % on CIFAR-10, 89 % on inverted MNIST). A cutoff of 0.999
      with a bound on the number of filters does well on all five.
    - Merging above 0.7 instead of the paper's 0.9 leaves room for more that differ: 2.5
      points on CIFAR-10, 0.2 or less elsewhere. Above 0.5 loses 0.4 of them again.
    - Both signs are worth 0.4 to 2.4 points, 96 filters in the second layer instead
      of 64 another 0.2 to 2.9. 16 filters in the first layer are worth 3.4 points on
      CIFAR-10 and nothing on MNIST, at twice the memory and time: worth trying.
    - Pooling over 3 x 3 behind the last layer loses nothing against 2 x 2 and halves
      the features. Centring is worth -1.2 to 1.0 points.

    A Pipeline holds every feature map: for 60,000 images of 28 x 28 that is 3 GB
    behind the first convolution (28 x 28 x 16 floats each) and 9 GB behind the second
    (14 x 14 x 192). `DensityMatrixNetwork` runs the same layers batch by batch, and
    holds what comes out of the last:
    ``make_pipeline(DensityMatrixNetwork.from_pipeline(dmn[:-1]), dmn[-1])``.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=2).fit(X[:1000], y[:1000])
    >>> dmn["conv1"].filters_.shape
    (16, 3, 3, 1)
    >>> dmn.predict(X[1000:1006])
    array([1, 4, 0, 5, 3, 6])
    """
    if not isinstance(n_layers, Integral) or int(n_layers) < 1:
        raise ValueError(f"n_layers must be a positive int, got {n_layers!r}.")
    filters: Any = [8] + [96] * (n_layers - 1) if n_layers > 1 else [16]
    pools: Any = [2] * (n_layers - 1) + [3]
    layers = _per_layer(
        n_layers,
        kernel_size=kernel_size,
        n_filters=filters if n_filters == "auto" else n_filters,
        variance_cutoff=variance_cutoff,
        correlation_cutoff=correlation_cutoff,
        signs=signs,
        pool_size=pools if pool_size == "auto" else pool_size,
    )
    steps: list[tuple[str, Any]] = []
    for number, layer in enumerate(layers, start=1):
        size = layer.pop("pool_size")
        convolution = ClassPCAPatchTransformer(
            **layer,
            class_based=class_based,
            activation=activation,
            centered=centered,
            padding=padding,
            subsample=subsample,
            image_shape=image_shape if number == 1 else None,
            device=device,
            memory=memory,
            random_state=random_state,
            verbose=verbose,
        )
        pooling = MaxPool2DTransformer(size, padding=padding, device=device)
        steps += [(f"conv{number}", convolution), (f"pool{number}", pooling)]
    softmax = SoftmaxClassifier(C=C, max_iter=max_iter, device=device, verbose=verbose)
    flatten = FlattenTransformer()  # rows, with names, for whoever takes the features
    return Pipeline([*steps, ("flatten", flatten), ("softmax", softmax)])


def _per_layer(n_layers: int, **values: Any) -> list[dict[str, Any]]:
    """Return the parameters of each layer; a list has one value for each."""
    for name, value in values.items():
        if isinstance(value, tuple) and name not in ("kernel_size", "pool_size"):
            raise ValueError(
                f"{name}={value} is a tuple; pass a list of one value for each layer."
            )
        if isinstance(value, list) and len(value) != n_layers:
            raise ValueError(
                f"{name}={value} has {len(value)} values for {n_layers} layers; pass "
                "one value, or a list of one for each layer."
            )
    return [
        {n: v[i] if isinstance(v, list) else v for n, v in values.items()}
        for i in range(n_layers)
    ]
