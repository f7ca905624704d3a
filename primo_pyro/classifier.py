"""PrimoClassifier: the model, its training and its questions behind scikit-learn's face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import Tags

from primo_pyro.analysis.clusters import joined, label_shares, plausible_labels
from primo_pyro.analysis.impact import uncertainty
from primo_pyro.errors import LabelError, PrimoError
from primo_pyro.estimator import ClassesMixin, labelled_rows
from primo_pyro.labels import ClassLabels
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import AnyOf, Is, OneOf, Range
from primo_pyro.primo import PrimoEstimator
from primo_pyro.program.outcomes import Outcome, outcome_named
from primo_pyro.questions import labelled
from primo_pyro.rows import by_chunks
from primo_pyro.weights import class_weights

__all__ = ["PrimoClassifier"]

CLASSIFIED = ("categorical", "ordinal", "multilabel")


@dataclass(eq=False, repr=False, kw_only=True)
class PrimoClassifier(ClassesMixin, PrimoEstimator):
    """Predicts labels from whatever modalities are present, and says what the absent ones would change.

    Parameters
    ----------
    optional
        Modalities that may be absent; each gets a latent. None: those absent in some training row.
    encoders
        Per modality a module ``[B, ...] -> [B, hidden_dim]``; those not named are chosen by shape.
    outcome
        ``"categorical"``: one of C classes. ``"ordinal"``: one of C ordered classes, in sorted order or that
        of ordered pandas categories. ``"multilabel"``: several binary labels, ``y`` ``[N, L]`` of 0 and 1. Or
        a class of your own, made of the label's size: a subclass of an outcome of `primo_pyro.program`.
    class_weight
        What a row of each class counts, as in scikit-learn: a mapping of classes to positive numbers,
        ``"balanced"``, or None; it multiplies ``sample_weight``. Predictions, V and whatever else are then
        those of the population with these weights, where a rare class is less rare: they rank as before, but
        are no frequencies.
    **others
        See `primo_pyro.primo.PrimoEstimator` and `primo_pyro.estimator.NetworkEstimator`.

    Attributes
    ----------
    classes_ : array ``[C]``; names of the L labels, where there are several
    history_ : DataFrame, a row per epoch
    model_, guide_ : the Pyro programs
    optional_ : tuple of the modalities that may be absent
    diagnosis_ : DataFrame, a row per check for a known failure, see `primo_pyro.diagnosis`

    Examples
    --------
    >>> from primo_pyro.data import make_xor
    >>> x, y = make_xor(500, random_state=0)
    >>> clf = PrimoClassifier(latent_dim=2, hidden_dim=32, max_epochs=3, random_state=0)
    >>> clf.fit(x.drop_at_random("m", random_state=0), y).predict_proba(x.drop("m")).shape
    (500, 2)
    >>> clf.predictive_impact(x.drop("m")).columns.tolist()
    ['impact', 'impact_se', 'impact_normalised', 'flip_probability', 'information_gain', 'spread']
    >>> clf.sample_predictions(x[:5], 16).shape, clf.sample_latents(x[:5], 16).shape
    ((16, 5, 2), (16, 5, 2))
    >>> clf.plausible_labels(x[:5].drop("m")).columns.tolist()
    ['row', 'cluster', 'weight', 'label', 'p_0', 'p_1']
    >>> clf.plausible_label_shares(x[:5].drop("m"), by="weight").shape
    (5, 2)
    """

    outcome: str | type[Outcome] = "categorical"
    class_weight: Mapping[Any, float] | str | None = None

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "class_weight": AnyOf(
            *(OneOf(None, "balanced"), Is(Mapping)),
            cure='Write "balanced", or a mapping as {"no": 1, "yes": 3}.',
        ),
    }

    def _outcome_class(self) -> type[Outcome]:
        if not isinstance(self.outcome, str):
            return self.outcome
        if self.outcome not in CLASSIFIED:
            raise LabelError(
                f"outcome is {self.outcome!r}; expected one of {', '.join(map(repr, CLASSIFIED))}, or a "
                "class. Choose one of them; for numbers use PrimoRegressor."
            )
        return outcome_named(self.outcome)

    def _class_weights(self, codes: np.ndarray) -> np.ndarray | None:
        if self.class_weight is not None and not isinstance(self.labels_, ClassLabels):
            raise LabelError(
                f"class_weight is {self.class_weight!r} with the outcome {self.outcome!r}; expected one "
                "class a row. Leave it out, and weight rows by sample_weight."
            )
        return class_weights(self.class_weight, self.classes_, self.labels_.decode(codes))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.outcome == "multilabel"
        return tags

    # --- Prediction --------------------------------------------------------------------------------------

    @by_chunks
    def predict_proba(self, x: RowsLike) -> np.ndarray:
        """Probability of each label, averaged over the latents, for any pattern of absence.

        Equation 8 of the paper.

        Returns
        -------
        array
            ``[N, C]``; of several labels ``[N, L]``, the probability of 1 for each.
        """
        return self.summarise(x).probabilities

    @by_chunks
    def predict(self, x: RowsLike) -> np.ndarray:
        """Most probable label ``[N]``; of several labels 0 or 1 for each, ``[N, L]``."""
        p = self.predict_proba(x)
        decided = self.model_.outcome.decide(p)
        if decided is None:
            raise LabelError(
                f"Labels of the outcome {self.model_.outcome.name!r} cannot be counted; expected an outcome "
                "with a most probable label. Use predict_proba, or PrimoRegressor for numbers."
            )
        return self.labels_.decode(decided)

    def _predicted_columns(self, x: RowsLike) -> pd.DataFrame:
        columns = [f"p_{name}" for name in self.classes_]
        return pd.DataFrame(self.predict_proba(x), columns=columns)

    def _labelled_predictions(
        self, x: Modalities, num_samples: int | None
    ) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, Sequence[object]]]]:
        arrays, last = super()._labelled_predictions(x, num_samples)
        if arrays["prediction"].shape[-1] == len(self.classes_):  # an outcome of your own may predict else
            kind = "class" if isinstance(self.labels_, ClassLabels) else "label"
            last["prediction"] = kind, self.classes_.tolist()
        return arrays, last

    # --- Plausible labels --------------------------------------------------------------------------------

    @by_chunks
    def plausible_labels(self, x: RowsLike, **settings: Any) -> pd.DataFrame:
        """The few different predictions that what is absent could lead to, for each row of ``x``.

        The draws are those of ``predict_proba``.

        Parameters
        ----------
        **settings
            Those of `primo_pyro.analysis.clusters.plausible_labels`: ``max_clusters, min_weight,
            class_weight, random_state`` (of the grouping) and ``n_jobs``.

        Returns
        -------
        DataFrame
            A line per cluster of draws: ``row`` (its label), ``cluster, weight, label, p_<class>...``.
        """
        x = self._as_known_rows(x)
        return labelled(self._clusters(x, **settings), x)

    def _clusters(self, x: Modalities, **settings: Any) -> pd.DataFrame:
        """Plausible labels by the positions of rows."""
        outcome = self.model_.outcome
        return joined(
            plausible_labels(parameters, self.classes_, outcome=outcome, **settings)
            for parameters in self._parameters(x)
        )

    def plausible_label_shares(self, x: RowsLike, by: str = "count", **settings: Any) -> pd.DataFrame:
        """Share of each label among each row's plausible labels, ``[N, C]``.

        By ``"count"`` of clusters, as in the paper, or by their ``"weight"``; ``settings`` are those of
        `plausible_labels`. Of several labels at once there is a column for each combination that occurs.
        """
        x = self._as_known_rows(x)
        frame = self._clusters(x, **settings)
        several = self.model_.outcome.name == "multilabel"
        shares = label_shares(frame, sorted(frame["label"].unique()) if several else self.classes_, by=by)
        return shares.set_axis(x.row_labels)

    # --- What impact means -------------------------------------------------------------------------------

    @by_chunks
    def uncertainty(self, x: RowsLike) -> pd.DataFrame:
        """Entropy of each prediction in nats, and what the absent modalities could resolve of it.

        ``total, aleatoric, resolvable``, see `primo_pyro.analysis.impact.uncertainty`.
        """
        x = self._as_known_rows(x)
        summary = self.summarise(x)
        frame = uncertainty(summary.probabilities, summary.information_gain, self.model_.outcome)
        return frame.set_axis(x.row_labels)

    def report(
        self,
        x: RowsLike,
        y: ArrayLike | str,
        folder: str | PathLike[str],
        modality: str | None = None,
        threshold: float | None = None,
    ) -> Path:
        """Write one HTML page about what the optional modalities are worth on these rows.

        It has V, expected and realised change of every optional modality side by side; what to acquire first
        in rows that lack something; scores without and with what was hidden; the distribution of V, its
        calibration and acquisition curves; what can be promised and whether that is kept; the rows with the
        highest and the lowest V with their plausible labels; of two classes decision curves and the
        distribution of the risk; of tables what each block is made of; and which modalities are absent
        together.

        Parameters
        ----------
        x, y
            Rows with any pattern of absence, and their labels ``[N]``, or the name of a column of ``x``; not
            trained on.
        folder
            Where ``report.html`` goes; or a file ``*.html``.
        modality
            The modality to hide in the rows that have it; None: in each row all optional ones that it has.
        threshold
            Of two classes, the risk of the second one from which one acts; None: its share among ``y``.

        Returns
        -------
        Path
            Of the page, which needs no other file.

        Raises
        ------
        ModalityError
            Where the modality is not optional, or no row has it.
        PrimoError
            For several labels at once; report on each by a model of its own.
        """
        from primo_pyro.analysis.report import write_report  # pictures only on demand
        from primo_pyro.findings import findings_of

        if self.model_.outcome.name == "multilabel":
            raise PrimoError(
                "The report tells of one label a row; this model has several, expected one. Fit a model for "
                "the label in question, or use predictive_impact and impact_gap."
            )
        x, y = labelled_rows(self, x, y)
        y = self.labels_.decode(self.labels_.encode(y))
        findings = findings_of(
            self, x, y, modality, self.classes_, self.plausible_label_shares, threshold=threshold
        )
        return write_report(findings, folder)
