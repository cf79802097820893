"""Diagnoses: their numbers, what they say of failures, and their pictures."""

from collections import Counter

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from stacks import conv, images_and_labels

from skdmn import (
    AveragePool2DTransformer,
    ClassPCAPatchTransformer,
    ClassPCATransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
)
from skdmn.analysis.density.convergence import density_convergence
from skdmn.analysis.density.spectrum import layer_spectrum
from skdmn.analysis.density.subspaces import variance_shares
from skdmn.analysis.pc_bias.learning_order import critical_principal_component
from skdmn.inspection import class_report, diagnose, diagnosis

mpl.use("agg")


def stripes(n=120):
    """Return bright images with faint stripes, whose direction is the class."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    at = rng.integers(2, size=n)[:, np.newaxis]
    waves = 0.2 * (-1.0) ** (np.arange(8) + at)
    X = np.where(
        y[:, np.newaxis, np.newaxis] == 0,
        waves[:, :, np.newaxis],
        waves[:, np.newaxis, :],
    )
    X = 3 + X + 0.02 * rng.normal(size=(n, 8, 8))
    return X.astype(np.float32), np.array(["across", "down"])[y]


def network(**params):
    return make_pipeline(
        ClassPCAPatchTransformer(2, **params),
        AveragePool2DTransformer(7),
        SoftmaxClassifier(C=10),
    )


def test_the_reason_of_a_failure_is_found_and_its_remedy_works():
    X, y = stripes()
    failing = network(variance_cutoff=0.95).fit(X[:60], y[:60])
    found = diagnose(failing, X[60:], y[60:])
    assert found.report.accuracy < 0.8
    (layer,) = found.layers
    rank, cutoff = layer.missed()
    assert rank in (2, 3)
    assert 0.99 < cutoff < 1
    hint = found.hints[0]
    assert f"the filters miss component {rank}" in hint
    assert "1 filter. variance_cutoff=0.95 keeps 1 of 4 components" in str(found)
    named = float(hint.partition("variance_cutoff=")[2].partition(" ")[0])
    mended = network(variance_cutoff=named, signs="both").fit(X[:60], y[:60])
    found = diagnose(mended, X[60:], y[60:])
    assert found.report.accuracy == 1
    assert found.layers[0].missed() is None
    assert not any("miss component" in hint for hint in found.hints)
    assert found.hardest_classes == []


def test_features_that_a_relu_removes_are_told():
    X, y = stripes()
    layers = (ClassPCAPatchTransformer(2, n_filters=1), AveragePool2DTransformer(7))
    model = make_pipeline(*layers, SoftmaxClassifier()).fit(-X, y)
    assert 'Set signs="both"' in str(diagnose(model, -X, y))


def test_numbers_are_those_of_the_analysis_functions():
    X, y = images_and_labels(60, shape=(8, 7, 3))
    first, second = conv(n_filters=3, signs="both"), conv(n_filters=5)
    model = make_pipeline(first, MaxPool2DTransformer(2), second, SoftmaxClassifier())
    model.fit(X, y)
    found = diagnose(model, X, y, relative_error=0.1, n_hardest=2)
    one, two = found.layers
    assert (one.name, one.n_filters, two.n_filters) == (
        "classpcapatchtransformer-1",
        3,
        5,
    )
    spectrum = layer_spectrum(first)
    assert_allclose(-np.log(one.eigenvalues), spectrum.energies)
    assert_array_equal(one.n_kept, spectrum.n_kept)
    # all images are used, so that class density matrices are those of the layer
    filters = first.filters_[:3]
    expected = variance_shares(filters, first.density_matrices_)
    assert_allclose(one.variance_shares, expected, rtol=1e-5)
    assert_allclose(one.covered, expected.sum(axis=0), rtol=1e-3)  # nearly orthogonal
    assert_array_equal(one.n_images_fitted, np.unique(y, return_counts=True)[1])
    of_images = density_convergence(X, y, kernel_size=2, random_state=0).enough(0.1)
    assert_allclose(one.images_needed, of_images, rtol=0.3)  # batches are drawn
    inputs = model[:2].transform(X)
    again = density_convergence(inputs, y, kernel_size=2, random_state=0).enough(0.1)
    assert_allclose(two.images_needed, again, rtol=0.3)
    rows = model[:-1].transform(X).reshape(60, -1)
    expected = critical_principal_component(model[-1], rows, y)
    assert_array_equal(found.head.critical_components, expected)
    right = (~np.isnan(expected)).mean()
    assert found.head.accuracy_of_components()[-1] == right == found.report.accuracy
    report = class_report(model, X, y, n_hardest=2)
    assert [one.index for one in report.hardest] == [i for i, _ in found.hardest_images]


def layers_of(model, X, y):
    return [(one.name, one.n_filters) for one in diagnose(model, X, y).layers]


def test_searches_networks_layers_and_compact_models_are_taken():
    X, y = images_and_labels(60, shape=(8, 7, 3))
    whitened = WhitenedPCAPatchTransformer(3, n_filters=4, position_grid=2)
    network = DensityMatrixNetwork([("a", whitened), ("b", MaxPool2DTransformer(2))])
    model = make_pipeline(network, SoftmaxClassifier())
    search = GridSearchCV(
        model, {"softmaxclassifier__C": [1e-3]}, cv=2, error_score="raise"
    ).fit(X, y)
    assert layers_of(search, X, y) == [("densitymatrixnetwork.a", 4)]
    network.fit(X, y)
    assert layers_of(network, X, y) == [("a", 4)]
    assert layers_of(network.compact(), X, y) == [("a", 4)]
    some = y > 0  # a class of the model without images
    compact = diagnose(conv().fit(X, y).compact(), X[some], y[some])
    assert compact.layers[0].spectra == np.unique(y[some]).tolist()
    names = [f"name {label}" for label in np.unique(y)]
    found = diagnose(search, X[some], y[some], class_names=names)
    assert found.class_names == dict(zip(np.unique(y).tolist(), names, strict=True))
    naive = conv(class_based=False, n_filters=2).fit(X, y)
    found = diagnose(naive, X, y)
    assert found.head is None
    assert found.layers[0].spectra == ["all"]
    assert found.layers[0].name == "ClassPCAPatchTransformer"
    assert found.layers[0].n_images_fitted.tolist() == [60] * len(np.unique(y))
    assert "2 filters, as n_filters allows" in str(found)


def test_images_pass_through_each_layer_once(monkeypatch):
    X, y = images_and_labels(60, shape=(8, 7, 3))
    layers = conv(n_filters=3), MaxPool2DTransformer(2), conv(n_filters=5)
    model = make_pipeline(*layers, SoftmaxClassifier(C=1e-6)).fit(X, y)
    accuracy = model.score(X, y)
    passed = Counter()
    for name, layer in model.steps[:-1]:

        def counted(part, name=name, transform=layer.transform):
            passed[name] += len(part)
            return transform(part)

        monkeypatch.setattr(layer, "transform", counted)
    found = diagnose(model, X, y, n_hardest=2)
    assert list(passed.values()) == [60, 60, 60]
    assert found.report.accuracy == accuracy
    # the inputs of layers hold fewer images, and the classifier is seen with all
    monkeypatch.setattr(diagnosis, "_BYTES", 20 * 8 * 8 * 7 * 3)
    fewer = diagnose(model, X, y, n_hardest=2)
    assert (fewer.layers[0].images_needed != found.layers[0].images_needed).any()
    assert str(fewer.report) == str(found.report)
    assert_array_equal(fewer.head.neighbours, found.head.neighbours)


def test_a_subsample_is_read_once_by_slices_and_keeps_its_indices():
    X, y = images_and_labels(60, shape=(8, 7, 3))
    model = make_pipeline(conv(n_filters=1), SoftmaxClassifier(C=1e-6)).fit(X, y)

    class Source:
        shape, dtype, takes_indices = X.shape, X.dtype, True

        def __getitem__(self, some):
            return X[some]

    found = diagnose(model, Source(), y, subsample=30)
    assert found.n_images == len(found.chosen) == 30
    assert_array_equal(found.labels, y[found.chosen])
    index = found.report.hardest[0].index
    assert found.hardest_images[0][0] == found.chosen[index]
    assert_array_equal(found.report.hardest[0].image, X[found.chosen[index]])
    again = diagnose(model, X, y, subsample=30)
    assert str(again) == str(found)


def test_dense_layers_are_taken_with_the_pictures_of_their_images():
    X, y = images_and_labels(60, shape=(4, 5))
    layers = ClassPCATransformer(n_filters=2), SoftmaxClassifier(C=1e-6)
    found = diagnose(make_pipeline(*layers).fit(X, y), X, y)
    assert "(ClassPCATransformer, rows of 20 values): 2 filters" in str(found)
    picture = found.plot().subfigs[1].axes[2].child_axes[0].images[0]
    assert picture.get_array().shape == (4, 5, 3)


def test_figure_and_page_have_names_of_classes(tmp_path):
    X, y = images_and_labels(60, shape=(8, 7, 3))
    head = [FlattenTransformer(), GaussianNB()]
    names = ["<b>a", "a very long name of a class indeed", "c", "d"]
    labels = np.unique(y)
    names = [*names, *map(str, range(99))][: len(labels)]
    model = make_pipeline(conv(n_filters=2), *head).fit(X, y)
    y[0] = labels[labels != y[0]][0]  # one wrong answer
    found = diagnose(model, X, y, class_names=names)
    assert found.head.critical_components is None
    assert "GaussianNB is not linear" in found.head.not_linear
    figure = found.plot()
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles[0].startswith("classpcapatchtransformer (ClassPCAPatchTransformer)")
    assert titles[1].startswith("GaussianNB: accuracy")
    ticks = {text.get_text() for text in figure.subfigs[0].axes[2].get_yticklabels()}
    assert {"<b>a", "a very …s indeed"} <= ticks
    page = found._repr_html_()
    assert "&lt;b&gt;a" in page
    assert "<b>a" not in page
    assert page.count("data:image/png") == 1
    found.to_html(tmp_path / "diagnosis.html")
    text = (tmp_path / "diagnosis.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "<title>Diagnosis</title>" in text
    assert page in text
    shown = found.report.hardest[:6]
    assert len({one.true == one.predicted for one in shown}) == 2
    for one, axis in zip(shown, figure.subfigs[1].axes[2].child_axes, strict=True):
        is_red = mpl.colors.to_rgb(axis.title.get_color())[0] > 0.5
        assert is_red == (one.true != one.predicted)


def test_errors_name_what_is_wrong():
    X, y = images_and_labels(60, shape=(8, 7, 3))
    model = conv().fit(X, y)
    with pytest.raises(ValueError, match="class_names has 1 entries for 3 classes"):
        diagnose(model, X, y, class_names=["a"])
    with pytest.raises(ValueError, match="subsample=0; pass a number of images"):
        diagnose(model, X, y, subsample=0)
    pool = MaxPool2DTransformer().fit(X)
    with pytest.raises(TypeError, match="neither a layer with density matrices nor"):
        diagnose(pool, X, y)
    with pytest.raises(ValueError, match="No class has three images"):
        diagnose(model, X[:2], y[:2])


def test_a_layer_that_saw_a_share_of_the_images_says_why():
    X, y = images_and_labels(60)
    texts = {}
    for subsample in (1.0, 0.2):
        layer = ClassPCAPatchTransformer(2, subsample=subsample, random_state=0)
        texts[subsample] = str(diagnose(layer.fit(X, y), X, y, relative_error=1e-3))
    assert "because subsample=0.2" in texts[0.2]
    assert "use a larger subsample, a smaller kernel or more images" in texts[0.2]
    assert "subsample" not in texts[1.0]
    assert "use a smaller kernel or more images" in texts[1.0]
