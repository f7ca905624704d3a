"""The comparison gives a tidy frame, and the search the same trials each time."""

from pathlib import Path

import pytest

from primo_pyro.baselines import LVAEClassifier


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_tidy_results(benchmarks):
    import compare

    methods = ["unimodal", "multimodal", "lvae", "boosting_with_nan"]
    results = compare.run(compare.xor(400), methods, [3], hidden_dim=8, max_epochs=1, batch_size=64)
    assert results.columns.tolist() == ["dataset", "method", "scenario", "seed", "metric", "value"]
    assert set(results["method"]) == {*methods, "entropy", "neighbours"}
    assert results["value"].notna().all()

    def has(method, scenario, metric):
        return len(results.query("method == @method and scenario == @scenario and metric == @metric"))

    for method in methods:
        assert has(method, "complete", "brier") == 1
        assert has(method, "missing", "log_loss") == (method != "multimodal")
    for method in "lvae", "entropy", "neighbours":
        assert has(method, "missing", "impact_error") == 1
    assert has("unimodal", "missing", "impact_error") == 0


def test_unknown_method(benchmarks):
    import compare

    with pytest.raises(ValueError, match="There is no method magic; choose among primo, unimodal"):
        compare.run(compare.xor(10), ["magic"])


def test_every_method_has_a_grid_and_the_trials_repeat(benchmarks):
    import compare
    import tune_baselines

    assert set(tune_baselines.GRIDS) == set(compare.METHODS) - {"primo"}
    for method in tune_baselines.GRIDS:
        first, second = (tune_baselines.trials(method, 8) for _ in range(2))
        assert first == second
        assert 4 <= len(first) <= 8
    assert set(tune_baselines.GRIDS["lvae"]) <= set(LVAEClassifier().get_params())
