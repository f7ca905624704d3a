"""An encoder of your own: attention over a set.

    python examples/extending/encoder.py

The package chooses an encoder by the shape of the values and knows tables, series and images. Here a
modality is a set: six readings in no order, one of which is marked and decides. A recurrent network would
have to learn that the order means nothing; attention pooling is built that way. An encoder is any module
from ``[B, ...]`` to ``[B, hidden_dim]``, given under the modality's name. `load` needs a module of the same
kind again, since a saved model holds numbers and no code.

Known: the marked reading is the second number of XOR, so the exact impact of the set is `xor_impact`. The
order of the readings must not change a prediction, and the loaded model must predict the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import numpy as np
import torch
from torch import nn

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data import make_xor, xor_impact

# --- The extension -------------------------------------------------------------------------------------


class AttentionPooling(nn.Module):
    """Sets ``[B, T, F] -> [B, H]``: a weighted mean of what is read off each member."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.read = nn.Sequential(nn.Linear(in_features, out_features), nn.ReLU())
        self.attend = nn.Linear(in_features, 1)
        self.head = nn.Linear(out_features, out_features)

    def forward(self, members: torch.Tensor) -> torch.Tensor:
        weights = self.attend(members).softmax(dim=1)  # [B, T, 1]
        return self.head((weights * self.read(members)).sum(dim=1))


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 2, "learning_rate": 1e-2, "batch_size": 64, "random_state": 0}


def make_sets(rows: int, seed: int) -> tuple[Modalities, np.ndarray]:
    """XOR whose second number is one of six readings; their first column marks it."""
    x, y = make_xor(rows, seed)
    random = np.random.default_rng(seed)
    readings = np.stack([np.zeros((rows, 6)), random.normal(size=(rows, 6))], axis=2)
    readings[np.arange(rows), random.integers(6, size=rows)] = np.column_stack([np.ones(rows), x.values["m"]])
    return Modalities({"o": x.values["o"], "readings": readings}), y


def main(rows: int, epochs: int, tolerance: float) -> None:
    torch.manual_seed(0)  # of the encoder that is made here
    x, y = make_sets(rows, seed=0)
    clf = PrimoClassifier(encoders={"readings": AttentionPooling(2, 32)}, max_epochs=epochs, **SETTINGS)
    clf.fit(x.drop_at_random("readings", random_state=1), y)

    new, y_new = make_sets(1000, seed=2)
    probabilities = clf.predict_proba(new)
    print(f"accuracy with the set: {(probabilities.argmax(1) == y_new).mean():.3f}")
    turned = Modalities({"o": new.values["o"], "readings": new.values["readings"][:, ::-1]})
    moved = np.abs(clf.predict_proba(turned) - probabilities).max()
    print(f"largest change of a probability in another order: {moved:.1e}")

    with tempfile.TemporaryDirectory() as folder:
        clf.save(f"{folder}/model")
        again = PrimoClassifier.load(f"{folder}/model", encoders={"readings": AttentionPooling(2, 32)})
    same = np.array_equal(again.predict_proba(new), probabilities)
    print(f"the loaded model predicts the same: {same}")

    impact, exact = clf.predictive_impact(new.drop("readings"))["impact"], xor_impact(new.values["o"])
    print(f"mean V of the set: {impact.mean():.3f}, exact {exact.mean():.3f}")
    error = np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean()
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    sys.exit(0 if error <= tolerance and moved < 1e-5 and same else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
