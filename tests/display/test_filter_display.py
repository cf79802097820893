"""Pictures of filters."""

import sys

import matplotlib as mpl
import numpy as np
import pytest

from skdmn import (
    ClassPCAPatchTransformer,
    ClassPCATransformer,
    FilterDisplay,
    MaxPool2DTransformer,
    WhitenedPCAPatchTransformer,
)

mpl.use("agg")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_filter_is_drawn_with_its_energy_and_class(rng, channels):
    X, y = rng.random((20, 6, 6, channels)), np.arange(20) % 2
    layer = ClassPCAPatchTransformer(variance_cutoff=1.0, n_filters=5).fit(X, y)
    display = FilterDisplay.from_estimator(layer)
    titles = [axis.get_title() + axis.get_title("left") for axis in display.axes_.flat]
    drawn = [title for title in titles if title]
    assert len(drawn) == 5
    for title, energy in zip(drawn, layer.energies_, strict=True):
        assert f"{energy:.2f}" in title


def test_max_filters(rng):
    X, y = rng.random((20, 6, 6)), np.arange(20) % 2
    layer = ClassPCAPatchTransformer(variance_cutoff=1.0).fit(X, y)
    display = FilterDisplay.from_estimator(layer, max_filters=2)
    assert len(display.filters) == 2
    title = display.figure_.get_suptitle()
    assert title.startswith(f"First 2 of {len(layer.filters_)} filters, with")
    whole = FilterDisplay.from_estimator(layer).figure_.get_suptitle()
    assert whole.startswith("Filters, with")


def test_negatives_are_named_and_not_drawn(rng):
    X, y = rng.random((20, 6, 6)), np.arange(20) % 2
    layer = ClassPCAPatchTransformer(
        variance_cutoff=1.0, n_filters=6, signs="both"
    ).fit(X, y)
    display = FilterDisplay.from_estimator(layer)
    assert len(layer.filters_) == 12
    np.testing.assert_array_equal(display.filters, layer.filters_[:6])
    assert display.figure_.get_suptitle().startswith("Filters, and their negatives")
    some = FilterDisplay.from_estimator(layer, max_filters=4).figure_.get_suptitle()
    assert some.startswith("First 4 of 6 filters, and their negatives, with energy")


def test_drawn_in_a_figure_that_is_given(rng):
    figure = mpl.figure.Figure()
    display = FilterDisplay(rng.normal(size=(2, 3, 3, 1)), np.ones(2), np.arange(2))
    assert display.plot(figure=figure).figure_ is figure


def test_without_matplotlib_the_extra_is_named(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = FilterDisplay(rng.normal(size=(2, 3, 3, 1)), np.ones(2), np.arange(2))
    with pytest.raises(ImportError, match=r"skdmn\[plot\]"):
        display.plot()


def test_whitened_filters_are_drawn_with_their_ratios(rng):
    X, y = rng.random((20, 6, 6)), np.arange(20) % 2
    layer = WhitenedPCAPatchTransformer(3, n_filters=4).fit(X, y)
    display = FilterDisplay.from_estimator(layer)
    titles = [axis.get_title() for axis in display.axes_.flat if axis.get_title()]
    for title, ratio in zip(titles, layer.variance_ratios_, strict=True):
        assert f"{ratio:.2f}" in title
    assert "variance ratio" in display.figure_.get_suptitle()


def test_filters_of_higher_layers_fit_on_a_screen(rng):
    filters = rng.normal(size=(64, 3, 3, 16))
    display = FilterDisplay(filters, np.ones(64), ["a very long name of a class"] * 64)
    width, height = display.plot().figure_.get_size_inches()
    assert width < 13
    assert height < 13
    (shape,) = {axis.images[0].get_array().shape for axis in display.axes_.flat}
    assert shape == (15, 15)  # 4 x 4 channels, and gaps
    assert max(len(axis.get_title()) for axis in display.axes_.flat) < 20


def test_filters_of_a_dense_layer_are_strips(rng):
    X, y = rng.random((20, 20)), np.arange(20) % 2
    layer = ClassPCATransformer(n_filters=2).fit(X, y)
    display = FilterDisplay.from_estimator(layer)
    assert display.axes_[0, 0].images[0].get_array().shape == (1, 20)


def test_layers_without_filters_have_no_pictures():
    with pytest.raises(TypeError, match="has no filters"):
        FilterDisplay.from_estimator(MaxPool2DTransformer())
