"""The public names, their docstrings, and the tests of every estimator."""

import ast
import importlib.util
import inspect
import os
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from estimators import (
    ESTIMATORS,
    SEARCHES,
    image_estimators,
    one_of_each_type,
    takes_images,
)
from sklearn.base import BaseEstimator, clone

import skdmn
import skdmn.datasets
import skdmn.export
import skdmn.federated
import skdmn.inspection

TESTS = Path(__file__).parent
COMMON = {  # modules of tests, and the estimators that each must go through
    "test_sklearn_checks.py": one_of_each_type(ESTIMATORS),
    "test_common.py": ESTIMATORS,
    "test_array_api.py": one_of_each_type(image_estimators()),
    "utils/test_copies.py": one_of_each_type(image_estimators()),
    "reliability/test_degenerate.py": ESTIMATORS,
    "reliability/test_saved_models.py": ESTIMATORS,
    "reliability/test_tampered_models.py": ESTIMATORS,
}

EVERY = [*ESTIMATORS.values(), *SEARCHES.values()]
BASE_CLASSES = ("ImageTransformer", "ClassDensityTransformer", "NamedLayers")


def public_estimators():
    found = set()
    for info in pkgutil.walk_packages(skdmn.__path__, "skdmn."):
        if info.name.endswith("__main__"):
            continue
        if "kernels.cuda" in info.name and importlib.util.find_spec("cupy") is None:
            continue
        module = importlib.import_module(info.name)
        found |= {
            value
            for name, value in vars(module).items()
            if inspect.isclass(value)
            and issubclass(value, BaseEstimator)
            and value.__module__.startswith("skdmn")
            and not name.startswith("_")
            and name not in BASE_CLASSES
        }
    return found


def parametrized(module):
    """Return the names of the estimators that the tests of a module get."""
    name_of = {id(estimator): name for name, estimator in ESTIMATORS.items()}
    found = set()
    for test in vars(module).values():
        for mark in getattr(test, "pytestmark", []) if callable(test) else []:
            if mark.name != "parametrize":
                continue
            for values in mark.args[1]:
                for value in values if isinstance(values, tuple) else [values]:
                    is_name = isinstance(value, str)
                    found.add(value if is_name else name_of.get(id(value)))
    return found


def test_every_estimator_is_public_and_in_the_list():
    estimators = public_estimators()
    assert estimators == set(map(type, EVERY))
    assert {estimator.__name__ for estimator in estimators} <= set(skdmn.__all__)


@pytest.mark.parametrize("path", COMMON)
def test_every_estimator_goes_through_the_common_tests(path):
    for package in ("array_api_strict", "skops", "torch"):
        if package in (TESTS / path).read_text():
            pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location("tests_of_estimators", TESTS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert COMMON[path].keys() <= parametrized(module)


def test_scikit_learns_array_api_checks_are_not_left_out():
    import scipy

    assert os.environ["SCIPY_ARRAY_API"] == "1"
    assert scipy._lib._array_api.SCIPY_ARRAY_API


def test_all_names_are_there_and_documented():
    assert skdmn._MODULES.keys() == {*skdmn.__all__}
    for name in skdmn.__all__:
        assert inspect.getdoc(getattr(skdmn, name)), name


# docstrings


def entries(doc, section):
    """Return (names, type, description) of every entry of a numpydoc section."""
    lines = doc.splitlines()
    if section not in lines:
        return []
    start = lines.index(section) + 2
    found = []
    for line, below in zip(lines[start:], [*lines[start + 1 :], ""], strict=True):
        if re.fullmatch("-{3,}", below):
            break
        if line and line[0] != " ":
            names, _, kind = line.partition(" : ")
            found.append((names.split(", "), kind, []))
        elif line.strip():
            found[-1][2].append(line.strip())
    return found


def documented(doc, section):
    """Return the names in a section; each has a type and a description."""
    found = entries(doc, section)
    for names, kind, description in found:
        assert kind, f"{names} without a type"
        assert description, f"{names} without a description"
    return [name for names, _, _ in found for name in names]


def check_parameters(doc, signature):
    """Compare names, their order and defaults with those of a signature."""
    names = [name.lstrip("*") for name in documented(doc, "Parameters")]
    assert names == list(signature.parameters)
    for together, kind, _ in entries(doc, "Parameters"):
        told = kind.partition(", default=")[2]
        for name in together:
            default = signature.parameters[name.lstrip("*")].default
            if default is inspect.Parameter.empty:
                assert not told, f"{name} has no default"
            else:
                assert told, f"{name} without its default, {default!r}"
                value = told if told == "nan" else repr(ast.literal_eval(told))
                assert value == repr(default), name


ESTIMATOR_TYPES = sorted(set(map(type, EVERY)), key=str)
FUNCTIONS = [skdmn.make_dmn, skdmn.paper_dmn, skdmn.recommended_dmn]
FUNCTIONS.append(skdmn.federated.fit)
for room in (skdmn.export, skdmn.datasets):
    FUNCTIONS += [getattr(room, name) for name in room.__all__]
FUNCTIONS += [skdmn.inspection.contributions, skdmn.inspection.class_report]
FUNCTIONS.append(skdmn.inspection.diagnose)
if importlib.util.find_spec("dask"):
    import skdmn.distributed

    FUNCTIONS += [getattr(skdmn.distributed, n) for n in skdmn.distributed.__all__]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
def test_docstring_describes_every_parameter_of_a_function(function):
    check_parameters(inspect.getdoc(function), inspect.signature(function))


def fitted(estimator):
    rng = np.random.default_rng(0)
    X = rng.random((6, 5, 5) if takes_images(estimator) else (6, 5))
    return clone(estimator).fit(X, [0, 1] * 3)


@pytest.mark.parametrize("kind", ESTIMATOR_TYPES, ids=lambda kind: kind.__name__)
def test_docstring_describes_every_parameter_and_attribute(kind):
    doc = inspect.getdoc(kind)
    instances = [estimator for estimator in EVERY if type(estimator) is kind]
    signature = inspect.signature(kind)
    assert instances[0].get_params(deep=False).keys() == set(signature.parameters)
    check_parameters(doc, signature)
    attributes = documented(doc, "Attributes")
    assert len(attributes) == len(set(attributes))
    there = set().union(*(dir(fitted(estimator)) for estimator in instances))
    learned = {name for name in there if name.endswith("_") and name[0] != "_"}
    assert learned | {"feature_names_in_"} <= set(attributes)
    assert set(attributes) <= there | {"feature_names_in_"}  # of data frames
    for section in ("Parameters", "Attributes", "See Also", "Examples"):
        assert f"\n{section}\n---" in doc, section
