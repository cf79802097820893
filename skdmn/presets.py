"""Ready-made networks: the papers' Density Matrix Network and the recommended one."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import Pipeline

from skdmn.kernels.geometry import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.pooling import AveragePool2DTransformer, MaxPool2DTransformer
from skdmn.layers.scaling import ChannelStandardScaler
from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
from skdmn.linear_model.ridge import IncrementalRidgeClassifier
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.linear_model.softmax_cv import SoftmaxClassifierCV
from skdmn.network.network import DensityMatrixNetwork
from skdmn.utils.architecture import tokens_of
from skdmn.utils.validation import (
    Shape,
    as_shape,
    channels_first_hint,
    times,
    warn_user,
)

Signs = Literal["one", "both"]
_SMALL = 32  # pixels; larger images are shrunk, but not below this size
_LEVELS = 7  # of the brightness, and of the contrast
_MANY = 800  # filters; more of them need more components
_COLORS = 3  # more channels may have different units, and are standardized
_MOST_CHANNELS, _COMPONENTS = 16, 12  # more channels than 16 are reduced to 12


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
    standardize: bool = False,
    subsample: float = 1.0,
    C: float | Literal["auto"] = 0.01,
    max_iter: int = 200,
    image_shape: tuple[int, ...] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    memory: Any = None,
    random_state: Any = None,
    verbose: bool = False,
) -> Pipeline:
    """Make a Density Matrix Network (DMN) as a scikit-learn Pipeline.

    The DMN alternates convolutions and max pooling, and ends with a softmax classifier.
    The filters of each convolution are computed, not trained: they are the leading
    eigenvectors of the density matrix (trace-normalized second-moment matrix) of the
    image patches of each class.

    The steps are ``conv1, pool1, conv2, pool2, ..., flatten, softmax``. Their
    parameters can be set and searched by name, such as ``conv1__n_filters``. Parameters
    below that accept a list take one value for each layer.

    Parameters
    ----------
    n_layers : int, default=2
        Number of convolutions.
    kernel_size : int, (int, int) or list of these, default=3
        Height and width of the patches and filters.
    n_filters : int, None, "auto" or list of int or None, default="auto"
        Maximum number of filters, not counting the negatives that ``signs="both"``
        adds. None keeps all filters that the cutoffs leave. "auto" means 8 in the first
        layer and 96 in the others, or 16 if there is only one layer.
    variance_cutoff : float or list of float, default=0.999
        Share of each class's variance up to which eigenvectors are kept.
    correlation_cutoff : float or list of float, default=0.7
        Absolute cosine between two filters above which they are merged.
    class_based : bool, default=True
        If True, compute a density matrix for each class; if False, one for all images
        (the naive DMN).
    signs : {"one", "both"} or list of these, default="both"
        "both" adds the negative of every filter (two-sided features, CReLU).
    activation : {"relu", None}, default="relu"
        Activation function after each convolution.
    centered : bool, default=False
        If True, subtract the mean patch before computing second moments.
    padding : {"valid", "same"}, default="same"
        Padding of convolutions and pooling. The pooling shrinks images even with
        "same", and the input of each layer must be at least as large as the kernel. For
        the other defaults, two layers need images of 8 x 8 pixels, and three 16 x 16.
    pool_size : int, (int, int), "auto" or list of int or pairs, default="auto"
        Height and width of the pooling after each convolution. "auto" means 3 after the
        last convolution and 2 after the others.
    standardize : bool, default=False
        If True, a `ChannelStandardScaler` named ``scale`` comes first. Pass True if the
        channels have different units, scales or offsets, as bands of a satellite may
        have. Otherwise the filters only see the channels with the largest values.
    subsample : float or int, default=1.0
        Share (float) or number (int) of images used to compute density matrices.
    C : float or "auto", default=0.01
        Inverse regularization strength of the softmax. "auto" chooses it by
        cross-validation with a `SoftmaxClassifierCV`; see `recommended_dmn`.
    max_iter : int, default=200
        Maximum number of iterations of the softmax. It warns if it reaches them.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and optionally channels of an image; required if each row of `X`
        is a flattened image.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device for the computation. "auto" uses the device of `X`; for NumPy arrays it
        uses a GPU if the work is large and CuPy finds one, else the CPU.
    memory : str, path, joblib.Memory or None, default=None
        Cache for density matrices, which a grid search over cutoffs then reuses.
    random_state : int, RandomState instance or None, default=None
        Seed for `subsample`.
    verbose : bool, default=False
        Whether to print the progress.

    Returns
    -------
    dmn : sklearn.pipeline.Pipeline
        Unfitted classifier of images of shape (n, height, width) or (n, height, width,
        channels).

    Raises
    ------
    ValueError
        If `n_layers` is not a positive int, or the length of a list is not `n_layers`.
        Other values are checked by `fit`.

    See Also
    --------
    recommended_dmn : Make the network to try first.
    ClassPCAPatchTransformer : The convolutions, with details of their parameters.
    DensityMatrixNetwork : The same layers, without storing all feature maps.
    SoftmaxClassifier : The classifier; it standardizes the features.

    Notes
    -----
    The defaults are the same for all images. They were chosen by validation on five
    data sets: MNIST, inverted MNIST, scikit-learn's digits, and CIFAR-10 in color and
    in greyscale, each with 6,000 images for fitting and 3,000 for scoring. All of them
    are training images. ``benchmarks/choose_defaults.py`` and the results beside it
    have the details. In short:

    - The papers' variance cutoff of 0.95 suits MNIST, whose background is black. On
      bright images, the constant filter alone has most of the uncentered variance, so
      that 0.95 leaves one filter (28 % accuracy on CIFAR-10, 89 % on inverted MNIST). A
      cutoff of 0.999 with a maximum number of filters works well on all five.
    - A correlation cutoff of 0.7 instead of the papers' 0.9 leaves more distinct
      filters. It gains 2.5 points of accuracy on CIFAR-10, and at most 0.2 elsewhere. A
      cutoff of 0.5 gains 0.4 points less.
    - Both signs gain 0.4 to 2.4 points. 96 filters instead of 64 in the second layer
      gain another 0.2 to 2.9 points. 16 filters instead of 8 in the first layer gain
      3.4 points on CIFAR-10 and nothing on MNIST, for twice the memory and time.
    - 3 x 3 instead of 2 x 2 pooling after the last layer loses nothing and halves the
      number of features. Centering changes the accuracy by -1.2 to 1.0 points.

    A Pipeline stores the whole output of each step. For 60,000 images of 28 x 28 pixels
    that is 3 GB after the first convolution (28 x 28 x 16 floats per image) and 9 GB
    after the second (14 x 14 x 192). To store only the output of the last layer,
    convert the layers to a `DensityMatrixNetwork`, which runs them batch by batch:
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
    if standardize:
        steps.append(
            ("scale", ChannelStandardScaler(image_shape=image_shape, device=device))
        )
    for number, layer in enumerate(layers, start=1):
        size = layer.pop("pool_size")
        convolution = ClassPCAPatchTransformer(
            **layer,
            class_based=class_based,
            activation=activation,
            centered=centered,
            padding=padding,
            subsample=subsample,
            image_shape=None if steps else image_shape,
            device=device,
            memory=memory,
            random_state=random_state,
            verbose=verbose,
        )
        pooling = MaxPool2DTransformer(size, padding=padding, device=device)
        steps += [(f"conv{number}", convolution), (f"pool{number}", pooling)]
    softmax = _softmax(C, max_iter=max_iter, device=device, verbose=verbose)
    flatten = FlattenTransformer()  # gives rows with feature names
    return Pipeline([*steps, ("flatten", flatten), ("softmax", softmax)])


def paper_dmn(
    architecture: str,
    *,
    kernel_size: int | Pair | list[int | Pair] = 3,
    variance_cutoff: float | list[float] | None = None,
    correlation_cutoff: float | list[float] = 0.9,
    class_based: bool = True,
    subsample: float = 1.0,
    C: float = 0.01,
    max_iter: int = 200,
    image_shape: tuple[int, ...] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    memory: Any = None,
    random_state: Any = None,
    verbose: bool = False,
) -> Pipeline:
    """Make a network of the papers from its name, such as "d6, m, d93, m".

    All convolutions are computed, with "valid" padding, a ReLU and no negatives of
    filters, as in the papers. Only the softmax at the end is fitted iteratively. In
    contrast, the defaults of `make_dmn` were chosen by accuracy.

    Parameters
    ----------
    architecture : str
        Layers from input to output, separated by commas ([1]_):

        - "d6": a convolution with the 6 filters of lowest energy, and a ReLU
        - "d": the same, with all filters that the cutoffs leave
        - "m": max pooling with 2 x 2 windows
        - "BN": each channel is scaled to zero mean and unit variance
        - "de10": the softmax classifier, as the last layer. It may be omitted, and its
          number of outputs is that of the classes.

        Table 2 omits pooling: its "d6, d93" is "d6, m, d93, m".
    kernel_size : int, (int, int) or list of these, default=3
        Height and width of the filters. A list has one entry for each convolution.
    variance_cutoff : float, list of float or None, default=None
        Share of the variance up to which eigenvectors are kept. None means 1.0 for a
        convolution with a number of filters, and 0.95 for one without.
    correlation_cutoff : float or list of float, default=0.9
        Absolute cosine between two filters above which they are merged.
    class_based : bool, default=True
        If True, compute a density matrix for each class, as in Table 2; if False, one
        for all images. The latter is the naive network, which Tables 3 to 5 have.
    subsample : float or int, default=1.0
        Share (float) or number (int) of images used to compute density matrices: the
        column "Input" of Table 2.
    C : float, default=0.01
        Inverse regularization strength of the softmax.
    max_iter : int, default=200
        Maximum number of iterations of the softmax. It warns if it reaches them.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and optionally channels of an image; required if each row of `X`
        is a flattened image.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device for the computation; see `make_dmn`.
    memory : str, path, joblib.Memory or None, default=None
        Cache for density matrices.
    random_state : int, RandomState instance or None, default=None
        Seed for `subsample`.
    verbose : bool, default=False
        Whether to print the progress.

    Returns
    -------
    dmn : sklearn.pipeline.Pipeline
        Unfitted classifier of images. Its steps have the names of `make_dmn`: ``conv1,
        pool1, norm1, conv2, ..., flatten, softmax``.

    Raises
    ------
    ValueError
        If the architecture is not written as above, or if the length of a list is not
        the number of convolutions. Other values are checked by `fit`.

    See Also
    --------
    make_dmn : Make the same layers with defaults chosen by accuracy.
    skdmn.export.make_hybrid : Put computed layers below trained ones, in PyTorch.

    Notes
    -----
    Filters have lower energy, the larger their variance. If fewer filters exist than
    `architecture` says, the layer has fewer.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018, Tables 2 to 5.

    Examples
    --------
    >>> from skdmn import paper_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> dmn = paper_dmn("d6, m, de10", C=1.0).fit(X[:1000], y[:1000])
    >>> list(dmn.named_steps)
    ['conv1', 'pool1', 'flatten', 'softmax']
    >>> bool(dmn.score(X[1000:], y[1000:]) > 0.9)
    True
    """
    tokens = tokens_of(architecture, uncounted=True)
    kinds = [kind for kind, _ in tokens]
    if "c" in kinds or kinds.count("de") > 1:
        raise ValueError(
            f"{architecture!r} has trained layers; pass it to "
            "skdmn.export.make_hybrid, or write d for c, and one de at most."
        )
    counts = [number or None for kind, number in tokens if kind == "d"]
    if variance_cutoff is None:
        variance_cutoff = [1.0 if count else 0.95 for count in counts]
    layers = iter(
        _per_layer(
            len(counts),
            n_filters=counts,
            kernel_size=kernel_size,
            variance_cutoff=variance_cutoff,
            correlation_cutoff=correlation_cutoff,
        )
    )
    names = {"d": "conv", "m": "pool", "BN": "norm"}
    steps: list[tuple[str, Any]] = []
    for kind in kinds:
        step: Any
        if kind == "d":
            step = ClassPCAPatchTransformer(
                **next(layers),
                class_based=class_based,
                subsample=subsample,
                device=device,
                memory=memory,
                random_state=random_state,
                verbose=verbose,
            )
        elif kind == "m":
            step = MaxPool2DTransformer(2, device=device)
        elif kind == "BN":
            step = ChannelStandardScaler(device=device)
        else:
            continue
        number = 1 + sum(name.startswith(names[kind]) for name, _ in steps)
        steps.append((f"{names[kind]}{number}", step))
    if steps:
        steps[0][1].set_params(image_shape=image_shape)
    softmax = SoftmaxClassifier(C=C, max_iter=max_iter, device=device, verbose=verbose)
    flatten = FlattenTransformer()
    return Pipeline([*steps, ("flatten", flatten), ("softmax", softmax)])


def _per_layer(n_layers: int, **values: Any) -> list[dict[str, Any]]:
    """Return the parameters of each layer from values or lists with one per layer."""
    for name, value in values.items():
        if isinstance(value, tuple) and name not in ("kernel_size", "pool_size"):
            raise ValueError(
                f"{name}={value} is a tuple; pass a list with one value for each layer."
            )
        if isinstance(value, list) and len(value) != n_layers:
            raise ValueError(
                f"{name}={value} has {len(value)} values for {n_layers} layers; pass "
                "one value for all layers, or a list with one value for each layer."
            )
    return [
        {n: v[i] if isinstance(v, list) else v for n, v in values.items()}
        for i in range(n_layers)
    ]


def recommended_dmn(
    image_shape: tuple[int, ...],
    *,
    n_filters: int | None = None,
    brightness: bool = False,
    mirrored: bool = False,
    standardize: bool | Literal["auto"] = "auto",
    n_components: int | Literal["auto"] | None = "auto",
    subsample: float = 0.1,
    head: Literal["softmax", "ridge", "both"] = "softmax",
    C: float | Literal["auto"] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    memory: Any = None,
    random_state: Any = 0,
    verbose: bool = False,
) -> Pipeline:
    """Make the network to try first: whitened class-based PCA, pooling, softmax.

    It has one layer of filters, computed from patches with local contrast normalization
    by class and position. It is more accurate than the papers' network (`make_dmn`) in
    all our measurements; the README shows accuracy against seconds.

    The result is a scikit-learn Pipeline with the steps ``features`` (a
    DensityMatrixNetwork with the layers ``conv`` and ``pool``) and ``softmax``,
    ``ridge`` or ``both`` (see `head`). Further layers come before ``conv`` for large
    images and for more than three channels. Images are processed batch by batch, so
    that whole feature maps are never stored.

    Parameters
    ----------
    image_shape : (int, int) or (int, int, int)
        Height, width and optionally channels of an image, as in ``X.shape[1:]``. The
        settings for several channels suit natural images, and those for one channel
        suit drawings and characters. If height and width are at least 64 pixels, a
        first layer ``shrink`` averages blocks of pixels.
    n_filters : int or None, default=None
        Maximum number of filters. More filters are more accurate and slower. None means
        400 for images of several channels, and 200 for images of one channel. Its name
        in a search is ``features__conv__n_filters``.
    brightness : bool, default=False
        If True, add features of the brightness and the contrast: seven levels of each,
        see `n_levels` and `n_contrast_levels` of `WhitenedPCAPatchTransformer`. Local
        contrast normalization discards both. This suits textures, scans and other
        images whose brightness or contrast tells the classes apart; see the Notes.
    mirrored : bool, default=False
        If True, average the features of each image and its horizontal flip. This suits
        natural images whose label survives a flip. The number of rows does not change.
    standardize : bool or "auto", default="auto"
        If True, a layer ``scale`` standardizes each channel, so that channels may have
        different units, scales and offsets. "auto" means True for more than three
        channels.
    n_components : int, "auto" or None, default="auto"
        Number of principal components to which a layer ``reduce`` reduces the channels
        of each pixel. A layer ``rescale`` gives them the same variance. None keeps the
        channels. "auto" means 12 for more than 16 channels, else None. Components of
        little variance are lost, even if only they differ between the classes.
    subsample : float or int, default=0.1
        Share (float) or number (int) of images used to compute density matrices.
    head : {"softmax", "ridge", "both"}, default="softmax"
        The classifier. "ridge" is an `IncrementalRidgeClassifier`, which chooses its
        penalty itself. It is more accurate in most measurements with 20 to 2,500
        images, see the Notes. With more images than features, it needs four matrices of
        all pairs of features: 1.7 GB for 7,200 features. "both" is a
        :class:`~sklearn.ensemble.VotingClassifier` that averages the probabilities of
        the two. The exports of this package and `contributions` do not take it.
    C : float, "auto" or None, default=None
        Inverse regularization strength of the softmax. None means 0.02 if `mirrored`,
        else 0.005 for several channels and 0.01 for one. "auto" chooses it by
        cross-validation with a `SoftmaxClassifierCV`; see the Notes. It must be None
        for ``head="ridge"``.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device for the computation. "auto" uses the device of `X`; for NumPy arrays it
        uses a GPU if the work is large and CuPy finds one, else the CPU.
    memory : str, path, joblib.Memory or None, default=None
        Cache for density matrices.
    random_state : int, RandomState instance or None, default=0
        Seed for `subsample`.
    verbose : bool, default=False
        Whether to print the progress.

    Returns
    -------
    dmn : sklearn.pipeline.Pipeline
        Unfitted classifier of images of shape (n, *image_shape), or of rows with the
        same number of values.

    Raises
    ------
    ValueError
        If `image_shape` is not the shape of an image of at least 4 x 4 pixels, `head`,
        `standardize` or `n_components` is none of the above, or C is given for
        ``head="ridge"``. Other values are checked by `fit`.

    See Also
    --------
    make_dmn : Make the papers' network.
    WhitenedPCAPatchTransformer : The layer ``conv``, with details of the method.
    SoftmaxClassifier : The classifier; it standardizes the features.

    Notes
    -----
    Sizes, thresholds and cutoffs were chosen on held-out training images of MNIST and
    CIFAR-10. Those for larger images were not validated separately.

    **Choice of C.** The best C hardly depends on the number of images. In 21 fits to
    100 to 60,000 images of MNIST and 100 to 10,000 of CIFAR-10, the default values were
    within 0.6 points of the accuracy of the best of 14 values, but for one fit (1.3
    points); the best value was chosen on the test images. ``C="auto"`` tries ten values
    in five folds, and is meant for images that differ much from these. It was within
    0.4 points in the three fits to 10,000 images or more, and up to 2.9 points below
    the best with fewer. The folds do not contain the layers, whose filters have seen
    the labels of all images. Their scores are therefore too good: 0.51 instead of 0.33
    for 100 images of CIFAR-10, and 0.678 instead of 0.677 for 10,000. The fit of the
    softmax took 0.4 to 6 times as long as with a given C.

    **Head.** On 2,000 held-out training images, means of five draws, "ridge" and the
    default softmax have an accuracy of 64.3 and 63.0 % after 2,500 images of CIFAR-10,
    58.4 and 56.7 % after 1,000, 52.7 and 52.4 % after 500, 35.9 and 38.4 % after 100,
    and 23.5 and 24.0 % after 20; on MNIST 98.0 and 96.9 % after 1,000, 92.6 and 90.6 %
    after 100, and 72.2 and 69.7 % after 20. Most probabilities are better, too. With up
    to 1,000 of these images, "both" is at most 0.2 points below the better of the two,
    and up to 1.1 points above it. ``benchmarks/heads.py`` has the details.

    **Brightness.** With ``brightness=True``, the accuracy on greyscale crops of two
    photographs, whose class is the part they are from, rises from 28 to 47 %
    (`make_dmn`: 45 %). On MNIST, scikit-learn's digits and CIFAR-10 it changes by -0.2
    to 1.5 points. On textures that differ only in the skewness of their histogram it
    rises from 48 to 55 % (`make_dmn`: 61 %), and to 68 % with ``n_filters=20``: many
    filters that do not tell the classes apart distract the classifier.
    ``benchmarks/brightness.py`` has the details.

    **Many channels.** Patches are normalized over all channels together. Without
    ``standardize``, channels with a variance below a hundredth of that of others have
    hardly any influence, and channels whose means differ by much more than their
    standard deviations hide everything else. In a synthetic example, 13 channels have
    standard deviations that differ by up to a factor of 30, and the smallest three show
    the class: the accuracy is at chance without the layer ``scale``, and 99 % with it.
    The density matrices of patches with 200 channels would take 130 GB for ten classes,
    and those of 12 components take 0.5 GB.

    Filters are made from the principal components that hold 0.95 of the variance: 20 of
    108 for natural images. All components give the same accuracy and take more time
    (see the ablations among the benchmarks). More than 800 filters are made from the
    components of 0.98 of the variance, because fewer components hardly give as many
    distinct filters. This choice depends on the argument `n_filters` only: a search
    over ``features__conv__n_filters`` keeps the cutoff.

    The features of all images are stored. By default these are 6,400 floats for each
    image of 28 x 28 pixels and 7,200 for one of 32 x 32 x 3, or 1.5 GB for the 60,000
    images of MNIST. To use less memory, reduce `n_filters`, or fit the softmax to the
    network's ``lazy_features`` (see `DensityMatrixNetwork`).

    Examples
    --------
    >>> from skdmn import recommended_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> dmn = recommended_dmn(X.shape[1:], n_filters=50).fit(X[:1200], y[:1200])
    >>> bool(dmn.score(X[1200:], y[1200:]) > 0.95)
    True
    """
    if head not in ("softmax", "ridge", "both"):
        raise ValueError(
            f'head={head!r} is unknown; pass "softmax", "ridge" or "both".'
        )
    if head == "ridge" and C is not None:
        raise ValueError(
            f'C={C!r} is a parameter of the softmax, but head="ridge" chooses its '
            "penalty itself; leave C out, or set ridge__alphas."
        )
    if standardize not in (True, False, "auto"):
        raise ValueError(
            f'standardize={standardize!r} is unknown; pass True, False or "auto".'
        )
    is_count = isinstance(n_components, Integral) and n_components >= 1
    if not (is_count or n_components in (None, "auto")):
        raise ValueError(
            f'n_components={n_components!r} must be a positive int, None or "auto".'
        )
    shape = as_shape(image_shape)
    if shape is None:
        raise ValueError("image_shape=None is not a shape; pass X.shape[1:].")
    _check_image_shape(shape)
    height, width, n_channels = shape
    shrink = max(1, min(height, width) // _SMALL)
    size, has_channels = (height // shrink, width // shrink), n_channels > 1
    side = min(6 if has_channels else 7, min(size) // 2)
    cells = 3 if has_channels else 4
    window, stride = covering((size[0] - side + 1, size[1] - side + 1), cells)
    count = (400 if has_channels else 200) if n_filters is None else n_filters
    many = isinstance(count, Real) and count > _MANY  # fit rejects other types
    layers: list[tuple[str, Any]] = []
    if shrink > 1:
        layers.append(("shrink", AveragePool2DTransformer(shrink)))
    if n_channels > _COLORS if standardize == "auto" else standardize:
        layers.append(("scale", ChannelStandardScaler()))
    if n_components == "auto":
        n_components = _COMPONENTS if n_channels > _MOST_CHANNELS else None
    if n_components is not None:
        reduce = ClassPCAPatchTransformer(
            1,
            n_filters=n_components,
            class_based=False,
            variance_cutoff=1.0,
            activation=None,
            subsample=subsample,
            memory=memory,
            random_state=random_state,
            verbose=verbose,
        )
        layers += [("reduce", reduce), ("rescale", ChannelStandardScaler())]
    conv = WhitenedPCAPatchTransformer(
        side,
        n_filters=count,
        variance_cutoff=0.98 if many else 0.95,
        threshold=0.5 if has_channels else 1.0,
        n_levels=_LEVELS if brightness else 0,
        n_contrast_levels=_LEVELS if brightness else 0,
        subsample=subsample,
        memory=memory,
        random_state=random_state,
        verbose=verbose,
    )
    pool = AveragePool2DTransformer(window, stride=stride, power=0.5)
    layers += [("conv", conv), ("pool", pool)]
    layers[0][1].set_params(image_shape=image_shape)
    features = DensityMatrixNetwork(
        layers, mirrored=mirrored, device=device, verbose=verbose
    )
    ridge = IncrementalRidgeClassifier(device=device)
    if head == "ridge":
        return Pipeline([("features", features), ("ridge", ridge)])
    default_C = 0.02 if mirrored else 0.005 if has_channels else 0.01
    softmax = _softmax(
        default_C if C is None else C, tol=1e-3, device=device, verbose=verbose
    )
    if head == "both":
        heads = [("softmax", softmax), ("ridge", ridge)]
        both = VotingClassifier(heads, voting="soft", flatten_transform=False)
        return Pipeline([("features", features), ("both", both)])
    return Pipeline([("features", features), ("softmax", softmax)])


def _softmax(C: float | str, **settings: Any) -> SoftmaxClassifier:
    """Return the classifier, which chooses C if it is "auto"."""
    if isinstance(C, str) and C == "auto":
        return SoftmaxClassifierCV(**settings)
    return SoftmaxClassifier(C=C, **settings)  # type: ignore[arg-type]


def _check_image_shape(shape: Shape) -> None:
    """Raise or warn if a shape does not seem to be that of an image."""
    (height, width, n_channels), hint = shape, ""
    if channels_first_hint(shape):
        hint = "if channels come first, pass np.moveaxis(X, 1, -1).shape[1:]"
    elif n_channels > 4 and height >= 8 * max(width, n_channels):
        hint = "if the first number is that of images, pass X.shape[1:]"
    if min(height, width) < 4:
        raise ValueError(
            f"image_shape={shape} is not a shape of at least 4 x 4 pixels, but of "
            f"{times(shape)}; {hint or 'pass X.shape[1:]'}."
        )
    if hint:
        warn_user(f"image_shape={shape} is read as {times(shape)}; {hint}.")


def covering(positions: Pair, cells: int) -> tuple[Pair, Pair]:
    """Return size and stride of pooling windows that cover all positions.

    Neighbouring windows overlap by about half.

    Parameters
    ----------
    positions : (int, int)
        Height and width of the feature map.
    cells : int
        Number of windows along each axis.

    Returns
    -------
    size, stride : (int, int), (int, int)
    """
    strides = [max(1, round(n / (cells + 1))) for n in positions]
    sizes = [n - (cells - 1) * s for n, s in zip(positions, strides, strict=True)]
    return (max(1, sizes[0]), max(1, sizes[1])), (strides[0], strides[1])
