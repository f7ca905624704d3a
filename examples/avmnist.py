"""AV-MNIST: an image and a noisy recording of the same digit, one of which may be missing.

    python examples/avmnist.py --rows 15000 --out out/avmnist

Each of the two is optional in turn (Table 1 of the paper). The data come from the folder that PRIMO_DATA
names: the usual files under ``avmnist``, or the open parts ``mnist``, ``fsdd`` and ``esc10``, from which they
are built once, in some minutes, and kept. ``impact_audio.png`` shows how V is distributed where the audio is
missing, ``rows_audio.png`` the images whose audio would change most and least; ``..._image.png`` likewise.
"""

from __future__ import annotations

from functools import partial

from common import impact_picture, parser, primo_of, rows_picture, run

from primo_pyro.protocols import AV_MNIST
from primo_pyro.tasks import av_mnist


def draw(ax, x, modality: str) -> None:
    """What is seen of a row: its image, or its spectrogram."""
    values = x.values[modality][0, 0]
    if modality == "image":
        ax.imshow(values, cmap="Greys")
        ax.set(xticks=[], yticks=[])
    else:  # low tones at the bottom
        ax.imshow(values, cmap="magma", origin="lower", aspect="auto", extent=(0, 1, 0, 4))
        ax.set(xlabel="time, s", ylabel="frequency, kHz")
    ax.set_title(f"the {modality} is all that is seen", fontsize="small")


def main() -> None:
    flags = parser(__doc__.splitlines()[0], AV_MNIST, out="out/avmnist", rows=55_000)
    flags.add_argument(
        "--optional", choices=["audio", "image", "both"], default="both", help="may be missing"
    )
    args = flags.parse_args()
    optional = ["audio", "image"] if args.optional == "both" else [args.optional]
    tasks = [av_mnist(modality, args.rows) for modality in optional]
    for modality, task, classifiers in zip(optional, tasks, run(tasks, args, AV_MNIST), strict=True):
        clf = primo_of(classifiers)
        impact_picture(clf, task, args.out / f"impact_{modality}.png")
        rows_picture(clf, task, args.out / f"rows_{modality}.png", partial(draw, modality=task.observed))


if __name__ == "__main__":
    main()
