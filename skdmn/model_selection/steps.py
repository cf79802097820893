"""Settings of a search: which steps they have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import joblib
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skdmn.layers.base import ImageTransformer
from skdmn.layers.class_density import ClassDensityTransformer
from skdmn.network.network import DensityMatrixNetwork

T = TypeVar("T")

# a layer with another `fit` does not fit by `statistics` and `finish`
_KNOWN_FITS = (ImageTransformer.fit, ClassDensityTransformer.fit)


@dataclass(frozen=True)
class Step:
    """A step before the classifier: one of a Pipeline, or a layer of a network.

    Attributes
    ----------
    name : str
        Name of the step of the Pipeline.
    estimator : estimator
        Unfitted transformer or layer.
    network : DensityMatrixNetwork or None, default=None
        Network that the layer belongs to.
    is_last_of_network : bool, default=False
    """

    name: str
    estimator: Any
    network: DensityMatrixNetwork | None = None
    is_last_of_network: bool = False

    @cached_property
    def is_layer(self) -> bool:
        """True if the step is fitted by sums over images, or only from their shape."""
        kind = type(self.estimator)
        return (
            isinstance(self.estimator, ImageTransformer)
            and kind is not DensityMatrixNetwork
            and kind.fit in _KNOWN_FITS
        )

    @property
    def learns(self) -> bool:
        """True if the layer learns from images."""
        return type(self.estimator)._empty_sums is not ImageTransformer._empty_sums

    @property
    def may_learn(self) -> bool:
        """True if the output for an image may depend on other images."""
        return not self.is_layer or self.learns

    @property
    def adds_up(self) -> bool:
        """True if the statistics of all images are the sum of those of two parts."""
        try:
            self.estimator._check_uses_all_images("statistics")
        except ValueError:
            return False
        return not self.estimator._needs_first_look

    @property
    def only_reshapes(self) -> bool:
        """True if the layer returns rows and computes nothing."""
        return self.estimator._only_reshapes

    @property
    def is_mirrored(self) -> bool:
        """True if the output of the step's network is averaged over flips."""
        return self.network is not None and self.network.mirrored

    @cached_property
    def place(self) -> str:
        """Hash of what determines the place of the step among others."""
        settings = None
        if self.network is not None:
            settings = (self.network.mirrored, self.network.batch_size)
        return joblib.hash((self.name, settings, self.is_last_of_network))

    @cached_property
    def key(self) -> str:
        """Hash of the step with all its parameters."""
        return joblib.hash((self.place, parameters_of(self.estimator)))

    @cached_property
    def sums_key(self) -> str:
        """Hash of the step with the parameters that its statistics depend on."""
        if not self.is_layer:
            return self.key
        without = self.estimator._not_in_sums
        return joblib.hash((self.place, parameters_of(self.estimator, without)))


def parameters_of(estimator: Any, without: Iterable[str] = ()) -> tuple[Any, ...]:
    """Return the class of an estimator and its parameters, as a tuple to be hashed."""
    kind, left_out = type(estimator), set(without)
    parameters = estimator.get_params(deep=False)
    kept = [(name, parameters[name]) for name in sorted({*parameters} - left_out)]
    return kind.__module__, kind.__qualname__, kept


@dataclass(frozen=True)
class Setting:
    """One setting of a search, applied to the estimator.

    Attributes
    ----------
    index : int
        Index among all settings.
    parameters : dict
        The setting.
    pipeline : Pipeline
        Unfitted copy of the estimator with these parameters.
    steps : tuple of Step
        All but the last step.
    """

    index: int
    parameters: dict[str, Any]
    pipeline: Pipeline
    steps: tuple[Step, ...]

    @property
    def final(self) -> Any:
        """The last step, unfitted."""
        return self.pipeline.steps[-1][1]

    @cached_property
    def final_key(self) -> str:
        """Hash of the last step."""
        return joblib.hash(parameters_of(self.final))

    def segment(self, start: int) -> tuple[Step, ...]:
        """Return a layer and those behind it that learn nothing and can follow at once.

        A FlattenTransformer and the end of a network end the segment.
        """
        end = start + 1
        while (
            end < len(self.steps)
            and not self.steps[end - 1].only_reshapes
            and not self.steps[end - 1].is_last_of_network
            and self.steps[end].is_layer
            and self.steps[end].network is self.steps[start].network
            and not self.steps[end].learns
        ):
            end += 1
        return self.steps[start:end]


def settings_of(
    estimator: Any, parameters: Iterable[dict[str, Any]]
) -> list[Setting | None]:
    """Apply settings to an estimator.

    Parameters
    ----------
    estimator : estimator
        It is not changed.
    parameters : iterable of dict
        The settings.

    Returns
    -------
    list of Setting or None
        None for a setting that can share nothing with others: the estimator is no
        Pipeline, its parameters cannot be hashed, or the setting is not valid, in which
        case a fit tells what is wrong.
    """
    found: list[Setting | None] = []
    for index, setting in enumerate(parameters):
        try:
            found.append(_setting(estimator, index, setting))
        except Exception:
            found.append(None)
    return found


def _setting(estimator: Any, index: int, parameters: dict[str, Any]) -> Setting | None:
    """Apply one setting; see `settings_of`."""
    pipeline = clone(estimator).set_params(**clone(parameters, safe=False))
    if type(pipeline) is not Pipeline or not hasattr(pipeline.steps[-1][1], "fit"):
        return None
    pipeline._validate_steps()
    if get_config()["transform_output"] != "default" or any(
        hasattr(step, "_sklearn_output_config") for _, step in pipeline.steps
    ):
        return None  # steps pass data frames on
    setting = Setting(index, parameters, pipeline, tuple(_expanded(pipeline)))
    # hash all, which raises an error if something cannot be hashed
    _ = setting.final_key, [step.sums_key + step.key for step in setting.steps]
    return setting


def _expanded(pipeline: Pipeline) -> Iterable[Step]:
    """Yield all but the last step, and the layers of networks instead of these."""
    for name, step in pipeline.steps[:-1]:
        if step is None or step == "passthrough":
            continue
        if type(step) is not DensityMatrixNetwork:
            yield Step(name, step)
            continue
        step._check_params()
        if not _is_expandable(step):
            yield Step(name, step)
            continue
        network = clone(step)
        last = len(network.layers) - 1
        for number, (_, layer) in enumerate(network.layers):
            _take_settings(layer, network)
            yield Step(name, layer, network, number == last)


def _is_expandable(network: DensityMatrixNetwork) -> bool:
    """Return True if the layers of a network can be fitted one by one.

    The features of a mirrored network are computed from its input, which is at hand
    for its first segment only.
    """
    steps = [Step("", layer) for _, layer in network.layers]
    if not all(step.is_layer for step in steps):
        return False
    return not network.mirrored or not any(step.learns for step in steps[1:])


def _take_settings(layer: ImageTransformer, network: DensityMatrixNetwork) -> None:
    """Set the parameters that a network passes on to its layers."""
    if getattr(layer, "memory", "none to set") is None:
        layer.memory = network.memory
    if network.verbose and hasattr(layer, "verbose"):
        layer.verbose = network.verbose
    if network.mirrored and hasattr(layer, "mirrored"):
        layer.mirrored = True
    if layer.device == "auto":
        layer.device = network._device()


def grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Return groups of items with equal keys, in order of their first items."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
