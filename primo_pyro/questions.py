"""Questions about impact, the same for labels of any kind: how much, was it true, what to measure next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.analysis.acquisition import rank_acquisitions
from primo_pyro.analysis.calibration import ImpactCalibrator, calibrator_of
from primo_pyro.analysis.impact import Revealed, by_row, impact_frame, impact_gap
from primo_pyro.analysis.policies import acquire
from primo_pyro.errors import CostError, ModalityError
from primo_pyro.estimator import ModalityEstimator
from primo_pyro.hiding import hide_then_reveal, part_of_what_rows_have
from primo_pyro.lifecycle import require_fitted
from primo_pyro.modalities import Modalities, RowsLike
from primo_pyro.parameters import Real, check_parameter
from primo_pyro.prediction import Summary, summarise, summarise_questions, summarise_until
from primo_pyro.program.model import PrimoModel
from primo_pyro.rows import by_chunks

__all__ = ["EACH", "Asked", "ImpactQuestions", "labelled"]

Asked = str | Iterable[str] | None  # a modality, a set of them, or None: all that is absent
EACH = "each"


class ImpactQuestions(ModalityEstimator):
    """What absent modalities would change; a part of `PrimoEstimator`."""

    model_: PrimoModel
    impact_calibrators_: dict[str | None, ImpactCalibrator]

    @abstractmethod
    def summarise(self, x: RowsLike, modality: Asked = None) -> Summary:
        """Prediction and impact in one pass through the draws."""

    @abstractmethod
    def _drawn(self, num_samples: int | None = None) -> dict[str, Any]:
        """Number, kind and seed of the draws, as `primo_pyro.prediction.summarise` takes them."""

    @by_chunks
    def predictive_impact(
        self, x: RowsLike, modality: Asked = None, tolerance: float | None = None
    ) -> pd.DataFrame:
        """How much what is absent would change each row's prediction.

        Parameters
        ----------
        x
            Rows with any pattern of absence.
        modality
            The optional modality that would be revealed, or a set of them, others staying as they are; None:
            all that are absent together; ``"each"``: one after another.
        tolerance
            Draws are doubled for those rows whose ``impact_se`` is above it, up to 16,384.

        Returns
        -------
        DataFrame
            A line per row, with the rows' index; with ``"each"`` a line per row and modality, named in the
            columns ``row`` (its label) and ``modality``. ``impact`` is V (Eq. 9): the expected distance
            between the prediction once the modality is known and the prediction now, in the outcome's units;
            for classes the total variation distance, between 0 and 1 - 1/C. It is 0 where the modality is
            present, and NaN where a modality is absent that has no latent. ``impact_se`` is its Monte Carlo
            standard error, ``impact_normalised`` is V over the outcome's largest V, ``flip_probability`` the
            share of draws that change the most probable label (not for numbers), ``information_gain`` the
            expected drop in log loss in nats. ``spread`` is how far single draws lie from the prediction over
            all latents in play, those of present modalities too (on complete rows the paper's V_complete).
            After `calibrate_impact` also ``expected_change``: what V has meant on rows that were checked.

        Raises
        ------
        ModalityError
            Where the modality is not optional.

        Warns
        -----
        ToleranceWarning
            Where so many draws are not enough for the tolerance.
        """
        x = self._as_known_rows(x)
        if tolerance is not None:
            check_parameter("tolerance", tolerance, Real(0, above=True))
        if isinstance(modality, str) and modality == EACH:
            self._require_optional()
            lacking = {(m,): np.flatnonzero(~x.present[m]) for m in self.optional_}
            known = self._summaries(x, lacking) if tolerance is None else {}
            of_each = {m: self._impact_of(x, (m,), tolerance, known.get((m,))) for m in self.optional_}
            return by_row(of_each, x.row_labels)
        frame = self._impact_of(x, self._optional_names(modality), tolerance)
        return frame.set_axis(x.row_labels)

    def _impact_of(
        self,
        x: Modalities,
        about: tuple[str, ...] | None,
        tolerance: float | None,
        summary: Summary | None = None,
    ) -> pd.DataFrame:
        """``summary`` is that of the rows that ask, where it is known."""
        asked = self.optional_ if about is None else about
        absent = np.stack([~x.present[m] for m in asked], axis=1) if asked else np.zeros((len(x), 0), bool)
        # Where nothing is to be asked: 0.
        rows = absent.any(1) if about is not None else np.ones(len(x), bool)
        frame = None
        if summary is not None:
            frame = impact_frame(summary, self.model_.outcome)
        elif rows.any():
            frame = self._drawn_impact(x[rows], about, tolerance)
        if frame is None or not rows.all():
            like = self._drawn_impact(x[:1], (), None) if frame is None else frame
            every = pd.DataFrame(0.0, index=np.arange(len(x)), columns=like.columns)
            if "disagreement" in like:  # whatever is absent
                others = self._drawn_impact(x[~rows], (), None)
                every.loc[~rows, "disagreement"] = others["disagreement"].array
            if frame is not None:
                every.loc[rows] = frame.to_numpy()
            frame = every
        unknown = np.zeros(len(x), bool)
        for name in set(x.names) - set(self.optional_):
            unknown |= ~x.present[name]
        frame.loc[unknown] = np.nan
        return self._with_expected_change(frame, asked, absent, about)

    def _summaries(self, x: Modalities, rows_of: Mapping[Any, np.ndarray]) -> dict[tuple[str, ...], Summary]:
        """Of each question about absent modalities, where rows ask it."""
        asked = {about: rows for about, rows in rows_of.items() if len(rows)}
        return summarise_questions(self.model_, x, asked, **self._drawn()) if asked else {}

    def _drawn_impact(
        self, x: Modalities, about: tuple[str, ...] | None, tolerance: float | None
    ) -> pd.DataFrame:
        if tolerance is None:
            summary = summarise(self.model_, x, **self._drawn(), about=about)
        else:
            summary = summarise_until(self.model_, x, tolerance, **self._drawn(), about=about)
        return impact_frame(summary, self.model_.outcome)

    @by_chunks
    def impact_gap(self, x: RowsLike, modality: Asked = None) -> pd.DataFrame:
        """Hide a modality, predict its impact, reveal it, and measure what really changed.

        Parameters
        ----------
        x
            Rows in which the modality is present. What else is absent stays absent.
        modality
            The modality to hide, or a set of them; None: all optional ones that a row has. V is about what
            was hidden of the row, and not about what else it lacks.

        Returns
        -------
        DataFrame
            With the rows' index. ``impact_missing`` is V of the hidden modality, ``impact_complete`` the
            spread of the draws that remains when it is revealed, ``gap`` their difference,
            ``realised_change`` the distance between
            the predictions without and with it and ``flip`` whether the label changed (not for numbers).

        Raises
        ------
        ModalityError
            Where the modality is not optional, or absent in some row.
        """
        x = self._as_known_rows(x)
        return impact_gap(self._reveal(x, modality), self.model_.outcome).set_axis(x.row_labels)

    def _reveal(self, x: Modalities, modality: Asked, *, part: bool = False) -> Revealed:
        """What is predicted of rows without and with modalities that they have, or a random part of them."""
        self._require_optional()
        names = self._optional_names(modality)
        hidden = names if not part else part_of_what_rows_have(x, self.optional_, self.seed_)
        return hide_then_reveal(self.model_, x, self.optional_, hidden, self._drawn())

    def calibrate_impact(self, x: RowsLike | None = None, y: object = None, modality: Asked = None) -> Self:
        """Learn what V means on rows where it can be checked, so that 0.3 means a change of 0.3 on new rows.

        A monotone map from V to the realised change (`primo_pyro.analysis.calibration.ImpactCalibrator`) is
        kept in ``impact_calibrators_``; `predictive_impact` then reports ``expected_change`` too. Training
        anew forgets it.

        Parameters
        ----------
        x
            Rows that were not trained on; some hundreds at least. For each modality those that have it serve;
            what else is absent stays absent. None: training rows, each by the member that held it out; with
            several members ``fit`` has done so already.
        y
            Not looked at: predictions before and after are compared with each other, not with labels.
        modality
            A set of modalities to calibrate together, beside what has been calibrated. None: each optional
            modality, and what is absent together: all that a row has is hidden, and then a random part of it.

        Raises
        ------
        ModalityError
            Where no row has the modality, nothing is optional, or no rows are given and none were held out.

        Warns
        -----
        FewRowsWarning
            Where fewer than 50 rows have it.
        """
        require_fitted(self)
        self._require_optional()
        names = self._optional_names(modality)
        if x is None:
            self.impact_calibrators_ = self._out_of_fold_calibrators(names)
            return self
        x = self._as_known_rows(x)
        calibrators = dict(getattr(self, "impact_calibrators_", {})) if names is not None else {}
        for about in [names] if names is not None else [(m,) for m in self.optional_]:
            rows = np.logical_and.reduce([x.present[m] for m in about])
            calibrators[_key(about)] = self._calibrator(x[rows], about)
        if names is None:
            some = np.logical_or.reduce([x.present[m] for m in self.optional_])
            single = len(self.optional_) == 1
            calibrators[None] = calibrators[self.optional_[0]] if single else self._calibrator(x[some], None)
        self.impact_calibrators_ = calibrators
        return self

    def _calibrator(self, x: Modalities, about: tuple[str, ...] | None) -> ImpactCalibrator:
        what = " and ".join(about or self.optional_)
        if len(x) == 0:
            raise ModalityError(
                f"No row has {what}; expected some hundreds that were not trained on. Pass rows that have it."
            )
        parts = (False, True) if about is None else (False,)  # rows lack all that is optional, or some of it
        revealed = (self._reveal(x, about, part=part) for part in parts)
        return calibrator_of([impact_gap(each, self.model_.outcome) for each in revealed], what)

    @abstractmethod
    def _out_of_fold_calibrators(self, names: tuple[str, ...] | None) -> dict[str | None, ImpactCalibrator]:
        """What V has meant on training rows, each by the member that held it out."""

    def _with_expected_change(
        self,
        frame: pd.DataFrame,
        asked: tuple[str, ...],
        absent: np.ndarray,
        about: tuple[str, ...] | None,
    ) -> pd.DataFrame:
        calibrators: dict[str | None, ImpactCalibrator] = getattr(self, "impact_calibrators_", {})
        # A set that was not calibrated itself is judged by what all that is absent has meant.
        calibrator = calibrators.get(None if about is None else _key(about), calibrators.get(None))
        if calibrator is None:
            return frame
        change = calibrator.predict(frame["impact"])
        for name, is_absent in zip(asked, absent.T, strict=True):
            alone = is_absent & (absent.sum(1) == 1)  # in these rows it is what the modality alone has meant
            if name in calibrators:
                change[alone] = calibrators[name].predict(frame["impact"][alone])
        return frame.assign(expected_change=np.where(absent.any(1), change, 0.0))

    def rank_acquisitions(
        self,
        x: RowsLike,
        costs: Mapping[str, ArrayLike] | None = None,
        sets: Iterable[Iterable[str]] = (),
    ) -> pd.DataFrame:
        """What to measure next: absent modalities of all rows, by expected change per cost.

        Parameters
        ----------
        x
            Rows with modalities absent.
        costs
            For each optional modality its cost, one number or one a row, all positive, in any unit; None: 1.
            Series are put into the order of the rows. A set costs the sum of its members.
        sets
            Sets of modalities that may be acquired together, ranked beside the single ones in rows that lack
            all of their members.

        Returns
        -------
        DataFrame
            A line per absent modality (or set) of each row, the most worthwhile first: ``row`` (its label),
            ``modality`` (names of a set are joined by " + "), ``impact`` (V of revealing it, others staying
            as they are), ``information_gain`` in nats, ``expected_change`` (after `calibrate_impact`),
            ``cost``, and
            ``change_per_cost``, by which they are ordered: ``expected_change``, or ``impact`` without
            calibration, over the cost. Ties are ordered by ``impact`` over the cost.

        Raises
        ------
        CostError
            Where a cost is missing, not positive, or not one a row.
        ModalityError
            Where nothing is absent, or a set names what is not optional.
        """
        x = self._as_known_rows(x)
        usable = isinstance(sets, Iterable) and not isinstance(sets, str)
        asked: list[tuple[str, ...]] = [(m,) for m in self.optional_]
        asked += [self._optional_names(() if s is None else s) for s in sets] if usable else [()]
        if () in asked:
            raise ModalityError(
                f"sets is {sets!r:.60}; expected sets of names of modalities. Write, for example, "
                "sets=[('image', 'sound')]."
            )
        absent = {
            about: np.logical_and.reduce([~x.present[m] for m in about]).nonzero()[0] for about in asked
        }
        impacts = {
            about: self._impact_of(x[absent[about]], about, None, summary)
            for about, summary in self._summaries(x, absent).items()
        }
        return labelled(rank_acquisitions(absent, impacts, _costs_in_order(x, costs), len(x)), x)

    def acquire(
        self,
        x: RowsLike,
        reveal: Callable[[np.ndarray, str], Modalities | ArrayLike | None],
        *,
        by: str | Callable[[pd.DataFrame], ArrayLike] = "expected_change",
        costs: Mapping[str, ArrayLike] | None = None,
        budget: ArrayLike | None = None,
        shared: bool = False,
        threshold: float = 0.0,
    ) -> pd.DataFrame:
        """Reveal absent modalities one after another: in each row what is worth most for its cost.

        In each round every row is asked what each absent optional modality would be worth now, the best for
        its cost is revealed, and the row is asked again, until nothing that it can afford is worth more than
        ``threshold`` for its cost. Of equal ones the first in ``optional_`` is revealed.

        Parameters
        ----------
        x
            N rows with modalities absent.
        reveal
            ``reveal(rows, modality)`` returns the values ``[n, ...]`` of a modality in the rows of ``x`` at n
            positions: an array, NaN in rows in which it cannot be had; `Modalities` that hold it; or None
            where it can be had in none. What cannot be had costs nothing, and the row goes on without it.
        by
            What a modality is worth: ``"expected_change"`` (of the prediction; `predictive_impact`'s V before
            `calibrate_impact`), or ``"information_gain"``, the expected drop of the log loss in nats; or a
            function from the lines of ``predictive_impact(x, "each")`` to a number for each, as
            `primo_pyro.analysis.policies.ExpectedGain`.
        costs
            As in `rank_acquisitions`.
        budget
            What each row may spend, one number or one a row, in the unit of the costs; None: no bound.
        shared
            Whether the budget is that of all rows together. It goes first to the rows in which a modality is
            worth most for its cost, half of what is left in a round, so that it can follow what is learnt.
        threshold
            What a modality must be worth for one unit of its cost; above 0 it saves the rest of the budget.

        Returns
        -------
        DataFrame
            The path of each row: ``row`` (its label), ``step``, the ``modality`` revealed, what
            `predictive_impact` said of it before (``impact``, ``expected_change`` after calibration,
            ``information_gain``),
            ``value_per_cost``, its ``cost``, what the row has ``spent`` so far, and the prediction after the
            step (``p_<class>``, or ``prediction`` of a number). Step 0 is the row as it came.

        Raises
        ------
        CostError
            Where a cost is missing, not positive or not one a row, or the budget is negative.
        ModalityError
            Where nothing is optional, or what ``reveal`` returns does not fit.
        PrimoError
            For another ``by``, ``reveal`` or ``threshold``.

        Examples
        --------
        >>> from primo_pyro import PrimoClassifier
        >>> from primo_pyro.data import make_xor
        >>> x, y = make_xor(1200, random_state=0)
        >>> clf = PrimoClassifier(hidden_dim=16, max_epochs=8, learning_rate=1e-2, random_state=0)
        >>> clf = clf.fit(x.drop_at_random("m", random_state=0), y)
        >>> rows = Modalities({"o": [-1.0, 1.5], "m": None})
        >>> path = clf.acquire(rows, lambda rows, modality: np.ones((len(rows), 1)), threshold=0.2)
        >>> path[["row", "step", "modality", "spent"]]
           row  step modality  spent
        0    0     0     None    0.0
        1    0     1        m    1.0
        2    1     0     None    0.0
        """
        x = self._as_known_rows(x)
        self._require_optional()
        path = acquire(
            x,
            reveal,
            ask=lambda rows: self.predictive_impact(rows, EACH),
            predict=self._predicted_columns,
            optional=self.optional_,
            by=by,
            costs=_costs_in_order(x, costs),
            budget=x.align("budget", budget, CostError),
            shared=shared,
            threshold=threshold,
        )
        return labelled(path, x)

    # --- What the estimator has --------------------------------------------------------------------------

    def _require_optional(self) -> None:
        if not self.optional_:
            raise ModalityError(
                f"None of the modalities ({', '.join(self.shapes_)}) is optional, so nothing has an impact; "
                "expected one that is. Fit with rows in which one is absent, or name it in optional."
            )

    @overload
    def _optional_names(self, modality: str | Iterable[str]) -> tuple[str, ...]: ...

    @overload
    def _optional_names(self, modality: None) -> None: ...

    def _optional_names(self, modality: Asked) -> tuple[str, ...] | None:
        """Names in the order of ``optional_``; None stays None."""
        if modality is None:
            return None
        if not isinstance(modality, str | Iterable):
            raise ModalityError(
                f"modality is {modality!r}; expected a name, several names, or None. Name one of "
                f"{list(self.optional_)}."
            )
        names = (modality,) if isinstance(modality, str) else tuple(modality)
        for name in names:
            if name not in self.optional_:
                raise ModalityError(
                    f"{name!r} has no latent; the optional modalities are {list(self.optional_)}, and one of "
                    "them was expected. Choose among them, or fit with it in optional."
                )
        return tuple(m for m in self.optional_ if m in names)


def _key(about: tuple[str, ...]) -> str:
    """Of a set in ``impact_calibrators_``."""
    return " + ".join(about)


def labelled(frame: pd.DataFrame, x: Modalities) -> pd.DataFrame:
    """The same lines, with the labels of rows in place of their positions in the column ``row``."""
    return frame.assign(row=x.row_labels.take(frame["row"]))


def _costs_in_order(x: Modalities, costs: Mapping[str, ArrayLike] | None) -> dict[str, Any] | None:
    if not isinstance(costs, Mapping | pd.DataFrame):
        return costs  # None, or what is refused with its own cure
    return {name: x.align(f"costs[{name!r}]", cost, CostError) for name, cost in costs.items()}
