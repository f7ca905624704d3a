"""The comparison gives a tidy frame, and the search the same trials each time."""

from pathlib import Path

import pytest

from primo_pyro.baselines import LVAEClassifier
from primo_pyro.comparison import FREQUENCIES, METHODS, NEVER_DROPPED, compare
from primo_pyro.tasks import xor


def test_tidy_results():
    methods = ["unimodal", "multimodal", NEVER_DROPPED, "lvae", "boosting with NaN", "primo", FREQUENCIES]
    settings = {"hidden_dim": 8, "max_epochs": 1, "batch_size": 64}
    own = {"lvae": {"learning_rate": 1e-2}}
    results, classifiers = compare(xor(400), methods, [3], settings, {"latent_dim": 2}, own)
    assert results.columns.tolist() == ["dataset", "method", "scenario", "seed", "metric", "value"]
    assert set(results["method"]) == {*methods, "entropy", "neighbours"}
    assert set(classifiers) == {(method, 3) for method in methods}
    assert classifiers["lvae", 3].learning_rate == 1e-2
    assert classifiers["primo", 3].learning_rate != 1e-2
    prior = results.query("method == @FREQUENCIES and metric == 'auroc'")
    assert (prior["value"] == 0.5).all()
    assert results.query("metric != 'rank_correlation'")["value"].notna().all()

    def has(method, scenario, metric):
        return len(results.query("method == @method and scenario == @scenario and metric == @metric"))

    for method in methods:
        assert has(method, "complete", "brier") == 1
        assert has(method, "missing", "log_loss") == (not method.startswith("multimodal"))
    for method in "lvae", "primo", "entropy", "neighbours":
        assert has(method, "missing", "impact_error") == 1
    assert has("unimodal", "missing", "impact_error") == 0


def test_unknown_method():
    with pytest.raises(ValueError, match="There is no method 'magic'; choose among unimodal, multimodal"):
        compare(xor(10), ["magic"], [0], {})


def test_every_method_has_a_grid_and_the_trials_repeat(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import tune_baselines

    assert set(tune_baselines.GRIDS) == set(METHODS) - {"primo", "primo (paper)", NEVER_DROPPED, FREQUENCIES}
    for method in tune_baselines.GRIDS:
        first, second = (tune_baselines.trials(method, 8) for _ in range(2))
        assert first == second
        assert 4 <= len(first) <= 8
    assert set(tune_baselines.GRIDS["lvae"]) <= set(LVAEClassifier().get_params())
