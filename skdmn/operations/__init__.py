"""Operations: records that describe the computations of fitted estimators.

The method ``operations()`` of a fitted estimator returns a list of the records below.
Networks fuse and run this list; the exports to PyTorch and ONNX translate it.

=================== ==============================================================
record              what it computes
=================== ==============================================================
Convolve            cross-correlation with filters, and a bias
Rectify             ReLU
Encode              products of contrast-normalized patches, two-sided soft threshold
MaxPool             the largest value of every window
AveragePool         the mean of every window
Power               signed power
ScaleChannels       subtraction and division, channel by channel
ScaleValues         subtraction and division, value by value
Select              a subset of the channels
Concatenate         the channels of several lists of operations on the same images
Flatten             rows of images
Unflatten           images of rows
AverageFlips        mean over an image and its horizontal flip
Scores              logits of a linear classifier
=================== ==============================================================
"""

from skdmn.operations.chain import Chain, chain_of
from skdmn.operations.fusion import fused, planned, run, simplified
from skdmn.operations.records import (
    AverageFlips,
    AveragePool,
    Concatenate,
    Convolve,
    Encode,
    Flatten,
    MaxPool,
    Operation,
    Power,
    Rectify,
    ScaleChannels,
    ScaleValues,
    Scores,
    Select,
    Unflatten,
)

__all__ = [
    "AverageFlips",
    "AveragePool",
    "Chain",
    "Concatenate",
    "Convolve",
    "Encode",
    "Flatten",
    "MaxPool",
    "Operation",
    "Power",
    "Rectify",
    "ScaleChannels",
    "ScaleValues",
    "Scores",
    "Select",
    "Unflatten",
    "chain_of",
    "fused",
    "planned",
    "run",
    "simplified",
]
