"""Ready networks: the papers' layers, and the network to try first."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

from sklearn.pipeline import Pipeline

from skdmn.kernels.geometry import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.pooling import AveragePool2DTransformer, MaxPool2DTransformer
from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.network.network import DensityMatrixNetwork
from skdmn.utils.validation import as_shape

Signs = Literal["one", "both"]
_SMALL = 32  # pixels: larger images are shrunk first, to that or more
_MANY = 800  # filters: more of them need more components


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


def recommended_dmn(
    image_shape: tuple[int, ...],
    *,
    n_filters: int | None = None,
    mirrored: bool = False,
    subsample: float = 0.1,
    C: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    memory: Any = None,
    random_state: Any = 0,
    verbose: bool = False,
) -> Pipeline:
    """Make the network to try first: whitened class-based PCA, averaged, a softmax.

    It does better than `make_dmn`, which has the papers' layers, wherever we measured:
    the README has accuracy against seconds. Returns a plain Pipeline with the steps
    ``features`` (a DensityMatrixNetwork of ``conv`` and ``pool``) and ``softmax``; no
    feature map is ever held.

    Parameters
    ----------
    image_shape : (int, int) or (int, int, int)
        Height, width and, where there are several, channels of an image: what
        ``X.shape[1:]`` says. Images without channels are taken for drawings and
        letters, those with channels for photographs; those of 64 pixels and more on
        their shorter side are averaged over blocks of pixels first (``shrink``).
    n_filters : int or None, default=None
        Fewer are faster, more are better. None: 400, without channels 200.
    mirrored : bool, default=False
        Take each image and its mirror image for the same, as suits photographs: their
        features are the mean of both, so that there are no more rows than images.
    subsample : float or int, default=0.1
        Share or number of the images that density matrices are computed from.
    C : float or None, default=None
        Inverse strength of the softmax's L2 penalty. None: 0.005, without channels
        0.01, `mirrored` 0.02, as suits some ten thousand images; the best value falls
        as their number grows.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices.
    random_state : int, RandomState instance or None, default=0
        Seed of `subsample`.
    verbose : bool, default=False
        Print the progress.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Unfitted. Takes images (n, height, width) or (n, height, width, channels) of
        that shape, or rows of their values.

    Raises
    ------
    ValueError
        Where `image_shape` is not the shape of an image of at least 4 x 4 pixels.
        Other values are checked by `fit`.

    See Also
    --------
    make_dmn : The papers' network.

    Notes
    -----
    Sizes, thresholds and cutoffs were chosen on training images of MNIST and CIFAR-10
    held out; for larger images they are carried over, not chosen. Components of 0.95 of
    the variance, 20 of 108 in photographs, did as well there as all (the benchmarks'
    ablations), in less time. More than 800 filters are made of those of 0.98: of fewer
    components there are hardly as many that differ, and they gained nothing. (That is
    decided here: a search over ``features__conv__n_filters`` keeps the cutoff.)

    The features of all images are held: by default 6,400 floats each for 28 x 28
    pixels, 7,200 for 32 x 32 x 3, that is 1.5 GB for 60,000 images of MNIST. Fewer
    `n_filters` take less; so does the softmax fitted to ``lazy_features``
    (`DensityMatrixNetwork`).

    Examples
    --------
    >>> from skdmn import recommended_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> dmn = recommended_dmn(X.shape[1:], n_filters=50).fit(X[:1200], y[:1200])
    >>> bool(dmn.score(X[1200:], y[1200:]) > 0.95)
    True
    """
    shape = as_shape(image_shape)
    if shape is None or min(shape[:2]) < 4:
        raise ValueError(
            f"image_shape={image_shape!r} is not a shape of at least 4 x 4 pixels; "
            "pass X.shape[1:]."
        )
    height, width, n_channels = shape
    shrink = max(1, min(height, width) // _SMALL)
    size, photograph = (height // shrink, width // shrink), n_channels > 1
    side = min(6 if photograph else 7, min(size) // 2)
    cells = 3 if photograph else 4
    window, stride = covering((size[0] - side + 1, size[1] - side + 1), cells)
    count = (400 if photograph else 200) if n_filters is None else n_filters
    many = isinstance(count, Real) and count > _MANY  # what is no number, fit refuses
    conv = WhitenedPCAPatchTransformer(
        side,
        n_filters=count,
        variance_cutoff=0.98 if many else 0.95,
        threshold=0.5 if photograph else 1.0,
        mirrored=mirrored,
        subsample=subsample,
        image_shape=None if shrink > 1 else image_shape,
        memory=memory,
        random_state=random_state,
        verbose=verbose,
    )
    pool = AveragePool2DTransformer(window, stride=stride, power=0.5)
    layers: list[tuple[str, Any]] = [("conv", conv), ("pool", pool)]
    if shrink > 1:
        smaller = AveragePool2DTransformer(shrink, image_shape=image_shape)
        layers = [("shrink", smaller), *layers]
    features = DensityMatrixNetwork(
        layers, mirrored=mirrored, device=device, verbose=verbose
    )
    suits = 0.02 if mirrored else 0.005 if photograph else 0.01
    softmax = SoftmaxClassifier(
        C=suits if C is None else C,
        tol=1e-3,
        device=device,
        verbose=verbose,
    )
    return Pipeline([("features", features), ("softmax", softmax)])


def covering(positions: Pair, cells: int) -> tuple[Pair, Pair]:
    """Return size and stride of windows that cover all, overlapping by about half."""
    strides = [max(1, round(n / (cells + 1))) for n in positions]
    sizes = [n - (cells - 1) * s for n, s in zip(positions, strides, strict=True)]
    return (max(1, sizes[0]), max(1, sizes[1])), (strides[0], strides[1])
