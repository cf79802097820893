"""Labels of any kind keep their kind."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn import ClassPCAPatchTransformer, SoftmaxClassifier
from skdmn.analysis.density import filter_membership
from skdmn.utils.labels import draw, union

X = np.random.default_rng(0).random((12, 5, 5))
CODES = np.arange(12) % 3


def dates(unit):
    return np.array(["2026-01-01", "2026-02-01", "2026-03-01"], f"M8[{unit}]")


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_dates_stay_dates(unit):
    y = dates(unit)[CODES]
    for estimator in (ClassPCAPatchTransformer(2), SoftmaxClassifier()):
        fitted = estimator.fit(X, y)
        assert fitted.classes_.dtype == y.dtype
        assert_array_equal(fitted.classes_, dates(unit))
    assert fitted.predict(X).dtype == y.dtype
    layer = ClassPCAPatchTransformer(2).partial_fit(X[:6], y[:6])
    layer.partial_fit(X[6:], y[6:], classes=np.array(["2026-04-01"], "M8[D]"))
    assert len(layer.classes_) == 4
    assert layer.classes_.dtype == y.dtype
    members = {label for group in layer.filter_members_ for label, _ in group}
    assert members <= set(layer.classes_)
    assert filter_membership(layer).members.any(axis=1).all()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (dates("D"), np.array(["2026-01-01"])),
        (dates("ns"), np.array([3])),
        (np.array([0.5]), dates("s")),
        (dates("D"), dates("D") - dates("D")[0]),
        (np.array(["a"]), np.array([1])),
    ],
)
def test_labels_of_different_kinds_do_not_mix(first, second):
    with pytest.raises(ValueError, match=r"different kinds; pass only strings, only"):
        union(first, second)


def test_dates_are_not_exported_as_strings():
    pytest.importorskip("onnx")
    from skdmn.export import to_onnx

    softmax = SoftmaxClassifier().fit(X, dates("D")[CODES])
    with pytest.raises(TypeError, match=r"labels are datetime64\[D\].*fit.* strings"):
        to_onnx(softmax, X[:1])


@pytest.mark.parametrize(("share", "n"), [(0.07, 7), (0.14, 14), (0.0701, 8)])
def test_a_share_that_is_whole_but_for_rounding_is_not_rounded_up(share, n):
    # 100 * 0.07 is 7.000000000000001
    assert len(draw(np.zeros(100, int), share, np.random.RandomState(0))) == n


@pytest.mark.parametrize("total", [4, 5, 9])
def test_small_classes_keep_an_image_at_the_cost_of_large_ones(total):
    codes = np.repeat([0, 1, 2, 3], [10, 1, 1, 1])
    drawn = draw(codes, total, np.random.RandomState(0))
    assert_array_equal(np.bincount(codes[drawn]), [total - 3, 1, 1, 1])
