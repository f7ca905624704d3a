"""The rivals of the benchmark compute what the package computes; the benchmark says what it measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.bench import measure
from benchmarks.bench.__main__ import main
from benchmarks.bench.page import ratios, slopes
from benchmarks.bench.plain import PlainObjective, as_tensors, plain_summary
from primo_pyro.draws import standard_normal_points
from primo_pyro.prediction import summarise
from primo_pyro.program import Loss, Objective
from tests.conftest import make_program, make_rows


@pytest.fixture
def even_noise(monkeypatch):
    """Random numbers that depend on their shape alone, and not on the order in which they are drawn."""

    def made(kind):
        def numbers(*shape, **settings):
            shape = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
            generator = torch.Generator().manual_seed(sum((i + 1) * n for i, n in enumerate(shape)))
            return getattr(torch.Tensor(*shape), kind)(generator=generator)

        return numbers

    monkeypatch.setattr(torch, "rand", made("uniform_"))
    monkeypatch.setattr(torch, "randn", made("normal_"))
    monkeypatch.setattr(torch, "rand_like", lambda like, **settings: torch.rand(*like.shape))


@pytest.mark.parametrize("optional", [("m",), ("m", "n", "k")])
def test_the_objective_by_hand_is_that_of_the_package(optional, even_noise):
    x, y = make_rows(60, optional)
    y = torch.as_tensor(y)
    model, guide = make_program(optional, dtype=torch.float32)
    for p in [*model.parameters(), *guide.parameters()]:
        p.data.add_(torch.randn(*p.shape) / 4)
    loss = Loss(model, guide, objective=Objective())
    by_hand = PlainObjective(loss)
    ours, theirs = loss(x, y), by_hand(*as_tensors(x, list(model.encoder)), y)
    # Sums of 60 rows of numbers up to 10, in single precision.
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-5)
    ours.backward()
    theirs.backward()
    for mine, hand in (
        (model.likelihood.bias, by_hand.bias),
        (next(iter(model.encoder.values()))[0].weight, next(iter(by_hand.encoders.values()))[0].weight),
        (next(iter(model.prior.values())).net[-1].weight, by_hand.prior[2].grad[0].T),
    ):
        gradient = hand.grad if hand.grad is not None else hand
        torch.testing.assert_close(gradient, mine.grad, rtol=1e-3, atol=1e-4 * mine.grad.abs().max().item())


def test_predictions_by_hand_are_those_of_the_package():
    x, _ = make_rows(60)
    x = x.drop("m")
    model, _ = make_program(dtype=torch.float32)
    points = standard_normal_points(64, 2, "sobol", 0).float()
    by_hand = plain_summary(model.eval(), x, points)
    ours = summarise(model, x, num_samples=64)
    for name, value in by_hand.items():
        np.testing.assert_allclose(getattr(ours, name), value, rtol=0, atol=1e-6, err_msg=name)


@pytest.fixture
def threads():
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


def test_a_run_writes_lines_a_picture_and_a_page(tmp_path, threads, capsys, monkeypatch):
    some = {case: measure.SHAPES[case] for case in ("XOR", "table, 3 blocks")}
    monkeypatch.setattr(measure, "SHAPES", some)
    main(["--quick", "--parts", "step", "epoch", "fit", "rate", "--out", str(tmp_path)])
    frame = pd.read_csv(tmp_path / "bench.csv")
    assert frame.columns.tolist() == ["part", "case", "what", "turn", "value", "unit"]
    assert set(frame["part"]) == {"step", "epoch", "fit", "rate"}
    assert (frame["value"] > 0).all()
    assert (tmp_path / "images" / "performance.png").stat().st_size > 10_000
    page = (tmp_path / "performance.md").read_text()
    assert "| table, 3 blocks | " in page
    assert "| XOR, 400 rows, seed 0 | " in page
    assert "training step / the same by hand" in page
    assert page in capsys.readouterr().out


def lines(*values):
    return pd.DataFrame(values, columns=["part", "case", "what", "turn", "value", "unit"])


def test_ratios_are_taken_within_turns():
    """A turn on a busy machine, in which all took ten times as long, changes no ratio."""
    frame = lines(
        *(
            ("step", "XOR", what, turn, value * load, "ms")
            for turn, load in enumerate((1, 10, 1))
            for what, value in (("primo", 3.0), ("by hand", 2.0))
        )
    )
    assert ratios(frame)[["median", "least", "most"]].to_numpy().ravel() == pytest.approx([1.5] * 3)


def test_slopes_of_powers_are_their_exponents():
    frame = lines(*(("growth", "rows", f"V: {n}", 0, 0.1 * n**1.5, "ms") for n in (10, 20, 40)))
    assert slopes(frame).loc["rows", "V"] == pytest.approx(1.5)
