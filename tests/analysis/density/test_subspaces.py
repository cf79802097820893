"""Angles and overlaps of subspaces known by hand, and what classes share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer
from skdmn.analysis.density.subspaces import (
    class_angles,
    density_overlaps,
    filter_membership,
    principal_angles,
    variance_shares,
)


def rotation(seed, d):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def densities_of(*shares):
    return np.array([np.diag(row) for row in shares], dtype=float)


def random_densities(seed, n_classes, d):
    samples = np.random.default_rng(seed).normal(size=(n_classes, 3 * d, d))
    samples *= np.linspace(1, 5, d)
    moments = np.swapaxes(samples, 1, 2) @ samples
    return moments / np.trace(moments, axis1=1, axis2=2)[:, np.newaxis, np.newaxis]


def make_images(seed=0, n=30):
    """Return images of three classes that differ in their directions."""
    rng = np.random.default_rng(seed)
    images, labels = rng.normal(size=(n, 8, 8)), np.arange(n) % 3
    images[labels == 1] = np.cumsum(images[labels == 1], axis=1)
    images[labels == 2] = np.cumsum(images[labels == 2], axis=2)
    return images, np.array(["noise", "down", "across"])[labels]


# principal angles


@pytest.mark.parametrize("degrees", [0, 1e-7, 10, 45, 89.9, 90])
def test_the_angle_between_two_lines(degrees):
    angle = np.radians(degrees)
    found = principal_angles([[1.0, 0]], [[np.cos(angle), np.sin(angle)]])
    assert_allclose(found, [angle], atol=1e-15)


def test_planes_that_share_a_line():
    angle = np.radians(30)
    plane = [[1, 0, 0, 0], [0, 1, 0, 0]]
    tilted = [[1, 0, 0, 0], [0, np.cos(angle), np.sin(angle), 0]]
    assert_allclose(principal_angles(plane, tilted), [0, angle], atol=1e-15)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_angles_depend_on_the_spans_alone(seed, m, n):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(m, 6)), rng.normal(size=(n, 6))
    angles = principal_angles(a, b)
    assert angles.shape == (min(m, n),)
    assert (np.diff(angles) >= -1e-14).all()
    assert (angles >= 0).all()
    assert (angles <= np.pi / 2 + 1e-12).all()
    assert_allclose(principal_angles(b, a), angles, atol=1e-10)
    mixed = (rng.normal(size=(m, m)) + 4 * np.eye(m)) @ a
    turn = rotation(seed, 6)
    assert_allclose(principal_angles(mixed @ turn, b @ turn), angles, atol=1e-10)
    qa, qb = (np.linalg.qr(rows.T)[0] for rows in (a, b))
    cosines = np.linalg.svd(qa.T @ qb, compute_uv=False)
    assert_allclose(np.cos(angles), cosines[: len(angles)], atol=1e-12)


def test_filters_are_flattened():
    filters = np.eye(12).reshape(12, 2, 3, 2)
    assert_allclose(principal_angles(filters[:3], filters[2:4]), [0, np.pi / 2])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.eye(3), np.eye(4), "3 and 4 entries"),
        (np.ones(3), np.eye(3), r"first has shape \(3,\)"),
        (np.eye(3), np.empty((0, 3)), "second has shape"),
        (np.eye(3), [[1, 2, 3], [-1, -2, -3]], "2 vectors of second span 1"),
    ],
)
def test_what_spans_no_subspace_is_an_error(first, second, message):
    with pytest.raises(ValueError, match=message):
        principal_angles(first, second)


def test_angles_between_classes():
    densities = densities_of([0.6, 0.3, 0.1, 0], [0.3, 0.6, 0, 0.1], [0, 0, 0.4, 0.6])
    degrees = np.degrees(class_angles(densities, 2))
    assert degrees.shape == (3, 3, 2)
    assert_allclose(degrees[0, 1], [0, 0], atol=1e-12)
    assert_allclose(degrees[0, 2], [90, 90])
    one = np.degrees(class_angles(densities, 1))[..., 0]
    assert_allclose(one, 90 * (1 - np.eye(3)))


def test_class_angles_are_those_of_leading_eigenvectors():
    densities = random_densities(0, 3, 5)
    leading = [np.linalg.eigh(matrix)[1][:, -2:].T for matrix in densities]
    found = class_angles(densities, 2)
    for a, b in np.ndindex(3, 3):
        expected = principal_angles(leading[a], leading[b])
        assert_allclose(found[a, b], expected, atol=1e-7)


@pytest.mark.parametrize("number", [0, 5, 1.0])
def test_a_number_of_components_that_there_is_not_is_an_error(number):
    with pytest.raises(ValueError, match="an int from 1 to 4"):
        class_angles(random_densities(0, 2, 4), number)


def test_more_components_than_have_variance_are_an_error():
    densities = densities_of([1, 1, 1], [1, 0, 0])
    with pytest.raises(ValueError, match="Class number 1 has variance in 1 directions"):
        class_angles(densities, 2)


# overlaps


def test_overlap_of_uniform_subspaces_is_the_share_of_dimensions():
    # Tr(P_a P_b) / sqrt(dim a * dim b) of projectors
    found = density_overlaps(densities_of([1, 1, 1, 1, 0], [0, 0, 1, 1, 0]))
    assert_allclose(found, [[1, 2 / np.sqrt(8)], [2 / np.sqrt(8), 1]])


def test_overlap_of_two_lines_is_the_squared_cosine():
    angle = 0.4
    lines = np.array([[1, 0], [np.cos(angle), np.sin(angle)]])
    found = density_overlaps(lines[:, :, np.newaxis] * lines[:, np.newaxis])
    assert_allclose(found[0, 1], np.cos(angle) ** 2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(1e-3, 1e3))
def test_overlaps_are_traces_and_do_not_depend_on_scale_or_basis(seed, d, scale):
    densities = random_densities(seed, 3, d)
    found = density_overlaps(densities)
    for a, b in np.ndindex(3, 3):
        numerator = np.trace(densities[a] @ densities[b])
        norms = [np.trace(densities[i] @ densities[i]) for i in (a, b)]
        assert_allclose(found[a, b], numerator / np.sqrt(np.prod(norms)))
    turn = rotation(seed, d)
    scaled = densities * np.array([1, scale, 1])[:, np.newaxis, np.newaxis]
    assert_allclose(density_overlaps(turn @ scaled @ turn.T), found, atol=1e-12)
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_orthogonal_supports_do_not_overlap():
    assert density_overlaps(densities_of([1, 0], [0, 1]))[0, 1] == 0


def test_a_class_without_variance_has_no_overlap():
    found = density_overlaps(densities_of([1, 1], [0, 0]))
    assert_array_equal(np.isnan(found), [[False, True], [True, True]])


@pytest.mark.parametrize("function", [density_overlaps, lambda x: class_angles(x, 1)])
def test_matrices_must_be_a_stack_of_squares(function):
    with pytest.raises(
        ValueError, match=r"shape \(n_classes, d, d\), got shape \(3, 3\)"
    ):
        function(np.eye(3))


# shares and membership


@pytest.mark.parametrize("signs", ["one", "both"])
def test_shares_of_a_filters_own_class_are_its_eigenvalue(signs):
    layer = ClassPCAPatchTransformer(3, signs=signs).fit(*make_images())
    shares = variance_shares(layer.filters_, layer.density_matrices_)
    column = np.searchsorted(layer.classes_, layer.filter_classes_)
    own = shares[np.arange(len(shares)), column]
    assert_allclose(own, layer.explained_variance_ratio_, rtol=1e-10)


def test_shares_of_a_complete_basis_add_up_to_1():
    shares = variance_shares(rotation(0, 6), random_densities(0, 4, 6))
    assert_allclose(shares.sum(axis=0), 1)


def test_filters_of_another_size_have_no_share():
    with pytest.raises(
        ValueError, match="4 entries, but the density matrices are 6 x 6"
    ):
        variance_shares(np.eye(4), random_densities(0, 2, 6))


def test_classes_alike_share_all_filters():
    X, _ = make_images()
    X, y = np.concatenate([X, X]), np.repeat([5, 7], len(X))
    membership = filter_membership(ClassPCAPatchTransformer(3).fit(X, y))
    assert membership.members.all()
    assert_array_equal(membership.classes, [5, 7])
    assert_array_equal(membership.n_sharing, 2)
    assert membership.own(5).size == 0


def test_classes_apart_share_none():
    X = np.zeros((20, 4, 4))
    X[:10, :, ::2] = X[10:, ::2] = np.random.default_rng(0).random((10, 1, 1)) + 1
    y = np.repeat(["columns", "rows"], 10)
    layer = ClassPCAPatchTransformer(2, centered=True).fit(X, y)
    membership = filter_membership(layer)
    for label in ("columns", "rows"):
        own = membership.own(label)
        assert_array_equal(own, np.flatnonzero(layer.filter_classes_ == label))
        assert len(own)


def test_membership_counts_every_member_once():
    layer = ClassPCAPatchTransformer(3, correlation_cutoff=0.7).fit(*make_images())
    membership = filter_membership(layer)
    labels = [{label for label, _ in group} for group in layer.filter_members_]
    assert_array_equal(membership.n_sharing, [len(group) for group in labels])
    assert membership.n_sharing.max() > 1
    for label in layer.classes_:
        alone = [i for i, group in enumerate(labels) if group == {label}]
        assert_array_equal(membership.own(label), alone)


def test_without_a_correlation_cutoff_all_filters_are_own():
    layer = ClassPCAPatchTransformer(3, correlation_cutoff=1.0).fit(*make_images())
    membership = filter_membership(layer)
    assert_array_equal(membership.n_sharing, 1)
    assert_array_equal(
        membership.own("down"), np.flatnonzero(layer.filter_classes_ == "down")
    )


def test_mistakes_are_told():
    with pytest.raises(
        TypeError, match="MaxPool2DTransformer does not compute filters"
    ):
        filter_membership(MaxPool2DTransformer())
    with pytest.raises(NotFittedError):
        filter_membership(ClassPCAPatchTransformer())
    membership = filter_membership(ClassPCAPatchTransformer().fit(*make_images()))
    with pytest.raises(ValueError, match=r"'up' is not a class; pass one of .'across'"):
        membership.own("up")


def test_directions_that_are_rounding_are_not_components(rng):
    v = rng.normal(size=9)
    matrices = [np.ones((9, 9)) / 9, np.outer(v, v) / (v @ v)]
    with pytest.raises(ValueError, match="variance in 1 directions only"):
        class_angles(matrices, 2)
    assert class_angles(matrices, 1).shape == (2, 2, 1)
