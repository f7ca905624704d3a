"""AV-MNIST: an image and a noisy recording of the same digit, one of which may be missing.

    python examples/avmnist.py --rows 15000 --out out/avmnist

Each of the two is optional in turn (Table 1 of the paper). The data come from the folder that PRIMO_DATA
names: the usual files under ``avmnist``, or the open parts ``mnist``, ``fsdd`` and ``esc10``, from which they
are built once, in some minutes, and kept. PRIMO is kept under ``models``; ``figures.py`` says what is drawn.

With ``--bias`` PRIMO and two oracles are trained on disjoint halves of the rows instead, to see how far its
averaged predictions lie from theirs with the image optional: ``bias.csv`` and ``bias.png`` (Figure 10).
"""

from __future__ import annotations

import argparse

from common import PRIMO, parser, primo_of, run
from figures import bias_picture, draw, keep, some_rows

from primo_pyro.studies.bias import bias_analysis
from primo_pyro.studies.comparison import METHODS, NEVER_DROPPED
from primo_pyro.studies.protocols import AV_MNIST
from primo_pyro.studies.tasks import av_mnist


def bias(args: argparse.Namespace) -> None:
    """Distances between PRIMO and the oracles: a table, ``bias.csv`` and ``bias.png``."""
    task, method = av_mnist("image", args.rows), PRIMO[args.objective][-1]
    networks = {**AV_MNIST.networks, "max_epochs": args.epochs, "device": args.device}
    of_primo = {**networks, **AV_MNIST.primo, **AV_MNIST.own.get(method, {})}
    (x, y), _, (x_test, _) = task.rows(0)
    distances = bias_analysis(
        x,
        y,
        x_test[some_rows(x_test.complete)],
        task.optional,
        primo=lambda seed: METHODS[method](task, random_state=seed, **of_primo),
        oracle=lambda seed: METHODS[NEVER_DROPPED](task, random_state=seed, **networks),
        seeds=range(args.seeds),
        rate=task.rate,
    )
    distances.insert(0, "dataset", task.name)
    args.out.mkdir(parents=True, exist_ok=True)
    distances.to_csv(args.out / "bias.csv", index=False)
    table = distances.groupby(["first", "second"], sort=False)["distance"].agg(["mean", "std"])
    print(f"\n{task.name}: mean total variation distance over {args.seeds} seeds\n{table.round(3)}\n")
    bias_picture(distances, args.out / "bias.png")


def main() -> None:
    flags = parser(__doc__.splitlines()[0], AV_MNIST, out="out/avmnist", rows=55_000)
    flags.add_argument(
        "--optional", choices=["audio", "image", "both"], default="both", help="may be missing"
    )
    flags.add_argument("--bias", action="store_true", help="the bias in place of the comparison")
    args = flags.parse_args()
    if args.bias:
        bias(args)
        return
    optional = ["audio", "image"] if args.optional == "both" else [args.optional]
    fitted = run([av_mnist(modality, args.rows) for modality in optional], args, AV_MNIST)
    models = dict(zip(optional, map(primo_of, fitted), strict=True))
    keep("avmnist", models, args.out)
    draw("avmnist", models, args.out)


if __name__ == "__main__":
    main()
