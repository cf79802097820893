"""Fork a process that used a GPU, under the stand-in for CuPy; print what each finds.

    python tests/gpu/forked.py

The output is a JSON list for each process, the youngest first: of (device, kind of
device that computes or the error, warnings). test_forks.py reads it.
"""

import json
import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["SCIPY_ARRAY_API"] = "1"

import cupy_stand_in

if __name__ == "__main__":
    cupy_stand_in.install()

import numpy as np

from skdmn import MaxPool2DTransformer
from skdmn.utils import array_api


def found():
    """Return what computes, for every device that users can ask for."""
    X = np.ones((2, 4, 4), np.float32)
    results = []
    for device in array_api.DEVICES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                layer = MaxPool2DTransformer(2, device=device).fit(X)
                result = layer._check_images(X, reset=False).compute.kind
            except RuntimeError as error:
                result = str(error)
        messages = sorted({str(one.message) for one in caught})
        results.append((device, result, messages))
    return results


if __name__ == "__main__":
    array_api.AUTO_PRODUCTS = 0
    array_api.to_backend(np.ones(3), array_api.gpu())
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    else:
        # a fork of the fork, which never used the GPU itself
        grandchild = os.fork()
        if grandchild:
            os.waitpid(grandchild, 0)
    print(json.dumps(found()), flush=True)
    os._exit(0)
