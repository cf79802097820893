"""The command, as its user meets it."""

import csv
import inspect
import itertools
import json
import re
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import skdmn
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
    assert run("--picture", "filters.png") == 0
    printed = capsys.readouterr().out
    assert "digits: 1347 training, 450 test images of 8 x 8" in printed
    for words in ("conv1:", "conv2:", "energies", "nats"):
        assert words in printed
    names = ("recommended_dmn", "the papers' layers", "raw pixels")
    at = [re.search(rf"{name} +accuracy 9\d", printed).start() for name in names]
    assert at == sorted(at)
    assert "filters of conv1 drawn in filters.png" in printed
    assert (tmp_path / "filters.png").stat().st_size > 1000


def test_demo_tells_once_of_compiled_kernels(monkeypatch, capsys):
    seconds = itertools.count(step=60)
    monkeypatch.setattr("skdmn.cli.demo.compile_seconds", lambda: next(seconds))
    assert run("--images", "60", "--layers", "1") == 0
    printed = capsys.readouterr().out
    assert re.findall(r".*kernels.*", printed) == [
        "420.0 s to compile kernels, once, are not counted"
    ]
    assert printed.count("time 0.0 s") == 3  # less than nothing


def test_json_says_what_was_printed(tmp_path):
    one_layer = ["--layers", "1", "--variance-cutoff", "0.9", "--signs", "one"]
    assert run(*one_layer, "--images", "400", "--json", "out.json") == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["dataset"] == "digits"
    assert len(result["layers"]) == 1
    layer = result["layers"][0]
    assert layer["filters"][0] == len(layer["energies"]) == len(layer["filter_classes"])
    assert 0.8 < result["accuracy"] <= result["recommended"]["accuracy"] <= 1
    assert result["options"]["variance_cutoff"] == 0.9
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_official_files_of_a_folder(mnist, capsys):
    arguments = ["--dataset", "mnist", "--data", str(mnist), "--images", "200"]
    assert run(*arguments, "--n-filters", "4", "8") == 0
    printed = capsys.readouterr().out
    assert "mnist: 200 training, 100 test images of 8 x 8" in printed


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("--layers", "1", "--images", "60", "--picture", "x.png") == 0
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
        (["--picture", "x.nonsense", "--images", "60", "--layers", "1"], "nonsense"),
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
    few = ["--layers", "1", "--images", "60"]
    arguments = [*few, "--picture", "x.nonsense", "--json", "o.json"]
    assert run(*arguments) == 1
    assert (tmp_path / "o.json").exists()


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m skdmn demo --images 60 | head -n 1"
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

    monkeypatch.setattr("skdmn.cli.demo.demo", interrupt)
    assert run() == 130
    assert capsys.readouterr().err == "skdmn: interrupted\n"


def test_an_interrupt_during_an_import_is_one(monkeypatch, capsys, tmp_path):
    """Packages may raise another error when an import inside them is interrupted."""
    (tmp_path / "half_imported.py").write_text(
        "import signal\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    raise ImportError('half imported')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "demo", ("half_imported", "demo"))
    assert run() == 130
    assert capsys.readouterr().err == "skdmn: interrupted\n"


def test_warmup_compiles_the_kernels(monkeypatch, capsys):
    monkeypatch.setattr("skdmn.kernels.warmup", lambda: 12.34)
    assert cli.main(["warmup"]) == 0
    assert capsys.readouterr().out == "kernels are compiled, 12.3 s\n"


def test_no_arguments_print_the_help(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert f"\n    {command} " in printed


def test_the_help_imports_nothing_that_takes_long():
    code = (
        "import sys; from skdmn.cli import main; main([]);"
        "assert not {'numpy', 'sklearn', 'numba'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_python_m_skdmn():
    command = [sys.executable, "-m", "skdmn", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip()


# from a folder to a model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Write ten dark and ten bright pictures of equal size, and one that is broken."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, step in (("coarse", 4), ("fine", 2)):
        (folder / name).mkdir()
        for number in range(10):
            pixels = rng.integers(0, 60, (20, 24, 3), dtype=np.uint8)
            pixels[:, number % 2 :: step] += 120
            image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "fine" / "broken.png").write_bytes(b"nothing")
    return folder


TRAIN = ["--n-filters", "6", "--folds", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(pictures, tmp_path_factory):
    """Return the file of a model of the pictures."""
    pytest.importorskip("skops", reason="needs skops")
    out = tmp_path_factory.mktemp("model") / "model.skops"
    with pytest.warns(UserWarning, match="1 of 21 files cannot be used"):
        assert cli.main(["train", str(pictures), "--out", str(out), *TRAIN]) == 0
    return str(out)


def test_warnings_are_messages_of_the_command(monkeypatch, capsys):
    def warn(options):
        warnings.warn("of something", stacklevel=1)

    monkeypatch.setattr("skdmn.cli.demo.demo", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", show_warning)
        assert run() == 0
    assert capsys.readouterr().err == "skdmn: warning: of something\n"


def show_warning(message):
    """Print a warning as Python does; pytest records warnings instead."""
    text = warnings.formatwarning(
        message.message, message.category, message.filename, message.lineno
    )
    print(text, end="", file=sys.stderr)


def rows_of(text):
    return list(csv.DictReader(text.splitlines()))


def predicted(model, *arguments):
    return cli.main(["predict", model, *map(str, arguments)])


@pytest.mark.filterwarnings("ignore:1 of 21 files")
def test_train_prints_accuracy_and_writes_only_what_is_asked(
    pictures, capsys, tmp_path
):
    assert cli.main(["train", str(pictures), *TRAIN]) == 0
    printed = capsys.readouterr()
    assert "20 pictures of 2 classes, read as 20 x 24 x 3" in printed.out
    assert "accuracy 100.00% (standard error 0.00%) by cross-valid" in printed.out
    assert "not saved; pass --out" in printed.out
    assert re.fullmatch(r"(fold \d of 2: accuracy 100.00%, [\d.]+ s\n){2}", printed.err)
    assert not list(tmp_path.iterdir())


def test_predict_prints_a_line_for_each_file(pictures, model, capsys):
    files = [pictures / "fine" / "1.png", pictures / "coarse" / "2.png"]
    assert predicted(model, *files) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert [row["label"] for row in rows] == ["fine", "coarse"]
    assert all(0.5 < float(row["probability"]) <= 1 for row in rows)
    assert predicted(model, "--format", "jsonl", "--all", *files) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["label"] for line in lines] == ["fine", "coarse"]
    assert sum(lines[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_predict_goes_on_after_a_file_that_cannot_be_read(pictures, model, capsys):
    assert predicted(model, pictures, "--out", "out.csv") == 1
    assert "broken.png cannot be read: not an image" in capsys.readouterr().err
    rows = rows_of(Path("out.csv").read_text())
    assert [Path(row["file"]).parent.name for row in rows] == [
        row["label"] for row in rows
    ]
    assert len(rows) == 20
    image = pytest.importorskip("PIL.Image").open(pictures / "fine" / "1.png")
    image.resize((48, 40), 0).save("large.png")
    assert predicted(model, "large.png") == 0
    assert rows_of(capsys.readouterr().out)[0]["label"] == "fine"
    assert predicted(model, pictures, "--out", "out.csv") == 1
    assert "out.csv exists already; pass --force" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:1 of 21 files")
def test_large_folders_are_read_batch_by_batch(pictures, model, monkeypatch, capsys):
    """Images are decoded in every pass, and features are in a temporary file."""
    monkeypatch.setattr("skdmn.cli.train.IN_MEMORY", 1000)
    assert cli.main(["train", str(pictures), "--out", "lazy.skops", *TRAIN]) == 0
    capsys.readouterr()
    assert predicted(model, pictures / "fine") == 1
    expected = rows_of(capsys.readouterr().out)
    assert predicted("lazy.skops", pictures / "fine") == 1
    found = rows_of(capsys.readouterr().out)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["label"] == theirs["label"]
        assert float(ours["probability"]) == pytest.approx(
            float(theirs["probability"]), abs=1e-3
        )


def test_info_tells_layers_files_and_training(model, capsys):
    assert cli.main(["info", model]) == 0
    printed = capsys.readouterr().out
    for words in (
        "WhitenedPCAPatchTransformer",
        "turn it as its EXIF orientation says",
        "20 pictures of 2 classes: coarse (10), fine (10)",
        "files left out: 1",
        "accuracy 100.00% (standard error 0.00%) by cross-validation in 2 folds",
        f"skdmn {skdmn.__version__}",
    ):
        assert words in printed, words
    assert cli.main(["info", model, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == ["coarse", "fine"]
    assert told["training"]["accuracies"] == [1, 1]


@pytest.mark.filterwarnings("ignore:1 of 21 files")
def test_report_writes_a_page_about_labelled_pictures(pictures, model, capsys):
    pytest.importorskip("matplotlib")
    arguments = ["report", model, str(pictures), "--hardest", "2"]
    assert cli.main([*arguments, "--out", "page.html"]) == 0
    printed = capsys.readouterr().out
    assert "20 images, accuracy 1.0000" in printed
    page = Path("page.html").read_text()
    assert "coarse" in page
    assert "<img" in page
    assert page.count(".png: class") == 2  # of the hardest images
    (Path("other") / "cat").mkdir(parents=True)
    (Path("other") / "cat" / "0.png").write_bytes(
        (pictures / "fine" / "0.png").read_bytes()
    )
    assert cli.main(["report", model, "other"]) == 1
    assert "does not know the classes cat" in capsys.readouterr().err


def test_export_writes_models_that_predict_the_same(pictures, model, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert cli.main(["export", model, "--onnx", "m.onnx"]) == 0
    assert "onnx model written to m.onnx" in capsys.readouterr().out
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    file = pictures / "fine" / "1.png"
    image = np.asarray(pytest.importorskip("PIL.Image").open(file))
    label, probabilities = session.run(None, {"X": image[np.newaxis]})
    assert predicted(model, file) == 0
    (row,) = rows_of(capsys.readouterr().out)
    assert label == [row["label"]]
    assert probabilities.max() == pytest.approx(float(row["probability"]), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train FOLDER --out model.pkl", "must end in .skops"),
        ("train FOLDER --out no/such.skops", "cannot be written"),
        ("train FOLDER --out MODEL", "exists already; pass --force"),
        ("train FOLDER --folds 20", "coarse has 10 pictures, but --folds 20"),
        ("train FOLDER --strict", "1 of 21 files cannot be used"),
        ("train FOLDER --columns a b", "columns and root are for tables"),
        ("train nowhere", "nowhere does not exist"),
        ("predict nowhere.skops x.png", "nowhere.skops does not exist"),
        ("predict NOTHING x.png", "is not a model that skdmn train saved"),
        ("report MODEL FOLDER --out no/such.html", "cannot be written"),
        ("report MODEL FOLDER --strict", "1 of 21 files cannot be used"),
        ("export MODEL", "pass --onnx OUT, --torch OUT or both"),
        ("export MODEL --onnx no/such.onnx", "cannot be written"),
    ],
)
def test_what_cannot_work_fails_before_the_work(
    arguments, message, pictures, model, monkeypatch, capsys
):
    def fit(*_):
        raise AssertionError("the work began")

    monkeypatch.setattr("skdmn.cli.train._fitted", fit)
    names = {
        "FOLDER": str(pictures),
        "MODEL": model,
        "NOTHING": str(pictures / "fine" / "broken.png"),
    }
    assert cli.main([names.get(word, word) for word in arguments.split()]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("skdmn: error: ")
    assert error.count("\n") == 1
