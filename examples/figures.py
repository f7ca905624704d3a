"""The pictures of a data set, from the models that its example has kept; nothing is trained.

    python examples/physionet2012.py --task both     # trains, keeps the models, draws
    python examples/figures.py physionet2012         # draws again

``impact.png`` shows the distribution of V, ``calibration.png`` the expected and the realised change,
``acquisition.png`` what is gained by revealing the rows of highest V first, ``rows_<model>.png`` the rows of
highest and lowest V with their plausible labels, ``groups_<model>.png`` plausible labels by groups of rows.
The numbers behind the second and third go to ``impact_checks.csv``. All are about at most 2,000 test rows of
seed 0 that have all modalities; impact is calibrated on as many validation rows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from primo_pyro.errors import SavedModelError
from primo_pyro.studies.dataset_figures import DATA_SETS, draw_figures, load_models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=DATA_SETS, help="which data set")
    parser.add_argument("--models", type=Path, help="where its models were kept (default: out/<data>/models)")
    parser.add_argument("--out", type=Path, help="folder for the pictures (default: out/<data>)")
    args = parser.parse_args()
    home = Path("out") / args.data
    try:
        models = load_models(args.data, args.models or home / "models")
    except SavedModelError as error:
        sys.exit(str(error))
    draw_figures(args.data, models, args.out or home)


if __name__ == "__main__":
    main()
