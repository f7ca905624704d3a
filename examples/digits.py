"""Real handwritten digits, cut in halves: the top is always seen, the bottom may be missing.

    python examples/digits.py --out out/digits

trains on 1,257 rows of which every other one has lost its bottom half, and asks of 540 new rows: what digit
is it, from the top half alone and from both? How much would the bottom half change that, and towards which
digits? ``results.csv`` has every score, ``impact.png`` how impact is distributed, ``rows.png`` the rows of
highest and lowest impact.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from common import parser, run, save

from primo_pyro.data import digit_images
from primo_pyro.plots import impact_ecdf, label_shares_bars
from primo_pyro.tasks import digit_halves


def rows_picture(clf, x, y) -> plt.Figure:
    """Four rows of highest and four of lowest impact: what is seen, and what it may turn out to be."""
    seen = x.drop("bottom")
    impact = clf.predictive_impact(seen)["impact"].to_numpy()
    order = np.argsort(-impact)
    chosen = np.concatenate([order[:4], order[-4:]])
    shares = clf.plausible_label_shares(seen[chosen], by="weight")
    images = digit_images(x[chosen])
    figure, axes = plt.subplots(4, 4, figsize=(13, 9), layout="constrained")
    for place, row in enumerate(chosen):
        across, down = place % 4, 2 * (place // 4)
        picture, bars = axes[down, across], axes[down + 1, across]
        picture.imshow(images[place], cmap="Greys", vmin=0, vmax=1)
        picture.axhspan(3.5, 7.5, facecolor="tab:orange", alpha=0.45)
        picture.set(xticks=[], yticks=[])
        picture.set_title("the bottom half is hidden", fontsize="small", color="tab:orange")
        label_shares_bars(shares.iloc[place], impact=impact[row], truth=y[row], by="draws", ax=bars)
    figure.suptitle(
        "Highest impact: the hidden half decides (top). Lowest: the visible half is enough (bottom)."
    )
    return figure


def main() -> None:
    flags = parser(__doc__.splitlines()[0], out="out/digits", seeds=2, rows=1797, epochs=60)
    args = flags.parse_args()
    settings = {"batch_size": 64, "hidden_dim": 128, "learning_rate": 1e-3, "dropout": 0.3, "patience": None}
    task = digit_halves(args.rows)
    _, classifiers = run(task, args, settings, {"latent_dim": 8})

    clf = next(c for (method, seed), c in classifiers.items() if method.startswith("primo") and seed == 0)
    clf = classifiers.get(("primo", 0), clf)
    x, y = task.rows(0)[-1]
    figure, ax = plt.subplots(figsize=(7, 4.5))
    impact_ecdf(clf.impact_gap(x), "the bottom half", ax=ax)
    save(figure, args.out / "impact.png")
    save(rows_picture(clf, x, y), args.out / "rows.png")


if __name__ == "__main__":
    main()
