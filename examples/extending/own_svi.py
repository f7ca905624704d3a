"""Training by a loop of your own, with Pyro's SVI.

    python examples/extending/own_svi.py

The estimators train by a loop of their own. For another optimiser, another schedule or a loop that does
more than training, the same programs go into `pyro.infer.SVI`: `TrainingModel` is the model with all terms
of the objective, `PrimoGuide` its guide, and the objective makes the bound. `adopt` then gives the trained
programs all questions of the classifier. SVI keeps parameters in Pyro's global store under names that mean
nothing elsewhere; in a scope of its own nothing is left behind, and the parameters stay in the modules.
`load` needs programs of the same kind again.

Known: on the same draws SVI's loss is that of the package's own `Loss`, and the exact impact is that of
XOR.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pyro
import torch
from pyro.infer import SVI
from pyro.optim import Adam, CosineAnnealingLR

from primo_pyro import Modalities, Objective, PrimoClassifier, PrimoGuide, PrimoModel, TrainingModel
from primo_pyro.data import make_xor, xor_impact
from primo_pyro.program import MLP, Categorical, Encoders, Loss, one_latent_each

# --- The extension -------------------------------------------------------------------------------------

OBJECTIVE = Objective.named("calibrated")
HIDDEN, BATCH = 32, 64


def make_programs() -> tuple[PrimoModel, PrimoGuide]:
    """Model and guide with fresh parameters."""
    encoder = Encoders({name: MLP(1, HIDDEN, HIDDEN) for name in ("m", "o")}, out_features=HIDDEN)
    model = PrimoModel(encoder, one_latent_each(["m"], dim=2), outcome=Categorical(2), hidden_dim=HIDDEN)
    return model, PrimoGuide(model, hidden_dim=HIDDEN, gamma=0.5, proposes_from_prior=True)


def train(model: PrimoModel, guide: PrimoGuide, x: Modalities, y: torch.Tensor, epochs: int) -> None:
    """Adam with a rate that falls along half a cosine."""
    optimiser = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 1e-2}, "T_max": epochs}
    with pyro.get_param_store().scope():
        scheduler = CosineAnnealingLR(optimiser)
        svi = SVI(TrainingModel(model, OBJECTIVE), guide, scheduler, OBJECTIVE.make_elbo())
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(BATCH):
                svi.step(x[rows.numpy()], y[rows])
            scheduler.step()


# --- Data, and a check against what is known -----------------------------------------------------------


def losses(x: Modalities, y: torch.Tensor) -> tuple[float, float]:
    """By SVI and by `Loss`, from the same draws; without terms that take draws of their own."""
    model, guide = make_programs()
    objective = replace(OBJECTIVE, forecast=0.0, residual_spread=0.0)
    loss = Loss(model, guide, objective=objective)
    with pyro.get_param_store().scope():
        svi = SVI(loss.training_model, guide, Adam({}), objective.make_elbo())
        torch.manual_seed(0)
        by_svi = svi.evaluate_loss(x, y)
    torch.manual_seed(0)
    return by_svi, loss(x, y).item()


def main(rows: int, epochs: int, tolerance: float) -> None:
    torch.manual_seed(0)
    x, labels = make_xor(rows, random_state=0)
    x, y = x.drop_at_random("m", random_state=1), torch.as_tensor(labels)
    by_svi, by_loss = losses(x[:200], y[:200])
    print(f"loss of 200 rows: {by_svi:.4f} by SVI, {by_loss:.4f} by Loss")

    model, guide = make_programs()
    train(model, guide, x, y, epochs)
    clf = PrimoClassifier(random_state=0).adopt(model, guide, x, labels)
    new, y_new = make_xor(1000, random_state=2)
    print(f"accuracy with m: {(clf.predict(new) == y_new).mean():.3f}")
    print(f"parameters left in Pyro's store: {len(pyro.get_param_store())}")

    with tempfile.TemporaryDirectory() as folder:
        clf.save(f"{folder}/model")
        again = PrimoClassifier.load(f"{folder}/model", programs=make_programs())
    same = np.array_equal(again.predict_proba(new), clf.predict_proba(new))
    print(f"the loaded model predicts the same: {same}")

    impact, exact = clf.predictive_impact(new.drop("m"))["impact"], xor_impact(new.values["o"])
    print(f"mean V: {impact.mean():.3f}, exact {exact.mean():.3f}")
    error = np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean()
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    equal = abs(by_svi - by_loss) <= 1e-5 * abs(by_loss)  # sums of single precision in another order
    sys.exit(0 if error <= tolerance and equal and same and not len(pyro.get_param_store()) else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
