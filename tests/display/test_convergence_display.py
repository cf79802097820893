"""Pictures of convergence, training and agreement."""

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.analysis.density.convergence import density_convergence, density_path
from skdmn.analysis.density.fluctuations import eigenvalue_fluctuations
from skdmn.analysis.sgd.agreement import filter_agreement
from skdmn.analysis.sgd.history import WeightHistory
from skdmn.analysis.sgd.weights import layer_distances
from skdmn.display.convergence import (
    AgreementDisplay,
    ConvergenceDisplay,
    FluctuationDisplay,
    TrainingDisplay,
)

mpl.use("agg")


@pytest.fixture
def images(rng):
    return rng.random((120, 6, 6))


@pytest.fixture
def history(rng):
    weights = [rng.normal(size=(5, 9, 4)), rng.normal(size=(5, 4, 3))]
    biases = [np.zeros((5, 4)), np.zeros((5, 3))]
    return WeightHistory(np.arange(5.0), weights, biases)


def labels(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_the_number_of_images_that_is_enough_is_marked(images):
    found = density_convergence(images, np.arange(120) % 3, random_state=0)
    display = ConvergenceDisplay.from_convergence(found, relative_error=0.02)
    assert display.enough_ == found.enough(0.02).max()
    (note,) = display.ax_.texts
    assert note.get_text().startswith(f"{display.enough_} images are enough")
    slowest = found.classes[found.enough(0.02).argmax()]
    assert f"class {slowest}, root mean square" in labels(display.ax_)
    assert display.ax_.get_xlabel() == "number of images of a class"


def test_a_measured_path_is_drawn_beside_what_is_expected_of_it(images):
    found = density_convergence(images, random_state=0)
    path = density_path(images, [5, 20, 120], n_draws=20, random_state=0)
    display = ConvergenceDisplay.from_convergence(found, path=path)
    assert "measured against 120 images, 80% of draws" in labels(display.ax_)
    (bars,) = display.ax_.containers
    assert_array_equal(bars[0].get_xdata(), [5, 20])
    assert_allclose(bars[0].get_ydata(), np.median(path.errors[:, :2], axis=0))


def test_constants_of_the_fluctuations_are_drawn(images):
    steps = eigenvalue_fluctuations(images, kernel_size=2, step=4, random_state=0)
    display = FluctuationDisplay.from_fluctuations(steps)
    assert len(display.axes_) == 2
    drawn = [bars[0].get_ydata()[0] for bars in display.axes_[1].containers]
    assert_allclose(drawn, display.test.constants)


@pytest.mark.parametrize("curves", ["weights", "products", "distances"])
def test_one_curve_for_each_layer(history, curves):
    display = TrainingDisplay.from_history(history, curves)
    assert labels(display.ax_) == ["layer 1", "layer 2"]
    lines = display.ax_.get_lines()
    styles = {line.get_linestyle() for line in lines}
    assert len(styles) == 2
    at_the_end = {
        "weights": np.linalg.norm(history.weights[0][-1], 2),
        "products": np.linalg.norm(history.weights[0][-1] @ history.weights[1][-1], 2),
        "distances": layer_distances(history)[-1, 0],
    }
    assert_allclose(lines[0].get_ydata()[-1], at_the_end[curves])


def test_curves_that_are_not_there_are_named(history):
    with pytest.raises(ValueError, match=r"pass one of \['distances'"):
        TrainingDisplay.from_history(history, "biases")


def test_agreement_is_drawn_with_both_kinds_of_random_filters(history):
    directions = np.eye(9)[:3]
    display = AgreementDisplay.from_history(
        history, directions, covariance=np.diag(np.arange(9.0))
    )
    found = filter_agreement(history.weights[0][2].T, directions)
    shares, cosines = (axis.get_lines()[0].get_ydata() for axis in display.axes_)
    assert_allclose([shares[2], cosines[2]], [found.share, found.cosine])
    assert labels(display.axes_[0]) == ["trained", "random", "random, patch-like"]
    without = AgreementDisplay.from_history(history, directions)
    assert labels(without.axes_[1]) == ["trained", "random"]


def test_drawn_in_axes_that_are_given(images, history):
    figure = mpl.figure.Figure()
    pair, other = figure.subplots(2, 2)
    found = density_convergence(images, random_state=0)
    assert ConvergenceDisplay(found).plot(ax=pair[0]).ax_ is pair[0]
    assert TrainingDisplay.from_history(history, ax=pair[1]).figure_ is figure
    steps = eigenvalue_fluctuations(images, kernel_size=2, step=4)
    assert FluctuationDisplay.from_fluctuations(steps, ax=other).figure_ is figure
    two = mpl.figure.Figure().subplots(1, 2)
    assert AgreementDisplay.from_history(history, np.eye(9), ax=two).axes_[0] is two[0]
