"""The command, as its user meets it."""

import inspect
import json
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from skdmn import cli, make_dmn
from skdmn.datasets import load_digits_images


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return cli.main(["demo", *arguments])


def write_idx(path, array):
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    X, y = load_digits_images()
    for name, some in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        write_idx(folder / f"{name}-images-idx3-ubyte", X[some] * 15)
        write_idx(folder / f"{name}-labels-idx1-ubyte", y[some])
    return folder


def test_demo_prints_filters_energies_accuracies_and_times(capsys, tmp_path):
    assert run() == 0
    printed = capsys.readouterr().out
    assert "digits: 1347 training, 450 test images of 8 x 8" in printed
    for words in ("conv1:", "conv2:", "energies", "nats", "raw pixels", "accuracy"):
        assert words in printed
    assert "filters of conv1 drawn in skdmn-filters.png" in printed
    assert (tmp_path / "skdmn-filters.png").stat().st_size > 1000


def test_json_says_what_was_printed(tmp_path):
    one_layer = ["--layers", "1", "--variance-cutoff", "0.9", "--signs", "one"]
    assert run(*one_layer, "--picture", "", "--json", "out.json") == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["dataset"] == "digits"
    assert len(result["layers"]) == 1
    layer = result["layers"][0]
    assert layer["filters"][0] == len(layer["energies"]) == len(layer["filter_classes"])
    assert 0.9 < result["accuracy"] <= 1
    assert result["options"]["variance_cutoff"] == 0.9
    assert not (tmp_path / "skdmn-filters.png").exists()


def test_official_files_of_a_folder(mnist, capsys):
    arguments = ["--dataset", "mnist", "--data", str(mnist), "--images", "200"]
    assert run(*arguments, "--n-filters", "4", "8") == 0
    printed = capsys.readouterr().out
    assert "mnist: 200 training, 100 test images of 8 x 8" in printed


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("--layers", "1") == 0
    assert 'pip install "skdmn[plot]"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "mnist", "--data", "nowhere"], "nowhere"),
        (["--dataset", "cifar10", "--data", "."], "data_batch_1.bin"),
        (["--data", "."], "--dataset"),
        (["--variance-cutoff", "0.9", "0.9", "0.9"], "3 values for 2 layers"),
        (["--json", "no/such/folder.json"], "folder.json"),
        (["--json", "."], "cannot be written"),
        (["--picture", "no/such/x.png"], "x.png"),
        (["--picture", "x.nonsense", "--layers", "1", "--json", "o.json"], "nonsense"),
        (["--device", "cuda"], "skdmn[cuda12]"),
        (["--layers", "9"], "kernel_size=3 is larger than the images"),
    ],
)
def test_errors_are_one_line_without_a_traceback(arguments, message, capsys):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("skdmn: error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("demo --layers 0", "--layers: '0' is not a positive whole number"),
        ("demo --layers x", "'x' is not a positive whole number"),
        ("demo --variance-cutoff 1.5", "--variance-cutoff: '1.5' is not above 0"),
        ("demo --seed -1", "is not a seed"),
        ("demo -C 0", "-C: '0' is not a positive number"),
        ("", "command"),
        ("nonsense", "nonsense"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_option(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments.split())
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "usage: skdmn" in error
    assert message in error


def test_results_are_written_before_the_picture_fails(tmp_path):
    arguments = ["--layers", "1", "--picture", "x.nonsense", "--json", "o.json"]
    assert run(*arguments) == 1
    assert (tmp_path / "o.json").exists()


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m skdmn demo --layers 1 --picture '' | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("digits")
    assert done.stderr == ""


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--dataset", "--data", "--layers", "--variance-cutoff", "--json"):
        assert option in printed
    defaults = inspect.signature(make_dmn).parameters
    for option in ("variance_cutoff", "correlation_cutoff", "signs", "C", "device"):
        named = "-C" if option == "C" else f"--{option.replace('_', '-')}"
        text = printed.partition(f"\n  {named} ")[2].partition("\n  -")[0]
        told = re.findall(r"\[([^\]]*)\]", text)[-1]
        assert told == str(defaults[option].default), option


def test_an_interrupt_exits_with_130(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "demo", interrupt)
    assert run() == 130
    assert "interrupted" in capsys.readouterr().err


def test_python_m_skdmn():
    command = [sys.executable, "-m", "skdmn", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
