"""Saved models that were changed: refused in a sentence, or used with right results.

Every array, number, text and container in the state of every estimator is changed, one
at a time. The model is then loaded and used. It must be refused by an error that names
an attribute, or give what the reference computes from its attributes. The tests that
are not marked slow try a sample. To try all of them, without pytest::

    PYTHONPATH=tests python tests/reliability/test_tampered_models.py [name ...]
"""

import contextlib
import copy
import dataclasses
import functools
import math
import pickle
import random
import re
import sys
import time
import warnings
from collections import Counter
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pytest
import skops.io
from estimators import ESTIMATORS
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    ImageReader,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
    ZCAWhitening,
)
from skdmn.datasets import load_digits_images
from skdmn.kernels import dispatch
from skdmn.operations.fusion import simplified
from skdmn.utils.persistence import TRUSTED_TYPES, PortableMixin
from skdmn.utils.state import declared

GIB = 2**30
DROP = object()  # instead of a value: leave it out
EXCEPTIONS = {
    ("power", "1e-300"),  # makes 1 of rounding errors
    ("cv", "row"),  # scikit-learn's message, as of all its searches
}
SECONDS = 60  # much longer than any use takes, kernels compiled


@functools.cache
def digits():
    X, y = load_digits_images()
    return X[y < 3][:12], np.array(["a", "b", "c"])[y[y < 3][:12]]


def seen_by(model):
    X, y = digits()
    return (X.reshape(len(X), -1)[:, 2:6] if isinstance(model, ZCAWhitening) else X), y


@functools.cache
def fitted(name):
    model = clone(ESTIMATORS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*seen_by(model))


# the parts of a state


def parts_of(value):
    """Return the parts of a value by key; none for arrays, numbers and text."""
    if isinstance(value, PortableMixin):
        return value.__getstate__()
    if dataclasses.is_dataclass(value):
        return vars(value)
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, (list, tuple)) else {}


def paths(value, path=()):
    """Yield the keys that lead to every part of a value."""
    parts = parts_of(value)
    ends = {0, len(parts) - 1} if isinstance(value, (list, tuple)) else parts
    for key in [key for key in parts if key in ends]:
        part = parts[key]
        yield (*path, key), part
        yield from paths(part, (*path, key))


def with_part(value, path, new):
    """Return a copy of a value, loaded again, in which a part is another."""
    if not path:
        return new
    key, *rest = path
    parts = dict(parts_of(value))
    parts[key] = with_part(parts[key], rest, new)
    if parts[key] is DROP:
        del parts[key]
    if isinstance(value, (list, tuple)):
        return type(value)(parts.values())
    if isinstance(value, dict):
        return parts
    changed = type(value).__new__(type(value))
    if isinstance(value, PortableMixin):
        changed.__setstate__(parts)  # as pickle and skops do
    else:
        changed.__dict__.update(parts)
    return changed


# changes


def changes_of(value):
    """Yield names and values to put in the place of a value."""
    yield "dropped", DROP
    others = {"none": None, "text": "x", "zero": 0, "dict": {}, "row": np.ones(3)}
    yield from others.items()
    if isinstance(value, np.ndarray):
        yield from changes_of_array(value)
    elif isinstance(value, bool):
        yield "flipped", not value
    elif isinstance(value, Integral):
        for new in (-value - 1, value + 1, 2**31, 10**12, 10**30, 10**400):
            yield f"int of {new.bit_length()} bits", new
        yield "float", float(value) + 0.5
        yield "true", True
    elif isinstance(value, Real):
        for new in (-value - 1.0, 2 * value + 1, 1e-300, 1e300, np.inf, np.nan):
            yield f"{new}", new
        yield "array", np.array(value)
    elif isinstance(value, (list, tuple)):
        yield from changes_of_sequence(value)
    elif isinstance(value, dict):
        yield "with another", {**value, "more": np.ones(3)}
        yield "pairs", list(value.items())
    elif value is None:
        yield "pair", (10**9, -1)
        yield "array", np.ones((2, 2))


def changes_of_array(array):
    yield "first row", array[:1]
    yield "without first", array[1:]
    yield "without last", array[:-1]
    yield "twice", np.concatenate([array, array])
    yield "last twice", np.concatenate([array, array[-1:]])
    yield "empty", array[:0]
    yield "one axis more", array[np.newaxis]
    yield "axis at the end", array[..., np.newaxis]
    yield "flat", array.ravel()
    yield "backwards", array[::-1]
    yield "scalar", array[(0,) * array.ndim]
    yield "no axes", np.array(array[(0,) * array.ndim])
    yield "masked", np.ma.masked_array(array)
    yield "list", array.tolist()
    yield "objects", array.astype(object)
    yield "texts", array.astype(str)
    if array.ndim > 1:
        yield "turned", array.T
        yield "last axis longer", np.concatenate([array, array[..., :1]], axis=-1)
        yield "last axis shorter", array[..., :-1]
        yield "second axis longer", np.concatenate([array, array[:, :1]], axis=1)
        yield "second axis shorter", array[:, 1:]
        yield "one axis less", array[0]
    if array.dtype.kind in "biuf":
        for dtype in ("f2", "f4", "f8", "i8", "u1", "?", "c16", ">f4", ">f8", ">i8"):
            with np.errstate(over="ignore"):
                changed = array.astype(dtype)
            yield f"as {dtype}", changed
        yield "zeros", np.zeros_like(array)
    if array.dtype.kind in "if":
        yield "negative", -array
        yield "one negative", with_first(array, -abs(array.flat[0]) - 1)
        yield "huge", array * array.dtype.type(10**9)
        limits = np.finfo if array.dtype.kind == "f" else np.iinfo
        yield "one huge", with_first(array, limits(array.dtype).max)
    if array.dtype.kind == "f":
        yield "far", array * array.dtype.type(1e30)
        yield "tiny", array * array.dtype.type(1e-30)
        for value in (np.nan, np.inf, -np.inf):
            yield f"one {value}", with_first(array, value)
    if array.dtype.kind == "b":
        yield "inverted", ~array


def with_first(array, value):
    changed = array.copy()
    changed.flat[0] = value
    return changed


def changes_of_sequence(value):
    kind = type(value)
    yield "nothing", kind()
    yield "as list or tuple", (list if kind is tuple else tuple)(value)
    if not value:
        return
    yield "shorter", value[:-1]
    yield "longer", value + value[-1:]
    yield "twice", value + value
    yield "backwards", value[::-1]
    yield "same", kind([value[0]] * len(value))
    if all(isinstance(item, Integral) for item in value):
        for new in (-3000, 0, 1, 10**5, 2**31, 10**30):
            yield f"of {new}", kind([new] * len(value))
            yield f"last {new}", value[:-1] + kind([new])
        yield "floats", kind(map(float, value))
        yield "texts", kind(map(str, value))
        yield "array", np.array(value)


@functools.cache
def cases(name):
    """Return (path, name of the change, new value) for all changes of a model."""
    return [
        (path, change, new)
        for path, part in paths(fitted(name))
        for change, new in changes_of(part)
        if (path[-1], change) not in EXCEPTIONS
    ]


# uses


def use(model, original):
    """Use a model in all ways, and compare the results with references."""
    X, y = seen_by(original)
    check_results(model, X)
    if len(X.shape) > 2:
        check_results(model, X / 16.0)
    simplified(model.operations(), fold=True) if hasattr(model, "operations") else None
    if hasattr(model, "get_support"):
        assert len(model.get_support()) == model.image_shape_[2]
    if hasattr(model, "density_matrices_"):
        assert np.isfinite(model.density_matrices_).all()
    if hasattr(model, "compact"):
        check_results(model.compact(), X)
    if hasattr(model, "inverse_transform"):
        back = model.inverse_transform(model.transform(X))
        assert (len(back), back.size) == (len(X), X.size)  # 3-D or 4-D
    if hasattr(model, "merge"):
        check_results(copy.deepcopy(model).merge(original), X)
        check_results(copy.deepcopy(original).merge(model), X)
    if hasattr(model, "partial_fit"):
        check_results(copy.deepcopy(model).partial_fit(X, y), X)
    if isinstance(model, SoftmaxClassifier):
        again = copy.deepcopy(model)
        again.warm_start = True
        check_results(again.fit(X, y), X)
    pickle.loads(pickle.dumps(model))


def check_results(model, X):
    if is_classifier(model):
        check_predictions(model, X)
        return
    if isinstance(model, ImageReader):
        assert_array_equal(model.transform(X), X)
        assert model.describe()["steps"]
        return
    found = model.transform(X)
    names = model.get_feature_names_out()
    if isinstance(model, ZCAWhitening):
        expected = ((X - model.mean_) @ model.components_).astype(found.dtype)
    else:
        shape = model.output_shape_
        rows = model._gives_rows()
        assert found.shape == (len(X), *((math.prod(shape),) if rows else shape))
        with without_kernels():
            expected = model.transform(X)
    assert len(names) == math.prod(found.shape[1:])
    assert found.dtype in (np.float32, np.float64)
    largest = max(1.0, np.abs(expected[np.isfinite(expected)]).max(initial=0))
    if largest < 1e15:  # else sums overflow, which depends on their order
        assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * largest)


def check_predictions(model, X):
    rows = X.reshape(len(X), -1).astype(np.float64)
    scores = (rows - model.mean_) @ model.coef_.T + (
        model.intercept_ + model.coef_ @ model.mean_
    )
    if not np.isfinite(scores.astype(np.float32)).all():
        return  # of X in float32
    if scores.shape[1] == 1:
        scores = np.hstack([0 * scores, scores])
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    found = model.predict_proba(X)
    largest = max(1.0, np.abs(model.coef_).max() * np.abs(rows - model.mean_).max())
    if largest < 1e5:  # else differences of scores are rounding errors
        assert_allclose(found, p, rtol=1e-3, atol=1e-4)
    assert found.shape == (len(X), len(model.classes_))
    assert np.isin(model.predict(X), model.classes_).all()


@contextlib.contextmanager
def without_kernels():
    numba_module = dispatch.numba_module
    dispatch.numba_module = lambda name: None
    try:
        yield
    finally:
        dispatch.numba_module = numba_module


# one case


def outcome(name, path, change, new):
    """Load and use a changed model; return what happened, or raise AssertionError."""
    original, case = fitted(name), f"{name}: {path} {change}"
    start, stage = time.perf_counter(), "loaded"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model = with_part(original, path, new)
            stage = "used"
            use(model, original)
            found = "right"
        except (ValueError, TypeError) as error:
            check_message(error, stage, path, case)
            found = f"refused when {stage}"
        except Exception as error:
            raise AssertionError(f"{case}: {type(error).__name__} {error}") from error
    assert time.perf_counter() - start < SECONDS, case
    return found


def check_message(error, stage, path, case):
    """Check that an error is a sentence, and names an attribute."""
    message = str(error)
    said = f"{case}: {type(error).__name__} when {stage}: {message}"
    is_of_sklearn = isinstance(error, InvalidParameterError)
    is_of_sklearn = is_of_sklearn or message.startswith("Names provided are not unique")
    assert is_of_sklearn or re.search(r"^[^\n]*[.)]$", message), said
    keys = [key for key in path if isinstance(key, str)]
    names = r"[a-z]_\b|\b_[a-z]+|saved by|parameter|layers? |Names|cannot run"
    is_named = re.search(names, message)
    is_named = is_named or any(key in message for key in keys)
    assert is_named or (stage == "used" and len(message) > 40), said


@contextlib.contextmanager
def no_large_allocation():
    """Let allocations fail that a small model does not need, if the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + GIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def sample(name, n):
    """Return cases that are drawn alike from all kinds of changes."""
    return random.Random(name).sample(cases(name), n)


# tests


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_unchanged_model_is_right(name):
    use(pickle.loads(pickle.dumps(fitted(name))), fitted(name))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_fitted_attribute_is_declared(name):
    model = fitted(name)
    learned = {key for key in vars(model) if key.endswith("_") or key == "_sums"}
    assert learned <= declared(type(model)).keys()
    sums = getattr(model, "_sums", None)
    if sums is not None:
        assert vars(sums).keys() == declared(type(sums)).keys()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_changed_model_is_refused_or_right(name):
    with no_large_allocation():
        found = Counter(outcome(name, *case) for case in sample(name, 40))
    assert found["refused when loaded"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_all_changed_models_are_refused_or_right(name):
    with no_large_allocation():
        found = Counter(outcome(name, *case) for case in cases(name))
    assert found["refused when loaded"] > 100


def loads(data):
    return skops.io.loads(data, trusted=TRUSTED_TYPES)


@pytest.mark.parametrize("save", [skops.io.dumps, pickle.dumps])
def test_models_that_crashed_are_refused_by_name(save):
    """They read and wrote out of bounds, or computed minus infinity."""
    load = loads if save is skops.io.dumps else pickle.loads
    X, y = digits()

    def refused(model, name, value, named=None):
        setattr(model, name, value)
        data = save(model)
        with pytest.raises(ValueError, match=rf"^{named or name} of .*fit again\.$"):
            load(data)

    for kind in (ClassPCAPatchTransformer, WhitenedPCAPatchTransformer):
        layer = kind(3, n_filters=4).fit(X, y)
        filters = layer.filters_
        refused(clone(layer).fit(X, y), "filters_", np.repeat(filters, 2, axis=3))
        refused(clone(layer).fit(X, y), "filters_", filters[0])
        wide = (1, 1, 100_000), "n_features_in_"
        refused(clone(layer).fit(X, y), "image_shape_", *wide)
    refused(MaxPool2DTransformer().fit(X), "pool_size_", (-3000, -3000))
    refused(ChannelStandardScaler().fit(X), "scale_", np.zeros(1))
    softmax = SoftmaxClassifier(warm_start=True).fit(X, y)
    refused(clone(softmax).fit(X, y), "coef_", softmax.coef_[:2])


def test_earlier_attributes_are_checked_before_a_fit_continues():
    X, y = digits()
    softmax = SoftmaxClassifier(warm_start=True).fit(X, y)
    softmax.coef_ = softmax.coef_[:2]
    before = dict(vars(softmax))
    with pytest.raises(ValueError, match="coef_ of SoftmaxClassifier has shape"):
        softmax.fit(X, y)
    assert vars(softmax) == before
    softmax.set_params(warm_start=False).fit(X, y)
    for change in ("partial_fit", "merge"):
        layer = ClassPCAPatchTransformer(2).fit(X, y)
        layer._sums.outer_products = layer._sums.outer_products[:, :-1]
        other = ClassPCAPatchTransformer(2).fit(X, y)
        with pytest.raises(ValueError, match=r"_sums\.outer_products of ClassPCA"):
            layer.partial_fit(X, y) if change == "partial_fit" else other.merge(layer)


def test_statistics_that_were_changed_are_refused():
    X, y = digits()
    layer = ClassPCAPatchTransformer(2)
    statistics = layer.statistics(X, y)
    statistics.sums.outer_products = statistics.sums.outer_products[:, :3, :3]
    with pytest.raises(ValueError, match=r"statistics\.sums\.outer_products has shape"):
        layer.finish(statistics)
    assert not hasattr(layer, "filters_")


def test_a_network_without_layers_is_not_fitted():
    network = with_part(fitted("network"), ["layers_"], [])
    for method in ("transform", "lazy_features", "transform_images"):
        with pytest.raises(NotFittedError):
            getattr(network, method)(digits()[0])


def test_arrays_of_another_byte_order_are_converted():
    X, _ = digits()
    layer = fitted("class_pca")
    swapped = with_part(layer, ["filters_"], layer.filters_.astype(">f4"))
    assert swapped.filters_.dtype.isnative
    assert_array_equal(swapped.transform(X), layer.transform(X))


@pytest.mark.parametrize("column", [0, 2])
def test_a_negative_count_or_variance_of_the_range_is_refused(column):
    layer = fitted("class_pca")
    logs = layer._range.logs.copy()
    logs[0, column] = -1.0
    with pytest.raises(ValueError, match=r"^_range\.logs of .* variance of -1\.0, exp"):
        with_part(layer, ["_range", "logs"], logs)


def test_an_invalid_parameter_is_refused():
    with pytest.raises(ValueError, match="'threshold' parameter of WhitenedPCA"):
        with_part(fitted("whitened_pca"), ["threshold"], -1.0)
    with pytest.raises(ValueError, match="'n_contrast_levels' parameter of Whitened"):
        with_part(fitted("whitened_pca"), ["n_contrast_levels"], 10**12)
    with pytest.raises(ValueError, match="has no parameter stride"):
        with_part(fitted("max_pool"), ["stride"], DROP)


def main(names):
    """Try all changes, and print counts and failures."""
    for name in names or ESTIMATORS:
        found, failures = Counter(), []
        for case in cases(name):
            print(name, case[:2], file=sys.stderr, flush=True)
            try:
                found[outcome(name, *case)] += 1
            except AssertionError as error:
                found["wrong"] += 1
                failures.append(str(error)[:400])
        print(name, dict(found), flush=True)
        print(*failures, sep="\n", flush=True)


if __name__ == "__main__":
    with no_large_allocation():
        main(sys.argv[1:])
