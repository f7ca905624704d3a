"""Everything that can be wrong with what a user brings, one exception each.

Every message has three parts: what was found, what was expected, and the cure.
"""

from __future__ import annotations

import sys
import warnings

from sklearn.exceptions import NotFittedError

__all__ = [
    "AbsenceWarning",
    "CertificateError",
    "CheckpointError",
    "CollapseWarning",
    "CostError",
    "DataFileError",
    "DataNotFoundError",
    "DrawsError",
    "FewRowsWarning",
    "FileError",
    "LabelError",
    "MissingCellsWarning",
    "ModalityError",
    "ModelFileError",
    "NotNumbersError",
    "OverfitWarning",
    "ParameterError",
    "PositionError",
    "PrimoError",
    "PrimoWarning",
    "RowError",
    "SavedModelError",
    "SettingsError",
    "TableWarning",
    "ToleranceWarning",
    "TrainingError",
    "UnfittedError",
    "UnseenPatternWarning",
    "warn",
]


class PrimoError(Exception):
    """Base of all errors that this package raises on purpose."""


class ParameterError(PrimoError, ValueError):
    """A parameter of a constructor, or of a question, is out of its range."""


class UnfittedError(PrimoError, NotFittedError):
    """An estimator is asked something before it was fitted, or after a fit that did not end well."""


class ModalityError(PrimoError, ValueError):
    """A block of values, or its presence, cannot be used."""


class NotNumbersError(ModalityError, TypeError):
    """Cells are of a kind that cannot be a number."""


class PositionError(ModalityError, IndexError):
    """Rows are picked by positions that are not among theirs."""


class LabelError(PrimoError, ValueError):
    """The labels cannot be used, or were not among the training classes."""


class RowError(PrimoError, ValueError):
    """Weights or groups of rows cannot be used."""


class DrawsError(PrimoError, ValueError):
    """Draws, or what was measured on them, do not have the form that was asked for."""


class CostError(PrimoError, ValueError):
    """A cost of acquiring a modality cannot be used."""


class CertificateError(PrimoError, ValueError):
    """A guarantee was asked for that no certification supports."""


class TrainingError(PrimoError, RuntimeError):
    """Training cannot go on: a part of the loss is no longer finite."""


class CheckpointError(PrimoError, RuntimeError):
    """A checkpoint is damaged, or belongs to other settings or other rows."""


class SavedModelError(PrimoError, ValueError):
    """A saved model is truncated, was edited, or is of an unknown format."""


class FileError(PrimoError, OSError):
    """A file cannot be written, as on a full disk."""


class ModelFileError(SavedModelError, FileError):
    """A saved model cannot be written or read for reasons of the file system."""


class SettingsError(PrimoError, ValueError):
    """A setting of the command line or of its file is unknown, or is not of the kind it should be."""


class DataFileError(PrimoError, OSError):
    """A data file does not exist, is incomplete, or is not the file it should be."""


class DataNotFoundError(DataFileError):
    """A data file lies in none of the places where it was looked for, and may not be downloaded."""


class PrimoWarning(UserWarning):
    """Base of all warnings of this package."""


class ToleranceWarning(PrimoWarning):
    """The Monte Carlo error is larger than was asked for, with as many draws as are allowed."""


class UnseenPatternWarning(PrimoWarning):
    """Rows have a pattern of absence that no training row had."""


class TableWarning(PrimoWarning):
    """Columns of a table that nothing can be learnt of were left out, or a block may be read otherwise."""


class MissingCellsWarning(PrimoWarning):
    """Rows have missing cells in features that every training row had."""


class FewRowsWarning(PrimoWarning):
    """Something was learnt, or was to be checked, on so few rows that the result is mostly chance."""


class AbsenceWarning(PrimoWarning):
    """Rows with and without a modality differ, so that a guarantee from the ones may fail on the others."""


class CollapseWarning(PrimoWarning):
    """The latent does not carry what the optional modality tells about the label."""


class OverfitWarning(PrimoWarning):
    """Training rows are fitted far better than validation rows."""


NOT_THE_USERS = ("primo_pyro", "torch", "pyro", "sklearn", "joblib", "contextlib", "functools")


def warn(message: str, category: type[PrimoWarning]) -> None:
    """Warn at the line that called into the package, however deep the cause lies.

    Python shows a warning of one line once, so that a loop of questions does not repeat it.
    """
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in NOT_THE_USERS:
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(message, category, stacklevel=level)
