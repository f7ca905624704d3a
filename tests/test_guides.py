"""Pages for who has a table and a question: eight lines to a ranking, and every question in the table."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from primo_pyro import PrimoClassifier, PrimoRegressor

DOCS = Path(__file__).resolve().parents[1] / "docs"
LINES = 8
ROWS = 7600  # a few more than the lines train on and calibrate with
# What is no question: training, files, programs of one's own, and scikit-learn's own methods.
NO_QUESTIONS = {"fit", "save", "load", "read", "adopt", "make_guide", "make_programs"}
SKLEARN = r"get_params|set_params|get_metadata_routing|set_\w+_request"


def lines_of(page, language):
    """The lines of the first block in a language."""
    block = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1]
    return [line for line in block.splitlines() if line.strip()]


def write_patients(path):
    """Noise with the columns of SUPPORT2 that the lines name."""
    random = np.random.default_rng(0)
    vitals = ["age", "meanbp", "hrt", "resp", "temp", "scoma"]
    tests = ["pafi", "ph", "alb", "bili", "glucose", "bun"]
    frame = pd.DataFrame(random.normal(size=(ROWS, 12)), columns=[*vitals, *tests])
    for columns, share in (["pafi", "ph"], 0.25), (["alb", "bili"], 0.2), (["glucose", "bun"], 0.5):
        frame.loc[random.random(ROWS) < share, columns] = np.nan
    texts = {name: random.choice(["a", "b"], ROWS) for name in ("sex", "dzgroup", "ca")}
    frame = frame.assign(sno=np.arange(ROWS), hospdead=random.integers(2, size=ROWS), **texts)
    frame.to_csv(path, index=False)


@pytest.mark.filterwarnings("ignore::primo_pyro.errors.PrimoWarning")  # of an epoch on noise
def test_a_table_is_ranked_in_eight_lines(tmp_path, monkeypatch):
    page = (DOCS / "start" / "table.md").read_text()
    install, code = lines_of(page, "bash"), lines_of(page, "python")
    assert len(install) + len(code) <= LINES
    assert install[0].startswith("pip install")
    assert max(map(len, code)) <= 110  # lines that people can read
    write_patients(tmp_path / "support2.csv")
    monkeypatch.chdir(tmp_path)
    short = "\n".join(code).replace("random_state=0).fit", "random_state=0, max_epochs=1).fit")
    assert "max_epochs" in short
    *before, last = ast.parse(short).body
    names = {}
    exec(compile(ast.Module(before, []), "table.md", "exec"), names)
    ranked = eval(compile(ast.Expression(last.value), "table.md", "eval"), names)
    assert set(ranked["modality"]) == {"blood_gas", "liver", "metabolic"}
    assert ranked["change_per_cost"].is_monotonic_decreasing
    assert ranked["row"].isin(names["patients"].index[7500:]).all()


def questions():
    """Public methods of both estimators that answer something."""
    methods = {
        name
        for estimator in (PrimoClassifier, PrimoRegressor)
        for name, _ in inspect.getmembers(estimator, callable)
        if not name.startswith("_") and not re.fullmatch(SKLEARN, name)
    }
    return methods - NO_QUESTIONS


def test_every_question_is_in_the_table():
    page = (DOCS / "questions" / "choose.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    assert len({len(row) for row in rows}) == 1
    named = [re.match(r" `(\w+)`", row[2]) for row in rows]
    assert sorted(match[1] for match in named if match) == sorted(questions())


def test_what_the_table_says_of_numbers_is_true():
    page = (DOCS / "questions" / "choose.md").read_text()
    for name, kind in re.findall(r"\| `(\w+)` \((classes|numbers)\) \|", page):
        other = PrimoRegressor if kind == "classes" else PrimoClassifier
        # A method that both have may still refuse numbers, as label_sets does.
        assert not hasattr(other, name) or name == "label_sets"
