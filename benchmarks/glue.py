"""Log losses from the front door beside those with careful glue by hand, on the same folds of a real table.

    python benchmarks/glue.py --tables heart_disease --folds 3

The front door is ``PrimoClassifier(blocks=...)`` on the DataFrame as it is. By hand each block is an array:
numbers with the median in missing cells and scikit-learn's indicators beside them, categories one-hot, and
NaN in all of a row where its block is absent. Networks, settings, seeds and rows are the same.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data.table import Table
from primo_pyro.errors import PrimoWarning
from primo_pyro.studies.tables import TABLES, divided, load_tables


def by_hand(table: Table, train: pd.DataFrame, rows: pd.DataFrame) -> Modalities:
    """Rows of a table as arrays, by what was learnt on training rows."""
    values = {}
    for name, listed in table.blocks.items():
        columns = [column for column in listed if len(train[column].dropna().unique()) > 1]
        numbers = [column for column in columns if pd.api.types.is_numeric_dtype(train[column])]
        texts = [column for column in columns if column not in numbers]
        known = train[train[columns].notna().any(axis=1)]
        reader = make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore", min_frequency=0.01, sparse_output=False), texts),
        )
        reader.fit(known[columns].assign(**_as_texts(known[texts])))
        block = reader.transform(rows[columns].assign(**_as_texts(rows[texts])))
        values[name] = np.where(rows[columns].notna().any(axis=1).to_numpy()[:, None], block, np.nan)
    return Modalities(values)


def _as_texts(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.astype(object).where(cells.notna(), "missing").astype(str)


def compare(table: Table, folds: Sequence[int], epochs: int | None) -> pd.DataFrame:
    """Log loss on the test rows of each fold, by both ways."""
    settings = {"random_state": 0} | ({} if epochs is None else {"max_epochs": epochs})
    lines = []
    for fold in folds:
        train, test = divided(table.y, fold)
        frames, y = (table.frame.iloc[train], table.frame.iloc[test]), table.y[train]
        door = PrimoClassifier(blocks={m: list(c) for m, c in table.blocks.items()}, **settings)
        p = door.fit(frames[0], y).predict_proba(frames[1])
        known, new = (by_hand(table, frames[0], frame) for frame in frames)
        q = PrimoClassifier(**settings).fit(known, y).predict_proba(new)
        losses = [log_loss(table.y[test], each) for each in (p, q)]
        lines.append({"table": table.name, "fold": fold, "front door": losses[0], "by hand": losses[1]})
    return pd.DataFrame(lines).eval("difference = `front door` - `by hand`")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=["heart_disease"])
    parser.add_argument("--folds", type=int, default=3, help="divisions, numbered from 0")
    parser.add_argument("--epochs", type=int, help="at most; None: the default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", PrimoWarning)
    for table in load_tables(args.tables).values():
        found = compare(table, range(args.folds), args.epochs)
        print(found.round(4).to_string(index=False))
        difference = found["difference"]
        error = difference.std() / np.sqrt(len(found)) if len(found) > 1 else np.nan
        print(
            f"{table.name}: front door less by hand {difference.mean():+.4f} (standard error {error:.4f})\n"
        )


if __name__ == "__main__":
    main()
