"""What holds of every encoder and of every prior, those of the package and some of a user's own."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Predictive
from torch import nn

from primo_pyro import Modalities, Objective, PrimoClassifier, PrimoGuide, PrimoModel
from primo_pyro.draws import draw, noise_columns, standard_normal_points
from primo_pyro.errors import DrawsError, ModalityError
from primo_pyro.prediction import summarise
from primo_pyro.program import (
    GRU,
    MLP,
    DiagNormal,
    Encoders,
    Latent,
    LeNet,
    Loss,
    conditionals,
    encoder_for,
    encoders,
    from_noise,
    noise_size,
    priors,
)
from primo_pyro.program.encoders import Prepared
from primo_pyro.program.regulariser import regulariser
from tests.conftest import make_program, make_rows

SMALL = {"latent_dim": 2, "hidden_dim": 6, "max_epochs": 1, "num_samples": 16, "random_state": 0}


def modules_of(module):
    """The public networks of a module."""
    public = (getattr(module, name) for name in module.__all__)
    return {it for it in public if isinstance(it, type) and issubclass(it, nn.Module)}


# --- Encoders ------------------------------------------------------------------------------------------

ENCODERS = {  # class: how one is made for six features a row, and the shape of a row
    MLP: (lambda dropout: MLP(3, 8, 6, layers=3, dropout=dropout), (3,)),
    GRU: (lambda dropout: GRU(2, 8, 6, dropout=dropout), (5, 2)),
    LeNet: (lambda dropout: LeNet((1, 8, 8), 6, dropout=dropout), (1, 8, 8)),
}
NO_ENCODERS_OF_ONE_MODALITY = {Encoders, Prepared}

every_encoder = pytest.mark.parametrize("cls", ENCODERS, ids=lambda cls: cls.__name__)


def encoder_and_values(cls, rows, dropout=0.0):
    make, shape = ENCODERS[cls]
    return make(dropout), torch.randn(rows, *shape)


def test_every_encoder_is_tested():
    assert set(ENCODERS) | NO_ENCODERS_OF_ONE_MODALITY == modules_of(encoders)


@every_encoder
@pytest.mark.parametrize("rows", [2, 7])
def test_representations_have_the_size_asked_for_and_reach_every_parameter(cls, rows):
    encoder, values = encoder_and_values(cls, rows)
    h = encoder(values)
    assert h.shape == (rows, 6)
    h.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_encoder
def test_a_rows_representation_hangs_on_its_own_values_alone(cls):
    encoder, values = encoder_and_values(cls, 7)
    encoder.eval()
    other = values.clone()
    other[3] += 1.0
    before, after = encoder(values), encoder(other)
    rest = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(before[rest], after[rest])
    assert not torch.allclose(before[3], after[3])
    torch.testing.assert_close(encoder(values[:1]), before[:1])


@every_encoder
def test_dropout_is_for_training(cls):
    encoder, values = encoder_and_values(cls, 7, dropout=0.5)
    assert not torch.allclose(encoder(values), encoder(values))
    encoder.eval()
    assert torch.equal(encoder(values), encoder(values))


@every_encoder
def test_absent_rows_are_zero_and_never_read(cls):
    """Whatever stands in them: what an encoder with batch statistics makes of the others does not change."""
    encoder, values = encoder_and_values(cls, 7)
    present = np.arange(7) != 3
    encoded = []
    for content in (0.0, 1e6):
        rows = values.clone()
        rows[3] = content
        x = Modalities({"m": rows}, present={"m": present})
        encoded.append(Encoders({"m": copy.deepcopy(encoder)}, out_features=6)(x).values["m"])
    assert (encoded[0][3] == 0).all()
    assert torch.equal(*encoded)


@every_encoder
def test_an_encoder_is_chosen_by_shape_or_given_by_hand(cls):
    """A classifier trains it either way, and predicts each row by itself."""
    encoder, values = encoder_and_values(cls, 24)
    chosen = encoder_for("m", values.numpy(), 8, 6)
    assert any(isinstance(part, cls) for part in chosen.modules())
    assert chosen(values).shape == (24, 6)
    x = Modalities({"m": values, "o": np.arange(24.0)}).drop("m", where=np.arange(24) % 3 == 0)
    for given in (None, {"m": encoder}):
        classifier = PrimoClassifier(**SMALL, encoders=given).fit(x, np.arange(24) % 2)
        assert any(isinstance(part, cls) for part in classifier.model_.encoder["m"].modules())
        # Single precision, a matrix product of other sizes and three layers.
        np.testing.assert_allclose(
            classifier.predict_proba(x)[:2], classifier.predict_proba(x[:2]), rtol=0, atol=5e-6
        )


def test_images_too_small_for_their_layers_are_refused():
    with pytest.raises(
        ModalityError, match=r"LeNet with 3 layers halves \[8, 8\] to nothing; expected at most 2"
    ):
        LeNet((1, 8, 8), 6, layers=3)


# --- Priors --------------------------------------------------------------------------------------------


class FlowPrior(DiagNormal):
    """A diagonal normal whose draws pass through an affine coupling."""

    def __init__(self, in_features, hidden_dim, latent_dim):
        super().__init__(in_features, hidden_dim, latent_dim)
        self.flow = dist.transforms.affine_coupling(latent_dim, hidden_dims=[8])

    def forward(self, h):
        return dist.TransformedDistribution(super().forward(h), [self.flow])


class MixturePrior(nn.Module):
    """Three diagonal normals."""

    def __init__(self, in_features, hidden_dim, latent_dim):
        super().__init__()
        self.shape = (3, latent_dim)
        self.net = MLP(in_features, hidden_dim, 3 * (2 * latent_dim + 1))

    def forward(self, h):
        out = self.net(h.fused())
        logits, rest = out[..., :3], out[..., 3:]
        loc, raw = (t.reshape(*t.shape[:-1], *self.shape) for t in rest.chunk(2, -1))
        return dist.MixtureOfDiagNormals(loc, nn.functional.softplus(raw + 0.5413) + 1e-3, logits)


class CorrelatedPrior(nn.Module):
    """A normal with a full covariance."""

    def __init__(self, in_features, hidden_dim, latent_dim):
        super().__init__()
        self.dim = latent_dim
        self.net = MLP(in_features, hidden_dim, latent_dim + latent_dim**2)

    def forward(self, h):
        loc, raw = self.net(h.fused()).split([self.dim, self.dim**2], dim=-1)
        raw = raw.reshape(*raw.shape[:-1], self.dim, self.dim)
        scale = raw.tril(-1) + torch.diag_embed(nn.functional.softplus(raw.diagonal(dim1=-2, dim2=-1) + 0.5))
        return dist.MultivariateNormal(loc, scale_tril=scale)


class HeavyPrior(DiagNormal):
    """Laplace draws, by their quantile function."""

    def forward(self, h):
        loc, scale = self.location_and_scale(h.fused())
        return dist.Laplace(loc, scale).to_event(1)


PRIORS = (DiagNormal, FlowPrior, MixturePrior, CorrelatedPrior, HeavyPrior)
NO_PRIORS = {
    conditionals.BatchNormDiagNormal,
    conditionals.DropoutOfRows,
    conditionals.Likelihood,
    priors.LocationAndScale,
}

every_prior = pytest.mark.parametrize("prior", PRIORS, ids=lambda cls: cls.__name__)


def program_with(prior, **settings):
    return make_program(latents={"m": Latent(("m",), 2, prior=prior)}, **settings)


def test_every_prior_is_tested():
    assert modules_of(conditionals) | modules_of(priors) <= set(PRIORS) | NO_PRIORS


@every_prior
def test_a_prior_is_a_distribution_of_its_latent_for_each_row(prior):
    x, _ = make_rows(7)
    model, _ = program_with(prior)
    p = model.prior["m"](model.encoder(x))
    assert p.batch_shape == (7,)
    assert p.event_shape == (2,)
    assert p.has_rsample
    drawn = from_noise(p, torch.randn(4, 1, noise_size(p)))
    assert drawn.shape == (4, 7, 2)
    assert torch.isfinite(p.log_prob(drawn)).all()


@every_prior
@pytest.mark.parametrize("objective", ["paper", "calibrated"])
def test_a_prior_of_any_kind_is_trained_by_every_objective(prior, objective):
    """Anchor, tie and forecast are finite, and the first step moves every parameter."""
    objective = Objective.named(objective)
    x, y = make_rows(32)
    model, guide = program_with(prior, proposes_from_prior=objective.propose_from_prior)
    loss = Loss(model, guide, objective=objective)
    before = {name: p.detach().clone() for name, p in loss.named_parameters()}
    optimiser = torch.optim.AdamW(loss.parameters(), lr=0.01, weight_decay=0)
    value = loss(x, torch.as_tensor(y))
    value.backward()
    optimiser.step()
    assert torch.isfinite(value)
    assert [name for name, p in loss.named_parameters() if torch.equal(p, before[name])] == []


@every_prior
def test_tie_is_zero_where_nothing_is_revealed(prior):
    """With a formula and by draws: where m is absent both priors are one."""
    x, _ = make_rows(17)
    model, _ = program_with(prior)
    parts = regulariser(model, model.encoder(x), Objective())
    absent = torch.as_tensor(~x.present["m"])
    torch.testing.assert_close(
        parts["tie_m"][absent], torch.zeros(int(absent.sum())).double(), atol=1e-12, rtol=0
    )
    assert (parts["tie_m"][~absent] != 0).all()
    assert torch.isfinite(parts["anchor_m"]).all()


@every_prior
def test_predictions_are_those_of_the_priors_own_draws(prior):
    """Noise that is given makes the draws that Pyro would make: both are averages over one distribution."""
    x, _ = make_rows(7)
    model, _ = program_with(prior)
    model.eval()
    with torch.no_grad():
        for weight in model.likelihood.parameters():
            weight.mul_(3)
    ours = summarise(model, x, num_samples=4096)
    theirs = Predictive(model, num_samples=20_000, parallel=True, return_sites=("logits",))(x)
    p = theirs["logits"].softmax(-1)
    error = 5 * p.std(0).numpy() * (1 / 4096 + 1 / 20_000) ** 0.5
    assert (abs(ours.probabilities - p.mean(0).numpy()) < error + 1e-9).all()
    columns = noise_columns(model, model.encoder(x))
    assert list(columns) == ["z_m"]
    points = standard_normal_points(8, columns["z_m"].stop, "sobol", seed=0)
    assert draw(model, model.encoder(x), points, ["z_m"])["z_m"].shape == (8, 7, 2)


@dataclass(eq=False, repr=False, kw_only=True)
class WithPrior(PrimoClassifier):
    """One latent for each optional modality, with a prior of another kind."""

    prior: type = DiagNormal

    def make_programs(self, encoder, outcome):
        latents = {m: Latent((m,), self.latent_dim, prior=self.prior) for m in self.optional_}
        model = PrimoModel(encoder, latents, outcome=outcome, hidden_dim=self.hidden_dim)
        return model, PrimoGuide(model, hidden_dim=8, gamma=self.gamma, proposes_from_prior=True)


@every_prior
def test_a_classifier_with_a_prior_of_ones_own(prior, tmp_path):
    x, y = make_rows(60)
    classifier = WithPrior(**SMALL, prior=prior).fit(x, y)
    impact = classifier.predictive_impact(x)["impact"]
    assert impact.between(0, 1 - 1 / 3).all()
    assert ((impact > 0) == ~x.present["m"]).all()
    classifier.save(tmp_path / "model")
    again = WithPrior.load(tmp_path / "model", prior=prior)
    np.testing.assert_array_equal(classifier.predict_proba(x), again.predict_proba(x))


class StepPrior(DiagNormal):
    """Draws of a mixture that pass no gradient."""

    def forward(self, h):
        loc, scale = self.location_and_scale(h.fused())
        parts = dist.Normal(torch.stack([loc, -loc], -2), scale[..., None, :]).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(torch.ones(len(h), 2)), parts)


def test_a_prior_whose_draws_pass_no_gradient_is_refused():
    x, y = make_rows(17)
    model, guide = program_with(StepPrior)
    with pytest.raises(DrawsError, match=r"latent 'm' is MixtureSameFamily.*expected one with rsample.*Use"):
        Loss(model, guide, objective=Objective())(x, torch.as_tensor(y))


# --- Posterior -----------------------------------------------------------------------------------------


def test_the_posteriors_means_keep_their_spread():
    """gamma over a batch, whatever the network says, around a learnable shift; one row has no spread."""
    x, y = make_rows(64, rate=0.0)
    model, guide = make_program()
    q = guide.posterior["m"]
    with torch.no_grad():
        q.shift.copy_(torch.tensor([1.0, -2.0]))
    h, label = model.encoder(x), model.outcome.features(torch.as_tensor(y))
    mean = q(h, label).mean
    torch.testing.assert_close(mean.mean(0), q.shift.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(mean.std(0, correction=0), torch.full((2,), 0.5).double(), rtol=1e-2, atol=0)
    assert torch.isfinite(q(h[:1], label[:1]).mean).all()


def test_a_latent_needs_an_encoder_for_what_it_is_about():
    with pytest.raises(ModalityError, match=r"about 'q', which has no encoder; expected one of \['o', 'm'\]"):
        make_program(latents={"q": Latent(("q",), 2)})
