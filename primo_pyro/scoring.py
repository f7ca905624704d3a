"""Scoring of any number of rows by a saved model: one function from frame to frame, for every engine.

A `Scorer` holds the name of a folder, and each process loads the model once, at its first frame. Engines do
the rest: joblib and Dask, Spark, or a batch system that starts this module once for each part of the files::

    python -m primo_pyro.scoring model rows.parquet scores --question impact --id patient --shard 3/16

docs/scale.md has a recipe for each.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import ParameterError, SavedModelError, UnseenPatternWarning
from primo_pyro.files import write_atomically
from primo_pyro.locks import alone
from primo_pyro.model_files import MANIFEST, open_model
from primo_pyro.regressor import PrimoRegressor
from primo_pyro.row_files import ParquetRows, modalities_of_frame

__all__ = ["QUESTIONS", "Scorer", "main", "score_files"]

# What can be asked of each row on its own, and the method that answers.
QUESTIONS = {
    "impact": "predictive_impact",
    "label": "predict",
    "plausible_labels": "plausible_labels",
    "probabilities": "predict_proba",
    "uncertainty": "uncertainty",
}


@dataclass(frozen=True)
class Scorer:
    """Answers a question about the rows of a frame by a saved model.

    It can be pickled: it is a few names. The same frame has the same answer in every process, to the last
    digit. Which rows come in one frame matters for rounding in single precision alone.

    Parameters
    ----------
    folder
        Of a saved `PrimoClassifier` or `PrimoRegressor`, which every process can read. Where another model is
        saved there later, scorers of before refuse to answer.
    question
        ``"impact"``, ``"label"``, ``"plausible_labels"``, ``"probabilities"`` or ``"uncertainty"``.
    columns
        Modality to its columns, see `primo_pyro.row_files.ParquetRows`; for models without ``blocks``.
    id
        The column that names the rows, where the engine knows no index (Spark); the answer has it too. None:
        the index of the frame.
    settings
        Further arguments of the method, as ``{"modality": "each"}`` of ``predictive_impact``.
    device
        Where to compute; None: as the model was saved.

    Raises
    ------
    ParameterError
        For an unknown question.
    SavedModelError
        Where the folder holds no model, or another one than when the scorer was made.

    Examples
    --------
    >>> import tempfile
    >>> frame = pd.DataFrame({"age": [71, 40, 55, 63], "lactate": [1.2, np.nan, 0.8, 0.9]})
    >>> clf = PrimoClassifier(blocks={"history": "age", "blood": "lactate"}, max_epochs=1, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.fit(frame, [1, 0, 0, 1]).save(f"{folder}/model")
    ...     scorer = Scorer(f"{folder}/model", "probabilities")
    ...     scorer(frame).columns.tolist(), bool((scorer(frame) == clf.predict_proba(frame)).all(axis=None))
    (['p_0', 'p_1'], True)
    """

    folder: str | PathLike[str]
    question: str = "impact"
    columns: Mapping[str, str | Sequence[str]] | None = field(default=None, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    settings: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    device: str | None = field(default=None, kw_only=True)
    model: str = field(default="", init=False)  # digest of the manifest

    def __post_init__(self) -> None:
        if self.question not in QUESTIONS:
            raise ParameterError(
                f"question is {self.question!r}; expected one of {', '.join(map(repr, QUESTIONS))}. Choose "
                "one of them."
            )
        object.__setattr__(self, "folder", str(Path(self.folder).resolve()))
        object.__setattr__(self, "model", _digest(Path(self.folder)))

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The answer, with the index of the frame, or with its column ``id``; none for no rows."""
        estimator = _loaded(str(self.folder), self.model, self.device)
        if len(frame) == 0:  # engines ask so which columns there will be
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnseenPatternWarning)
                return self(_one_empty_row(frame)).iloc[:0]
        rows = frame.set_index(self.id) if self.id else frame
        x = rows if self.columns is None else modalities_of_frame(rows, self.columns)
        answer = getattr(estimator, QUESTIONS[self.question])(x, **self.settings)
        if isinstance(answer, np.ndarray):
            answer = pd.DataFrame(answer, index=rows.index, columns=self._names(estimator, answer))
        if self.id is None:
            return answer
        return (
            answer.rename(columns={"row": self.id}) if "row" in answer else answer.reset_index(names=self.id)
        )

    def _names(self, estimator: Any, answer: np.ndarray) -> list[str]:
        if answer.ndim == 1:
            return ["label"]
        return [
            f"{'p' if self.question == 'probabilities' else 'label'}_{name}" for name in estimator.classes_
        ]

    def each(self, frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The answers to several frames: what Spark's ``mapInPandas`` takes; give the scorer an ``id``."""
        for frame in frames:
            if len(frame):
                yield self(frame)


def _digest(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise SavedModelError(
            f"{folder} holds no saved model ({error.strerror or error}); expected a folder that save was "
            "given. Correct the name, and save the model first."
        ) from error


@alone
@functools.lru_cache(maxsize=2)
def _loaded(folder: str, model: str, device: str | None) -> PrimoClassifier | PrimoRegressor:
    """The estimator of a folder, once a process."""
    with open_model(Path(folder)) as saved:
        kind = PrimoRegressor if saved.settings.get("class") == PrimoRegressor.__name__ else PrimoClassifier
    estimator = kind.load(folder, device=device)
    if _digest(Path(folder)) != model:
        raise SavedModelError(
            f"{folder} holds another model than when the scorer was made, and answers of both would stand "
            "side by side; expected the same. Make a new Scorer, and score all rows by it."
        )
    return estimator


def _one_empty_row(frame: pd.DataFrame) -> pd.DataFrame:
    """A row without values, in the types of a frame without rows."""
    return frame.reindex(pd.Index([0]).astype(frame.index.dtype))


# --- Files -----------------------------------------------------------------------------------------------


def score_files(
    scorer: Scorer,
    rows: ParquetRows,
    folder: str | PathLike[str],
    *,
    shard: tuple[int, int] = (1, 1),
    n_jobs: int | None = None,
) -> list[Path]:
    """Score Parquet files row group by row group, and write a Parquet file of answers for each.

    A file that exists is not computed again, so that a run that broke off goes on when it is started again.

    Parameters
    ----------
    rows
        The rows; labels of the answers are those of their ``id``, or their positions.
    folder
        Where the answers go. One folder takes those of one scorer.
    shard
        Which part of the work this is, from 1, and of how many.
    n_jobs
        Processes, as of joblib; None: this one.

    Returns
    -------
    list
        The files of this part, in the order of the rows.

    Raises
    ------
    ParameterError
        Where the part does not exist, or the folder has answers of another scorer.
    """
    number, parts = shard
    if not 1 <= number <= parts:
        raise ParameterError(
            f"shard is {number}/{parts}; expected from 1/{parts} to {parts}/{parts}. Count from 1."
        )
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    _sign(out / "scorer.json", {"scorer": asdict(scorer), "rows": rows.files})
    work = [(group, out / f"rows-{group:06d}.parquet") for group in range(number - 1, rows.shards, parts)]
    Parallel(n_jobs=n_jobs)(
        delayed(_score_group)(scorer, rows, group, file) for group, file in work if not file.exists()
    )
    return [file for _, file in work]


def _score_group(scorer: Scorer, rows: ParquetRows, group: int, file: Path) -> None:
    buffer = io.BytesIO()
    scorer(rows.read_frame(group)).to_parquet(buffer)
    write_atomically(file, buffer.getvalue())


def _sign(file: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, sort_keys=True, default=str).encode()
    if file.exists() and file.read_bytes() != text:
        raise ParameterError(
            f"{file.parent} holds answers of another scorer, or about other rows ({file.name}); expected "
            "none, or the same. Name another folder."
        )
    write_atomically(file, text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Score Parquet files by a saved model.")
    parser.add_argument("model", help="folder of a saved model that was fitted with blocks")
    parser.add_argument("rows", help="Parquet file, or folder of such")
    parser.add_argument("out", help="folder for the answers")
    parser.add_argument("--question", choices=sorted(QUESTIONS), default="impact")
    parser.add_argument("--id", help="the column that names the rows")
    parser.add_argument("--shard", default="1/1", metavar="i/n", help="score the i-th of n parts")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args(arguments)
    number, _, parts = given.shard.partition("/")
    if not (number.isdecimal() and parts.isdecimal()):
        parser.error(f"--shard is {given.shard!r}; expected two numbers, as 3/16")
    files = score_files(
        Scorer(given.model, given.question),
        ParquetRows(given.rows, id=given.id),
        given.out,
        shard=(int(number), int(parts)),
        n_jobs=given.jobs,
    )
    print(f"{len(files)} files in {given.out}")


if __name__ == "__main__":
    main()
