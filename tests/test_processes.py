"""Two processes train as one: equal parameters in both, and the gradient of the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from primo_pyro.processes import Processes

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_two_processes(tmp_path):
    pytest.importorskip("accelerate")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run = subprocess.run(
        [*launch, str(ROOT / "tests" / "together.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"found-{rank}.pt") for rank in range(2))
    assert torch.equal(one["parameters"], other["parameters"])
    assert one["history"] == other["history"]
    assert one["resumed"]
    assert other["resumed"]
    for found in (one, other):
        assert found["difference"] < 1e-12  # sums of thirty terms near 1 in double precision
        assert "The 2 processes train with different" in found["told"][0]
        assert "expected the same in all. Set random_state to a number" in found["told"][0]
        assert "A batch has 3 rows for 2 processes; expected at least two rows" in found["told"][-1]
    assert not (tmp_path / "checkpoint").exists()


def test_one_process_is_left_alone():
    processes = Processes()
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    state = torch.get_rng_state()
    processes.draw_apart(1)
    processes.add_gradients([parameter], 0.5)
    assert torch.equal(torch.get_rng_state(), state)
    assert parameter.grad.tolist() == [1, 1]
    batch = np.arange(1)
    assert processes.own(batch) is not None
    assert processes.agree("this") == "this"
