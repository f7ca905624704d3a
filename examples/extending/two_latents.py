"""Two latents of different sizes for one modality.

    python examples/extending/two_latents.py

By default a modality that may be absent has one latent of ``latent_dim`` dimensions. Here it has one of a
single dimension, which can be drawn as an axis, and one of four for the rest. `make_programs` says which
latents there are: their names are free, and each says about which modalities it is, and how large. A
subclass loads its own models as it is, for it brings the code along.

Known: both together should say what one latent of five dimensions says. On XOR the exact impact is known
too, and no forecast without ``m`` has a log loss below 0.510 nats on average.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import numpy as np

from primo_pyro import PrimoClassifier, PrimoGuide, PrimoModel
from primo_pyro.data import make_xor, xor_impact
from primo_pyro.program import Encoders, Latent, Outcome

# --- The extension -------------------------------------------------------------------------------------


class TwoLatents(PrimoClassifier):
    """A latent of one dimension and one of four, both about ``m``."""

    def make_programs(self, encoder: Encoders, outcome: Outcome) -> tuple[PrimoModel, PrimoGuide]:
        latents = {"axis": Latent(about=("m",), dim=1), "rest": Latent(about=("m",), dim=4)}
        model = PrimoModel(encoder, latents, outcome=outcome, hidden_dim=self.hidden_dim)
        return model, self.make_guide(model)


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 5, "learning_rate": 5e-3, "batch_size": 64, "random_state": 0}


def main(rows: int, epochs: int, tolerance: float) -> None:
    x, y = make_xor(rows, random_state=0)
    x = x.drop_at_random("m", random_state=1)
    one, two = (cls(max_epochs=epochs, **SETTINGS).fit(x, y) for cls in (PrimoClassifier, TwoLatents))

    new, y_new = make_xor(1000, random_state=2)
    first, second = (clf.summarise(new.drop("m"), y=y_new) for clf in (one, two))
    loss = -first.log_likelihood.mean(), -second.log_likelihood.mean()
    standard_error = (first.log_likelihood - second.log_likelihood).std() / len(new) ** 0.5
    print(f"log loss without m: one latent {loss[0]:.3f}, two {loss[1]:.3f}")
    print(f"standard error of their difference: {standard_error:.4f}")
    print(f"dimensions of the two: {two.sample_latents(new[:1], 1).shape[-1]}")

    with tempfile.TemporaryDirectory() as folder:
        two.save(f"{folder}/model")
        same = np.array_equal(TwoLatents.load(f"{folder}/model").predict_proba(new), two.predict_proba(new))
    print(f"the loaded model predicts the same: {same}")

    exact = xor_impact(new.values["o"])
    constant = np.abs(exact - np.median(exact)).mean()
    errors = [np.abs(second.impact - known).mean() / constant for known in (exact, first.impact)]
    print("error of V over that of the best constant: {:.3f}; from one latent's: {:.3f}".format(*errors))
    print(f"check: the larger of both: {max(errors):.3f}, expected at most {tolerance}")
    sys.exit(0 if max(errors) <= tolerance and same else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
