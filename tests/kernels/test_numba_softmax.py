"""The softmax kernel against its reference in higher precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels.reference import softmax

module = pytest.importorskip("skdmn.kernels.numba.softmax", reason="needs Numba")

OUTPUTS = [1, 3, 10, 17, 40]
ROUNDING = {"f4": 2e-6, "f8": 1e-14}


def problem(rng, n, d, n_outputs, dtype="f4", of="f4"):
    """Return rows of a dtype, and a model of another, as `block_pass` takes them."""
    block = rng.integers(0, 256, (n, d)).astype(of)
    if block.dtype.kind == "f":
        block = rng.normal(100, 60, size=(n, d)).astype(of)
    model = (
        rng.normal(100, 30, size=d),
        rng.normal(size=(n_outputs, d)) / (100 * np.sqrt(d)),
        rng.normal(size=n_outputs),
    )
    codes = rng.integers(0, max(n_outputs, 2), n)
    model = tuple(array.astype(dtype) for array in model)
    return block, *model, codes, (3 * rng.random(n)).astype(dtype)


def exact(block, centre, coef, intercept, codes, weights):
    """Return the results of the reference in long double."""
    arrays = (a.astype(np.longdouble) for a in (centre, coef, intercept))
    return softmax.block_pass(
        block.astype(np.longdouble), *arrays, codes, weights.astype(np.longdouble)
    )


def assert_same_pass(block, *rest, rounding=None):
    loss, by_coef, by_intercept = module.block_pass(block, *rest)
    expected = exact(block, *rest)
    centre, weights = rest[0], rest[-1]
    rounding = rounding or ROUNDING[centre.dtype.str[1:]]
    total = float(weights.sum()) + 1e-300
    deviations = np.abs(block.astype("f8") - centre.astype("f8"))
    # no gradient by a coefficient is larger
    by_row = weights.reshape(len(block), -1).max(axis=1)
    largest = (by_row[:, np.newaxis] * deviations).sum(axis=0) + 1e-300
    assert isinstance(loss, float)
    assert by_coef.dtype == by_intercept.dtype == np.float64
    assert abs(loss - float(expected[0])) <= rounding * (abs(loss) + total)
    error = np.abs(by_coef - expected[1].astype("f8")) / largest
    assert error.max() <= rounding
    error = np.abs(by_intercept - expected[2].astype("f8")) / total
    assert error.max() <= rounding
    assert by_coef.shape == (len(rest[1]), block.shape[1])
    return loss, by_coef, by_intercept


@pytest.mark.parametrize("n_outputs", OUTPUTS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 9), (300, 33), (700, 128)])
def test_pass_is_the_definition(rng, n_outputs, dtype, shape):
    assert_same_pass(*problem(rng, *shape, n_outputs, dtype, dtype))


@settings(deadline=None, max_examples=80)
@given(
    n=st.integers(1, 300),
    d=st.integers(1, 70),
    n_outputs=st.integers(1, 45).filter(lambda k: k != 2),
    dtype=st.sampled_from(["f4", "f8"]),
    seed=st.integers(0, 2**16),
)
def test_pass_of_any_shape_is_the_definition(n, d, n_outputs, dtype, seed):
    rng = np.random.default_rng(seed)
    assert_same_pass(*problem(rng, n, d, n_outputs, dtype, dtype))


@pytest.mark.parametrize("of", ["u1", "i2", "?", "i8", "f8"])
def test_rows_of_any_dtype_are_computed_in_the_centres(rng, of):
    assert_same_pass(*problem(rng, 90, 20, 3, "f4", of))


def test_8_bit_rows_in_float64(rng):
    assert_same_pass(*problem(rng, 90, 20, 3, "f8", "u1"))


@pytest.mark.parametrize("n_outputs", OUTPUTS)
def test_loss_of_no_coefficients_is_the_logarithm_of_the_classes(rng, n_outputs):
    block, centre, coef, intercept, codes, _ = problem(rng, 200, 8, n_outputs)
    weights = np.ones(200, "f4")
    args = (block, centre, 0 * coef, 0 * intercept, codes, weights)
    loss, _, by_intercept = assert_same_pass(*args)
    classes = max(n_outputs, 2)
    assert_allclose(loss, 200 * np.log(classes), rtol=1e-6)
    shares = 200 / classes - np.bincount(codes, minlength=classes)
    assert_allclose(by_intercept, shares[-n_outputs:], atol=1e-3)


@pytest.mark.parametrize("n_outputs", [1, 5])
def test_gradient_is_the_slope_of_the_loss(rng, n_outputs):
    block, centre, coef, *rest = problem(rng, 60, 7, n_outputs, "f8", "f8")
    _, gradient, _ = module.block_pass(block, centre, coef, *rest)
    step = 1e-6 * rng.normal(size=coef.shape)
    above = module.block_pass(block, centre, coef + step, *rest)[0]
    below = module.block_pass(block, centre, coef - step, *rest)[0]
    assert_allclose((above - below) / 2, (gradient * step).sum(), rtol=1e-5)


# rows and memory


def test_no_rows_give_zeros(rng):
    loss, by_coef, by_intercept = module.block_pass(*problem(rng, 0, 9, 3))
    assert loss == 0
    assert_array_equal(by_coef, np.zeros((3, 9)))
    assert_array_equal(by_intercept, np.zeros(3))


@pytest.mark.parametrize("n_outputs", [1, 10])
def test_rows_without_weight_are_as_if_they_were_not_there(rng, n_outputs):
    block, *model, codes, weights = problem(rng, 400, 12, n_outputs, "f8", "f8")
    some = rng.random(400) < 0.4
    weights[~some] = 0
    block[~some] *= 1e3
    ours = assert_same_pass(block, *model, codes, weights, rounding=1e-12)
    theirs = module.block_pass(block[some], *model, codes[some], weights[some])
    for one, other in zip(ours, theirs, strict=True):
        assert_allclose(one, other, rtol=1e-11, atol=1e-9)
    nothing = module.block_pass(block, *model, codes, 0 * weights)
    assert nothing[0] == 0
    assert not nothing[1].any()
    assert not nothing[2].any()


def test_views_and_read_only_memory_are_read_as_copies_are(rng):
    block, *rest = problem(rng, 200, 30, 10, "f4", "u1")
    wide = np.repeat(block, 2, axis=1)
    frozen = block.copy()
    frozen.flags.writeable = False
    expected = assert_same_pass(block, *rest)
    for view in (wide[:, ::2], np.asfortranarray(block), block[::-1].copy()[::-1]):
        for one, other in zip(module.block_pass(view, *rest), expected, strict=True):
            assert_array_equal(one, other)
    for array in rest:
        array.flags.writeable = False
    for one, other in zip(module.block_pass(frozen, *rest), expected, strict=True):
        assert_array_equal(one, other)


def test_rows_in_a_file_are_read_from_there(rng, tmp_path):
    block, *rest = problem(rng, 200, 30, 3, "f4", "u1")
    np.save(tmp_path / "rows.npy", block)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = module.block_pass(block, *rest)
    for one, other in zip(module.block_pass(mapped, *rest), expected, strict=True):
        assert_array_equal(one, other)


# large logits


@pytest.mark.parametrize("n_outputs", OUTPUTS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", [50, 1e4, 2.0**100])  # sums are exact
def test_large_logits_give_finite_numbers(rng, n_outputs, dtype, size):
    block = rng.choice(np.array([-1.0, 1.0], dtype), (100, 4))
    coef = (size * rng.integers(-1, 2, (n_outputs, 4))).astype(dtype)
    coef[0] = size
    codes = rng.integers(0, max(n_outputs, 2), 100)
    rest = (np.zeros(n_outputs, dtype), codes, np.ones(100, dtype))
    ours = assert_same_pass(block, np.zeros(4, dtype), coef, *rest)
    assert all(np.isfinite(part).all() for part in ours)
    assert ours[0] > size


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("score", [-1e4, -20.0, 0.0, 20.0, 1e4])
def test_two_classes_are_exact_at_both_ends(code, score):
    args = (np.ones((1, 1)), np.zeros(1), np.full((1, 1), score), np.zeros(1))
    ours = module.block_pass(*args, np.array([code]), np.ones(1))
    signed = score if code else -score
    assert_allclose(ours[0], np.logaddexp(0, -signed), rtol=1e-14)
    with np.errstate(over="ignore", under="ignore"):
        rest = -1 / (1 + np.exp(signed)) * (1 if code else -1)
    assert_allclose(ours[2], [rest], rtol=1e-6)
    assert_allclose(ours[1], [[rest]], rtol=1e-6)


def test_features_much_larger_than_their_spread_keep_their_digits(rng):
    block, centre, *rest = problem(rng, 300, 16, 5, "f4", "f4")
    block = (1e5 + rng.normal(size=block.shape)).astype("f4")
    centre = block.mean(axis=0, dtype="f8").astype("f4")
    rest[0] = rng.normal(size=(5, 16)).astype("f4")
    assert_same_pass(block, centre, *rest)


# threads and blocks of rows


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("rows", [1, 7, 256])
@pytest.mark.parametrize("n", [1, 5, 600])
def test_threads_and_blocks_change_rounding_only(rng, monkeypatch, threads, rows, n):
    args = problem(rng, n, 21, 10, "f8", "f8")
    whole = module.block_pass(*args)
    monkeypatch.setattr(module, "n_threads", lambda: threads)
    monkeypatch.setattr(module, "_ALONE", 0)
    monkeypatch.setattr(module, "_MOST", rows)
    ours = assert_same_pass(*args)
    for one, other in zip(ours, whole, strict=True):
        assert_allclose(one, other, rtol=1e-11, atol=1e-9)
    for one, other in zip(ours, module.block_pass(*args), strict=True):
        assert_array_equal(one, other)  # the same bytes for the same threads


@pytest.mark.parametrize(("n_models", "size"), [(1, 3), (3, 1), (4, 5)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_several_models_in_one_pass_are_those_of_a_pass_each(
    rng, n_models, size, dtype
):
    block, centre, coef, intercept, codes, _ = problem(
        *(rng, 90, 23, n_models * size), dtype, dtype
    )
    codes %= max(size, 2)
    weights = rng.random((90, n_models)).astype(dtype)
    weights[rng.random((90, n_models)) < 0.3] = 0
    found = assert_same_pass(block, centre, coef, intercept, codes, weights)
    alone = [
        module.block_pass(block, centre, *model, codes, np.ascontiguousarray(own))
        for *model, own in zip(
            np.split(coef, n_models),
            np.split(intercept, n_models),
            weights.T,
            strict=True,
        )
    ]
    rounding = 10 * ROUNDING[dtype]
    assert_allclose(found[0], sum(one[0] for one in alone), rtol=rounding)
    together = np.concatenate([one[1] for one in alone])
    assert_allclose(found[1], together, atol=rounding * np.abs(together).max())
    with pytest.raises(ValueError, match="needs"):
        module.block_pass(block, centre, coef, intercept, codes, weights[:, :0])
