"""The report: one page that needs nothing else, with the numbers of the rows that it was made from."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis.report import Findings, rows_to_show, write_report
from primo_pyro.errors import FewRowsWarning, ModalityError
from primo_pyro.findings import findings_of


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs)
        self.links += [v for k, v in attrs.items() if k in ("src", "href") and not v.startswith("data:")]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def findings():
    random = np.random.default_rng(0)
    rows = 60
    missing, complete = random.dirichlet([1, 1, 1], size=(2, rows))
    v = random.uniform(0, 0.5, rows)
    gap = pd.DataFrame(
        {
            "impact_missing": v,
            "impact_complete": v / 10,
            "gap": 0.9 * v,
            "realised_change": abs(missing - complete).sum(1) / 2,
            "flip": missing.argmax(1) != complete.argmax(1),
        }
    )
    cards = rows_to_show(v)
    classes = np.array(["<low>", "mid & more", "high"])
    return Findings(
        modality="lab",
        classes=classes,
        y=classes[random.integers(3, size=rows)],
        missing=missing,
        complete=complete,
        impact=pd.DataFrame({"impact": v, "information_gain": v}),
        gap=gap,
        cards=cards,
        shares=pd.DataFrame(random.dirichlet([1, 1, 1], size=len(cards)), columns=classes),
    )


def test_page_is_whole_and_needs_nothing_else(findings, tmp_path):
    path = write_report(findings, tmp_path / "new" / "folder")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.links == []
    assert len(page.images) == 3 + len(findings.cards)
    for image in page.images:
        assert image["alt"]
        assert base64.b64decode(image["src"].split(",")[1]).startswith(b"\x89PNG")
    assert "$" not in re.sub(r"base64,[^\"]*", "", text)
    assert "<low>" not in text  # names are text, not tags
    assert "&lt;low&gt;" in text
    assert f"Row {findings.cards[0]}" in text


def test_classifier_writes_its_report(tmp_path):
    random = np.random.default_rng(0)
    o, a, b = random.normal(size=(3, 80))
    x, y = Modalities({"o": o, "a": a, "b": b}), np.where(o + a + b > 0, "up", "down")
    clf = PrimoClassifier(latent_dim=1, hidden_dim=8, max_epochs=1, num_samples=16, random_state=0)
    clf.fit(x.drop_at_random("a", "b", random_state=0), y)
    for modality, title in ((None, "a and b"), ("b", "b")):
        path = clf.report(x, y, tmp_path / title, modality)
        text = path.read_text(encoding="utf-8")
        assert f"<title>The worth of {title}</title>" in text
        for words in ("What can be promised", "harm among the skipped", "Is it worth its price", "Risk "):
            assert words in text
        assert ("V of a alone" in text) == (modality is None)
        assert Page(text).open == []
    with pytest.raises(ModalityError, match="80 of 80 rows"):
        clf.report(x.drop("b"), y, tmp_path, "b")
    with pytest.raises(ModalityError, match="80 of 80 rows have none"):
        clf.report(x.drop("a", "b"), y, tmp_path)


class Cells(HTMLParser):
    """The tables of a page that sort, each a list of lines, each a list of texts."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.inside = dict(attrs).get("class") == "sorts"
            if self.inside:
                self.tables.append([])
        elif self.inside and tag == "tr":
            self.tables[-1].append([])
        elif self.inside and tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "table"

    def handle_data(self, data):
        if self.inside and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data.strip()


@pytest.fixture
def fitted():
    """Rows of a table of which few have both optional blocks, and a classifier."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(90, 3)), columns=["o", "a", "b"])
    frame.index = [f"row {i:02}" for i in range(90)]
    frame["y"] = np.where(frame[["o", "a", "b"]].sum(axis=1) > 0, "up", "down")
    frame.loc[frame.index[:50], "a"] = np.nan
    frame.loc[frame.index[40:85], "b"] = np.nan  # 10 rows have neither, 5 have both
    clf = PrimoClassifier(
        blocks={"base": "o", "first": "a", "second": "b"}, max_epochs=1, num_samples=16, random_state=0
    )
    return clf.fit(frame, "y"), frame


def test_rows_count_for_whatever_they_have(fitted, tmp_path):
    clf, frame = fitted
    path = clf.report(frame, "y", tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.links == []
    assert "In the 80 of 90 rows" in text
    blocks, worth, absent, columns, patterns = Cells(text).tables
    assert [line[:4] for line in blocks[1:]] == [
        ["first", "optional", "1 column", "44%"],
        ["second", "optional", "1 column", "50%"],
        ["base", "observed", "1 column", "100%"],
    ]
    assert blocks[1][4] == "second 20%"
    # Of every block the rows that have it are those that it was checked on, complete or not.
    assert [[line[0], line[1], line[3]] for line in worth[2:]] == [
        ["first", "50", "40"],
        ["second", "45", "45"],
    ]
    x = clf.read(frame)
    for line in worth[2:]:
        rows = x[x.present[line[0]]]
        gap = clf.impact_gap(rows, line[0])
        assert [line[4], line[5]] == [f"{gap[c].mean():.3f}" for c in ("impact_missing", "realised_change")]
        lacking = clf.predictive_impact(x[~x.present[line[0]]], line[0])["impact"]
        assert line[2] == f"{lacking.mean():.3f}"
    each = clf.predictive_impact(frame, "each").query("impact > 0")
    highest = each.sort_values("impact", ascending=False, kind="stable")
    assert [line[:2] for line in absent[1:4]] == highest[["row", "modality"]].values[:3].tolist()
    assert [line[0] for line in columns[1:]] == ["o", "a", "b"]
    assert {line[0]: int(line[1]) for line in patterns[1:]} == {
        "base + second": 40,
        "base + first": 35,
        "base": 10,
        "base + first + second": 5,
    }


def test_after_calibration_the_expected_change_stands_beside_v(fitted, tmp_path):
    clf, frame = fitted
    with pytest.warns(FewRowsWarning):
        clf.calibrate_impact(frame)
    text = clf.report(frame, "y", tmp_path).read_text(encoding="utf-8")
    _, worth, absent, *_ = Cells(text).tables
    assert worth[1].count("Expected change") == 2
    changes = [float(line[3]) for line in absent[1:]]
    assert changes == sorted(changes, reverse=True)


def test_what_was_hidden_of_a_row_is_what_it_had(fitted):
    clf, frame = fitted
    x = clf.read(frame)
    has = x.present["first"] | x.present["second"]
    found = findings_of(clf, x, frame["y"].to_numpy(), None, clf.classes_, clf.plausible_label_shares)
    assert len(found.y) == has.sum()
    only = has & ~x.present["second"]
    expected = clf.impact_gap(x[only], "first")
    for column in expected:  # networks compute in single precision, whose rounding depends on the batch
        np.testing.assert_allclose(found.gap[column][only[has]], expected[column], rtol=0, atol=1e-6)
