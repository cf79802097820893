"""Where arrays live, where they are computed, and the way between."""

import sys
import types

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context

from skdmn.utils import array_api
from skdmn.utils.array_api import (
    HOST,
    Backend,
    backend_of,
    compute_backend,
    float_dtype,
    own_backend,
    take,
    to_backend,
    to_numpy,
    widest_float,
)

STRICT = {
    name: Backend(array_api_strict, array_api_strict.Device(name))
    for name in ("CPU_DEVICE", "device1", "no_float64")
}


def torch_place(device="cpu"):
    torch = pytest.importorskip("torch", reason="a place of torch is under test")
    array = torch.empty(0)
    return Backend(own_backend(array).xp, torch.device(device))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(array_api, "gpu", lambda: None)


@pytest.fixture
def some_gpu(monkeypatch):
    monkeypatch.setattr(array_api, "gpu", lambda: STRICT["device1"])
    return STRICT["device1"]


# where data is computed


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_numpy_is_computed_on_the_host_where_there_is_no_gpu(device):
    assert compute_backend(HOST, device) == HOST


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_asked_for_and_not_there_is_an_error_that_names_the_extras():
    with pytest.raises(RuntimeError, match=r"skdmn\[cuda12\] or skdmn\[cuda13\]"):
        compute_backend(HOST, "cuda")


def test_numpy_is_computed_on_a_gpu_unless_cpu_is_asked_for(some_gpu):
    assert compute_backend(HOST, "auto") == some_gpu
    assert compute_backend(HOST, "cuda") == some_gpu
    assert compute_backend(HOST, "cpu") == HOST


def test_auto_takes_the_gpu_only_for_enough_products(some_gpu):
    least = array_api.AUTO_PRODUCTS
    assert compute_backend(HOST, "auto", least) == some_gpu
    assert compute_backend(HOST, "auto", least - 1) == HOST
    assert compute_backend(HOST, "cuda", 0) == some_gpu
    assert compute_backend(HOST, "cpu", least) == HOST


def test_no_gpu_is_looked_for_where_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(array_api, "gpu", lambda: pytest.fail("looked for a GPU"))
    assert compute_backend(HOST, "cpu") == HOST


@pytest.mark.usefixtures("some_gpu")
@pytest.mark.parametrize("name", STRICT)
def test_other_data_is_computed_where_it_lies(name):
    assert compute_backend(STRICT[name], "auto") == STRICT[name]


@pytest.mark.usefixtures("some_gpu")
@pytest.mark.parametrize(
    ("name", "device"),
    [("CPU_DEVICE", "cuda"), ("device1", "cpu"), ("device1", "cuda")],
)
def test_a_device_that_contradicts_the_data_is_an_error(name, device):
    with pytest.raises(ValueError, match=f"device='{device}' contradicts X"):
        compute_backend(STRICT[name], device)


@pytest.mark.usefixtures("some_gpu")
@pytest.mark.parametrize("where", ["cpu", "cuda", "cuda:1", "mps"])
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_torch_data_allows_auto_and_its_own_kind_of_device(where, device):
    backend = torch_place(where)
    if device in ("auto", where.split(":")[0]):
        assert compute_backend(backend, device) == backend
    else:
        with pytest.raises(ValueError, match="contradicts X, which is torch on"):
            compute_backend(backend, device)


def test_strict_cpu_data_is_computed_there_where_cpu_is_asked_for():
    assert compute_backend(STRICT["CPU_DEVICE"], "cpu") == STRICT["CPU_DEVICE"]


# whether there is a GPU


@pytest.fixture
def fresh_gpu():
    array_api.gpu.cache_clear()
    yield array_api.gpu
    array_api.gpu.cache_clear()


def fake_cupy(is_available):
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(
        is_available=is_available, Device=lambda number=0: f"gpu {number}"
    )
    cupy.empty = np.empty
    return cupy


def test_there_is_no_gpu_where_cupy_is_not_installed(monkeypatch, fresh_gpu):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert fresh_gpu() is None


def test_there_is_no_gpu_where_cupy_sees_none(monkeypatch, fresh_gpu):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(lambda: False))
    assert fresh_gpu() is None


@pytest.mark.parametrize("error", [RuntimeError, OSError, AttributeError])
def test_there_is_no_gpu_where_cupy_is_broken(monkeypatch, fresh_gpu, error):
    def raises():
        raise error("libcuda.so.1: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(raises))
    assert fresh_gpu() is None
    assert compute_backend(HOST, "auto") == HOST
    with pytest.raises(RuntimeError, match="finds no usable GPU"):
        compute_backend(HOST, "cuda")


def test_there_is_a_gpu_where_cupy_sees_one(monkeypatch, fresh_gpu):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(lambda: True))
    assert fresh_gpu().device == "gpu 0"


def test_a_gpu_is_looked_for_once(monkeypatch, fresh_gpu):
    calls = []
    cupy = fake_cupy(lambda: bool(calls.append(1)))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert fresh_gpu() is None
    assert fresh_gpu() is None
    assert len(calls) == 1


# where arrays live


def test_a_place_says_its_kind_and_name():
    assert HOST.is_numpy
    assert HOST.kind == "cpu"
    assert str(HOST) == "numpy"
    assert STRICT["CPU_DEVICE"].kind == "cpu"
    assert STRICT["device1"].kind not in ("cpu", "cuda")
    assert not STRICT["CPU_DEVICE"].is_numpy
    assert torch_place("cuda:1").kind == "cuda"
    assert str(torch_place("cuda:1")) == "torch on cuda:1"


@pytest.mark.parametrize("name", ["CPU_DEVICE", "device1"])
def test_other_arrays_count_only_under_dispatch(name):
    array = array_api_strict.ones(3, device=STRICT[name].device)
    assert backend_of(array) == HOST
    assert own_backend(array) == STRICT[name]
    with config_context(array_api_dispatch=True):
        assert backend_of(array) == STRICT[name]


def test_a_torch_tensor_lives_where_torch_says():
    backend = torch_place()
    tensor = backend.xp.ones(3)
    assert backend_of(tensor) == HOST
    with config_context(array_api_dispatch=True):
        assert backend_of(tensor) == backend == own_backend(tensor)


@pytest.mark.parametrize("data", [np.ones(2), [1.0], [[1], [2]], 3.0, None, "text"])
@pytest.mark.parametrize("dispatch", [False, True])
def test_numpy_lists_and_scalars_live_on_the_host(data, dispatch):
    with config_context(array_api_dispatch=dispatch):
        assert backend_of(data) == own_backend(data) == HOST


def test_a_memmap_lives_on_the_host(tmp_path):
    array = np.memmap(tmp_path / "images", dtype=np.uint8, mode="w+", shape=(2, 2))
    assert own_backend(array) == HOST


# moving them


def arrays(tmp_path):
    """Return arrays of every awkward layout."""
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    base.tofile(tmp_path / "array")
    read_only = base.copy()
    read_only.flags.writeable = False
    return {
        "plain": base,
        "negative strides": base[::-1, :, ::-2],
        "transposed": base.transpose(2, 0, 1),
        "read-only": read_only,
        "read-only view": read_only[:, ::-1],
        "broadcast": np.broadcast_to(base[:1], (2, 3, 4)),
        "empty": base[:0],
        "scalar": np.float32(3) * np.ones(()),
        "uint8": base.astype(np.uint8),
        "float64": base.astype(np.float64) / 3,
        "int64": base.astype(np.int64) + 2**40,
        "bool": base > 3,
        "memmap": np.memmap(tmp_path / "array", np.float32, "r", shape=(2, 3, 4)),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["CPU_DEVICE", "device1", "torch"])
def test_arrays_go_to_a_place_and_come_back_the_same(tmp_path, name):
    backend = torch_place() if name == "torch" else STRICT[name]
    for layout, array in arrays(tmp_path).items():
        there = to_backend(array, backend)
        assert own_backend(there) == backend, layout
        back = to_numpy(there)
        assert type(back) is np.ndarray, layout
        assert back.dtype == array.dtype, layout
        assert_array_equal(back, array, err_msg=layout)
        assert_array_equal(to_backend(there, HOST), array, err_msg=layout)


def test_an_array_that_is_there_already_is_not_copied():
    there = array_api_strict.ones(3, device=STRICT["device1"].device)
    assert to_backend(there, STRICT["device1"]) is there
    host = np.ones(3)
    assert to_backend(host, HOST) is host
    assert to_numpy(host) is host


def test_arrays_move_between_devices_and_libraries():
    there = array_api_strict.asarray([1.0, 2.0], device=STRICT["device1"].device)
    home = to_backend(there, STRICT["CPU_DEVICE"])
    assert own_backend(home) == STRICT["CPU_DEVICE"]
    tensor = to_backend(there, torch_place())
    assert own_backend(tensor) == torch_place()
    assert_array_equal(to_numpy(to_backend(tensor, STRICT["device1"])), [1.0, 2.0])


def test_a_tensor_with_gradients_comes_back_as_numpy():
    tensor = torch_place().xp.ones(3, requires_grad=True)
    assert_array_equal(to_numpy(tensor * 2), 2.0)


def test_float64_becomes_float32_where_a_device_has_no_float64():
    backend = STRICT["no_float64"]
    assert to_backend(np.ones(3), backend).dtype == array_api_strict.float32
    assert widest_float(backend) == array_api_strict.float32
    assert to_backend(np.ones(3, np.uint8), backend).dtype == array_api_strict.uint8


def test_the_widest_float_is_float64_elsewhere():
    for backend in (HOST, STRICT["CPU_DEVICE"], torch_place()):
        assert widest_float(backend) == backend.xp.float64


def test_take_gives_entries_by_numpy_indices_in_any_library():
    array, indices = np.arange(24.0).reshape(2, 3, 4), np.array([2, 0, 2])
    for backend in (HOST, STRICT["device1"], torch_place()):
        taken = take(to_backend(array, backend), indices, axis=1)
        assert own_backend(taken) == backend
        assert_array_equal(to_numpy(taken), array[:, indices])


# dtypes


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (np.uint8, np.float32),
        (np.bool_, np.float32),
        (np.int64, np.float32),
        (np.uint16, np.float32),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.longdouble, np.float64),
        (">f4", np.float32),
        (">f8", np.float64),
    ],
)
def test_only_wide_floats_are_computed_in_float64(given, computed):
    assert float_dtype(np.ones(2, dtype=given), HOST.xp) == computed


def test_what_is_only_sliced_is_computed_as_its_array_is():
    class Stored:  # as h5py's datasets: a dtype of NumPy's, in any byte order
        dtype = np.dtype(">f8")

    assert float_dtype(Stored(), HOST.xp) == np.float64


@pytest.mark.parametrize("given", ["uint8", "bool", "int64", "float32", "float64"])
@pytest.mark.parametrize("library", ["strict", "torch"])
def test_dtypes_of_other_libraries_are_computed_alike(library, given):
    xp = torch_place().xp if library == "torch" else array_api_strict
    array = xp.ones(2, dtype=getattr(xp, given))
    computed = xp.float64 if given == "float64" else xp.float32
    assert float_dtype(array, xp) == computed


def test_half_floats_of_torch_are_computed_in_float32():
    xp = torch_place().xp
    for half in (xp.float16, xp.bfloat16):
        assert float_dtype(xp.ones(2, dtype=half), xp) == xp.float32
