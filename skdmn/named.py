"""Layers held by their names, as a Pipeline holds its steps."""

from __future__ import annotations

import copy
from typing import Any, Self

from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, Tags
from sklearn.utils.metaestimators import _BaseComposition

from skdmn.layers.base import ImageTransformer
from skdmn.layers.flatten import FlattenTransformer

Layers = list[tuple[str, Any]]

# what a network knows of its input, its first layer knows too
_INPUT = (
    "image_shape_",
    "n_features_in_",
    "feature_names_in_",
    "_input_ndim",
    "_lives",
)


class NamedLayers(_BaseComposition):
    """Base class of estimators that hold `layers`, and fitted copies in `layers_`."""

    layers: Layers
    layers_: Layers
    device: str

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return parameters, with `deep` those of the layers too.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
            The layers by their names, and their parameters as ``conv1__n_filters``.
        """
        return self._get_params("layers", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, replace layers, or set parameters of layers.

        Parameters
        ----------
        **params : dict
            Named as in `get_params`.

        Returns
        -------
        self
        """
        self._set_params("layers", **params)
        fitted = dict(getattr(self, "layers_", []))
        for name, value in params.items():
            layer, _, parameter = name.partition("__")
            if layer in fitted and parameter in fitted[layer].get_params():
                fitted[layer].set_params(**{parameter: value})
        return self

    @property
    def named_layers(self) -> Bunch:
        """The layers by name: the fitted ones, before `fit` those given."""
        return Bunch(**dict(getattr(self, "layers_", self.layers)))

    def __getitem__(self, which: str | int | slice) -> Any:
        """Return a layer by name or number, or a network of some of them."""
        if isinstance(which, slice):
            params = super().get_params(deep=False)
            del params["layers"]
            return self.from_pipeline(self._pipeline()[which], **params)
        layers = self.named_layers
        return layers[which] if isinstance(which, str) else [*layers.values()][which]

    def __len__(self) -> int:
        return len(self.layers)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are fitted layers."""
        return hasattr(self, "layers_")

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline, **params: Any) -> Self:
        """Make a network of the layers of a Pipeline.

        Parameters
        ----------
        pipeline : Pipeline
            Of layers of this package alone: leave others behind them out by slicing,
            ``from_pipeline(dmn[:-1])``.
        **params : dict
            The network's other parameters.

        Returns
        -------
        DensityMatrixNetwork
            Fitted where all layers are, of the arrays that they learned; the
            Pipeline's layers stay its own.

        Raises
        ------
        ValueError
            Where a step is no layer.
        """
        network = cls(
            [(name, clone(step, safe=False)) for name, step in pipeline.steps]
        )
        network.set_params(**params)._check_layers()
        if all(hasattr(step, "image_shape_") for _, step in pipeline.steps):
            network.layers_ = _copies(pipeline.steps)
            copy_input(network.layers_[0][1], network)
        return network

    def to_pipeline(self) -> Pipeline:
        """Return a Pipeline of the layers, fitted where the network is.

        It gives images where the last layer is no FlattenTransformer.

        Returns
        -------
        Pipeline

        Raises
        ------
        ValueError
            Where the network is `mirrored`, which no Pipeline is.
        """
        if self.mirrored:
            raise ValueError(
                "mirrored=True: no Pipeline of the layers gives what the network does; "
                "set mirrored=False, or put the network itself into a Pipeline."
            )
        return self._pipeline()

    def _pipeline(self) -> Pipeline:
        if self.__sklearn_is_fitted__():
            return Pipeline(_copies(self.layers_))
        return Pipeline([(name, clone(layer)) for name, layer in self.layers])

    def _check_layers(self) -> None:
        for pair in self.layers:
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise ValueError(f"layers has {pair!r}; pass a list of (name, layer).")
        if not self.layers:
            raise ValueError("layers is empty; pass a list of (name, layer).")
        names, layers = zip(*self.layers, strict=True)
        self._validate_names(names)
        for name, layer in self.layers:
            if not isinstance(layer, ImageTransformer) or isinstance(
                layer, NamedLayers
            ):
                raise ValueError(
                    f"{name!r} is {layer!r}, but a network holds layers of skdmn only; "
                    "put other steps behind it in a Pipeline, and leave them out of "
                    "from_pipeline with pipeline[:-1]."
                )
        for name, layer in self.layers[:-1]:
            if isinstance(layer, FlattenTransformer):
                raise ValueError(
                    f"{name!r} is a FlattenTransformer in front of other layers; put "
                    "it last, or leave it out, since a network gives rows anyway."
                )
        if self.mirrored and all(isinstance(x, FlattenTransformer) for x in layers):
            raise ValueError(
                "mirrored=True, but there is no layer but a FlattenTransformer; put "
                "one in front that computes features."
            )
        asked = {self.device, *(layer.device for layer in layers)} - {"auto"}
        if len(asked) > 1:
            raise ValueError(
                "device='cpu' and device='cuda' are both asked for by the network and "
                "its layers; set it in one place, and leave the others 'auto'."
            )

    def __sklearn_tags__(self) -> Tags:
        """Declare that labels are required, where a layer requires them."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = any(
            layer.__sklearn_tags__().target_tags.required for _, layer in self.layers
        )
        return tags


def _copies(layers: Layers) -> Layers:
    """Copy layers, sharing the arrays that they learned."""
    return [(name, copy.copy(layer)) for name, layer in layers]


def copy_input(source: ImageTransformer, target: ImageTransformer) -> None:
    """Let one estimator know the input that another was fitted on."""
    for name in _INPUT:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))
