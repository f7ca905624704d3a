"""The pictures of docs/design.md: drawn from the code, and refused where names no longer exist."""

import importlib.util
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def draw_design(monkeypatch):
    spec = importlib.util.spec_from_file_location("draw_design", DOCS / "draw_design.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


def test_pictures_are_drawn_and_are_those_of_the_page(draw_design, tmp_path, capsys):
    draw_design.main(["--out", str(tmp_path)])
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {"rooms.png", "batch.png"}
    assert capsys.readouterr().out.count("wrote") == len(drawn)
    page = (DOCS / "design.md").read_text()
    assert all(f"(images/{name})" in page and (DOCS / "images" / name).is_file() for name in drawn)


def test_rooms_stand_above_what_they_import(draw_design):
    imports = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert draw_design.floors_of(imports) == {"a": 2, "b": 1, "c": 0}
    assert draw_design.without_implied(imports) == [("a", "b"), ("b", "c")]


def test_a_name_that_nothing_defines_is_refused(draw_design):
    code = draw_design.Code.read()
    assert code.file_of("PrimoModel.story") == "program/model.py"
    for name in ("no_such_function", "PrimoModel.no_such_method"):
        with pytest.raises(SystemExit, match=rf"defines {name}\. Correct"):
            code.file_of(name)


def test_a_room_without_a_description_is_refused(draw_design, monkeypatch):
    known = {room: text for room, text in draw_design.ROOMS.items() if room != "draws"}
    monkeypatch.setattr(draw_design, "ROOMS", known)
    with pytest.raises(SystemExit, match=r"\['draws'\].*Correct ROOMS"):
        draw_design.draw_rooms(draw_design.Code.read())
