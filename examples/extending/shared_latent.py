"""A latent that two modalities share, beside a private one for each.

    python examples/extending/shared_latent.py

Two modalities often tell the same: two scans of one organ, two reports of one event. With a private latent
each, the model has to learn that knowing one settles the other. A latent about both says so from the start:
it holds what either of them would tell, and the private ones what each adds. It is in play as soon as one
of the two is present or asked about.

Known: in XOR with twins the second number is there twice, as ``m`` and as ``twin``. While both are absent
each of them, and both together, have the exact impact of XOR. Once one is present, the other changes
nothing.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from primo_pyro import PrimoClassifier, PrimoGuide, PrimoModel
from primo_pyro.data import make_xor_twins, xor_twins_impact
from primo_pyro.program import Encoders, Latent, Outcome

# --- The extension -------------------------------------------------------------------------------------


class SharedLatent(PrimoClassifier):
    """A latent about all optional modalities, and one about each."""

    def make_programs(self, encoder: Encoders, outcome: Outcome) -> tuple[PrimoModel, PrimoGuide]:
        latents = {name: Latent(about=(name,), dim=self.latent_dim) for name in self.optional_}
        latents["shared"] = Latent(about=self.optional_, dim=self.latent_dim)
        model = PrimoModel(encoder, latents, outcome=outcome, hidden_dim=self.hidden_dim)
        return model, self.make_guide(model)


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 2, "learning_rate": 1e-2, "batch_size": 64, "random_state": 0}


def main(rows: int, epochs: int, tolerance: float) -> None:
    x, y = make_xor_twins(rows, random_state=0)
    x = x.drop_at_random("m", random_state=1).drop_at_random("twin", random_state=2)
    clf = SharedLatent(max_epochs=epochs, **SETTINGS).fit(x, y)

    new, _ = make_xor_twins(1000, random_state=3)
    impacts, exacts = [], []
    both = ("m", "twin")
    for hidden, asked in (both, ("m",)), (both, both), (("twin",), ("twin",)):
        missing = new.drop(*hidden)
        impacts.append(clf.predictive_impact(missing, asked)["impact"].to_numpy())
        exacts.append(xor_twins_impact(missing, asked))
        means = f"{impacts[-1].mean():.3f}, exact {exacts[-1].mean():.3f}"
        print(f"without {' and '.join(hidden)}, mean V of {' and '.join(asked)}: {means}")
    impact, exact = np.concatenate(impacts), np.concatenate(exacts)
    error = np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean()
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    sys.exit(0 if error <= tolerance else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
