"""The commands and their flags. Exit codes: 0 all went well, 1 an error of ours, 2 wrong usage."""

from __future__ import annotations

import errno
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import pandas as pd
import typer
from typer.core import TyperGroup

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.cli import demo as digits
from primo_pyro.cli.settings import Settings, parse_blocks, parse_costs, parse_options, read_settings
from primo_pyro.cli.tables import Model, check_folder, load_model, of_file, read_labels, read_rows, write_rows
from primo_pyro.cli.words import checked_in_words, fitted_in_words, labels_in_words, one_line
from primo_pyro.cli.work import check_costs, fitted, impacts, predictions, ranked, reader_of
from primo_pyro.errors import DataFileError, ModalityError, PrimoError, PrimoWarning, SettingsError

__all__ = ["app", "main"]


class Shell(TyperGroup):
    """Errors of the package end a command with one line and exit code 1; its warnings are notes."""

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", PrimoWarning)
            notes: set[str] = set()  # rows are answered in parts, and each would say the same

            def note(message: Warning | str, *where: Any, **more: Any) -> None:
                if str(message) not in notes:
                    notes.add(str(message))
                    _note(message)

            warnings.showwarning = note
            try:
                return super().invoke(ctx)
            except PrimoError as error:
                self._fail(error)
            except OSError as error:
                if error.errno == errno.EPIPE:  # as of "| head"
                    raise
                self._fail(f"{error.filename or 'A file'}: {error.strerror or error}. Name another place.")

    @staticmethod
    def _fail(message: object) -> NoReturn:
        typer.echo(f"primo-pyro: {one_line(message)}", err=True)
        raise typer.Exit(1)


def _note(message: Warning | str) -> None:
    typer.echo(f"primo-pyro: note: {one_line(message)}", err=True)


app = typer.Typer(
    cls=Shell,
    help="Predict with blocks of columns missing, and say for each row how much a missing block would change "
    "the prediction.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"primo-pyro {version('primo-pyro')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """What stands before a command."""


def main() -> None:
    """The console script."""
    try:
        app(prog_name="primo-pyro")  # also where it was started as python -m primo_pyro
    except Exception as error:  # a fault of ours: still one line
        where = f"{type(error).__name__}: {one_line(error)}"
        typer.echo(f"primo-pyro: unexpected {where} This is a fault of the program.", err=True)
        sys.exit(1)


# --- Flags ---------------------------------------------------------------------------------------------

Table = Annotated[Path, typer.Argument(help="CSV or Parquet file.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="Folder that fit wrote.", show_default=False)]
Id = Annotated[
    str | None, typer.Option("--id", help="Column that names the rows; by default that of the training rows.")
]
Label = Annotated[str | None, typer.Option("--label", help="Column of the labels.")]
Block = Annotated[
    list[str] | None,
    typer.Option(
        "--block",
        metavar="NAME=COLUMNS",
        help="Columns of a block, as history=age,sex,dz*; '!dz_time' takes one out. Once for each block.",
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings; flags win.", show_default=False)
]
Missing = Annotated[
    list[str] | None, typer.Option("--na", help="A cell that says 'not known', beside the usual ones.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="CSV or Parquet file; without it CSV on standard output.")
]
Option = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter as in Python: max_epochs=40, rare=0.02."),
]


def _settings(
    config: Path | None,
    block: list[str] | None = None,
    cost: list[str] | None = None,
    option: list[str] | None = None,
    **flags: Any,
) -> Settings:
    try:
        given = {
            "blocks": parse_blocks(block or ()),
            "costs": parse_costs(cost or ()),
            "options": parse_options(option or ()),
        }
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error
    return read_settings(config).changed(**given, **flags)


# --- Commands ------------------------------------------------------------------------------------------


@app.command()
def fit(
    table: Table,
    out: Annotated[Path, typer.Option("--out", help="Folder for the model.", show_default=False)],
    label: Label = None,
    id: Annotated[str | None, typer.Option("--id", help="Column that names the rows.")] = None,
    block: Block = None,
    config: Config = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.  [default: 0]")] = None,
    calibrate: Annotated[
        float | None,
        typer.Option(
            help="Share of the rows held out to calibrate impact.  [default: 0.2; with members 0: each of "
            "them calibrates on what it held out]"
        ),
    ] = None,
    certify: Annotated[
        float | None,
        typer.Option(help="Share of further rows held out for guarantees.  [default: 0]"),
    ] = None,
    weighted: Annotated[
        bool | None,
        typer.Option("--weighted", help="Certify for rows that lack a block for a reason, by weights."),
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="categorical, ordinal or number.  [default: categorical]")
    ] = None,
    na: Missing = None,
    option: Option = None,
) -> None:
    """Train on a table and write the model."""
    settings = _settings(
        config,
        block,
        option=option,
        label=label,
        id=id,
        seed=seed,
        calibrate=calibrate,
        certify=certify,
        weighted=weighted,
        outcome=outcome,
        na=na,
    )
    check_folder(out)
    frame = read_rows(table, settings.id)
    model, parts = fitted(frame, settings, table)
    model.save(out)
    typer.echo(fitted_in_words(model, parts))
    typer.echo(f"\nThe model is in {out}")


@app.command()
def check(
    table: Table,
    label: Label = None,
    id: Annotated[str | None, typer.Option("--id", help="Column that names the rows.")] = None,
    block: Block = None,
    config: Config = None,
    na: Missing = None,
    option: Option = None,
    out: Annotated[Path | None, typer.Option("--out", help="CSV or Parquet file of the same.")] = None,
) -> None:
    """Say what each column would become, which blocks are absent together, and what to worry about.

    Nothing is trained. The exit code is 1 where fit would refuse a column. Without blocks all columns are
    looked at as one.
    """
    settings = _settings(config, block, option=option, label=label, id=id, na=na)
    frame = read_rows(table, settings.id)
    rows = frame
    if settings.label is not None:
        rows = frame.drop(columns=settings.label, errors="ignore")
    if not settings.blocks:
        settings = settings.changed(blocks={"all": ["*"]})
    with of_file(table):
        lines = reader_of(settings).check(rows)
    typer.echo(f"{table}: {len(frame)} rows, {frame.shape[1]} columns\n\n{checked_in_words(lines)}")
    if settings.label in frame.columns:
        typer.echo(f"\n{labels_in_words(frame[settings.label])}")
    if settings.label is not None:
        read_labels(frame, settings.label, table)
    if out is not None:
        write_rows(lines, out, "line")
    refused = int((lines["became"] == "refused").sum())
    if refused:
        raise ModalityError(
            f"{table}: fit would refuse {refused} columns; expected none. Correct those that are listed as "
            "refused, or take them out of their blocks."
        )


@app.command()
def predict(folder: Folder, table: Table, out: Out = None, id: Id = None) -> None:
    """Predict the label of each row, with whatever blocks it has."""
    model, frame = _model_and_rows(folder, table, id)
    with of_file(table):
        answer = predictions(model, frame)
    write_rows(answer, out, frame.index.name)


@app.command()
def impact(folder: Folder, table: Table, out: Out = None, id: Id = None) -> None:
    """Say for every absent block of every row how much it would change the prediction.

    Of a model that was certified also what is promised: change_at_most, which 9 rows in 10 do not exceed, and
    safe_to_skip, rows of which at most 5 % would get another label (docs/guarantees.md).
    """
    model, frame = _model_and_rows(folder, table, id)
    with of_file(table):
        answer = impacts(model, frame)
    write_rows(answer, out, frame.index.name)


@app.command()
def rank(
    folder: Folder,
    table: Table,
    cost: Annotated[
        list[str] | None,
        typer.Option("--cost", metavar="NAME=NUMBER", help="What a block costs; 1 where none is given."),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="What may be spent on all rows together.")] = None,
    config: Config = None,
    out: Out = None,
    id: Id = None,
) -> None:
    """Say what to acquire next: absent blocks of all rows, by expected change for their cost."""
    settings = _settings(config, cost=cost, budget=budget)
    model, frame = _model_and_rows(folder, table, id)
    costs = check_costs(model, settings)
    with of_file(table):
        answer = ranked(model, frame, costs, settings.budget)
    write_rows(answer, out, frame.index.name)


@app.command()
def report(
    folder: Folder,
    table: Table,
    out: Annotated[Path, typer.Option("--out", help="HTML file.", show_default=False)],
    label: Label = None,
    block: Annotated[str | None, typer.Option("--block", help="Of this optional block alone.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Of two classes the risk of the second from which one acts; by default its share."),
    ] = None,
    config: Config = None,
    id: Id = None,
) -> None:
    """Write a page about what each block is worth, on rows with labels that were not trained on."""
    settings = _settings(config, label=label)
    if out.suffix.lower() not in (".html", ".htm"):
        raise DataFileError(f"{out} ends in {out.suffix!r}; expected .html. Name another file.")
    model, frame = _model_and_rows(folder, table, id)
    y = read_labels(frame, settings.label, table)
    if not isinstance(model, PrimoClassifier):
        raise SettingsError(
            f"{folder} predicts numbers; expected a model of classes, which the page is about. Use "
            "impact and predict."
        )
    with of_file(table):
        path = model.report(frame, str(y.name), out, block, threshold)
    typer.echo(f"The page is {path}")


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="HTML file of a report.")] = None,
    epochs: Annotated[int, typer.Option(help="Of training.")] = 20,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train on halves of handwritten digits, without any file, and print what the missing half is worth."""
    typer.echo(digits.demo(epochs, seed, out))


def _model_and_rows(folder: Path, table: Path, id: str | None) -> tuple[Model, pd.DataFrame]:
    model = load_model(folder)
    return model, read_rows(table, id or model.reader_.index_name_)
