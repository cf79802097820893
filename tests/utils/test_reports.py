"""Lines of verbose: printed, or handled by the logging that a user configured."""

import logging
import re

import numpy as np

from skdmn import recommended_dmn
from skdmn.datasets import load_digits_images

X, Y = load_digits_images()
LINE = r"\[\w+\] .+(, \d+\.\d s|groups)"


def fit(**params):
    dmn = recommended_dmn((8, 8), n_filters=5, subsample=1.0, **params)
    return dmn.fit(X[:60], Y[:60])


def test_lines_are_printed_in_one_form(without_logging, capsys):
    with without_logging():
        fit(verbose=True)
        lines = capsys.readouterr().out.splitlines()
        assert all(re.fullmatch(LINE, line) for line in lines)
        assert lines[0].startswith("[WhitenedPCAPatchTransformer] density matrices: 60")
        assert any("[DensityMatrixNetwork] features of 60 images" in s for s in lines)
        assert lines[-1].startswith("[SoftmaxClassifier] loss")
        fit()
    assert capsys.readouterr().out == ""


def test_handlers_of_a_user_get_the_lines_instead(capsys, caplog):
    fit(verbose=True)
    assert capsys.readouterr().out == ""
    levels = {(record.name, record.levelno) for record in caplog.records}
    assert levels == {("skdmn", logging.INFO)}
    assert "density matrices: 60 of 60 images" in caplog.text
    logging.getLogger("skdmn").setLevel(logging.WARNING)
    try:
        caplog.clear()
        fit(verbose=True)
        assert not caplog.records
    finally:
        logging.getLogger("skdmn").setLevel(logging.INFO)


def test_progress_goes_to_the_output_of_the_moment(without_logging, capsys):
    with without_logging():
        dmn = fit(verbose=True)
        capsys.readouterr()
        np.testing.assert_array_equal(dmn.predict(X[:3]), dmn.predict(X[:3]))
    assert capsys.readouterr().out == ""  # progress is that of fits
