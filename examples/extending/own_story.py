"""A story of your own: a known mechanism in place of a network.

    python examples/extending/own_story.py

By default a network makes the label's parameters of what is observed and of the latents. Where the
mechanism is known, the story can say it. Here effects add up: the label is an effect of ``o``, plus what
``m`` adds, plus noise, so that the latent is the part of the label that ``m`` would tell, in the label's
unit once it is multiplied by a learnt factor. A story is what happens to each row: it draws the latents,
says what the label's parameters are under the name that predictions read them by, and draws the label.

Known: in the linear problem without ``m`` the part that it would tell has a standard deviation of
sqrt(0.75), the exact V is `linear_impact`, and the label is normal with a standard deviation of 1; with
``m`` of 1/2.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pyro
import torch
from torch import nn

from primo_pyro import PrimoGuide, PrimoModel, PrimoRegressor
from primo_pyro.data import linear_impact, make_linear
from primo_pyro.program import Encoders, Outcome, Representations, one_latent_each

# --- The extension -------------------------------------------------------------------------------------


class AdditiveStory(PrimoModel):
    """y = effect of o + factor * z + noise."""

    def __init__(self, encoder: Encoders, outcome: Outcome, hidden_dim: int):
        super().__init__(encoder, one_latent_each(["m"], dim=1), outcome=outcome, hidden_dim=hidden_dim)
        del self.likelihood  # the network that this story does without
        self.effect = nn.Linear(encoder.out_features, 2)  # location, and the raw scale of the noise
        self.factor = nn.Parameter(torch.ones(1))

    def story(self, h: Representations, y: torch.Tensor | None) -> torch.Tensor:
        z = self.draw_latents(h)["m"]  # [B, 1], or [K, B, 1] under K draws
        parameters = self.effect(h.values["o"]) + nn.functional.pad(self.factor * z, (0, 1))
        pyro.deterministic(self.outcome.parameters_site, parameters, event_dim=1)
        return pyro.sample("y", self.outcome.distribution(parameters), obs=y)


class AdditiveRegressor(PrimoRegressor):
    """Tells the additive story."""

    def make_programs(self, encoder: Encoders, outcome: Outcome) -> tuple[PrimoModel, PrimoGuide]:
        model = AdditiveStory(encoder, outcome, self.hidden_dim)
        return model, self.make_guide(model)


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "batch_size": 64, "random_state": 0}


def main(rows: int, epochs: int, tolerance: float) -> None:
    x, y = make_linear(rows, random_state=0)
    reg = AdditiveRegressor(max_epochs=epochs, **SETTINGS).fit(x.drop_at_random("m", random_state=1), y)

    new, y_new = make_linear(1000, random_state=2)
    missing = new.drop("m")
    for name, x_new, spread in ("without", missing, 1.0), ("with", new, 0.5):
        density = reg.log_density(x_new, y_new).mean()
        exact = -np.log(spread) - np.log(2 * np.pi * np.e) / 2
        print(f"log density {name} m: {density:.3f}, exact on average {exact:.3f}")
    part = abs(reg.model_.factor.item()) * reg.sample_latents(missing).std(axis=0).mean() * reg.label_scale_
    print(f"standard deviation of what m would tell: {part:.3f}, exact {0.75**0.5:.3f}")

    impact, exact = reg.predictive_impact(missing)["impact"], linear_impact()
    print(f"mean V: {impact.mean():.3f}, exact {exact:.3f}")
    errors = [np.abs(impact - exact).mean() / exact, abs(part / 0.75**0.5 - 1)]
    print("relative error of V, and of this standard deviation: {:.3f}, {:.3f}".format(*errors))
    print(f"check: the larger: {max(errors):.3f}, expected at most {tolerance}")
    sys.exit(0 if max(errors) <= tolerance else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.2, help="largest error that passes")
    main(**vars(parser.parse_args()))
