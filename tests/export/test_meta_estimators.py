"""skl2onnx converts meta-estimators around classifiers and Pipelines of this package.

Each case is converted twice: around a classifier of this package, and around
LogisticRegression in its place. The first must never do worse than the second.
"""

import inspect
import itertools
import warnings
from zlib import crc32

import numpy as np
import onnxruntime
import pytest
import skl2onnx
from models import fit
from skl2onnx._supported_operators import (
    sklearn_classifier_list,
    sklearn_operator_name_map,
)
from skl2onnx.common._registration import _converter_pool
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import RFE, RFECV, SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import (
    OneVsOneClassifier,
    OneVsRestClassifier,
    OutputCodeClassifier,
)
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from stacks import named
from threadpoolctl import threadpool_limits

from skdmn import (
    AveragePool2DTransformer,
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
)
from skdmn.export import register_converters

OPSET = 17
LABELS = {
    "int": np.array([0, 1, 2, 3]),
    "gaps": np.array([7, -3, 20, 4]),
    "str": np.array(["zero", "one", "two", "three"]),
}


@pytest.fixture(autouse=True, scope="module")
def _registered():
    register_converters()
    with threadpool_limits(1):  # small arrays
        yield


def rows(n_classes=3, labels="int", dtype="f4", seed=0, n=36):
    """Return rows of 4 x 4 images of overlapping classes, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, 16))
    X[np.arange(n), 3 * y] += 1.5
    return X.astype(dtype), LABELS[labels][y]


def _conv():
    return ClassPCAPatchTransformer(2, n_filters=3, image_shape=(4, 4))


LAYERS = {
    "alone": list,
    "pipeline": lambda: [_conv(), MaxPool2DTransformer(2, stride=1)],
    "network": lambda: [
        DensityMatrixNetwork(named([_conv(), AveragePool2DTransformer(2)])),
    ],
    "whitened": lambda: [
        WhitenedPCAPatchTransformer(2, n_filters=2, image_shape=(4, 4)),
        AveragePool2DTransformer(2, power=0.5),
        ChannelStandardScaler(),
    ],
}
HEADS = {
    "softmax": SoftmaxClassifier(C=0.1),
    "unscaled": SoftmaxClassifier(C=0.5, standardize=False),
    "through the origin": SoftmaxClassifier(C=0.5, fit_intercept=False),
}


def ours(layers, head="softmax"):
    """Return a classifier of this package, behind layers if there are any."""
    steps = [*LAYERS[layers](), HEADS[head]]
    return clone(make_pipeline(*steps) if len(steps) > 1 else steps[0])


def theirs(layers):
    """Return the same with LogisticRegression."""
    steps = LAYERS[layers]()
    head = LogisticRegression(C=0.1)
    return make_pipeline(*steps, FlattenTransformer(), head) if steps else head


def _union(head):
    head = _last(head)
    union = FeatureUnion([("image", _rows_of_features()), ("scaled", StandardScaler())])
    return make_pipeline(union, head)


def _columns(head):
    head = _last(head)
    columns = ColumnTransformer(
        [
            ("image", _rows_of_features(), list(range(16))),
            ("scaled", StandardScaler(), [1, 3]),
        ]
    )
    return make_pipeline(columns, head)


def _rows_of_features():
    return make_pipeline(_conv(), MaxPool2DTransformer(2), FlattenTransformer())


def _several(head):
    return [("one", head), ("two", LogisticRegression(C=0.3))]


#: Meta-estimators that skl2onnx converts, by the names of the cases.
CASES = {
    "calibrated": lambda head: CalibratedClassifierCV(head, cv=2),
    "calibrated together": lambda head: CalibratedClassifierCV(
        head, cv=2, ensemble=False
    ),
    "calibrated isotonic": lambda head: CalibratedClassifierCV(
        head, cv=2, method="isotonic"
    ),
    "calibrated isotonic together": lambda head: CalibratedClassifierCV(
        head, cv=2, method="isotonic", ensemble=False
    ),
    "calibrated temperature": lambda head: CalibratedClassifierCV(
        head, cv=2, method="temperature"
    ),
    "calibrated temperature together": lambda head: CalibratedClassifierCV(
        head, cv=2, method="temperature", ensemble=False
    ),
    "calibrated search": lambda head: CalibratedClassifierCV(
        GridSearchCV(head, {}, cv=2), cv=2
    ),
    "vote soft": lambda head: VotingClassifier(
        _several(head), voting="soft", flatten_transform=False
    ),
    "vote soft weighted": lambda head: VotingClassifier(
        _several(head),
        voting="soft",
        weights=np.array([1.0, 3.0]),
        flatten_transform=False,
    ),
    "vote hard": lambda head: VotingClassifier(
        _several(head), voting="hard", flatten_transform=False
    ),
    "vote flat": lambda head: VotingClassifier(_several(head), voting="soft"),
    "stack": lambda head: StackingClassifier(_several(head), cv=2),
    "stack below": lambda head: StackingClassifier(
        [("forest", RandomForestClassifier(3, random_state=0))],
        HEADS["softmax"] if is_ours(head) else LogisticRegression(C=0.1),
        cv=2,
    ),
    "stack passing": lambda head: StackingClassifier(
        _several(head), cv=2, passthrough=True
    ),
    "stack of scores": lambda head: StackingClassifier(
        [("one", head)], cv=2, stack_method="decision_function"
    ),
    "stack of labels": lambda head: StackingClassifier(
        [("one", head)], cv=2, stack_method="predict"
    ),
    "bag": lambda head: BaggingClassifier(head, 2, random_state=0),
    "bag of features": lambda head: BaggingClassifier(
        head, 2, max_features=0.5, bootstrap=False, random_state=0
    ),
    "boost": lambda head: AdaBoostClassifier(head, n_estimators=2),
    "boost from": lambda head: GradientBoostingClassifier(init=head, n_estimators=2),
    "one against the rest": lambda head: OneVsRestClassifier(head),
    "one against one": lambda head: OneVsOneClassifier(head),
    "several outputs": lambda head: MultiOutputClassifier(head),
    "search": lambda head: GridSearchCV(head, {}, cv=2),
    "search a calibration": lambda head: GridSearchCV(
        CalibratedClassifierCV(head, cv=2), {}, cv=2
    ),
    "tuned threshold": lambda head: TunedThresholdClassifierCV(
        head, thresholds=9, cv=2
    ),
    "select": lambda head: make_pipeline(SelectFromModel(_last(head)), clone(head)),
    "eliminate": lambda head: make_pipeline(RFE(_last(head)), clone(_last(head))),
    "eliminate by scores": lambda head: make_pipeline(
        RFECV(_last(head), step=5, min_features_to_select=3, cv=2), clone(_last(head))
    ),
    "union": _union,
    "columns": _columns,
    "calibrated union": lambda head: CalibratedClassifierCV(_union(head), cv=2),
    "nested": lambda head: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), head)), cv=2
    ),
    "vote of calibrated": lambda head: VotingClassifier(
        _several(CalibratedClassifierCV(head, cv=2)),
        voting="soft",
        flatten_transform=False,
    ),
    # skl2onnx refuses these
    "chain": lambda head: ClassifierChain(head),
    "self training": lambda head: SelfTrainingClassifier(head),
    "fixed threshold": lambda head: FixedThresholdClassifier(head, threshold=0.3),
    "random search": lambda head: RandomizedSearchCV(head, {}, n_iter=1, cv=2),
    "output codes": lambda head: OutputCodeClassifier(head, random_state=0),
}


def _last(head):
    return head[-1] if isinstance(head, Pipeline) else head


def is_ours(head):
    return isinstance(_last(head), SoftmaxClassifier)


def expected(model, X):
    """Return labels and scores, as skl2onnx gives them, or None for scores."""
    labels = model.predict(X)
    if hasattr(model, "predict_proba"):
        return labels, model.predict_proba(X)
    if isinstance(model, OneVsOneClassifier) and len(model.classes_) > 2:
        return labels, model.decision_function(X)
    return labels, None


def session(written):
    """Return a session of onnxruntime in one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        written.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


#: Outcomes, from bad to good. A model is "broken" if onnxruntime does not run it.
RANKS = ["different", "broken", "refused", "same"]


def outcome(model, X, y):
    """Fit and convert a model, and return one of RANKS."""
    several = isinstance(model, MultiOutputClassifier | ClassifierChain)
    try:
        fit(model, X, np.c_[y, y[::-1]] if several else y)
    except (AttributeError, RuntimeError, TypeError, ValueError):  # scikit-learn
        return "refused"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            written = skl2onnx.to_onnx(
                model, X[:1], target_opset=OPSET, options={"zipmap": False}
            )
        except Exception:  # of any kind
            return "refused"
        try:
            found = session(written).run(None, {"X": X})
        except Exception:
            return "broken"
    return "same" if is_same(*found[:2], *expected(model, X)) else "different"


def is_same(labels, scores, wanted_labels, wanted):
    """Return True if labels are equal and scores differ by at most 1e-5.

    Labels may differ if the largest scores do not.
    """
    if labels.size == wanted_labels.size:  # skl2onnx gives columns of some
        labels = labels.reshape(wanted_labels.shape)
    if wanted is None:
        return np.array_equal(labels, wanted_labels)
    if isinstance(wanted, list):
        return all(
            is_same(labels[:, i], scores[i], wanted_labels[:, i], wanted[i])
            for i in range(len(wanted))
        )
    second, first = np.sort(wanted, axis=1)[:, -2:].T
    clear = first - second > 1e-5
    return (
        labels.shape == wanted_labels.shape
        and np.shape(scores) == wanted.shape
        and np.array_equal(labels[clear], wanted_labels[clear])
        and np.allclose(scores, wanted, rtol=0, atol=1e-5)
    )


#: What skl2onnx does not convert, or converts to another model, around
#: LogisticRegression as well.
FAULTS = {
    "calibrated isotonic": "takes the nearest threshold, and does not interpolate",
    "calibrated isotonic together": "as above",
    "calibrated temperature": "refuses this method",
    "calibrated temperature together": "refuses this method",
    "vote flat": "refuses flatten_transform=True",
    "stack of scores": "stacks two scores for two classes, but one was fitted",
    "stack of labels": "stacks probabilities",
    "boost": "mixes float32 and float64 for float64 rows",
    "boost from": "refuses `init`",
    "one against one": "gives indices of the classes as labels",
    "tuned threshold": "ignores the threshold",
    "chain": "has no converter",
    "self training": "has no converter",
    "fixed threshold": "has no converter",
    "random search": "has no converter",
    "output codes": "has no converter",
}


def compare(case, layers, head, n_classes, labels, dtype, seed=0):
    """Return the outcomes around a classifier of this package and around another."""
    X, y = rows(n_classes, labels, dtype, seed)
    heads = ours(layers, head), theirs(layers)
    return tuple(outcome(CASES[case](inner), X, y) for inner in heads)


SETTINGS = [(3, "int", "f4"), (2, "str", "f8")]


@pytest.mark.parametrize("i", range(len(CASES)), ids=list(CASES))
def test_around_a_classifier(i):
    case, setting = list(CASES)[i], SETTINGS[i % 2]
    if case in FAULTS:
        mine, other = compare(case, "alone", "softmax", *setting)
        assert RANKS.index(mine) >= RANKS.index(other)
    else:
        X, y = rows(*setting)
        assert outcome(CASES[case](ours("alone")), X, y) == "same"


@pytest.mark.parametrize(
    ("case", "setting"),
    [
        ("calibrated", SETTINGS[0]),
        ("calibrated", SETTINGS[1]),
        ("calibrated search", SETTINGS[1]),
        ("nested", SETTINGS[0]),
        ("vote soft", SETTINGS[1]),
        ("stack", SETTINGS[0]),
        ("bag", SETTINGS[1]),
        ("one against one", SETTINGS[0]),
    ],
)
def test_around_layers(case, setting):
    X, y = rows(*setting)
    assert outcome(CASES[case](ours("pipeline")), X, y) == "same"


@pytest.mark.slow
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("case", CASES)
def test_around_random_models(case, layers):
    rng = np.random.default_rng(crc32((case + layers).encode()))
    for seed in range(4):
        head, labels = rng.choice(list(HEADS)), rng.choice(list(LABELS))
        setting = int(rng.integers(2, 5)), labels, rng.choice(["f4", "f8"])
        mine, other = compare(case, layers, head, *setting, seed=seed)
        assert RANKS.index(mine) >= RANKS.index(other), (head, *setting)


#: Classifiers that skl2onnx converts and that contain no other estimator.
PLAIN = [
    kind
    for kind in sklearn_classifier_list
    if all(
        p.default is not p.empty for p in inspect.signature(kind).parameters.values()
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("layers", sorted(LAYERS.keys() - {"alone"}))
@pytest.mark.parametrize("kind", PLAIN)
def test_layers_before_any_classifier(kind, layers):
    """The model is as right as that of the classifier without the layers."""
    classifier = kind()
    X, y = rows()
    steps = make_pipeline(*LAYERS[layers](), FlattenTransformer())
    found = outcome(make_pipeline(steps, clone(classifier)), X, y)
    features = np.asarray(fit(clone(steps), X, y).transform(X))
    assert RANKS.index(found) >= RANKS.index(outcome(classifier, features, y))


def test_every_meta_estimator_has_a_case():
    parameters = {"estimator", "estimators", "steps", "transformers"}
    parameters |= {"transformer_list"}
    kinds = {
        kind
        for kind in sklearn_operator_name_map
        if kind.__module__.startswith("sklearn.")
        and not kind.__name__.endswith("Regressor")
        and parameters & inspect.signature(kind).parameters.keys()
    }
    tried = set()
    for build in CASES.values():
        tried |= set(map(type, _contents(build(SoftmaxClassifier()))))
    assert kinds <= tried


def _contents(model):
    """Yield an estimator and those that it contains."""
    yield model
    for value in model.get_params().values():
        if hasattr(value, "get_params"):
            yield from _contents(value)


def test_takes_the_options_of_logistic_regression():
    options = [
        _converter_pool[sklearn_operator_name_map[kind]].get_allowed_options()
        for kind in (SoftmaxClassifier, LogisticRegression)
    ]
    assert options[0] == options[1]


OPTIONS = [
    {"zipmap": False, "nocl": nocl, "output_class_labels": out, "raw_scores": raw}
    for nocl, out, raw in itertools.product((False, True), repeat=3)
] + [
    {"zipmap": True},
    {"zipmap": True, "nocl": True},
    {"zipmap": "columns"},
    {"zipmap": "columns", "raw_scores": True},
]


@pytest.mark.parametrize(("n_classes", "labels"), [(2, "str"), (3, "gaps")])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_do_what_they_do_for_logistic_regression(n_classes, labels, options):
    X, y = rows(n_classes, labels)
    mine = SoftmaxClassifier().fit(X, y)
    other = fit(LogisticRegression(max_iter=1), X, y)
    other.coef_, other.intercept_ = mine.coef_, mine.intercept_
    (kinds, found), (wanted_kinds, wanted) = (
        _outputs(model, X, options) for model in (mine, other)
    )
    assert kinds == wanted_kinds
    for one, another in zip(found, wanted, strict=True):
        assert_equal_outputs(one, another)


def _outputs(model, X, options):
    """Return names, types and shapes of the outputs, and the outputs."""
    written = skl2onnx.to_onnx(model, X[:1], target_opset=OPSET, options=options)
    kinds = [output.SerializeToString() for output in written.graph.output]
    try:
        return kinds, session(written).run(None, {"X": X})
    except Exception:  # skl2onnx writes names of classes that "nocl" left out
        return kinds, []


def assert_equal_outputs(one, another):
    if isinstance(another, list):  # of dicts
        assert [list(row) for row in one] == [list(row) for row in another]
        one, another = ([list(row.values()) for row in rows] for rows in (one, another))
    one, another = np.asarray(one), np.asarray(another)
    assert one.dtype == another.dtype
    if one.dtype.kind == "f":
        np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_raw_scores_are_those_of_decision_function(n_classes, dtype):
    X, y = rows(n_classes, dtype=dtype)
    model = SoftmaxClassifier().fit(X, y)
    options = {"zipmap": False, "raw_scores": True}
    written = skl2onnx.to_onnx(model, X[:1], target_opset=OPSET, options=options)
    labels, scores = session(written).run(None, {"X": X})
    wanted = model.decision_function(X)
    if n_classes == 2:
        wanted = np.c_[-wanted, wanted]
    assert scores.dtype == X.dtype
    np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-5)
    assert labels.tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("kind", ["?", "f8", ">f4", "u1"])
def test_labels_that_are_integers_in_another_dtype(kind):
    X, y = rows(2)
    model = SoftmaxClassifier().fit(X, y.astype(kind))
    written = skl2onnx.to_onnx(
        model, X[:1], target_opset=OPSET, options={"zipmap": False}
    )
    labels, _ = session(written).run(None, {"X": X})
    assert labels.dtype == np.int64
    assert labels.tolist() == model.predict(X).tolist()


def test_integers_for_a_pipeline_in_a_meta_estimator_are_refused():
    X, y = rows()
    model = fit(CalibratedClassifierCV(ours("pipeline"), cv=2), X, y)
    with pytest.raises(ValueError, match="would cast the scores of a Pipeline"):
        skl2onnx.to_onnx(model, X[:1].astype(np.int64), options={"zipmap": False})


def test_calibrated_classifiers_of_images():
    X, y = rows()
    X = X.reshape(-1, 4, 4)
    layers = ClassPCAPatchTransformer(2, n_filters=3), MaxPool2DTransformer(2)
    head = make_pipeline(*layers, SoftmaxClassifier())
    assert outcome(CalibratedClassifierCV(head, cv=2), X, y) == "same"


def test_converts_classifiers_of_users():
    class Mine(SoftmaxClassifier):
        pass

    register_converters()
    X, y = rows()
    assert outcome(CalibratedClassifierCV(Mine(), cv=2), X, y) == "same"
