"""Pictures of contributions."""

import re
import sys

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from stacks import conv, images_and_labels

from skdmn import FlattenTransformer, SoftmaxClassifier
from skdmn.display.drawing import draw_filter
from skdmn.inspection import ContributionDisplay, contributions
from skdmn.inspection.display import as_picture, heat_map

mpl.use("agg")


@pytest.fixture(scope="module")
def fitted():
    X, y = images_and_labels()
    y = np.array(["ant", "bee", "cat"])[y]
    return make_pipeline(conv(3, n_filters=5), SoftmaxClassifier()).fit(X, y), X, y


def titles(axes):
    return [axis.get_title() for axis in axes]


def test_rows_have_class_probability_and_the_filters_for_and_against(fitted):
    model, X, y = fitted
    display = ContributionDisplay.from_estimator(model, X, y, max_images=4, n_filters=2)
    found, probabilities = display.contributions, model.predict_proba(X)
    answers = model.predict(X)
    assert display.axes_.shape == (4, 6)
    assert len(found) == 4
    for row, axes in enumerate(display.axes_):
        code = list(model.classes_).index(y[row])
        image, heat, *filters = titles(axes)
        expected = f"for class {y[row]} (p = {probabilities[row, code]:.2f})"
        if answers[row] != y[row]:
            expected += f"\nanswer {answers[row]} (p = {probabilities[row].max():.2f})"
        assert image == expected
        assert heat.startswith(f"logit {found.logits[row]:.2f} =\n")
        bias, sign, pixels = re.fullmatch(
            r".*\n(\S+) \(bias\) ([+-]) (\S+) \(pixels\)", heat
        ).groups()
        assert_allclose(
            float(bias) + float(sign + pixels), found.logits[row], atol=0.011
        )
        values = found.by_filter[row]
        best, worst = values.argmax(), values.argmin()
        share = np.abs(values[best]) / np.abs(values).sum()
        assert filters[0].startswith(f"{found.filter_classes[best]}\n")
        assert filters[0].endswith(f"{values[best]:+.2f} ({share:.0%})")
        assert (f"{values[worst]:+.2f}" in filters[2]) == (values[worst] < 0)
        for axis, title in zip(axes[2:], filters, strict=True):
            if title:
                assert (
                    axis.get_title().split("\n")[1][0] == "++--"[filters.index(title)]
                )
    assert "red for it" in display.figure_.get_suptitle()
    assert len(display.limits_) == len(set(display.limits_)) == 4
    assert_allclose(bar_limits(display), display.limits_)


def bar_limits(display):
    """Return the ends of the colour bars."""
    bars = [axis for axis in display.figure_.axes if axis.get_label() == "<colorbar>"]
    return [bar.get_ylim()[1] for bar in bars]


def test_titles_name_the_answer_if_another_class_is_explained(fitted):
    model, X, _ = fitted
    answers, probabilities = model.predict(X[:5]), model.predict_proba(X[:5])
    display = ContributionDisplay.from_estimator(model, X[:5], "bee", n_filters=0)
    shown = titles(display.axes_[:, 0])
    for title, answer, p in zip(shown, answers, probabilities, strict=True):
        first, *second = title.split("\n")
        assert first == f"for class bee (p = {p[1]:.2f})"
        own = [] if answer == "bee" else [f"answer {answer} (p = {p.max():.2f})"]
        assert second == own
    assert {len(title.split("\n")) for title in shown} == {1, 2}


def test_rows_share_a_scale_only_if_asked(fitted):
    model, X, _ = fitted
    X = np.stack([X[0], X[0] / 8])
    found = contributions(model, X)
    own = ContributionDisplay.from_contributions(found, n_filters=0)
    assert own.limits_[0] > 2 * own.limits_[1]
    shared = ContributionDisplay.from_estimator(model, X, n_filters=0, share_scale=True)
    first, second = shared.limits_
    assert first == second
    assert_allclose(bar_limits(shared), first)


def test_drawn_in_a_figure_that_is_given_without_filters_and_probabilities(fitted):
    _, X, y = fitted
    model = make_pipeline(FlattenTransformer(), LinearSVC(max_iter=9, tol=9)).fit(X, y)
    figure = mpl.figure.Figure()
    display = ContributionDisplay(contributions(model, X[:2])).plot(figure=figure)
    assert display.figure_ is figure
    assert display.axes_.shape == (2, 2)
    assert display.axes_[0, 0].get_title() == f"for class {model.predict(X[:1])[0]}"


def test_heat_maps_are_red_for_and_blue_against():
    picture = np.full((1, 3, 3), 0.5)
    red, grey, blue = heat_map(picture, np.array([[9.0, 0.0, -9.0]]), 1.0)[0]
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]
    assert_allclose(grey, 0.8)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_of_images_and_filters(rng, channels):
    image = np.full((2, 2, channels), 3, np.uint8)
    image[0] = 15
    assert_allclose(as_picture(image)[:, 0], [[1, 1, 1], [0.2, 0.2, 0.2]])
    scaled = as_picture(rng.normal(size=(4, 5, channels)))
    assert (scaled.min(), scaled.max()) == (0, 1)
    kernel = rng.normal(size=(3, 2, channels))
    axis = mpl.figure.Figure().subplots()
    drawn, limit = draw_filter(axis, kernel), np.abs(kernel).max()
    picture = drawn.get_array()
    assert drawn.get_clim() == (-limit, limit)
    shapes = {1: (3, 2), 3: (3, 2, 3), 5: (7, 8)}
    assert picture.shape == shapes[channels]
    if channels == 5:
        assert_allclose(picture[4:7, 3:5], kernel[:, :, 4])
        assert np.ma.getmaskarray(np.ma.masked_invalid(picture))[4:7, 6:8].all()
    # a frame keeps the channels of a filter apart from those of the next one
    assert axis.axison == (channels == 5)


def test_without_matplotlib_the_extra_is_named(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skdmn\[plot\]"):
        ContributionDisplay.from_estimator(*fitted[:2])
