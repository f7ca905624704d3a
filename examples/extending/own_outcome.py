"""An outcome of your own: mistakes that differ in what they cost.

    python examples/extending/own_outcome.py

For the package all classes are equally far apart: V is the expected total variation distance. Where one
mistake costs more than another, a change of the prediction matters by what it does to the costs. With C_dc
the cost of decision d where the truth is c, the distance here is

    d(p, q)  =  1/2  sum_d | sum_c C_dc (p_c - q_c) |,

how far the expected costs of all decisions move, which for costs of 0 and 1 is the total variation
distance. The outcome also decides for what is cheapest, not for what is most probable. V, rankings of
acquisitions and the forecast in training then all go by this distance. `load` needs the class again.

Known: half of the patients may turn out well or mild, the other half well or severe, and ``m`` tells which.
Both have the same doubt and a V of 1/2 by total variation; by costs it is half the distance between the two
classes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import numpy as np
import torch

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.program import Categorical

# --- The extension -------------------------------------------------------------------------------------

COSTS = np.array([[0.0, 1.0, 5.0], [0.5, 0.0, 4.0], [1.0, 1.0, 0.0]])  # decisions by classes 0, 1, 2


class CostlyClasses(Categorical):
    """Classes whose distance is what a change does to the expected costs of all decisions."""

    name = "costly classes"

    def __init__(self, num_classes: int):
        super().__init__(num_classes)
        # V of a label about which nothing is known and which the modality tells exactly.
        self.largest_impact = float(self.distance(np.eye(num_classes), 1 / num_classes).mean())

    def expected_costs(self, p):
        """Of each decision; predictions are arrays or tensors."""
        return p @ (COSTS.T if isinstance(p, np.ndarray) else torch.as_tensor(COSTS.T).to(p))

    def distance(self, p, q):
        return abs(self.expected_costs(p - q)).sum(-1) / 2

    def decide(self, p):
        return self.expected_costs(p).argmin(-1)


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 2, "learning_rate": 1e-2, "batch_size": 32, "random_state": 0}


def make_patients(rows: int, seed: int) -> tuple[Modalities, np.ndarray]:
    """``o`` says what a patient may have, mild (1) or severe (2), and the sign of ``m`` whether he has it."""
    random = np.random.default_rng(seed)
    o, m = random.integers(2, size=rows), random.normal(size=rows)
    return Modalities({"o": o.astype(float), "m": m}), np.where(m < 0, 0, 1 + o)


def main(rows: int, epochs: int, tolerance: float) -> None:
    x, y = make_patients(rows, seed=0)
    clf = PrimoClassifier(outcome=CostlyClasses, max_epochs=epochs, **SETTINGS)
    clf.fit(x.drop_at_random("m", random_state=1), y)

    new, y_new = make_patients(1000, seed=2)
    missing, severe = new.drop("m"), new.values["o"][:, 0].astype(int)
    impact = clf.predictive_impact(missing)["impact"].to_numpy()
    halves = CostlyClasses(3).distance(np.eye(3)[[1, 2]], np.eye(3)[0]) / 2
    for kind, name in enumerate(("mild", "severe")):
        decisions = np.bincount(clf.predict(missing)[severe == kind], minlength=3)
        means = f"mean V {impact[severe == kind].mean():.3f}, exact {halves[kind]:.3f}"
        print(f"well or {name}: {means}; decisions for well, mild, severe: {decisions.tolist()}")
    print(f"accuracy with m: {(clf.predict(new) == y_new).mean():.3f}")

    with tempfile.TemporaryDirectory() as folder:
        clf.save(f"{folder}/model")
        again = PrimoClassifier.load(f"{folder}/model", outcome=CostlyClasses)
    same = np.array_equal(again.predict_proba(new), clf.predict_proba(new))
    print(f"the loaded model predicts the same: {same}")

    exact = halves[severe]
    error = np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean()
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    sys.exit(0 if error <= tolerance and same else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
