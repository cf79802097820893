"""Pictures of spectra, density matrices and overlaps: what they show."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FilterDisplay,
    FlattenTransformer,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
    make_dmn,
)
from skdmn.analysis.density.spectrum import class_densities
from skdmn.display.spectrum import (
    ClassOverlapDisplay,
    DensityMatrixDisplay,
    EnergyDisplay,
)

mpl.use("agg")


@pytest.fixture
def layer(rng):
    X = rng.normal(size=(30, 7, 7)).cumsum(axis=1)
    y = np.array(["a", "b", "c"])[np.arange(30) % 3]
    return ClassPCAPatchTransformer(3, variance_cutoff=0.9).fit(X, y)


@pytest.fixture
def ax():
    return Figure().subplots()


# energies


def test_every_class_is_a_line_and_what_is_kept_is_filled(layer):
    display = EnergyDisplay.from_estimator(layer)
    spectra, kept = display.ax_.lines[::2], display.ax_.lines[1::2]
    for i in range(3):
        assert_array_equal(spectra[i].get_xdata(), np.arange(1, 10))
        assert_allclose(spectra[i].get_ydata(), display.energies[i])
        assert spectra[i].get_markerfacecolor() == "none"
        assert len(kept[i].get_xdata()) == display.n_kept[i]
        assert spectra[i].get_marker() == kept[i].get_marker()
    assert len({line.get_marker() for line in spectra}) == 3
    texts = display.ax_.get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["a", "b", "c"]
    assert "nats" in display.ax_.get_ylabel()
    assert "filled: within the cutoff" in display.ax_.get_xlabel()


def test_a_gap_is_marked_and_told(ax):
    levels = [[0.0, 1, 9, 10], [0.0, 1, 11, 12]]
    display = EnergyDisplay(levels, ["x", "y"]).plot(ax=ax)
    assert ax.get_title("left") == "gap of 10.0 nats after rank 2"
    assert [gap.n_overlap for gap in display.gaps_] == [2, 2]
    (marker,) = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert_allclose(marker.get_xdata(), 2.5)


def test_where_there_is_no_gap_the_widest_is_told(ax):
    EnergyDisplay([[0.0, 1, 5.5]], [0], min_gap=5).plot(ax=ax)
    assert ax.get_title("left") == "no gap above 5 nats; widest gap 4.5"
    assert ax.get_legend() is None


def test_min_gap_is_that_of_the_estimators_picture(layer):
    assert "after rank" in EnergyDisplay.from_estimator(layer, min_gap=0).ax_.get_title(
        "left"
    )


def test_infinite_energies_are_not_drawn(ax):
    EnergyDisplay([[0.0, 1, np.inf]], [0], n_kept=[2]).plot(ax=ax)
    assert_array_equal(ax.lines[0].get_ydata(), [0, 1, np.nan])
    assert ax.get_xlabel() == "rank of component"  # nothing drawn is left out


# density matrices


def test_every_matrix_is_drawn_on_one_scale(layer):
    display = DensityMatrixDisplay.from_estimator(layer)
    images = [axis.images[0] for axis in display.axes_.flat]
    for image, matrix in zip(images, layer.density_matrices_, strict=True):
        assert_allclose(image.get_array(), matrix)
        assert image.get_clim()[1] == np.abs(layer.density_matrices_).max()
        assert image.get_clim()[0] == -image.get_clim()[1]
    titles = [axis.get_title() for axis in display.axes_.flat]
    assert titles == ["class a", "class b", "class c"]


def test_one_matrix_of_all_classes_says_so(rng):
    layer = ClassPCAPatchTransformer(2, class_based=False).fit(rng.random((9, 5, 5)))
    display = DensityMatrixDisplay.from_estimator(layer)
    assert [axis.get_title() for axis in display.axes_.flat] == ["all classes"]


def test_classes_are_chosen_by_label(layer):
    display = DensityMatrixDisplay.from_estimator(layer, classes=["c", "a"])
    assert_allclose(display.matrices, layer.density_matrices_[[2, 0]])
    assert display.axes_[0, 0].get_title() == "class c"


def test_a_class_that_is_not_there_is_an_error(layer):
    with pytest.raises(ValueError, match="'z' is not a class"):
        DensityMatrixDisplay.from_estimator(layer, classes=["a", "z"])


def test_ten_of_many_classes_are_drawn(rng):
    X, y = rng.random((24, 5, 5)), np.arange(24) % 12
    layer = ClassPCAPatchTransformer(2).fit(X, y)
    display = DensityMatrixDisplay.from_estimator(layer)
    assert len(display.matrices) == 10
    figure = Figure()
    every = DensityMatrixDisplay.from_estimator(layer, classes=range(12), figure=figure)
    assert every.figure_ is figure
    assert sum(len(axis.images) for axis in every.axes_.flat) == 12


# overlaps


def test_overlaps_are_drawn_and_written_out(ax):
    overlaps = np.array([[1, 0.25], [0.25, 1]])
    display = ClassOverlapDisplay(overlaps, ["x", "y"]).plot(ax=ax)
    assert display.figure_ is ax.figure
    assert_array_equal(ax.images[0].get_array(), overlaps)
    written = [text.get_text() for text in ax.texts]
    assert written == ["1.00", ".25", ".25", "1.00"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y"]
    dark, bright = ax.texts[1].get_color(), ax.texts[0].get_color()
    assert (dark, bright) == ("white", "black")


def test_overlaps_close_to_1_are_told_apart(ax):
    ClassOverlapDisplay(np.array([[1, 0.987], [0.987, 1]]), [0, 1]).plot(ax=ax)
    assert ax.texts[1].get_text() == ".987"


def test_overlaps_of_an_estimator_are_symmetric(layer):
    display = ClassOverlapDisplay.from_estimator(layer)
    assert_allclose(display.overlaps, display.overlaps.T)
    assert_allclose(np.diag(display.overlaps), 1)
    assert_array_equal(display.classes, ["a", "b", "c"])


def test_many_classes_are_not_written_out(ax):
    ClassOverlapDisplay(np.eye(20), np.arange(20)).plot(ax=ax)
    assert not ax.texts


# all


DISPLAYS = [EnergyDisplay, DensityMatrixDisplay, ClassOverlapDisplay]


@pytest.mark.parametrize("display", DISPLAYS)
def test_mistakes_are_told(display):
    with pytest.raises(TypeError, match="MaxPool2DTransformer has no density matrices"):
        display.from_estimator(MaxPool2DTransformer())
    with pytest.raises(NotFittedError):
        display.from_estimator(ClassPCAPatchTransformer())


def test_cells_of_a_whitened_layer_are_combined(rng):
    X, y = rng.normal(size=(30, 7, 6)).cumsum(axis=1), np.arange(30) % 3
    X[:, :4, :3] = 0  # the patches of one cell have no contrast
    params = {"kernel_size": 3, "contrast_floor": 0.1, "n_filters": 4}
    layer = WhitenedPCAPatchTransformer(position_grid=(2, 3), **params).fit(X, y)
    whole = WhitenedPCAPatchTransformer(position_grid=1, **params).fit(X, y)
    expected = whole.density_matrices_[:, 0]
    assert_allclose(class_densities(layer), expected, atol=1e-12)
    display = DensityMatrixDisplay.from_estimator(layer, classes=[2])
    assert_allclose(display.matrices, expected[[2]], atol=1e-12)
    overlaps = ClassOverlapDisplay.from_estimator(layer).overlaps
    assert_allclose(overlaps, ClassOverlapDisplay.from_estimator(whole).overlaps)
    drawn = EnergyDisplay.from_estimator(layer)
    values = np.linalg.eigvalsh(expected)[:, ::-1]
    # the entries of a normalized patch sum to 0, so that one energy is infinite
    assert_allclose(drawn.energies[:, :-1], -np.log(values[:, :-1]), rtol=1e-6)
    assert np.isinf(drawn.energies[:, -1]).all()


@pytest.fixture(scope="module")
def models():
    X, y = np.random.default_rng(0).random((30, 9, 9)), np.arange(30) % 3
    two = make_dmn(2, n_filters=[3, 5], pool_size=2).fit(X, y)
    network = DensityMatrixNetwork.from_pipeline(two[:-2]).fit(X, y)
    whole = make_pipeline(network, FlattenTransformer(), SoftmaxClassifier())
    search = GridSearchCV(whole, {"softmaxclassifier__C": [1.0]}, cv=2).fit(X, y)
    pools = make_pipeline(MaxPool2DTransformer()).fit(X)
    return two, network, search, pools


@pytest.mark.parametrize("display", [*DISPLAYS, FilterDisplay])
def test_layers_of_whole_models_are_drawn_by_name(display, models):
    two, *_, pools = models
    for model in models[:3]:
        first = display.from_estimator(model)
        second = display.from_estimator(model, layer="conv2")
        assert first.name.endswith("conv1")
        assert second.name.endswith("conv2")
        assert any("conv2" in text for text in texts_of(second.figure_))
    named = display.from_estimator(two, class_names=["zero", "one", "two"])
    assert any("zero" in text for text in texts_of(named.figure_))
    with pytest.raises(ValueError, match="layer='pool1' is not a layer with filters"):
        display.from_estimator(two, layer="pool1")
    with pytest.raises(ValueError, match="class_names has 1 entries for 3 classes"):
        display.from_estimator(two, class_names=["zero"])
    with pytest.raises(TypeError, match="no layer with density matrices"):
        display.from_estimator(pools)


def texts_of(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


@pytest.mark.parametrize("display", DISPLAYS)
def test_pictures_can_be_saved(display, layer, tmp_path):
    display.from_estimator(layer).figure_.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


@pytest.mark.parametrize("display", [EnergyDisplay, ClassOverlapDisplay])
def test_drawn_where_it_is_told(display, layer, ax):
    drawn = display.from_estimator(layer, ax=ax)
    assert drawn.ax_ is ax
    assert drawn.figure_ is ax.figure
