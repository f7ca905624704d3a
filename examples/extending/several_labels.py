"""Several binary labels at once, and what they do together.

    python examples/extending/several_labels.py

With ``outcome="multilabel"`` the labels are columns of 0 and 1, and V is the mean over labels of how much
the probability of each is expected to change. Given the latents the labels are independent. Averaged over
them they need not be: the draws hold what the labels do together, and any question about them is an average
over draws.

Known: in XOR without ``m``, where o < 0, whether the signs differ is as open as the sign of m is, and yet
both are always the same. The sign of o is known and gets no impact, so the exact V is two thirds of
`xor_impact`.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data import make_xor, xor_impact

# --- The extension -------------------------------------------------------------------------------------


def probability_of_agreement(clf: PrimoClassifier, x: Modalities, first: int, second: int) -> np.ndarray:
    """Probability ``[N]`` that two labels are equal, averaged over the latents."""
    p = clf.sample_predictions(x)  # [K, N, L]
    p, q = p[..., first], p[..., second]
    return (p * q + (1 - p) * (1 - q)).mean(axis=0)


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 2, "learning_rate": 1e-2, "batch_size": 64, "random_state": 0}


def make_labels(rows: int, seed: int) -> tuple[Modalities, pd.DataFrame]:
    """XOR with three labels: whether the signs differ, the sign of ``m`` and the sign of ``o``."""
    x, differ = make_xor(rows, seed)
    return x, pd.DataFrame({"differ": differ, **{n: (x.values[n][:, 0] > 0).astype(int) for n in ("m", "o")}})


def main(rows: int, epochs: int, tolerance: float) -> None:
    x, y = make_labels(rows, seed=0)
    clf = PrimoClassifier(outcome="multilabel", max_epochs=epochs, **SETTINGS)
    clf.fit(x.drop_at_random("m", random_state=1), y)

    new, y_new = make_labels(1000, seed=2)
    missing, negative = new.drop("m"), new.values["o"][:, 0] < 0
    print(f"all three labels right with m: {(clf.predict(new) == y_new).all(axis=1).mean():.3f}")
    mean = clf.predict_proba(missing)
    each = np.abs(clf.sample_predictions(missing) - mean).mean(axis=(0, 1))
    print("mean V of each label:", ", ".join(f"{n} {v:.3f}" for n, v in zip(clf.classes_, each, strict=True)))
    print("mean probabilities where o < 0:", ", ".join(f"{p:.3f}" for p in mean[negative].mean(axis=0)))
    agreement = probability_of_agreement(clf, missing, 0, 1)[negative].mean()
    print(f"probability that differ and m agree there: {agreement:.3f}, exact 1; 0.5 were they independent")

    impact, exact = clf.predictive_impact(missing)["impact"], xor_impact(new.values["o"]) * 2 / 3
    error = np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean()
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    sys.exit(0 if error <= tolerance and 2 * (1 - agreement) <= tolerance else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
