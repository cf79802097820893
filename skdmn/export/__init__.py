"""Export of fitted models to PyTorch and ONNX, and import of PyTorch layers.

torch, onnx and skl2onnx are imported only when a function needs them.
"""

from skdmn.export.conv import from_torch, init_conv_, init_linear_
from skdmn.export.converters import register_converters
from skdmn.export.hybrid import make_hybrid
from skdmn.export.onnx import to_onnx
from skdmn.export.torch import to_torch

__all__ = [
    "from_torch",
    "init_conv_",
    "init_linear_",
    "make_hybrid",
    "register_converters",
    "to_onnx",
    "to_torch",
]
