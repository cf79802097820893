"""ZCA whitening: what it makes of the data, and scikit-learn's checks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdmn.layers.zca import ZCAWhitening


@parametrize_with_checks([ZCAWhitening(), ZCAWhitening(epsilon=0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def rows(rng, n=200, d=5):
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def covariance(X):
    return np.cov(X, rowvar=False, bias=True)


def test_the_covariance_of_whitened_rows_is_the_identity(rng):
    white = ZCAWhitening(epsilon=0).fit_transform(rows(rng))
    assert_allclose(covariance(white), np.eye(5), atol=1e-12)
    assert_allclose(white.mean(axis=0), 0, atol=1e-12)


def test_the_matrix_is_the_inverse_root_of_the_covariance(rng):
    X = rows(rng)
    zca = ZCAWhitening(epsilon=0.1).fit(X)
    C = covariance(X)
    expected = np.linalg.inv(sqrtm(C + 0.1 * np.trace(C) / 5 * np.eye(5)))
    assert_allclose(zca.components_, expected, atol=1e-12)
    assert_allclose(zca.components_, zca.components_.T, atol=1e-14)


def test_it_is_pca_whitening_rotated_back(rng):
    X = rows(rng)
    pca = PCA(whiten=True).fit(X)
    expected = pca.transform(X) @ pca.components_ * np.sqrt(200 / 199)
    assert_allclose(ZCAWhitening(epsilon=0).fit_transform(X), expected, atol=1e-11)
    found = ZCAWhitening().fit(X).explained_variance_
    assert_allclose(found, pca.explained_variance_ * 199 / 200)


def test_no_other_whitening_is_closer_to_the_data(rng):
    X = rows(rng)
    centred = X - X.mean(axis=0)
    white = ZCAWhitening(epsilon=0).fit_transform(X)
    for _ in range(20):
        rotated = white @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
        assert ((white - centred) ** 2).sum() < ((rotated - centred) ** 2).sum()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_unit_of_the_data_does_not_matter(seed, scale):
    X = rows(np.random.default_rng(seed))
    one, other = (
        ZCAWhitening().fit_transform(X),
        ZCAWhitening().fit_transform(scale * X),
    )
    assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("scale", [1e-36, 1e36])
def test_the_squares_of_float32_may_be_beyond_its_range(rng, dtype, scale):
    X = rows(rng)
    expected = ZCAWhitening().fit_transform(X)
    found = ZCAWhitening().fit_transform((scale * X).astype(dtype))
    assert_allclose(found, expected, atol=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("scale", "what"),
    [(1e-170, "underflow; scale X up"), (1e200, "overflow; scale X down"),
     (5e307, "overflow; scale X down")],
)  # fmt: skip
def test_rows_whose_squares_are_out_of_range_are_refused(rng, scale, what):
    zca, X = ZCAWhitening(), rng.random((20, 3))
    with pytest.raises(ValueError, match=f"the squares of X {what}"):
        zca.fit(scale * X)
    assert not hasattr(zca, "mean_")


@pytest.mark.parametrize("epsilon", [0, 1e-6, 0.1])
def test_inverse_transform_gives_the_rows_back(rng, epsilon):
    X = rows(rng)
    X[:, 2] = X[:, 1] + X[:, 0]  # no variance in one direction
    X[:, 4] = 3.0
    zca = ZCAWhitening(epsilon=epsilon).fit(X)
    new = rng.normal(size=(7, 5))
    assert_allclose(zca.inverse_transform(zca.transform(new)), new, atol=1e-9)


@pytest.mark.parametrize("epsilon", [0, 1e-6])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_directions_without_variance_are_not_blown_up(rng, epsilon, offset):
    X = np.c_[rows(rng, d=2), np.full(200, offset)]
    X = np.c_[X, X[:, 0] - X[:, 1]]
    white = ZCAWhitening(epsilon=epsilon).fit_transform(X)
    assert_allclose(white[:, 2], 0, atol=1e-9)
    values = np.linalg.eigvalsh(covariance(white))
    assert_allclose(values, [0, 0, 1, 1], atol=0.02)


def test_constant_rows_become_zero():
    white = ZCAWhitening().fit_transform(np.full((6, 3), 0.1))
    assert_allclose(white, 0, atol=1e-15)


def test_float32_stays_float32_and_is_summed_in_float64(rng):
    X = (rows(rng) + 1000).astype(np.float32)
    wide = ZCAWhitening().fit(X.astype(np.float64))
    zca = ZCAWhitening().fit(X)
    assert_array_equal(zca.components_, wide.components_)
    white = zca.transform(X)
    assert white.dtype == np.float32
    assert_allclose(white, wide.transform(X.astype(np.float64)), atol=1e-6)
    assert zca.inverse_transform(white).dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16"])
def test_other_numbers_become_float32(rng, dtype):
    X = rng.integers(0, 255, size=(30, 4)).astype(dtype)
    white = ZCAWhitening().fit_transform(X)
    assert white.dtype == np.float32
    expected = ZCAWhitening().fit_transform(X.astype(np.float64))
    assert_allclose(white, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [">f8", "longdouble"])
def test_wide_numbers_become_float64(rng, dtype):
    X = rows(rng)
    zca = ZCAWhitening().fit(X)
    white = zca.transform(X.astype(dtype))
    assert white.dtype == zca.inverse_transform(X.astype(dtype)).dtype == np.float64
    assert_allclose(white, zca.transform(X), rtol=1e-12)


def test_batches_do_not_change_the_result(rng, monkeypatch):
    X = rows(rng, n=50)
    once = ZCAWhitening().fit(X)
    monkeypatch.setattr("skdmn.data.sizes.MOMENTS_BYTES", 8 * 35)
    many = ZCAWhitening().fit(X)
    assert_allclose(many.components_, once.components_, atol=1e-12)
    assert_allclose(many.transform(X), once.transform(X), atol=1e-10)
    assert_allclose(many.inverse_transform(X), once.inverse_transform(X), atol=1e-10)


def test_names_and_frames(rng):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(rows(rng, d=3), columns=["a", "b", "c"])
    white = ZCAWhitening().set_output(transform="pandas").fit_transform(X)
    assert list(white.columns) == ["a", "b", "c"]
    assert (white.index == X.index).all()


def test_epsilon_below_0_is_refused(rng):
    with pytest.raises(ValueError, match="'epsilon' parameter"):
        ZCAWhitening(epsilon=-1e-3).fit(rows(rng))
