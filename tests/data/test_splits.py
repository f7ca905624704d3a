import numpy as np
import pytest

from primo_pyro import Modalities
from primo_pyro.data.splits import Splits, random_rows

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}


def test_random_rows_cover_all_once_in_the_shares():
    rows = random_rows(np.arange(1000), SHARES, seed=0)
    assert [len(rows[part]) for part in SHARES] == [640, 160, 200]
    assert (np.sort(np.concatenate(list(rows.values()))) == np.arange(1000)).all()


def test_groups_never_cross():
    groups = np.random.default_rng(0).integers(200, size=1000)
    rows = random_rows(groups, SHARES, seed=1)
    of = [set(groups[at]) for at in rows.values()]
    assert sum(map(len, of)) == len(set.union(*of)) == len(set(groups))
    assert sum(map(len, rows.values())) == 1000


def test_same_seed_same_rows():
    a, b, c = (random_rows(np.arange(50), SHARES, seed) for seed in (3, 3, 4))
    assert (a["train"] == b["train"]).all()
    assert (a["train"] != c["train"]).any()


def test_rows_lead_back_to_the_source():
    x = Modalities({"o": np.arange(100.0)})
    y = np.arange(100) % 3
    splits = Splits.of_rows("toy", x, y, "abc", random_rows(np.arange(100), SHARES, 0))
    for part in ("train", "validation", "test"):
        part_x, part_y = getattr(splits, part)
        assert part_x.values["o"][:, 0] == pytest.approx(splits.rows[part])
        assert (part_y == y[splits.rows[part]]).all()
    assert splits.describe().loc["train", ["a", "b", "c"]].sum() == pytest.approx(1)
