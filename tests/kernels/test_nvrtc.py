"""The CUDA sources, compiled for GPUs with NVIDIA's compiler, which needs no GPU.

The compiler is in the package nvidia-cuda-nvrtc-cu12. A register spill makes a kernel
slow, so that it counts as a fault.
"""

import ctypes
import importlib.util
import re
from importlib.resources import files
from pathlib import Path

import pytest

# the instances that other dtypes differ from least, and the widest ones
KERNELS = {
    "convolution": [
        "convolve<unsigned char, float, 3, 1, 2, 4, 2, 2>",
        "convolve<float, float, 5, 1, 1, 8, 1, 1>",
        "convolve<double, double, 5, 1, 2, 4, 2, 2>",
        "max_pool<Half, float>",
    ],
    "patches": [
        "moments<unsigned char, 4>",
        "moments<float, 8>",
        "add_parts<8>",
        "contrasts<unsigned char, double>",
        "normalized<float, float>",
    ],
    "average": ["average<float, float, true>", "average<double, double, false>"],
    "softmax": ["residuals<float>", "residuals<double>"],
}
# what CuPy passes on, besides the options of `launch.kernel`; for the log, the last
OPTIONS = ("-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


class Compiler:
    """Functions of NVRTC's shared library; each raises if it fails."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)

    def call(self, name, *arguments):
        return getattr(self.library, f"nvrtc{name}")(*arguments)

    def compiled(self, source, names, options):
        """Compile instances of kernels; return if it worked, and the log."""
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        code = source.encode()
        assert not self.call(
            "CreateProgram", ctypes.byref(program), code, b"kernels.cu", 0, None, None
        )
        try:
            for name in names:
                assert not self.call("AddNameExpression", program, name.encode())
            given = (ctypes.c_char_p * len(options))(*map(str.encode, options))
            failed = self.call("CompileProgram", program, len(options), given)
            assert not self.call("GetProgramLogSize", program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            assert not self.call("GetProgramLog", program, log)
            return not failed, log.value.decode()
        finally:
            self.call("DestroyProgram", ctypes.byref(program))


@pytest.fixture(scope="module")
def compiler():
    folders = []
    for name in ("nvidia.cuda_nvrtc", "nvidia.cu13"):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        folders += found.submodule_search_locations if found else []
    libraries = [
        path for one in folders for path in Path(one).rglob("libnvrtc.so.*[0-9]")
    ]
    if not libraries:
        pytest.skip("NVRTC is not installed; pip install nvidia-cuda-nvrtc-cu12")
    return Compiler(libraries[0])


def source_of(module):
    folder = files("skdmn.kernels.cuda")
    return "\n".join(
        folder.joinpath(name).read_text() for name in ("numbers.cuh", f"{module}.cu")
    )


def spills(log):
    """Return the bytes that each kernel of a log spills."""
    return [
        int(stores) + int(loads)
        for stores, loads in re.findall(
            r"(\d+) bytes spill stores, (\d+) bytes spill loads", log
        )
    ]


def test_every_source_is_compiled_here():
    folder = Path(str(files("skdmn.kernels.cuda")))
    assert {path.stem for path in folder.glob("*.cu")} == set(KERNELS)
    launch = folder.joinpath("launch.py").read_text()
    assert 'options = ("--std=c++17",)' in launch
    for module, names in KERNELS.items():
        kernels = re.findall(
            r"__global__ void (?:__launch_bounds__\(\d+\)\s+)?(\w+)", source_of(module)
        )
        assert {name.split("<")[0] for name in names} == set(kernels)


@pytest.mark.parametrize("gpu", ["sm_80", "sm_90"])
@pytest.mark.parametrize("module", KERNELS)
def test_kernels_compile_without_spills(compiler, module, gpu):
    options = ("--std=c++17", f"--gpu-architecture={gpu}", *OPTIONS)
    names = KERNELS[module]
    works, log = compiler.compiled(source_of(module), names, options)
    assert works, log
    assert not re.search("error|warning", log), log
    assert len(spills(log)) >= len(names)  # functions that are not inlined count, too
    assert not any(spills(log)), log


def test_a_spill_is_found(compiler):
    source = """
    __global__ void __launch_bounds__(1024, 2) spilling(double* values) {
        double held[64];
        for (int i = 0; i < 64; ++i) held[i] = values[i * 1024 + threadIdx.x];
        __syncthreads();
        for (int i = 0; i < 64; ++i)
            for (int j = 0; j < 64; ++j) values[i] += held[i] * held[j];
    }
    """
    options = ("--gpu-architecture=sm_90", *OPTIONS)
    works, log = compiler.compiled(source, ["spilling"], options)
    assert works, log
    assert sum(spills(log)) > 0
