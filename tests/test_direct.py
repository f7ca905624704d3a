"""What is computed without Pyro equals what the program says under Pyro's own Predictive."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive
from torch import nn

from primo_pyro import NormalDraws, PrimoModel
from primo_pyro import direct as direct_module
from primo_pyro.direct import direct_columns, direct_parameters, is_direct
from primo_pyro.draws import draw_parameters, noise_columns
from primo_pyro.members import Members
from primo_pyro.prediction import summarise, summarise_draws, summarise_questions
from primo_pyro.program import Categorical, Latent, Multilabel, Normal, Ordinal
from tests.conftest import make_program, make_rows

LATENTS = {"n": Latent(("n",), 1), "both": Latent(("m", "n"), 4), "m": Latent(("m",), 2)}
STORIES = {
    "none": ((), None),
    "one": (("m",), None),
    "two": (("m", "n"), None),
    "shared": (("m", "n"), LATENTS),
}


def program(story="two", **settings):
    """In evaluation mode, with parameters at which nothing is zero."""
    optional, latents = STORIES[story]
    model, _ = make_program(optional, latents=latents, **settings)
    for p in model.parameters():
        p.data.add_(torch.randn_like(p) / 2)
    return model.eval(), make_rows(17, optional)[0]


def by_pyro(model, h, points, **noise):
    """Parameters of the label's law as ``Predictive`` finds them."""
    site = model.outcome.parameters_site
    unlabelled = poutine.condition(model, {"y": model.outcome.placeholder(len(h))})
    predictive = Predictive(unlabelled, num_samples=len(points), parallel=True, return_sites=(site,))
    with torch.no_grad(), NormalDraws(points, **noise):
        return predictive(h)[site]


def noise_for(model, draws=24):
    """Points, and points to hold of which each eighth has one."""
    size = max((c.stop for c in direct_columns(model).values()), default=0)
    points = torch.randn(draws, size, dtype=torch.float64)
    return points, torch.randn(8, size, dtype=torch.float64).repeat_interleave(draws // 8, dim=0)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("units", [1, 100, direct_module.IN_CACHE])
def test_parameters_are_those_of_the_program(story, units, monkeypatch):
    """Whatever rows ask about, hold, and however few are done at a time."""
    monkeypatch.setattr(direct_module, "IN_CACHE", units)
    model, x = program(story)
    h = model.encoder(x)
    columns = direct_columns(model)
    points, held_points = noise_for(model)
    known = {f"z_{name}": torch.rand(len(x)) < 0.5 for name in model.latents}
    for asked in (h, h.ask(()), h.ask(["m"] if "m" in x.names else ())):
        for held in (None, (held_points, known)):
            expected = by_pyro(model, asked, points, columns=columns, held=held)
            found = direct_parameters(model, asked, points, columns, held)
            # Double precision: sums of some tens of numbers near 1.
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("outcome", [Categorical(3), Ordinal(3), Multilabel(2), Normal()])
def test_summaries_are_those_of_the_program(outcome):
    """In single precision too, and for every kind of label."""
    model, x = program(outcome=outcome, dtype=torch.float32)
    assert is_direct(model)
    columns = noise_columns(model, model.encoder(x))
    ours = summarise(model, x, num_samples=64)
    pyro_model = type(
        "Story", (PrimoModel,), {"forward": lambda self, *args: PrimoModel.forward(self, *args)}
    )
    model.__class__ = pyro_model  # a program of which nothing is known
    assert not is_direct(model)
    assert noise_columns(model, model.encoder(x)) == columns
    theirs = summarise(model, x, num_samples=64)
    for name in ("prediction", "impact", "impact_se", "flip", "information_gain", "spread"):
        # Single precision is 6e-8 of numbers up to 10. Where the label is a number, a cell's probability is
        # the difference of two numbers, known to 1e-6, and its entropy to 1e-5 in each of several tails.
        # A draw whose two best labels are that close may count as a flip or not.
        tolerance = 1 / 64 if name == "flip" else 1e-4 if isinstance(outcome, Normal) else 1e-5
        found, expected = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("members", [1, 2])
def test_questions_asked_together_have_the_answers_of_each_alone(members):
    models = [program("shared", seed=seed)[0] for seed in range(members)]
    model, x = (models[0] if members == 1 else Members(models)), program("shared")[1]
    rows_of = {("m",): np.flatnonzero(~x.present["m"]), ("m", "n"): np.arange(3, 11)}
    runs = []
    models[0].encoder.register_forward_pre_hook(lambda *given: runs.append(len(given[1][0])))
    together = summarise_questions(model, x, rows_of, num_samples=16)
    assert runs == [1, len(x)]  # one row to learn of the shapes, and each row once
    for about, rows in rows_of.items():
        alone = summarise(model, x[rows], num_samples=16, about=about)
        for name in ("prediction", "impact", "impact_se", "flip", "information_gain", "spread"):
            # Double precision; encoders run on other rows beside them.
            found, expected = getattr(together[about], name), getattr(alone, name)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, err_msg=name)


def test_columns_are_in_the_order_of_the_story():
    model, x = program("shared")
    with poutine.block():  # as a listener would, it makes the program be run
        found = noise_columns(model, model.encoder(x))
    assert found == direct_columns(model) == {"z_n": slice(0, 1), "z_both": slice(1, 5), "z_m": slice(5, 7)}


def test_only_the_packages_own_story_is_told_without_pyro():
    class OwnStory(PrimoModel):
        def story(self, h, y):
            return super().story(h, y)

    def of_class(model):
        model.__class__ = OwnStory

    def with_another_head(model):
        model.likelihood.head[0] = nn.Tanh()

    def with_another_prior(model):
        model.prior["m"] = nn.Identity()

    for change in of_class, with_another_head, with_another_prior, nn.Module.train:
        model, _ = program()
        assert is_direct(model)
        change(model)
        assert not is_direct(model)


def test_a_handler_is_heard():
    """A latent that a user sets is set."""
    model, x = program("one", dtype=torch.float32)
    h, (points, _) = model.encoder(x), noise_for(model)
    zeros = {"z_m": torch.zeros(len(x), 2)}
    with pyro.condition(data=zeros):
        parameters = draw_parameters(model, h, points.float())
    assert (parameters == parameters[:1]).all()


def test_single_precision_is_summed_in_double():
    """A hundred thousand draws of 0.1 average to what 0.1 is in single precision."""
    p = torch.full((100_000, 1, 2), 0.1)
    summary = summarise_draws(torch.cat([p[..., :1], 1 - p[..., :1]], dim=-1), Multilabel(2))
    assert summary.prediction[0, 0] == pytest.approx(float(np.float32(0.1)), abs=1e-12)
