"""scikit-learn's own checks, for every public estimator, with none excused."""

import pytest
from estimators import ESTIMATORS
from sklearn.utils.estimator_checks import parametrize_with_checks


# the checks' rows are no pictures, and some of their classes have no weight
@pytest.mark.filterwarnings("ignore:.* reads rows of:UserWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning:sklearn")
@parametrize_with_checks(list(ESTIMATORS.values()))
def test_scikit_learn_checks(estimator, check):
    check(estimator)
