"""Class reports: their numbers, and the page."""

import base64
import io
import re
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from stacks import conv, images_and_labels

from skdmn import FlattenTransformer, ImageReader, SoftmaxClassifier
from skdmn.inspection import class_report, contributions
from skdmn.inspection.report import Calibration

mpl.use("agg")

NAMES = np.array(["<b>ant", "bee & co", "cat"])  # to be escaped


def fitted(channels=3, n_classes=3, head=None):
    X, y = images_and_labels(60, shape=(8, 7, channels))
    some = y < n_classes
    X, y = X[some], NAMES[y[some]]
    model = make_pipeline(conv(n_filters=2), *(head or [SoftmaxClassifier(C=1e-4)]))
    half = len(X) // 2
    return model.fit(X[:half], y[:half]), X[half:], y[half:]


def test_numbers_are_those_of_scikit_learn():
    model, X, y = fitted()
    report = class_report(model, X, y, n_hardest=3)
    predicted = model.predict(X)
    matrix = confusion_matrix(y, predicted, labels=model.classes_)
    assert 0 < report.accuracy < 1  # there are confusions
    assert report.n_images == len(X)
    assert report.accuracy == model.score(X, y)
    assert_array_equal(report.predictions, predicted)
    assert_array_equal(report.confusion_matrix, matrix)
    recall = recall_score(y, predicted, average=None)
    assert_allclose(report.class_accuracy, recall)
    precision = precision_score(y, predicted, average=None)
    assert_allclose(report.class_precision, precision)
    counts = [one.count for one in report.confusions]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == (predicted != y).sum()
    first = report.confusions[0]
    pair = (y == first.true) & (predicted == first.predicted)
    assert (first.count, first.share) == (
        pair.sum(),
        pair.sum() / (y == first.true).sum(),
    )


def test_hardest_images_are_explained_for_the_true_and_the_predicted_class():
    model, X, y = fitted()
    report = class_report(model, X, y, n_hardest=3)
    own = model.predict_proba(X)[np.arange(len(y)), np.searchsorted(NAMES, y)]
    assert [one.index for one in report.hardest] == np.argsort(own)[:3].tolist()
    for one in report.hardest:
        assert (one.true, one.predicted) == (
            y[one.index],
            report.predictions[one.index],
        )
        assert_allclose(one.probability, own[one.index])
        image = X[one.index : one.index + 1]
        expected = contributions(model, image, one.true)
        assert_array_equal(one.for_true.pixels, expected.pixels)
        assert one.for_predicted.target == one.predicted
        assert_array_equal(one.image, image[0])


def test_calibration_in_a_case_computed_by_hand():
    confidence = np.array([0.5, 0.55, 0.9, 1.0, 1.0])
    right = np.array([True, False, True, True, False])
    found = Calibration.of(confidence, right, 5)
    assert_array_equal(found.counts, [0, 0, 2, 0, 3])
    assert_allclose(found.confidence[[2, 4]], [0.525, 2.9 / 3])
    assert_allclose(found.accuracy[[2, 4]], [0.5, 2 / 3])
    assert np.isnan(found.accuracy[0])
    assert_allclose(found.expected_error, (2 * 0.025 + 3 * 0.3) / 5)


def pictures(text):
    """Return the pictures inside of a page."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 3), (3, 2), (5, 3)])
def test_a_page_is_one_file_with_pictures_and_escaped_labels(
    channels, n_classes, tmp_path
):
    model, X, y = fitted(channels, n_classes)
    labels = pd.Series(y, index=range(7, 7 + len(y)))
    report = class_report(model, X, labels, n_hardest=3)
    report.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert report._repr_html_() in text
    assert f"<b>{report.n_images}</b>" in text
    assert f"{100 * report.accuracy:.1f} %" in text
    assert "&lt;b&gt;ant" in text
    assert "bee &amp; co" in text
    assert "<b>ant" not in text
    assert not re.search(r"(href|src)=.(?!data:)", text)  # loads nothing
    curve, *heat_maps = pictures(text)
    assert curve.size[0] > 300
    n_wrong = sum(one.true != one.predicted for one in report.hardest)
    assert len(heat_maps) == 2 * len(report.hardest) + n_wrong
    assert {picture.size for picture in heat_maps} == {(7, 8)}


def test_a_class_without_images_and_a_model_without_errors():
    model, X, y = fitted()
    some = (y != "cat") & (model.predict(X) == y)
    report = class_report(model, X[some], y[some], n_hardest=1)
    assert report.accuracy == 1
    assert np.isnan(report.class_accuracy[2])
    assert report.confusions == []
    assert "No image was confused" in report._repr_html_()


def test_sources_are_read_in_small_pieces(monkeypatch):
    model, X, y = fitted()

    class Source:
        shape, dtype, read = X.shape, X.dtype, []

        def __getitem__(self, some):
            self.read.append(some.stop - some.start)
            return X[some]

    monkeypatch.setattr("skdmn.inspection.report._MOST_IMAGES", 7)
    report = class_report(model, Source(), y, n_hardest=2)
    assert max(Source.read) == 7
    with sklearn.config_context(working_memory=1):
        whole = class_report(model, X, y, n_hardest=2)
    assert repr(report) == repr(whole)
    assert repr(report).startswith(f"{len(X)} images, accuracy {report.accuracy:.4f}")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_models_without_probabilities_or_explanations():
    model, X, y = fitted(head=[FlattenTransformer(), LinearSVC(max_iter=5)])
    report = class_report(model, X, y, n_hardest=2)
    scores = model.decision_function(X)
    codes = np.searchsorted(NAMES, y)
    others = np.where(np.eye(3, dtype=bool)[codes], -np.inf, scores).max(axis=1)
    margins = scores[np.arange(len(y)), codes] - others
    assert [one.index for one in report.hardest] == np.argsort(margins)[:2].tolist()
    assert report.calibration is None
    assert "no probabilities" in report._repr_html_()
    model, X, y = fitted(head=[FlattenTransformer(), GaussianNB()])
    report = class_report(model, X, y, n_hardest=2)
    assert report.accuracy == model.score(X, y)
    assert "GaussianNB is not linear" in report.unexplained
    assert "GaussianNB is not linear" in report._repr_html_()
    assert len(pictures(report._repr_html_())) == 3


def test_images_of_files_are_told_by_their_names(tmp_path):
    X, y = images_and_labels(20, shape=(8, 7, 3))
    names = [tmp_path / f"{number}.png" for number in range(20)]
    for name, image in zip(names, X, strict=True):
        Image.fromarray(image).save(name)
    model = make_pipeline(ImageReader(), conv(n_filters=2), SoftmaxClassifier())
    model.fit(names, y)
    for files in (names, pd.DataFrame({"file": list(map(str, names))})):
        (one,) = class_report(model, files, y, n_hardest=1).hardest
        assert one.name == str(names[one.index])
        assert_array_equal(one.image, X[one.index])


def test_images_in_memory_are_told_by_given_names():
    model, X, y = fitted()
    names = [f"{number}.png" for number in range(len(X))]
    report = class_report(model, X, y, names=names, n_hardest=3)
    assert [one.name for one in report.hardest] == [
        f"{one.index}.png" for one in report.hardest
    ]
    with pytest.raises(ValueError, match="names has 2 entries for"):
        class_report(model, X, y, names=names[:2])


def test_errors_name_what_is_wrong(monkeypatch):
    model, X, y = fitted()
    with pytest.raises(ValueError, match=r"labels that the model does not know: 'dog'"):
        class_report(model, X, np.where(y == "cat", "dog", y))
    codes = np.unique(y, return_inverse=True)[1]
    with pytest.raises(ValueError, match=r": 0, 1, 2\. Its classes are .*'cat'; pass"):
        class_report(model, X, codes)
    with pytest.raises(ValueError, match=r"np\.array\(data\.target_names\)"):
        class_report(clone(model).fit(X, codes), X, y)
    with pytest.raises(ValueError, match="X has 30 samples, but y has 3 labels"):
        class_report(model, X, y[:3])
    with pytest.raises(ValueError, match="n_bins=0 is not an int of at least 1"):
        class_report(model, X, y, n_bins=0)
    report = class_report(model, X, y, n_hardest=0)
    assert "Hardest images" not in report._repr_html_()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skdmn\[plot\]"):
        report.to_html("never.html")
    assert report._repr_html_().startswith("<pre>30 images, accuracy")
