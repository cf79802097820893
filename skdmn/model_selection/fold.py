"""Evaluation of all settings of a search on one fold.

The steps of the settings form a tree: settings that agree on their first steps share
these. Settings that differ in cutoffs or numbers of filters share the statistics of a
layer and the features of the union of their filters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.metrics._scorer import _BaseScorer, _MultimetricScorer, _PassthroughScorer
from sklearn.model_selection._validation import _fit_and_score, _score
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples

from skdmn.data.images import rows
from skdmn.layers.base import ImageTransformer
from skdmn.model_selection.steps import Setting, Step, grouped
from skdmn.model_selection.unions import kind_of, parts, union_of
from skdmn.model_selection.warm_starts import WarmStarts, takes_warm_start
from skdmn.network.stream import Stream
from skdmn.operations.records import AverageFlips, Flatten, Operation
from skdmn.utils.array_api import take, working_memory
from skdmn.utils.validation import warn_user

Result = dict[str, Any]
Fitted = tuple[tuple[Step, Any], ...]


@dataclass(frozen=True)
class Evaluation:
    """How to evaluate the settings of a search on one fold.

    Attributes
    ----------
    estimator : estimator
        Unfitted estimator of the search.
    X, y : array-like
        All data.
    train, test : ndarrays of int
        Indices of the fold.
    scorer : callable
        scikit-learn's scorer, or a function of the user.
    fit_params, score_params : dict
        Metadata for `fit` and for the scorer, for all data.
    return_train_score : bool
    error_score : float or "raise"
    verbose : int
    caller : BaseSearchCV
        The search, which callbacks are told.
    number, n_folds : int
        Number of the fold, from 0, and the number of folds.
    sums : dict or None, default=None
        Statistics of layers from earlier evaluations of the fold on fewer images, which
        this one uses and replaces: by the layer, indices of the images, and their
        statistics. None keeps no statistics.
    """

    estimator: Any
    X: Any
    y: Any
    train: np.ndarray
    test: np.ndarray
    scorer: Any
    fit_params: dict[str, Any]
    score_params: dict[str, Any]
    return_train_score: bool
    error_score: Any
    verbose: int
    caller: Any
    number: int
    n_folds: int
    sums: dict[str, tuple[np.ndarray, Any]] | None = None


@dataclass(frozen=True)
class Pair:
    """The same values for the training and the test images of a fold."""

    train: Any
    test: Any

    def map(self, function: Callable[[Any], Any]) -> Pair:
        """Return the function's values."""
        return Pair(function(self.train), function(self.test))


@dataclass(frozen=True)
class Variant:
    """Settings that agree on all layers of a segment, with the fitted layers.

    Attributes
    ----------
    settings : list of Setting
    steps : tuple of Step
    layers : list of ImageTransformer
        Fitted layers.
    """

    settings: list[Setting]
    steps: tuple[Step, ...]
    layers: list[ImageTransformer]

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What the layers compute, without a Flatten at the end."""
        found = [one for layer in self.layers for one in layer._operations()]
        return tuple(one for one in found if not isinstance(one, Flatten))

    @property
    def gives_rows(self) -> bool:
        """True if the next step gets rows instead of images."""
        return self.steps[-1].only_reshapes or self.steps[-1].is_last_of_network


def evaluate(
    evaluation: Evaluation,
    parameters: Sequence[dict[str, Any]],
    settings: Sequence[Setting | None],
    contexts: Sequence[Any],
) -> tuple[list[Result], dict[str, Any] | None]:
    """Evaluate settings on one fold.

    Parameters
    ----------
    evaluation : Evaluation
    parameters : sequence of dict
        The settings.
    settings : sequence of Setting or None
        Result of `settings_of` for these parameters.
    contexts : sequence of CallbackContext
        scikit-learn's callback context of each setting.

    Returns
    -------
    results : list of dict
        For each setting, the results that scikit-learn collects, and ``n_features``,
        the number of features that the last step gets.
    sums : dict or None
        Those of the evaluation, which may be in another process.
    """
    return _Fold(evaluation, parameters, contexts).run(settings), evaluation.sums


@dataclass
class _Fold:
    """Evaluation of settings on one fold."""

    how: Evaluation
    parameters: Sequence[dict[str, Any]]
    contexts: Sequence[Any]
    results: dict[int, Result] = field(default_factory=dict)
    _seconds: dict[tuple[int, str], float] = field(default_factory=dict)
    _final_metadata: dict[str, Any] = field(default_factory=dict)
    _is_raising: bool = False

    def __post_init__(self) -> None:
        how = self.how
        X, y = _safe_split(how.estimator, how.X, how.y, how.train)
        X_test, y_test = _safe_split(how.estimator, how.X, how.y, how.test, how.train)
        self.X, self.y = Pair(X, X_test), Pair(y, y_test)
        self.score_params = Pair(
            _check_method_params(how.X, how.score_params, how.train),
            _check_method_params(how.X, how.score_params, how.test),
        )

    def run(self, settings: Sequence[Setting | None]) -> list[Result]:
        """Evaluate all settings; return their results in order."""
        metadata = self._final_params()
        shared = [] if metadata is None else [one for one in settings if one]
        for number in {*range(len(settings))} - {one.index for one in shared}:
            self._evaluate_alone(number)
        if shared:
            self._final_metadata = metadata or {}
            self._continue(shared, 0, self.X, ())
        return [self.results[number] for number in range(len(settings))]

    def _final_params(self) -> dict[str, Any] | None:
        """Return the metadata for the last step; None if other steps get some."""
        given = self.how.fit_params
        pipeline = self.how.estimator
        if not given:
            return {}
        if type(pipeline) is not Pipeline:
            return None
        try:
            routed = pipeline._check_method_params(method="fit", props=given)
        except Exception:  # scikit-learn's fit tells what is wrong
            return None
        name = pipeline.steps[-1][0]
        for step, of_step in routed.items():
            if step != name and any(of_step.values()):
                return None
        indexed = _check_method_params(
            self.how.X, routed[name].get("fit", {}), self.how.train
        )
        return dict(indexed)

    # settings that share nothing

    def _evaluate_alone(self, number: int) -> None:
        """Evaluate a setting as scikit-learn does, with a fit of its own."""
        how = self.how
        self._is_raising = True
        result = _fit_and_score(
            clone(how.estimator),
            how.X,
            how.y,
            scorer=how.scorer,
            train=how.train,
            test=how.test,
            verbose=0,
            parameters=self.parameters[number],
            fit_params=how.fit_params,
            score_params=how.score_params,
            return_train_score=how.return_train_score,
            return_n_test_samples=True,
            return_times=True,
            return_estimator=True,
            error_score=how.error_score,
            caller=how.caller,
            callback_ctx=self.contexts[number],
        )
        self._is_raising = False
        fitted = result.pop("estimator")
        final = fitted.steps[-1][1] if isinstance(fitted, Pipeline) else fitted
        result["n_features"] = getattr(final, "n_features_in_", np.nan)
        self._finish(number, result, is_shared=False)

    @contextmanager
    def _or_alone(self, settings: Sequence[Setting]) -> Iterator[None]:
        """Evaluate settings one by one if what they share fails.

        Which of them are at fault, and what is wrong, is then known.
        """
        try:
            yield
        except Exception as error:
            if self._is_raising:  # error_score="raise"
                raise
            left = [one.index for one in settings if one.index not in self.results]
            for number in left:
                self._evaluate_alone(number)
            fit_errors = [self.results[number]["fit_error"] for number in left]
            if left and not any(fit_errors):
                warn_user(
                    f"{len(left)} settings were fitted one by one, because what they "
                    f"share could not be computed ({type(error).__name__}: {error})."
                )

    # the tree of steps

    def _descend(
        self, settings: Sequence[Setting], depth: int, data: Pair, fitted: Fitted
    ) -> None:
        """Evaluate settings that agree on their first steps, given the output of these.

        Parameters
        ----------
        settings : sequence of Setting
        depth : int
            Number of steps that are done.
        data : Pair
            Output of these steps for training and test images.
        fitted : tuple of (Step, fitted estimator)
            These steps.
        """
        for members in grouped(settings, lambda one: one.steps[depth].sums_key):
            fit = self._fit_transformer
            if members[0].steps[depth].is_layer:
                fit = self._fit_layers
            with self._or_alone(members):
                fit(members, depth, data, fitted)

    def _fit_transformer(
        self, settings: Sequence[Setting], depth: int, data: Pair, fitted: Fitted
    ) -> None:
        """Fit a step that is the same for all settings, and go on behind it."""
        step = settings[0].steps[depth]
        transformer = clone(step.estimator)
        with self._timed(settings, "fit"):
            if hasattr(transformer, "fit_transform"):
                train = transformer.fit_transform(data.train, self.y.train)
            else:
                transformer.fit(data.train, self.y.train)
                train = transformer.transform(data.train)
        with self._timed(settings, "score"):
            test = transformer.transform(data.test)
        done = (*fitted, (step, transformer))
        self._continue(settings, depth + 1, Pair(train, test), done)

    def _fit_layers(
        self, settings: Sequence[Setting], depth: int, data: Pair, fitted: Fitted
    ) -> None:
        """Fit a layer whose statistics are the same for all settings, and go on."""
        first = settings[0].steps[depth]
        with self._timed(settings, "fit"):
            image = _safe_indexing(data.train, slice(0, 1))
            statistics = None
            if first.learns:
                statistics = self._statistics(first, data.train, fitted)
            finished: dict[str, ImageTransformer] = {}
            variants = []

            def segment(setting: Setting) -> tuple[str, ...]:
                return tuple(step.key for step in setting.segment(depth))

            for members in grouped(settings, segment):
                steps = members[0].segment(depth)
                key = steps[0].key
                if key not in finished:
                    layer = clone(steps[0].estimator)
                    learned = statistics is not None
                    finished[key] = (
                        layer.finish(statistics) if learned else layer.fit(image)
                    )
                layers, shown = [finished[key]], image
                if layers[0]._gives_rows():  # signals, whose shape is not kept
                    steps = steps[:1]
                for step in steps[1:]:
                    shown = layers[-1].transform(shown)
                    layers.append(clone(step.estimator).fit(shown))
                variants.append(Variant(members, steps, layers))

        def kind(variant: Variant) -> tuple[Any, ...]:
            if variant.layers[0]._gives_rows():
                return (id(variant),)
            return kind_of(variant.operations), variant.gives_rows

        for alike in grouped(variants, kind):
            self._transform(alike, depth, data, fitted)

    def _statistics(self, step: Step, images: Any, fitted: Fitted) -> Any:
        """Return the statistics of a layer for the training images.

        Those of an earlier evaluation are used if its images come first in this one:
        only the statistics of the others are computed, and added.
        """
        layer, y, sums = step.estimator, self.y.train, self.how.sums
        before = [one for one, _ in fitted]
        if sums is None or not step.adds_up or any(one.may_learn for one in before):
            return layer.statistics(images, y)
        key = joblib.hash(([one.key for one in before], step.sums_key))
        train, (known, found) = self.how.train, sums.get(key, (np.array([]), None))
        n = len(known)
        if found is None or not np.array_equal(train[:n], known):
            found = layer.statistics(images, y)
        elif n < len(train):
            new = slice(n, None)
            labels = None if y is None else _safe_indexing(y, new)
            found = found + layer.statistics(_safe_indexing(images, new), labels)
        sums[key] = train, found
        return found

    def _transform(
        self, variants: list[Variant], depth: int, data: Pair, fitted: Fitted
    ) -> None:
        """Compute the output of layers that differ in their filters, and go on."""
        layer = variants[0].layers[0]
        if layer._gives_rows():
            (variant,) = variants
            with self._timed(variant.settings, "fit"):
                train = layer.transform(data.train)
            with self._timed(variant.settings, "score"):
                test = layer.transform(data.test)
            done = (*fitted, (variant.steps[0], layer))
            self._continue(variant.settings, depth + 1, Pair(train, test), done)
            return
        itemsize = 8 if str(getattr(data.train, "dtype", "")).endswith("64") else 4
        n_images = _num_samples(data.train) + _num_samples(data.test)
        # Half is for unions, half for the features of one setting. Layers that learn
        # share both: the output of one is held while the settings of the next are run.
        steps = variants[0].settings[0].steps
        n_layers = max(sum(step.is_layer and step.learns for step in steps), 1)
        most = working_memory() // 2 // n_layers // (itemsize * n_images)
        every = [variant.operations for variant in variants]
        for part in parts(every, layer.image_shape_, most):
            some = [variants[number] for number in part]
            members = [one for variant in some for one in variant.settings]
            with self._or_alone(members):
                self._transform_part(some, members, depth, data, fitted)

    def _transform_part(
        self,
        variants: list[Variant],
        members: list[Setting],
        depth: int,
        data: Pair,
        fitted: Fitted,
    ) -> None:
        """Compute the output of the union of filters, and go on with its selections."""
        union = union_of([variant.operations for variant in variants])
        first = variants[0]
        with self._timed(members, "fit"):
            train = _computed(first, union.operations, data.train)
        with self._timed(members, "score"):
            test = _computed(first, union.operations, data.test)
        maps, starts = Pair(train, test), WarmStarts()
        n_channels = train.shape[3]
        chosen = [
            np.arange(n_channels) if selection is None else selection
            for selection in union.selections
        ]

        def channels_of(number: int) -> tuple[Any, ...]:
            """Return a key that is equal for settings that get the same features."""
            if not _needs_features_only(self.how.scorer):
                return (number,)  # each setting needs its own fitted layers
            return chosen[number].tobytes(), len(variants[number].steps)

        for numbers in grouped(range(len(variants)), channels_of):
            variant, channels = variants[numbers[0]], chosen[numbers[0]]
            every = [one for number in numbers for one in variants[number].settings]
            with self._timed(every, "fit"):
                data = maps.map(partial(_selected, channels=channels, variant=variant))
            done = (*fitted, *zip(variant.steps, variant.layers, strict=True))
            self._go_on(every, depth + len(variant.steps), channels, data, done, starts)
            starts.release()
            del data  # before the features of the next setting are selected

    def _continue(
        self, settings: Sequence[Setting], depth: int, data: Pair, fitted: Fitted
    ) -> None:
        """Evaluate settings whose features are no channels of a union."""
        columns = np.arange(np.shape(data.train)[-1])
        self._go_on(settings, depth, columns, data, fitted, WarmStarts())

    def _go_on(
        self,
        settings: Sequence[Setting],
        depth: int,
        channels: np.ndarray,
        data: Pair,
        fitted: Fitted,
        starts: WarmStarts,
    ) -> None:
        """Evaluate settings that get the same features, which are channels of a union.

        Starts for classifiers are those of other settings with channels of the union.
        """
        last = [one for one in settings if len(one.steps) == depth]
        others = [one for one in settings if len(one.steps) > depth]
        if last:
            with self._or_alone(last):
                self._fit_finals(last, channels, data, fitted, starts)
        if others:
            with self._or_alone(others):
                self._descend(others, depth, data, fitted)

    # the last step

    def _fit_finals(
        self,
        settings: Sequence[Setting],
        channels: np.ndarray,
        data: Pair,
        fitted: Fitted,
        starts: WarmStarts,
    ) -> None:
        """Fit the last step of settings that agree on all others, and score it."""

        def strength(setting: Setting) -> float:
            C = getattr(setting.final, "C", 0.0)
            return C if isinstance(C, int | float) else 0.0

        for alike in grouped(sorted(settings, key=strength), lambda s: s.final_key):
            with self._or_alone(alike):
                self._fit_final(alike, channels, data, fitted, starts)

    def _fit_final(
        self,
        settings: Sequence[Setting],
        channels: np.ndarray,
        data: Pair,
        fitted: Fitted,
        starts: WarmStarts,
    ) -> None:
        """Fit the last step of settings that agree on all parameters, and score it."""
        final, y, params = settings[0].final, self.y.train, self._final_metadata
        with self._timed(settings, "fit"):
            if takes_warm_start(final, data.train, y):
                final = starts.fit(final, channels, data.train, y, **params)
            elif y is None:
                final = clone(final).fit(data.train, **params)
            else:
                final = clone(final).fit(data.train, y, **params)
        result: Result = {"fit_error": None}
        result["n_features"] = getattr(final, "n_features_in_", np.nan)
        result["n_test_samples"] = _num_samples(self.X.test)
        if _needs_features_only(self.how.scorer):
            with self._timed(settings, "score"):
                result["test_scores"] = self._score(final, data.test, "test")
            if self.how.return_train_score:
                result["train_scores"] = self._score(final, data.train, "train")
            for one in settings:
                self._finish(one.index, dict(result))
            return
        for one in settings:
            whole = _assembled(one, fitted, final)
            with self._timed([one], "score"):
                result["test_scores"] = self._score(whole, self.X.test, "test")
            if self.how.return_train_score:
                result["train_scores"] = self._score(whole, self.X.train, "train")
            self._finish(one.index, dict(result))

    def _score(self, estimator: Any, X: Any, part: str) -> Any:
        """Return the scores of an estimator on the training or the test images."""
        y, params = getattr(self.y, part), getattr(self.score_params, part)
        how = self.how
        return _score(estimator, X, y, how.scorer, params, how.error_score)

    # times and callbacks

    @contextmanager
    def _timed(self, settings: Sequence[Setting], kind: str) -> Iterator[None]:
        """Measure time, and divide it among the settings that share the work."""
        started = time.perf_counter()
        yield
        share = (time.perf_counter() - started) / len(settings)
        for one in settings:
            key = (one.index, kind)
            self._seconds[key] = self._seconds.get(key, 0.0) + share

    def _tell_callbacks(self, number: int) -> None:
        """Report a setting as done; most of its work was done for others as well."""
        context = self.contexts[number]
        told = {"estimator": self.how.caller, "X": self.X.train, "y": self.y.train}
        context.call_on_fit_task_begin(**told)
        context.call_on_fit_task_end(**told)

    def _finish(self, number: int, result: Result, is_shared: bool = True) -> None:
        """Keep the result of a setting, with its times."""
        for kind in ("fit", "score"):
            shared = self._seconds.get((number, kind), 0.0)
            result[f"{kind}_time"] = result.get(f"{kind}_time", 0.0) + shared
        self.results[number] = result
        if is_shared:  # scikit-learn reports those that it fits
            self._tell_callbacks(number)
        if self.how.verbose > 1:
            self._print(number, result)

    def _print(self, number: int, result: Result) -> None:
        parameters = self.parameters[number]
        shown = ", ".join(f"{name}={parameters[name]}" for name in sorted(parameters))
        scores = result["test_scores"]
        scores = scores if isinstance(scores, dict) else {"score": scores}
        told = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        seconds = result["fit_time"] + result["score_time"]
        how = self.how
        print(
            f"[{type(how.caller).__name__}] fold {how.number + 1} of {how.n_folds}, "
            f"{len(self.results)} of {len(self.parameters)} settings: {shown}: {told}, "
            f"{seconds:.2f} s",
            flush=True,
        )


def _computed(variant: Variant, operations: Sequence[Operation], data: Any) -> Any:
    """Return the output of operations, as images.

    The first layer of a variant checks the data.
    """
    images = variant.layers[0]._check_images(data, reset=False)
    shape = images.shape
    for operation in operations:
        shape = operation.output_shape(shape)
    network = variant.steps[0].network
    batch_size = "auto" if network is None else network.batch_size
    if variant.steps[0].is_mirrored:
        operations = [AverageFlips(tuple(operations))]
    return Stream.through(images, operations, shape, batch_size).collect()


def _selected(images: Any, channels: np.ndarray, variant: Variant) -> Any:
    """Return some of the channels, as the step behind a variant gets them."""
    if not np.array_equal(channels, np.arange(images.shape[3])):
        images = take(images, channels, axis=3)
    return rows(images) if variant.gives_rows else images


def _needs_features_only(scorer: Any) -> bool:
    """Return True if a scorer calls methods of the estimator with X, and no more.

    Then the last step and its features give the same score as the Pipeline and X.
    """
    if isinstance(scorer, _MultimetricScorer):
        return all(map(_needs_features_only, scorer._scorers.values()))
    return isinstance(scorer, _BaseScorer | _PassthroughScorer)


def _assembled(setting: Setting, fitted: Fitted, final: Any) -> Pipeline:
    """Return a fitted Pipeline of a setting."""
    pipeline = clone(setting.pipeline)
    steps = []
    for name, step in pipeline.steps[:-1]:
        own = [(one, estimator) for one, estimator in fitted if one.name == name]
        if not own:  # "passthrough"
            steps.append((name, step))
        elif own[0][0].network is None:
            steps.append((name, own[0][1]))
        else:
            names = [layer_name for layer_name, _ in step.layers]
            layers = [estimator for _, estimator in own]
            step.layers_ = list(zip(names, layers, strict=True))
            step._take_input(layers[0])
            if not hasattr(step, "_lives"):
                step._lives = None
            steps.append((name, step))
    return Pipeline([*steps, (pipeline.steps[-1][0], final)])
