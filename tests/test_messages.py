"""Every message of ours says what was found, what was expected and what to do; read off the code.

What a person can follow is a sentence that begins with a verb ("Pass x.toarray()."), after what was expected.
`test_cures.py`, `test_cures_of_columns.py` and `test_door.py` run cures; here each message has one.
"""

import ast
import re

import pytest

from primo_pyro import diagnosis, errors
from tests.test_architecture import TREES

OURS = {
    name
    for name in errors.__all__
    if name != "warn" and issubclass(getattr(errors, name), errors.PrimoError | errors.PrimoWarning)
}
# Exceptions of Python that never reach a user: caught in the same module, or what Python itself waits for.
INNER = {
    "arrays": {"TypeError"},
    "blocks": {"TypeError"},
    "checkpoints": {"ValueError"},
    "cli.commands": {"typer.Exit", "typer.BadParameter"},
    "data.mimic3": {"pickle.UnpicklingError"},
    "model_files": {"ValueError", "AssertionError"},
    "persistence": {"ValueError"},
    "primo_pyro": {"AttributeError"},
    "saved_values": {"ValueError"},
}
VERBS = """
Add Ask Bring Call Certify Check Choose Code Compare Convert Copy Correct Count Delete Derive Divide Draw
Drop End Fill Fit Get Give Install Keep Leave Let Load Look Lower Make Move Name Pad Pass Pick Put Raise
Read Register Remove Rename Repair Replace Reshape Return Run Say Set Take Train Try Unpack Use Wait
Write
"""
CURE = re.compile(rf"(?:^|[.;:?!}}] |\n)(?:{'|'.join(VERBS.split())})\b")
# Names of what holds a cure, or a whole message that was made elsewhere.
HOLDS_A_CURE = re.compile(r"cure|obtain|COPY_ANEW", re.IGNORECASE)
PASSED_ON = {"error", "message", "problems", "left_out"}


def text_of(node: ast.expr) -> str:
    """A message as written, with its fields in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "{" + ast.unparse(node.value if isinstance(node, ast.FormattedValue) else node) + "}"


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def messages(tree: ast.Module):
    """The messages of errors and warnings of ours that a module makes: line, kind and text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and name_of(node) in OURS | {"warn", "error"}:
            yield node.lineno, name_of(node), text_of(node.args[0])


ALL = [
    (f"{module}:{line}", kind, text) for module, tree in TREES.items() for line, kind, text in messages(tree)
]


def is_passed_on(text: str) -> bool:
    """Whether a message is that of another error, or of `diagnosis.MESSAGES`."""
    if text.startswith("{findings}"):
        return True
    return (
        "expected" not in text
        and re.search(rf"\{{[^}}]*\b({'|'.join(PASSED_ON)})\b[^}}]*\}}\s*$", text) is not None
    )


@pytest.mark.parametrize("check", diagnosis.MESSAGES)
def test_a_finding_about_a_fit_has_a_cure(check):
    assert CURE.search(diagnosis.MESSAGES[check][2])


def test_there_are_many():
    assert len(ALL) > 300


@pytest.mark.parametrize(("place", "kind", "text"), ALL, ids=[place for place, _, _ in ALL])
def test_a_message_has_a_cure(place, kind, text):
    if is_passed_on(text):
        return
    fields = re.findall(r"\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", text)
    assert CURE.search(text) or any(HOLDS_A_CURE.search(field) for field in fields), text
    assert "expected" in text, text


def cures_of(tree: ast.Module):
    """Texts that are put into messages as their cures: constants and variables of such names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = [t for t in targets if isinstance(t, ast.Name | ast.Attribute)]
            if any(HOLDS_A_CURE.search(ast.unparse(target)) for target in named):
                for part in ast.walk(node.value):
                    if isinstance(part, ast.JoinedStr) or (
                        isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value
                    ):
                        yield node.lineno, text_of(part)
                        break


@pytest.mark.parametrize(
    ("place", "text"),
    [(f"{module}:{line}", text) for module, tree in TREES.items() for line, text in cures_of(tree)],
)
def test_what_is_called_a_cure_begins_with_a_verb(place, text):
    assert CURE.search(text), text


@pytest.mark.parametrize("module", sorted(TREES))
def test_only_our_own_exceptions_are_raised(module):
    raised = {
        name_of(node.exc)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    # A name in small letters is a function of ours that makes the error, or a class that was handed on.
    foreign = {name for name in raised if name.rpartition(".")[2] not in OURS and name[:1].isupper()}
    foreign |= {name for name in raised if name.startswith(("pickle.", "typer."))}
    assert foreign <= INNER.get(module, set())
