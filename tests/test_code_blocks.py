"""Every Python block of README and of pages that the site's build does not run is run here, on few real rows.

What is written as ``{code-cell}`` runs in the build. A block in plain ``python`` fences needs an entry in
`PREPARED`: for each block of its page the names that it finds. Paths such as ``/models/`` lead into
a folder of the test.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import primo_pyro
from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data import load_breast_cancer_table
from primo_pyro.errors import PrimoWarning

ROOT = Path(primo_pyro.__file__).parents[1]
PAGES = sorted(p.relative_to(ROOT).as_posix() for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
FENCE = re.compile(r"^(?P<indent> *)```python\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
EPOCHS = 1  # the blocks are to run; what comes out is tested elsewhere

Names = dict[str, object]


def blocks_of(page: str) -> list[str]:
    found = FENCE.finditer((ROOT / page).read_text(encoding="utf-8"))
    return [re.sub(rf"^{m['indent']}", "", m["code"], flags=re.MULTILINE) for m in found]


# --- What the blocks find ------------------------------------------------------------------------------


def cases(optional: str) -> tuple[Modalities, np.ndarray]:
    """Breast cancer: ten means of each tumour, and its worst values, which every third row lacks."""
    table = load_breast_cancer_table()
    mean, worst = (table.frame.filter(like=word).to_numpy() for word in ("mean ", "worst "))
    absent = np.arange(len(table.y)) % 3 == 0
    x = Modalities({"history": mean, optional: worst}, present={optional: ~absent})
    return x, table.y


def stays(folder: Path) -> Names:
    """The same as a table, with the columns of the pages, in a CSV file and in Parquet files."""
    table = load_breast_cancer_table()
    frame = table.frame[["mean radius", "mean texture", "worst radius", "worst texture"]].copy()
    frame.columns = ["age", "sex", "lab_sodium", "lab_urea"]
    frame.loc[::3, ["lab_sodium", "lab_urea"]] = np.nan
    frame["died"] = table.y
    frame.index.name = "patient"
    frame.to_csv("patients.csv")
    Path("stays").mkdir(exist_ok=True)
    frame.reset_index().to_parquet("stays/part.parquet", row_group_size=200)
    blocks = {"history": ["age", "sex"], "labs": "lab_*"}
    return {"PrimoClassifier": PrimoClassifier, "blocks": blocks, "new": frame.drop(columns="died")[400:]}


def rows_in_hand(folder: Path) -> Names:
    x, y = cases("first_day")
    complete = x.complete
    return {
        "history": x.values["history"],
        "first_day": np.where(x.present["first_day"][:, None], x.values["first_day"], np.nan),
        "y": y,
        "new": x[400:],
        "complete": x[complete],
        "y_complete": y[complete],
        "held_out": x[complete],
    }


def held_out(optional: str) -> Callable[[Path], Names]:
    """A fitted estimator, and rows that it was not trained on."""

    def names(folder: Path) -> Names:
        x, y = cases(optional)
        clf = PrimoClassifier(random_state=0).fit(x[:300], y[:300])
        return {"clf": clf, "x_held_out": x[300:450], "y_held_out": y[300:450], "x_new": x[450:]}

    return names


class Spark:
    """A frame that hands its rows to the function, as Spark's do."""

    def __init__(self, frame):
        self.frame = frame

    def mapInPandas(self, function, schema):
        answers = next(iter(function(iter([self.frame]))))
        assert list(answers) == [column.split()[0] for column in schema.split(", ")]


def saved_model(folder: Path) -> Names:
    names = stays(folder)
    clf = PrimoClassifier(blocks=names["blocks"], random_state=0)
    (folder / "models").mkdir(exist_ok=True)
    clf.fit(primo_pyro.read_table("patients.csv", id="patient"), "died").save(folder / "models" / "stays")
    return names | {"stays": Spark(names["new"].reset_index())}


def processes(folder: Path) -> Names:
    pytest.importorskip("accelerate")
    (folder / "shared").mkdir(exist_ok=True)
    return {}


def nothing(folder: Path) -> Names:
    return {}


PREPARED: dict[str, list[Callable[[Path], Names]]] = {
    "README.md": [rows_in_hand, stays, held_out("first_day")],
    "docs/guarantees.md": [held_out("blood_gas")],
    "docs/scale.md": [stays, saved_model, nothing, processes],
}

ELSEWHERE = {"docs/start/table.md": 1}  # tests/test_guides.py runs the few lines from a table to a ranking


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_prepared(page):
    """Else: make it a ``{code-cell}``, which the build runs, or add what it needs to `PREPARED`."""
    assert len(blocks_of(page)) == len(PREPARED.get(page, [])) + ELSEWHERE.get(page, 0)


@pytest.mark.parametrize("page", sorted(PREPARED))
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PrimoClassifier.__init__.__kwdefaults__, "max_epochs", EPOCHS)
    known: Names = {}
    for number, (code, prepare) in enumerate(zip(blocks_of(page), PREPARED[page], strict=True), 1):
        code = re.sub(r'"/(models|shared)/', rf'"{tmp_path.as_posix()}/\1/', code)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrimoWarning)  # few rows, few epochs
            known |= prepare(tmp_path)
            exec(compile(code, f"{page}, block {number}", "exec"), known)  # what readers paste
    assert known
