"""The teaching notebook: its parts fit together, and its V on XOR is as near to the truth as it says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from pyro.infer.util import get_dependent_plate_dims

SCRIPT = Path(__file__).parents[1] / "examples" / "story_of_z.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("story_of_z", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def page(script):
    """What the notebook defines; Pyro's store is left as it was."""
    names = script.definitions()
    with pyro.get_param_store().scope():
        yield names


def rows_and_labels(page, classes=3):
    torch.manual_seed(0)
    present = torch.tensor([1.0, 0.0] * 10)
    return page["Rows"](torch.randn(20, 2), torch.randn(20, 2), present), torch.randint(classes, (20,))


def test_what_is_absent_is_not_read(page):
    rows, _ = rows_and_labels(page)
    story = page["Story"](2, 2, 3, dim=2)
    other = rows._replace(m=torch.where(rows.present[:, None] > 0, rows.m, 99.0))
    for one, two in zip(story.encode(rows), story.encode(other), strict=True):
        assert torch.equal(one, two)


def test_the_tie_is_zero_where_the_modality_is_absent(page):
    rows, y = rows_and_labels(page)
    story = page["Story"](2, 2, 3, dim=2)
    model, _ = page["paper"](story)
    site = page["poutine"].trace(model).get_trace(rows.without_m(), y).nodes["R"]
    h_o, h_m = story.encode(rows.without_m())
    p = story.prior(h_o, h_m)
    anchor = page["kl_divergence"](p, page["standard"](p))
    assert torch.allclose(-site["fn"].log_factor, anchor, atol=1e-6)


def test_the_cured_guide_proposes_from_the_prior_where_the_modality_is_present(page):
    rows, y = rows_and_labels(page)
    story = page["Story"](2, 2, 3, dim=2).eval()
    _, guide = page["cured"](story)
    q = page["poutine"].trace(guide).get_trace(rows, y).nodes["z"]["fn"]
    prior = story.prior(*story.encode(rows))
    same = torch.isclose(q.mean, prior.mean).all(-1)
    assert torch.equal(same, rows.present.bool())


def test_the_logarithm_is_taken_row_by_row(page):
    # Where all sites stand in one plate; otherwise Pyro adds rows up before it takes the log of the mean.
    rows, y = rows_and_labels(page)
    for programs in page["paper"], page["cured"]:
        model, guide = programs(page["Story"](2, 2, 3, dim=2))
        (traces,) = page["log_of_mean"](4)._get_traces(model, guide, (rows, y), {})
        for trace in traces:
            assert get_dependent_plate_dims(trace.nodes.values()) == []


@pytest.mark.parametrize("programs", ["paper", "cured"])
@pytest.mark.parametrize("story", ["Story", "LinearStory"])
def test_a_few_steps_of_training_move_the_parameters(page, programs, story):
    rows, y = rows_and_labels(page)
    fitted = page[story](2, 2, 3, dim=2)
    before = fitted.prior_net[0].weight.detach().clone()
    page["train"](page[programs](fitted), page["log_of_mean"](4), rows, y, steps=3, batch=10, rate=1e-2)
    assert not torch.equal(before, fitted.prior_net[0].weight)
    p, v = page["predict"](fitted, rows, draws=10)
    assert torch.allclose(p.sum(-1), torch.ones(20), atol=1e-5)
    assert bool(((v >= 0) & (v <= 1 - 1 / 3 + 1e-6)).all())


def test_the_printed_program_is_that_of_the_page(script):
    printed = subprocess.run(
        [sys.executable, str(SCRIPT), "--print"], capture_output=True, text=True, check=True
    ).stdout
    compile(printed, "printed", "exec")
    assert all(code in printed for _, code in script.cells())
    assert printed.count("# %%\n") == len(script.cells())


@pytest.mark.slow
def test_v_on_xor_is_near_the_exact_one(page):
    # The page prints .022. Nearly all of it has one sign (V is too small: near the boundary of completions
    # of different labels draws are undecided), so that 500 draws, with errors below .5 / sqrt(500) = .022 of
    # either sign in single rows, hardly add to the mean over 3,000 rows. What is left up to .03 is for other
    # versions of torch. A V that is the same for all rows has an error of .139.
    xor = page["fit_xor"](seed=0)
    assert np.abs(xor["V"] - xor["V*"]).mean() <= 0.03
