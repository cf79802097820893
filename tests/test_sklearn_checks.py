"""scikit-learn's own checks, for every public estimator, with none excused."""

import pytest
from estimators import ESTIMATORS, one_of_each_type
from sklearn.utils.estimator_checks import parametrize_with_checks

# one of each class, and those whose parameters change what the checks look at
CHECKED = {
    **one_of_each_type(ESTIMATORS),
    **{name: ESTIMATORS[name] for name in ("network_mirrored", "softmax_balanced")},
}


# the checks' rows are no pictures, and some of their classes have no weight
@pytest.mark.filterwarnings("ignore:.* reads rows of:UserWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning:sklearn")
@parametrize_with_checks(list(CHECKED.values()))
def test_scikit_learn_checks(estimator, check):
    check(estimator)
