"""What processes do that were forked from one that used the GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes fork")


@pytest.fixture(scope="module")
def processes():
    """Return {device: (result, warnings)} of a grandchild, a child and the parent."""
    script = Path(__file__).with_name("forked.py")
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return [
        {device: (result, messages) for device, result, messages in json.loads(line)}
        for line in ran.stdout.splitlines()
    ]


def test_a_process_keeps_its_gpu_after_a_fork(processes):
    assert processes[2] == {
        "auto": ("cuda", []),
        "cpu": ("cpu", []),
        "cuda": ("cuda", []),
    }


@pytest.mark.parametrize("generation", [0, 1])
def test_a_forked_process_uses_the_cpu_and_says_why(processes, generation):
    here = processes[generation]
    result, (message,) = here["auto"]
    assert result == "cpu"
    assert "device='auto' uses the CPU" in message
    assert "forked from one that had used it" in message
    assert here["cpu"] == ("cpu", [])


@pytest.mark.parametrize("generation", [0, 1])
def test_a_forked_process_that_asks_for_the_gpu_is_told_what_to_do(
    processes, generation
):
    result, messages = processes[generation]["cuda"]
    assert result.startswith("device='cuda' was given")
    assert "method 'spawn'" in result
    assert messages == []
