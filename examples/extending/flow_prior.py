"""A normalising flow as the prior of a latent.

    python examples/extending/flow_prior.py

The prior p(z | what is available) is normal by default. What an absent modality might tell can be shaped
otherwise: skewed, bent, with dependent dimensions. A flow bends a normal distribution by invertible maps,
which here depend on what is available (conditional affine coupling; Dinh, Sohl-Dickstein and Bengio 2017).
A prior is any module that returns a distribution for `Representations`. There is no formula for the KL
divergence from one flow to another, so that training takes it by draws, which must pass gradients.

Known: on XOR the exact impact. The flow must stay a density, and is summed over a grid.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from torch import nn

from primo_pyro import PrimoClassifier, PrimoGuide, PrimoModel
from primo_pyro.data import make_xor, xor_impact
from primo_pyro.program import DiagNormal, Encoders, Latent, Outcome, Representations

# --- The extension -------------------------------------------------------------------------------------


class Flow(nn.Module):
    """p(z | h): a normal distribution through two couplings, each of which moves half of the dimensions."""

    def __init__(self, in_features: int, hidden_dim: int, latent_dim: int):
        super().__init__()
        self.base = DiagNormal(in_features, hidden_dim, latent_dim)
        self.couplings = nn.ModuleList(
            transforms.conditional_affine_coupling(latent_dim, in_features, [hidden_dim]) for _ in range(2)
        )
        self.turn = transforms.Permute(torch.arange(latent_dim).flip(0))

    def forward(self, h: Representations) -> dist.Distribution:
        first, second = (coupling.condition(h.fused()) for coupling in self.couplings)
        return dist.TransformedDistribution(self.base(h), [first, self.turn, second])


class FlowClassifier(PrimoClassifier):
    """The latent of ``m`` has a flow as its prior."""

    def make_programs(self, encoder: Encoders, outcome: Outcome) -> tuple[PrimoModel, PrimoGuide]:
        latents = {"m": Latent(about=("m",), dim=self.latent_dim, prior=Flow)}
        model = PrimoModel(encoder, latents, outcome=outcome, hidden_dim=self.hidden_dim)
        return model, self.make_guide(model)


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 2, "learning_rate": 5e-3, "batch_size": 64, "random_state": 0}


def main(rows: int, epochs: int, tolerance: float) -> None:
    x, y = make_xor(rows, random_state=0)
    clf = FlowClassifier(max_epochs=epochs, **SETTINGS).fit(x.drop_at_random("m", random_state=1), y)

    new, y_new = make_xor(1000, random_state=2)
    print(f"accuracy with m: {(clf.predict(new) == y_new).mean():.3f}")
    with torch.no_grad():
        prior = clf.model_.prior["m"](clf.model_.encoder(new[:1].drop("m")))
        side = torch.linspace(-40, 40, 1601)  # steps of 0.05
        grid = torch.cartesian_prod(side, side)[:, None]  # [points, 1, 2]
        total = prior.log_prob(grid).exp().sum().item() * 0.05**2
    print(f"the prior of one row, summed over a grid: {total:.4f}")

    impact, exact = clf.predictive_impact(new.drop("m"))["impact"], xor_impact(new.values["o"])
    print(f"mean V: {impact.mean():.3f}, exact {exact.mean():.3f}")
    error = np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean()
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    sys.exit(0 if error <= tolerance and abs(total - 1) < 0.01 else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
