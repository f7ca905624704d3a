"""Files as they are found, from the shell: read rightly, or one line that names file and fault."""

import gzip
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from primo_pyro import read_table
from primo_pyro.cli import app
from primo_pyro.errors import DataFileError

ROWS = 30
FRAME = pd.DataFrame(
    {
        "id": [f"p{i}" for i in range(ROWS)],
        "age": np.arange(40, 70),
        "sex": np.resize(["f", "m", "f"], ROWS),
        "lab": np.where(np.arange(ROWS) % 2, np.linspace(0.25, 7.5, ROWS).round(2), np.nan),
        "died": np.resize(["no", "yes", "yes"], ROWS),
    }
)
TEXT = FRAME.to_csv(index=False)
LINES = TEXT.splitlines()
FLAGS = ["--id", "id", "--label", "died", "--block", "history=age,sex", "--block", "labs=lab"]


def changed(line, cell, text):
    """The text with one cell changed."""
    lines = [each.split(",") for each in LINES]
    lines[line][cell] = text
    return "\n".join(",".join(each) for each in lines)


def every(change):
    return "\n".join(change(line) for line in LINES)


READ = {
    "a mark of the order of bytes": "\ufeff" + TEXT,
    "semicolons": TEXT.replace(",", ";"),
    "tabs": TEXT.replace(",", "\t"),
    "bars": TEXT.replace(",", "|"),
    "ends of lines of Windows": TEXT.replace("\n", "\r\n"),
    "ends of lines of old": TEXT.replace("\n", "\r"),
    "blanks behind commas": TEXT.replace(",", ", "),
    "quotes": every(lambda line: ",".join(f'"{cell}"' for cell in line.split(","))),
}
REFUSED = {  # bytes or text; words of the one line
    "nothing": ("", "cannot be read as a table: No columns"),
    "a header alone": (LINES[0] + "\n", "has 0 rows|The table has 0 rows"),
    "no header": ("\n".join(LINES[1:]), "has no column 'id'"),
    "a column twice": (TEXT.replace("sex", "age", 1), "names column 'age' 2 times"),
    "the label twice": (TEXT.replace("sex", "died", 1), "names column 'died' 2 times"),
    "a cell more in every line": (
        "\n".join([LINES[0], *(f"{x},1" for x in LINES[1:])]),
        "has 5 names.*more cells",
    ),
    "a cell more in one line": (changed(4, 4, "no,1"), "line 5"),
    "an open quote": (changed(4, 2, '"f'), "cannot be read as a table"),
    "another encoding": (changed(4, 2, "\xe9").encode("latin-1"), "line 5 is not UTF-8.*latin-1"),
    "two bytes a letter": (TEXT.encode("utf-16"), "line 1 is not UTF-8"),
    "bytes of anything": (bytes(range(1, 256)) * 3, "is not UTF-8"),
    "an id missing": (changed(4, 0, ""), "column 'id' is empty in 1 of 30 rows .first: row 4"),
    "a label missing": (changed(4, 4, ""), "column 'died' is empty in 1 of 30 rows .'p3'"),
    "a label unknown": (changed(4, 4, "?"), "column 'died' is empty in 1 of 30 rows .'p3'"),
    "no label": (TEXT.replace("died", "dead", 1), "has no column 'died'.*Correct --label"),
    "no id": (TEXT.replace("id", "ID", 1), "has no column 'id'; expected one of 'ID'"),
    "no column of a block": (TEXT.replace("lab", "lib", 1), "Block 'labs'.*lacks 1 .'lab'.*like 'lib'"),
}


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(path, *arguments, words):
    result = run(*arguments)
    (line,) = [line for line in result.stderr.splitlines() if ": note:" not in line]
    assert result.exit_code == 1
    assert line.startswith("primo-pyro: ")
    assert str(path) in line
    assert re.search(words, line), line


@pytest.mark.parametrize("name", READ)
def test_forms_of_the_same_table(name, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(READ[name].encode())
    pd.testing.assert_frame_equal(read_table(path, id="id"), FRAME.set_index("id"))
    assert run("check", path, *FLAGS).exit_code == 0


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name, tmp_path):
    content, words = REFUSED[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(path, "check", path, *FLAGS, words=words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv.gz", TEXT.encode(), "cannot be read as a table: Not a gzipped file"),
        (
            "t.csv.gz",
            gzip.compress(TEXT.encode() * 9, mtime=0)[:90],
            "cannot be read as a table: Compressed file ended",
        ),
        ("t.parquet", TEXT.encode(), "cannot be read as a table"),
        ("t.xlsx", b"PK", "expected .csv"),
        ("t", TEXT.encode(), "expected .csv"),
    ],
    ids=["no archive", "cut archive", "no parquet", "a workbook", "no kind"],
)
def test_kinds_of_files(name, content, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, "check", path, *FLAGS, words=words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([[1.0, 2.0]] * ROWS), "holds ndarray"),
        (pa.array([{"a": 1}] * ROWS), "holds dict"),
        (pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())), "holds list"),
        (pa.array([b"x", b"y"] * (ROWS // 2)), "holds bytes"),
        (pa.array(pd.date_range("2020", periods=ROWS)), "holds dates"),
    ],
    ids=str,
)
def test_nested_columns_of_parquet(values, words, tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    pq.write_table(table.set_column(3, "lab", values), path)
    result = run("check", path, *FLAGS)
    assert result.exit_code == 1
    assert f"Column 'lab' {words}" in result.output


def test_folders_in_place_of_files(tmp_path):
    refused(tmp_path, "check", tmp_path, *FLAGS, words="is a folder; expected a CSV")
    refused(tmp_path, "predict", tmp_path, tmp_path, words="does not exist; expected a saved model")
    (tmp_path / "t.csv").write_text(TEXT)
    refused(
        tmp_path, "check", tmp_path / "t.csv", *FLAGS, "--config", tmp_path, words="cannot be read as TOML"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("na = [[1]]", r"na holds \[1\]; expected texts and numbers"),
        ("seed = true", "seed is bool"),
        ("label = ['died']", "label is list"),
        ("[blocks]\nh = [['age']]", "block 'h' is"),
        ("blocks = ['age']", "blocks is list.*expected a table"),
        ("[options]\nmax_epoch = 3", "nearest known one is 'max_epochs'"),
        ("seed = 1\nseed = 2", "cannot be read as TOML"),
    ],
)
def test_mistakes_in_a_file_of_settings(text, words, tmp_path):
    table, path = tmp_path / "t.csv", tmp_path / "s.toml"
    table.write_text(TEXT)
    path.write_text(text)
    refused(path, "check", table, "--config", path, words=words)
    path.write_bytes(b"\xef\xbb\xbfseed = 1")
    assert run("check", table, "--config", path).exit_code == 0


def test_a_message_of_a_file_is_an_error_of_files(tmp_path):
    with pytest.raises(DataFileError, match="Give its name"):
        read_table(None)
