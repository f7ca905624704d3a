"""The report: one page that needs nothing else, with the numbers of the rows that it was made from."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis.report import Findings, rows_to_show, write_report
from primo_pyro.errors import ModalityError


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
