"""Numbers on any scale, and several rows of one patient: what a fit must not depend on.

    python benchmarks/robustness.py --seeds 2

Printed are AUROCs of PRIMO, beside those of boosted trees, on generated rows: untouched; times 1e-9; plus
1e9; with one value of 1e6; with the code -9999 in 2 % of the cells; and with the exponential of every column.
Then test log losses where 200 patients have five noisy visits each, by how the training rows were divided for
the choice of the epoch: visits at random, patients by hand, and by ``fit(groups=...)``.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from primo_pyro import PrimoClassifier
from primo_pyro.studies.robustness import CHANGES, number_scales, visits
from primo_pyro.studies.tasks import Rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000, help="training rows of the first part")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, help="at most so many; None: the default of PRIMO")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {"device": "cpu"} | ({} if args.epochs is None else {"max_epochs": args.epochs})
    over = f"mean over {args.seeds} seeds"

    scales = number_scales(args.rows, range(args.seeds), **settings)
    table = scales.pivot_table(index="change", columns="method", values="auroc").loc[list(CHANGES)]
    table["primo less untouched"] = table["primo"] - table.loc["untouched", "primo"]
    table["primo less boosting"] = table["primo"] - table["boosting"]
    print(f"{args.rows} training rows, AUROC, {over}\n{table.round(3).to_string()}")

    def by_groups(rows: Rows, patient: np.ndarray, seed: int) -> PrimoClassifier:
        return PrimoClassifier(("b",), random_state=seed, **settings).fit(*rows, groups=patient)

    losses = visits({"patients as groups": by_groups}, range(args.seeds), **settings)
    print(f"\n200 patients x 5 visits, test log loss, {over}")
    print(losses.pivot_table(index="way", values="log_loss", sort=False).round(3).to_string())


if __name__ == "__main__":
    main()
