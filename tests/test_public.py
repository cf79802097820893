"""What the package promises as a whole: names, layout, help."""

import importlib.util
import inspect
import os
import pkgutil

import pytest
from estimators import ESTIMATORS
from sklearn.base import BaseEstimator

import skdmn

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


def test_every_estimator_is_public_and_in_scikit_learns_checks():
    estimators = public_estimators()
    assert estimators == {type(estimator) for estimator in ESTIMATORS}
    assert {estimator.__name__ for estimator in estimators} <= set(skdmn.__all__)


def test_scikit_learns_array_api_checks_are_not_left_out():
    import scipy

    assert os.environ["SCIPY_ARRAY_API"] == "1"
    assert scipy._lib._array_api.SCIPY_ARRAY_API


def test_all_names_are_there_and_documented():
    for name in skdmn.__all__:
        assert inspect.getdoc(getattr(skdmn, name)), name


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_docstring_describes_every_parameter_and_attribute(estimator, rng):
    doc = inspect.getdoc(type(estimator))
    takes_images = estimator.__sklearn_tags__().input_tags.three_d_array
    estimator.fit(rng.random((6, 5, 5) if takes_images else (6, 5)), [0, 1] * 3)
    fitted = [name for name in dir(estimator) if name.endswith("_") and name[0] != "_"]
    for name in [*estimator.get_params(deep=False), *fitted]:
        assert name in doc, name
    for section in ("Parameters", "Attributes", "See Also", "Examples"):
        assert f"\n{section}\n---" in doc, section
