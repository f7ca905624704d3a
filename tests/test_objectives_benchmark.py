"""The ablation goes from one objective to the other, and its command writes what it says."""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from primo_pyro import Objective
from primo_pyro.studies.tasks import digit_halves


@pytest.fixture
def objectives(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import objectives

    return objectives


def changed(a: Objective, b: Objective) -> set[str]:
    return {f.name for f in fields(Objective) if getattr(a, f.name) != getattr(b, f.name)}


def test_each_row_is_one_piece_from_the_one_before(objectives):
    rows = objectives.ablation()
    steps = ["paper", *(name for name in rows if name.startswith("+ ")), "calibrated"]
    for (before, after), piece in zip(pairwise(steps), objectives.PIECES.values(), strict=True):
        assert changed(rows[before], rows[after]) == set(piece)
    assert rows["paper"] == Objective.named("paper")
    assert rows["calibrated"] == Objective.named("calibrated")
    for piece, settings in objectives.PIECES.items():
        assert changed(rows["calibrated"], rows[f"calibrated - {piece}"]) == set(settings) - {"num_particles"}


def test_validation_rows_are_no_test_rows(objectives):
    task = digit_halves()
    (x, _), validation, (shown, y) = objectives.scored_on_validation(task).rows(0)
    (whole, labels), _, _ = task.rows(0)
    assert validation is None
    assert len(x) + len(shown) == len(whole)
    assert (whole.values["top"][len(x) :] == shown.values["top"]).all()
    assert (labels[len(x) :] == y).all()


def test_command(objectives, tmp_path, capsys):
    flags = ["--datasets", "xor", "--objectives", "paper", "calibrated", "--seeds", "1", "--rows", "300"]
    flags += ["--epochs", "1", "--jobs", "1", "--part", "validation", "--out", str(tmp_path)]
    objectives.main([*flags, "--picture", str(tmp_path / "latents.png")])
    results = pd.read_csv(tmp_path / "objectives.csv")
    assert list(results) == ["dataset", "method", "scenario", "seed", "metric", "value"]
    assert set(results["dataset"]) == {"XOR, validation rows"}
    primo = {"primo, paper", "primo, calibrated"}
    assert set(objectives.NETWORKS) | primo <= set(results["method"])
    assert primo <= set(results.query("metric == 'impact_error'")["method"])
    assert "primo, calibrated" in capsys.readouterr().out
    assert (tmp_path / "latents.png").stat().st_size > 10_000
    with pytest.raises(SystemExit):
        objectives.main(["--datasets", "digits", "--picture", "x.png"])
