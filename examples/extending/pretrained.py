"""A pretrained encoder: a fitted transformer of scikit-learn, or a torch module that stays as it is.

    python examples/extending/pretrained.py

Where labels are few and values are many, what was learnt elsewhere helps: principal components of a large
archive without labels, or a network of somebody else. Either is wrapped as a module whose own part is not
trained, with a linear layer behind it that is. A frozen module also stays in evaluation mode, so that its
batch normalisation and dropout do what they did when it was made. `load` needs the same kind of module
again: a saved model holds the parameters of torch modules, and nothing of a transformer.

Known: forty sensors hear the second number of XOR beside two louder sources, all three mixed by one matrix.
Three principal components of an archive hold all three, so the exact impact of the sensors is `xor_impact`.
A frozen torch module with the weights of these components makes the same representation.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data import make_xor, xor_impact

# --- The extension -------------------------------------------------------------------------------------


class FromScikitLearn(nn.Module):
    """``transformer.transform`` of rows ``[B, F]``, and a linear layer that is trained."""

    def __init__(self, transformer: Any, made: int, out_features: int):
        super().__init__()
        self.transformer, self.head = transformer, nn.Linear(made, out_features)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(torch.as_tensor(self.transformer.transform(values.cpu().numpy())).to(values))


class Frozen(nn.Module):
    """A torch module that stays as it is, and a linear layer that is trained."""

    def __init__(self, module: nn.Module, made: int, out_features: int):
        super().__init__()
        self.module, self.head = module.requires_grad_(False), nn.Linear(made, out_features)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.module.eval()
        return self

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(self.module(values))


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 2, "learning_rate": 1e-2, "batch_size": 64, "random_state": 0}


def make_sensors(rows: int, seed: int) -> tuple[Modalities, np.ndarray]:
    """XOR whose second number is heard by forty sensors, mixed with two louder sources."""
    x, y = make_xor(rows, seed)
    random = np.random.default_rng(seed)
    sources = np.column_stack([x.values["m"], 4 * random.normal(size=(rows, 2))])
    mix = np.random.default_rng(7).normal(size=(3, 40))
    sensors = (sources @ mix + 0.1 * random.normal(size=(rows, 40))).astype(np.float32)
    return Modalities({"o": x.values["o"], "sensors": sensors}), y


def as_torch(pca: PCA) -> nn.Linear:
    """The same map as a torch module."""
    linear = nn.Linear(pca.n_features_in_, pca.n_components_)
    with torch.no_grad():
        linear.weight.copy_(torch.as_tensor(pca.components_ / pca.explained_variance_[:, None] ** 0.5))
        linear.bias.copy_(-linear.weight @ torch.as_tensor(pca.mean_, dtype=linear.weight.dtype))
    return linear


def main(rows: int, epochs: int, tolerance: float) -> None:
    archive, _ = make_sensors(5000, seed=9)  # no label is used
    pca = PCA(3, whiten=True, random_state=0).fit(archive.values["sensors"])
    x, y = make_sensors(rows, seed=0)
    x = x.drop_at_random("sensors", random_state=1)
    new, y_new = make_sensors(1000, seed=2)
    exact = xor_impact(new.values["o"])
    errors, representations = [], []
    frozen = as_torch(pca)
    before = frozen.weight.clone()
    for name, cls, made_by in (
        ("scikit-learn's transformer", FromScikitLearn, pca),
        ("the torch module", Frozen, frozen),
    ):
        torch.manual_seed(0)  # of the linear layer that is made here
        encoder = cls(made_by, 3, 32)
        clf = PrimoClassifier(encoders={"sensors": encoder}, max_epochs=epochs, **SETTINGS).fit(x, y)
        impact = clf.predictive_impact(new.drop("sensors"))["impact"]
        errors.append(np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean())
        accuracy = (clf.predict(new) == y_new).mean()
        print(f"{name}: accuracy with the sensors {accuracy:.3f}, mean V {impact.mean():.3f}", end=", ")
        print(f"exact {exact.mean():.3f}")
        with torch.no_grad():
            representations.append(encoder(torch.as_tensor(new.values["sensors"])).numpy())
    apart = np.abs(representations[0] - representations[1]).max()
    kept = torch.equal(clf.model_.encoder["sensors"].module.weight, before)
    print(f"largest distance of the two representations: {apart:.1e}; the frozen weights were kept: {kept}")
    print(
        f"check: larger error of V over the best constant's: {max(errors):.3f}, expected at most {tolerance}"
    )
    sys.exit(0 if max(errors) <= tolerance and apart < 1e-3 and kept else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
