"""What the commands print: tables of columns, blocks and patterns, and errors and notes of one line."""

from __future__ import annotations

import pandas as pd

from primo_pyro.cli.tables import Model
from primo_pyro.cli.work import Parts

__all__ = ["checked_in_words", "fitted_in_words", "labels_in_words", "one_line"]

WIDEST = 60  # characters of a cell
PATTERNS = 12
BLOCKS = ["block", "became", "features", "rows", "missing", "note"]
# What a message says to who writes Python, and what helps in the shell.
CURES = {
    "frame[": "In the shell: Correct the cells in the file, name what stands for missing by --na, or take "
    "the column out of its block by '!' and its name.",
    "weighted=True": "In the shell: --weighted.",
    "PrimoRegressor": "In the shell: --outcome number.",
}


def one_line(message: object) -> str:
    """A message in one line, with a cure for the shell where it has one for Python alone."""
    text = " ".join(str(message).split())
    return " ".join([text, *(cure for sign, cure in CURES.items() if sign in text)])


def checked_in_words(lines: pd.DataFrame) -> str:
    """The lines of `primo_pyro.tables.TableReader.check` as three tables, and what would be refused."""
    lines = _shares(lines)
    refused = lines.query("became == 'refused'")
    lines = lines.assign(
        note=lines["note"].mask(lines["became"] == "refused", "refused: see below"),
        detail=lines["detail"].str.slice(0, WIDEST),
    )
    columns = ["block", "name", "became", "features", "rows", "missing", "detail", "note"]
    parts = [
        _table("Columns", lines.query("about == 'column'")[columns].rename(columns={"name": "column"})),
        _table("Blocks", lines.query("about == 'block'")[BLOCKS]),
    ]
    patterns = lines.query("about == 'pattern'")[["rows", "name", "note"]]
    parts.append(_table("Patterns of absence", patterns[:PATTERNS].rename(columns={"name": "present"})))
    if len(patterns) > PATTERNS:
        parts[-1] += f"\n... and {len(patterns) - PATTERNS} more"
    if len(refused):
        listed = "\n".join(one_line(note) for note in refused["note"])
        parts.append(f"Refused ({len(refused)})\n{listed}")
    return "\n\n".join(parts)


def _shares(lines: pd.DataFrame) -> pd.DataFrame:
    return lines.assign(missing=lines["missing"].map("{:.1%}".format))


def _table(title: str, frame: pd.DataFrame) -> str:
    filled = [name for name in frame if name not in ("note", "detail") or (frame[name] != "").any()]
    widths = {name: max(map(len, [name, *frame[name].astype(str)])) for name in filled}
    left = [name for name in filled if not pd.api.types.is_numeric_dtype(frame[name]) and name != "missing"]
    formats = {name: f"{{:<{widths[name]}}}".format for name in left}
    heads = {name: name.ljust(widths[name]) if name in left else name for name in filled}
    text = (
        frame[filled]
        .rename(columns=heads)
        .to_string(
            index=False, formatters={heads[name]: form for name, form in formats.items()}, max_colwidth=None
        )
    )
    return title + "\n" + "\n".join(line.rstrip() for line in text.splitlines())


def labels_in_words(y: pd.Series) -> str:
    """How often each class occurs, or the range of many numbers."""
    counts = y.value_counts(dropna=False)
    if len(counts) > PATTERNS:
        values = f"{len(counts)} values, {y.dropna().min()} to {y.dropna().max()}"
        return f"Label {y.name}: {values}, empty in {int(y.isna().sum())} rows"
    return f"Label {y.name}: " + ", ".join(f"{value} in {rows} rows" for value, rows in counts.items())


def fitted_in_words(model: Model, parts: Parts) -> str:
    """What was fitted, in a few lines."""
    blocks = _shares(model.reader_.check().query("about == 'block'"))
    history = model.history_
    several = model.members > 1
    epochs = int(history["member"].value_counts().max()) if several else len(history)
    said = [f"{len(parts.train)} training rows", f"{len(parts.calibrate)} held out"]
    if len(parts.certify):
        said.append(f"{len(parts.certify)} to certify")
    said.append(f"{model.members} members of {epochs} epochs" if several else f"{epochs} epochs")
    if "val_log_loss" in history:
        said.append(f"smallest validation loss {history['val_log_loss'].min():.3f}")
    said.append("impact calibrated" if "impact_calibrators_" in vars(model) else "impact not calibrated")
    if len(parts.certify):
        said.append("certified" if "certificates_" in vars(model) else "not certified")
    return f"{', '.join(said)}\n\n{_table('Blocks', blocks[BLOCKS])}"
