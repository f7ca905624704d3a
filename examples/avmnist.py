"""AV-MNIST: an image and a noisy recording of the same digit, one of which may be missing.

    python examples/avmnist.py --rows 15000 --out out/avmnist

Each of the two is optional in turn (Table 1 of the paper). The data are read from the folder that PRIMO_DATA
names: the usual files under ``avmnist``, or the open parts ``mnist``, ``fsdd`` and ``esc10``, from which they
are built once, in some minutes, and kept. PRIMO is kept under ``models``; ``figures.py`` says what is drawn.

With ``--bias`` PRIMO and two oracles are trained on disjoint halves of the rows instead, to measure the
distance of its averaged predictions from theirs with the image optional: ``bias.csv`` and ``bias.png``
(Figure 10).
"""

from __future__ import annotations

import argparse

from primo_pyro.studies.bias import bias_analysis
from primo_pyro.studies.dataset_figures import draw_figures, keep_models
from primo_pyro.studies.figures import bias_picture
from primo_pyro.studies.methods import METHODS, NEVER_DROPPED, settings_of
from primo_pyro.studies.protocols import AV_MNIST
from primo_pyro.studies.revealed import sample_rows
from primo_pyro.studies.runner import PRIMO_METHODS, first_primo, make_parser, network_settings, run
from primo_pyro.studies.tasks import av_mnist


def bias(args: argparse.Namespace) -> None:
    """Distances between PRIMO and the oracles: a table, ``bias.csv`` and ``bias.png``."""
    task, method = av_mnist("image", args.rows), PRIMO_METHODS[args.objective][-1]
    networks = network_settings(AV_MNIST, args)
    of_primo = settings_of(method, networks, AV_MNIST.primo, AV_MNIST.own)
    (x, y), _, (x_test, _) = task.rows(0)
    distances = bias_analysis(
        x,
        y,
        x_test[sample_rows(x_test.complete)],
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
    parser = make_parser(__doc__.splitlines()[0], AV_MNIST, out="out/avmnist", rows=55_000)
    parser.add_argument(
        "--optional", choices=["audio", "image", "both"], default="both", help="may be missing"
    )
    parser.add_argument("--bias", action="store_true", help="the bias in place of the comparison")
    args = parser.parse_args()
    if args.bias:
        bias(args)
        return
    optional = ["audio", "image"] if args.optional == "both" else [args.optional]
    fitted = run([av_mnist(modality, args.rows) for modality in optional], args, AV_MNIST)
    models = dict(zip(optional, map(first_primo, fitted), strict=True))
    keep_models("avmnist", models, args.out)
    draw_figures("avmnist", models, args.out)


if __name__ == "__main__":
    main()
