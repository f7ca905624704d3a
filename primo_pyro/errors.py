"""Everything that can be wrong with what a user brings, one exception each.

Every message has three parts: what was found, what was expected, and the cure.
"""

from __future__ import annotations

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
    "LabelError",
    "ModalityError",
    "OverfitWarning",
    "PrimoError",
    "PrimoWarning",
    "SavedModelError",
    "ToleranceWarning",
    "TrainingError",
    "UnseenPatternWarning",
]


class PrimoError(Exception):
    """Base of all errors that this package raises on purpose."""


class ModalityError(PrimoError, ValueError):
    """A block of values, or its presence, cannot be used."""


class LabelError(PrimoError, ValueError):
    """The labels cannot be used, or were not among the training classes."""


class DrawsError(PrimoError, ValueError):
    """Draws, or what was measured on them, do not have the form that was asked for."""


class CostError(PrimoError, ValueError):
    """A cost of acquiring a modality cannot be used."""


class CertificateError(PrimoError, ValueError):
    """A guarantee was asked for that no certification supports."""


class TrainingError(PrimoError, RuntimeError):
    """Training cannot go on: a part of the loss is no longer finite."""


class CheckpointError(PrimoError, RuntimeError):
    """A checkpoint belongs to other settings or other rows."""


class SavedModelError(PrimoError, ValueError):
    """A saved model is truncated, was edited, or is of an unknown format."""


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


class FewRowsWarning(PrimoWarning):
    """Something was learnt, or was to be checked, on so few rows that the result is mostly chance."""


class AbsenceWarning(PrimoWarning):
    """Rows with and without a modality differ, so that a guarantee from the ones may fail on the others."""


class CollapseWarning(PrimoWarning):
    """The latent does not carry what the optional modality tells about the label."""


class OverfitWarning(PrimoWarning):
    """Training rows are fitted far better than validation rows."""
