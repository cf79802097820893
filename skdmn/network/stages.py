"""Layers as stages that batches run through: planned, fused, streamed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import joblib

from skdmn.data import transfer
from skdmn.data.images import Images
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Padding, Pair, Window, output_size
from skdmn.kernels.reference.contrast import Encoding
from skdmn.layers.base import ImageTransformer
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.overlap import OverlapPruner
from skdmn.layers.pooling import AveragePool2DTransformer, MaxPool2DTransformer
from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
from skdmn.utils.array_api import (
    Array,
    Backend,
    own_backend,
    take,
    to_backend,
    to_numpy,
    working_memory,
)
from skdmn.utils.validation import Shape, times

STREAM_BYTES = 2**27  # half of what DensityMatrixNetwork promises to stay below

Batches = Iterable[tuple[slice, Array]]


@dataclass(frozen=True)
class Convolution:
    """A convolution, and the pruning and pooling that were fused into it."""

    shape: Shape
    filters: Array
    stride: Pair
    padding: Padding
    activation: Literal["relu"] | None
    window: Window = WHOLE

    @property
    def output_shape(self) -> Shape:
        """Height, width and channels of what comes out."""
        kernel = (self.filters.shape[1], self.filters.shape[2])
        size = output_size(self.shape, kernel, self.stride, self.padding)
        return *self.window.output_size(size), self.filters.shape[0]

    def __call__(self, batch: Array) -> Array:
        """Convolve images of any dtype."""
        return dispatch.convolve(
            batch, self.filters, self.stride, self.padding, self.activation, self.window
        )

    def fused_with(self, layer: ImageTransformer) -> Convolution | None:
        """Return this with a layer behind it as one stage, None where it cannot be."""
        # what signals become, rows, is read as one channel by the next layer
        if layer.image_shape_ != self.output_shape:
            return None
        if isinstance(layer, OverlapPruner):  # pooling goes channel by channel
            kept = layer.get_support(indices=True)
            return replace(self, filters=take(self.filters, to_numpy(kept), axis=0))
        if isinstance(layer, MaxPool2DTransformer) and self.window == WHOLE:
            return replace(self, window=layer._windows())
        return None

    def fingerprint(self) -> str:
        """Hash all that the output depends on."""
        return joblib.hash(replace(self, filters=to_numpy(self.filters)))


@dataclass(frozen=True)
class ContrastEncoding:
    """An encoding by contrast, and the averaging that was fused into it."""

    shape: Shape
    how: Encoding
    window: Window = WHOLE
    power: float = 1.0

    @property
    def output_shape(self) -> Shape:
        """Height, width and channels of what comes out."""
        size = output_size(self.shape, self.how.size, (1, 1), "valid")
        return *self.window.output_size(size), 2 * self.how.filters.shape[0]

    def __call__(self, batch: Array) -> Array:
        """Encode images of any dtype."""
        return dispatch.encode(batch, self.how, self.window, self.power)

    def fused_with(self, layer: ImageTransformer) -> ContrastEncoding | None:
        """Return this with a layer behind it as one stage, None where it cannot be."""
        averaged = self.window != WHOLE or self.power != 1
        if averaged or layer.image_shape_ != self.output_shape:
            return None
        if isinstance(layer, AveragePool2DTransformer):
            power = float(layer.power)
            return replace(self, window=layer._windows(), power=power)
        return None

    def fingerprint(self) -> str:
        """Hash all that the output depends on."""
        filters, components = self.how.filters, self.how.components
        if components is not None:
            components = to_numpy(components)
        how = self.how._replace(filters=to_numpy(filters), components=components)
        return joblib.hash(replace(self, how=how))


@dataclass(frozen=True)
class Single:
    """A layer on its own."""

    layer: ImageTransformer
    dtype: str

    @property
    def shape(self) -> Shape:
        """Height, width and channels of what goes in."""
        return self.layer.image_shape_

    @property
    def output_shape(self) -> Shape:
        """Height, width and channels of what comes out."""
        return self.layer.output_shape_

    def __call__(self, batch: Array) -> Array:
        """Let the layer compute images of any dtype."""
        xp = own_backend(batch).xp
        floats = xp.astype(batch, getattr(xp, self.dtype), copy=False)
        return self.layer._forward(floats)

    def fingerprint(self) -> str:
        """Hash all that the output depends on."""
        return joblib.hash(self.layer)


Fusing = Convolution | ContrastEncoding
OneWay = Fusing | Single


@dataclass(frozen=True)
class BothWays:
    """Stages, and the mean of what they give for images and their mirror images."""

    stages: tuple[OneWay, ...]

    @property
    def shape(self) -> Shape:
        """Height, width and channels of what goes in."""
        return self.stages[0].shape

    @property
    def output_shape(self) -> Shape:
        """Height, width and channels of what comes out."""
        return self.stages[-1].output_shape

    def __call__(self, batch: Array) -> Array:
        """Compute images of any dtype, and again from right to left."""
        xp = own_backend(batch).xp
        mirrored = xp.flip(batch, axis=2)
        both = run(self.stages, batch) + run(self.stages, mirrored)
        both *= 0.5
        return both

    def fingerprint(self) -> str:
        """Hash all that the output depends on."""
        return joblib.hash(("both", [stage.fingerprint() for stage in self.stages]))


Stage = OneWay | BothWays


def run(stages: Iterable[Stage], batch: Array) -> Array:
    """Run a batch through stages, each of which sees it in the shape that it takes."""
    for stage in stages:
        shape = (batch.shape[0], *stage.shape)
        batch = stage(own_backend(batch).xp.reshape(batch, shape))
    return batch


def plan(
    layers: Iterable[ImageTransformer], compute: Backend, dtype: str
) -> tuple[OneWay, ...]:
    """Turn fitted layers into stages, as few as can be.

    Parameters
    ----------
    layers : iterable of ImageTransformer
        Fitted.
    compute : Place
        Where batches are computed.
    dtype : {"float32", "float64"}
        What they are computed in.

    Raises
    ------
    ValueError
        Where a layer does not get what it was fitted on.
    """
    stages: list[OneWay] = []
    before: ImageTransformer | None = None
    for layer in layers:
        if before is not None:
            _check_fits(before, layer)
        before = layer
        last = stages[-1] if stages else None
        fused = last.fused_with(layer) if isinstance(last, Fusing) else None
        if fused is not None:
            stages[-1] = fused
        elif isinstance(layer, ClassPCAPatchTransformer | WhitenedPCAPatchTransformer):
            filters = to_backend(layer.filters_, compute)
            filters = compute.xp.astype(filters, getattr(compute.xp, dtype))
            stages.append(_computed(layer, filters))
        elif not isinstance(layer, FlattenTransformer):  # the order is C already
            # a copy: what is set later acts on later plans
            stages.append(Single(copy.copy(layer), dtype))
    return tuple(stages)


def _computed(
    layer: ClassPCAPatchTransformer | WhitenedPCAPatchTransformer, filters: Array
) -> Fusing:
    """Return a layer as a stage, with its filters where batches are computed."""
    if isinstance(layer, WhitenedPCAPatchTransformer):
        return ContrastEncoding(layer.image_shape_, layer._encoding(filters))
    return Convolution(
        layer.image_shape_, filters, layer._strides(), layer.padding, layer.activation
    )


def _check_fits(before: ImageTransformer, layer: ImageTransformer) -> None:
    given, fitted = before.output_shape_, layer.image_shape_
    as_rows = before._gives_rows() and math.prod(given) == math.prod(fitted)
    if given != fitted and not as_rows:
        raise ValueError(
            f"{type(layer).__name__} was fitted on images of {times(fitted)}, but the "
            f"{type(before).__name__} in front gives {times(given)}; set that one "
            "back, or fit again."
        )


def unwatched(batches: Batches) -> Batches:
    """Let batches pass."""
    return batches


@dataclass(frozen=True, kw_only=True)
class Stream(Images):
    """Images that are run through stages whenever a batch of them is asked for.

    Attributes
    ----------
    stages : tuple of Stage
        Empty: the images themselves.
    seen_as : (int, int, int)
        Height, width and channels that what comes out of them is taken for: signals
        go on as rows, of one channel.
    n_per_batch : int or "auto"
        How many images make a batch. "auto": as many as `STREAM_BYTES` hold, or half
        of scikit-learn's ``working_memory`` where that is less.
    watch : callable
        Takes the batches and yields them on, to tell how far they are.
    """

    stages: tuple[Stage, ...]
    seen_as: Shape
    n_per_batch: int | Literal["auto"]
    watch: Callable[[Batches], Batches] = unwatched

    @property
    def shape(self) -> Shape:
        """Height, width and channels, as seen by whoever takes the batches."""
        return self.seen_as

    def read(self, some: slice) -> Array:
        """Return some of the images that count; those in a row are not picked out."""
        if self.chosen is None:
            return super().read(some)
        wanted = self.chosen[some]
        if wanted[-1] - wanted[0] > len(wanted) - 1:
            return super().read(some)
        run = slice(int(wanted[0]), int(wanted[-1]) + 1)
        return replace(self._images(), chosen=None).read(run)

    def batch_size(self, values_per_image: int = 0) -> int:
        """Return how many images make a batch."""
        if self.n_per_batch != "auto":
            return self.n_per_batch
        # whoever takes the batches makes about as many values of them again
        ends = [(math.prod(self.shape), max(math.prod(self.shape), values_per_image))]
        for stage in self.stages:
            within = stage.stages if isinstance(stage, BothWays) else (stage,)
            ends += [(math.prod(s.shape), math.prod(s.output_shape)) for s in within]
        # input, output and what is between: padded, of one class, or in float64
        values = 3 * max(sum(pair) for pair in ends)
        itemsize = 8 if self.dtype == "float64" else 4
        size = transfer.batch_bytes(self.compute, STREAM_BYTES)
        size = min(size, working_memory() // 2)
        return max(1, size // (values * itemsize))

    def batches(
        self,
        values_per_image: int = 0,
        function: Callable[[Array], Array] | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield slices and what the last stage gives for their images."""
        yield from self.watch(super().batches(values_per_image, function))

    def _prepared(self, batch: Array) -> Array:
        """Return what the last stage gives for a batch."""
        batch = run(self.stages, batch)
        return self.compute.xp.reshape(batch, (batch.shape[0], *self.seen_as))

    def collect(self) -> Array:
        """Return what the last stage gives for all images that count, where X lies."""
        if len(self.stages) == 1 and self.n_per_batch == "auto":
            stage = self.stages[0]
            if isinstance(stage, Fusing):  # needs no batches, which are copied
                shape = stage.output_shape
                out = self._images().map(stage, shape, any_dtype=True)
                return self.backend.xp.reshape(out, (len(self), *self.seen_as))
        return self.map(lambda batch: batch, self.shape)

    def _images(self) -> Images:
        """Return the images themselves."""
        return Images(self.data, self.backend, self.compute, self.dtype, self.chosen)

    def fingerprint(self) -> str:
        """Hash the images that count and the stages, running none of them."""
        stages = [stage.fingerprint() for stage in self.stages]
        return joblib.hash((self._images().fingerprint(), stages))
