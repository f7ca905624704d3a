"""The benchmark of a training step: its table, on a few steps."""

import re
from pathlib import Path

import pytest
import torch


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import step_time

    threads = torch.get_num_threads()
    yield step_time
    torch.set_num_threads(threads)


def test_a_line_for_each_number_of_blocks(benchmark, capsys):
    benchmark.main([1, 2], steps=2)
    printed = capsys.readouterr().out
    assert re.findall(r"^(\d) +[\d.]+ +[\d.]+ +[\d.]+$", printed, re.MULTILINE) == ["1", "2"]
    assert re.search(r"slope of PRIMO's time: -?[\d.]+$", printed)


def test_a_step_moves_the_parameters(benchmark, monkeypatch):
    modules = []
    monkeypatch.setattr(benchmark, "_step", lambda module, loss: modules.append((module, loss)))
    benchmark.primo_step(2)
    benchmark.plain_step(2)
    for module, loss in modules:
        loss().backward()
        assert all(p.grad is not None for p in module.parameters())
