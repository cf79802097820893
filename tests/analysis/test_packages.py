"""The packages of the analysis: what they export and what they import."""

import importlib
import pkgutil
from types import FunctionType

import pytest

import skdmn.analysis

PACKAGES = ["density", "sgd", "deep_linear", "pc_bias"]


def modules(package):
    found = importlib.import_module(f"skdmn.analysis.{package}")
    names = [info.name for info in pkgutil.iter_modules(found.__path__)]
    return found, names


def test_there_are_no_other_packages():
    found = {info.name for info in pkgutil.iter_modules(skdmn.analysis.__path__)}
    assert found == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_with_an_example_are_exported(package):
    found, names = modules(package)
    for name in names:
        module = importlib.import_module(f"{found.__name__}.{name}")
        for function in vars(module).values():
            if (
                isinstance(function, FunctionType)
                and function.__module__ == module.__name__
                and ">>> " in (function.__doc__ or "")
                and function.__name__ not in names  # the module has this name
            ):
                assert function.__name__ in found.__all__
                assert getattr(found, function.__name__) is function


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_exist_and_hide_no_module(package):
    found, names = modules(package)
    assert len(set(found.__all__)) == len(found.__all__)
    assert not set(found.__all__) & set(names)
    for name in found.__all__:
        assert hasattr(found, name)


def test_an_import_of_all_names_gives_those_of_every_package():
    names = {}
    exec("from skdmn.analysis import *", names)
    for package in PACKAGES:
        found, _ = modules(package)
        assert names[package] is found
        for name in found.__all__:  # one name for one thing
            assert names[name] is getattr(skdmn.analysis, name) is getattr(found, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_tables_list_every_module(package):
    found, names = modules(package)
    for name in names:
        assert f"\n{name} " in found.__doc__
        assert f"\n{package}.{name} " in skdmn.analysis.__doc__
