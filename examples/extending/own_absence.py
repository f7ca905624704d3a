"""A story of why a modality is absent: absence that depends on what is absent.

    python examples/extending/own_absence.py

The package takes rows that lack a modality to be like those that have it, once the other modalities are
known. Often they are not: a test is left out because it would have shown little. Here the story says how
absence comes about,

    log odds that m is absent  =  a(o) + b . z,

and what follows for the latent of a row that really lacks ``m`` has a closed form: where the rows that have
``m`` give z ~ Normal(mu, sigma^2), those that lack it give z ~ Normal(mu + b sigma^2, sigma^2). That is all
that changes. Whether ``m`` was recorded enters as a modality of its own, so that a row whose ``m`` is hidden
to ask a question can be told from a row that never had it. The prior alone looks at it.

b is learnt from the labels of the rows without ``m``, under two assumptions that no data can check: given o
and z, absence does not depend on the label, and the log odds are linear in z. Were the test left out by
somebody who knew the label, the same rows would have another explanation, and V would be wrong.

Known: m is normal around -0.75 where it is present and around 0.75 where it is absent, both with a variance
of 1, so that the log odds of absence are 1.5 m exactly. The label depends on o and m alike in all rows, so
that predictions and V without ``m`` are integrals over one normal number.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch
from scipy.special import expit
from torch import nn

from primo_pyro import Modalities, PrimoClassifier, PrimoGuide, PrimoModel
from primo_pyro.program import DiagNormal, Encoders, Latent, Outcome, Representations

# --- The extension -------------------------------------------------------------------------------------


class Record(nn.Module):
    """The encoder of ``recorded``: 1 or 0, as the first of ``size`` numbers."""

    def __init__(self, size: int):
        super().__init__()
        self.pad = nn.ConstantPad1d((0, size - 1), 0.0)

    def forward(self, recorded: torch.Tensor) -> torch.Tensor:
        return self.pad(recorded)


class AbsentForAReason(DiagNormal):
    """p(z | h, absent or not): in rows that really lack the modality tilted by exp(b . z)."""

    def __init__(self, in_features: int, hidden_dim: int, latent_dim: int):
        super().__init__(in_features, hidden_dim, latent_dim)
        self.b = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, h: Representations) -> dist.Distribution:
        p = super().forward(h.drop("recorded")).base_dist  # as if it were present
        lacking = 1 - h.values["recorded"][:, :1]
        return dist.Normal(p.loc + lacking * self.b * p.scale.square(), p.scale).to_event(1)


class AbsenceClassifier(PrimoClassifier):
    """``m`` may be absent for a reason; ``recorded`` says whether it is."""

    def make_programs(self, encoder: Encoders, outcome: Outcome) -> tuple[PrimoModel, PrimoGuide]:
        latents = {"m": Latent(about=("m",), dim=1, prior=AbsentForAReason)}
        model = PrimoModel(encoder, latents, outcome=outcome, hidden_dim=self.hidden_dim)
        del model.likelihood.from_observed["recorded"]  # given o and z the label does not depend on it
        return model, self.make_guide(model)


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 1, "learning_rate": 1e-2, "batch_size": 64, "random_state": 0}
SHIFT, EFFECTS = 0.75, (3.0, 2.5)


def make_patients(rows: int, seed: int) -> tuple[Modalities, np.ndarray]:
    """Those without ``m`` would have had higher values; y ~ Bernoulli(sigmoid(3 o + 2.5 m))."""
    random = np.random.default_rng(seed)
    o, noise = random.normal(size=(2, rows))
    absent = random.random(rows) < 0.5
    m = noise + SHIFT * np.where(absent, 1, -1)
    y = random.random(rows) < expit(EFFECTS[0] * o + EFFECTS[1] * m)
    x = Modalities({"o": o, "m": m, "recorded": np.where(absent, 0.0, 1.0)})
    return x.drop("m", where=absent), y.astype(int)


def exact(o: np.ndarray, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """P(y = 1 | o) and V of ``m``, where m ~ Normal(shift, 1)."""
    points, weights = np.polynomial.hermite_e.hermegauss(61)
    p = expit(EFFECTS[0] * o[:, None] + EFFECTS[1] * (points + shift))
    mean = p @ weights / weights.sum()
    return mean, np.abs(p - mean[:, None]) @ weights / weights.sum()


def main(rows: int, epochs: int, tolerance: float) -> None:
    x, y = make_patients(rows, seed=0)
    new, _ = make_patients(2000, seed=2)
    new = new[~new.present["m"]]
    p, impact = exact(new.values["o"][:, 0], SHIFT)
    with_record, without = ["o", "m", "recorded"], ["o", "m"]
    lines = {}
    for name, blocks, cls, encoders in (
        ("absence says nothing", without, PrimoClassifier, None),
        ("recorded as a column", with_record, PrimoClassifier, None),
        ("the story", with_record, AbsenceClassifier, {"recorded": Record(32)}),
    ):
        clf = cls(encoders=encoders, max_epochs=epochs, **SETTINGS).fit(x.select(*blocks), y)
        said = clf.summarise(new.select(*blocks))
        bias, of_v = said.probabilities[:, 1] - p, said.impact - impact
        lines[name] = bias.mean(), np.abs(bias).mean(), said.impact.mean(), np.abs(of_v).mean()
    columns = ["bias of P", "distance of P", "mean V", "distance of V"]
    print(f"rows without m; exact mean V {impact.mean():.3f}")
    print(pd.DataFrame.from_dict(lines, orient="index", columns=columns).round(3).to_string())

    error = lines["the story"][-1] / np.abs(impact - np.median(impact)).mean()
    less = all(lines["the story"][k] < lines["absence says nothing"][k] for k in (1, 3))
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    sys.exit(0 if error <= tolerance and less else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.6, help="largest error that passes")
    main(**vars(parser.parse_args()))
