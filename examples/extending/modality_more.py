"""A modality more: a short text beside two numbers.

    python examples/extending/modality_more.py

A modality is a block of values under a name. Its encoder is all that it asks for: latent, prior, posterior
and questions follow from the name. Here the package meets a kind of data that it does not know, notes of a
few words. The words become numbers once, and an encoder averages what each of them says. Other modalities
stay as they are.

Known: in XOR the note tells the sign of the second number, which is what the label depends on. So while both
are absent, revealing the note has the exact impact of XOR; once the number is present, the note changes
nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.data import make_xor, xor_impact

# --- The extension -------------------------------------------------------------------------------------


class Words:
    """The words of training texts, and texts as rows of their numbers; 0 is "no word" or "not known"."""

    def __init__(self, texts: Iterable[str], longest: int):
        self.numbers = {word: n for n, word in enumerate(sorted({w for t in texts for w in t.split()}), 1)}
        self.longest = longest

    def __call__(self, texts: Iterable[str]) -> np.ndarray:
        rows = [[self.numbers.get(word, 0) for word in text.split()][: self.longest] for text in texts]
        return np.array([row + [0] * (self.longest - len(row)) for row in rows], dtype=float)


class NoteEncoder(nn.Module):
    """Numbers of words ``[B, T]`` to ``[B, H]``: the mean of what each word says."""

    def __init__(self, num_words: int, out_features: int):
        super().__init__()
        self.says = nn.EmbeddingBag(num_words + 1, out_features, padding_idx=0, mode="mean")
        self.head = nn.Linear(out_features, out_features)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.says(words.long()))


# --- Data, and a check against what is known -----------------------------------------------------------

SETTINGS = {"hidden_dim": 32, "latent_dim": 2, "learning_rate": 1e-2, "batch_size": 64, "random_state": 0}
WORDS = {True: ("raised", "high", "above"), False: ("lowered", "small", "below")}


def make_notes(rows: int, seed: int) -> tuple[Modalities, list[str], np.ndarray]:
    """XOR, and a note for each row that says the sign of ``m`` in one of three words, among others."""
    x, y = make_xor(rows, seed)
    random = np.random.default_rng(seed)
    beside = np.array(["today", "again", "patient", "the", "value"])
    notes = []
    for positive in x.values["m"][:, 0] > 0:
        words = [random.choice(WORDS[bool(positive)]), *random.choice(beside, 3, replace=False)]
        notes.append(" ".join(random.permutation(words)))
    return x, notes, y


def main(rows: int, epochs: int, tolerance: float) -> None:
    torch.manual_seed(0)  # of the encoder that is made here
    x, notes, y = make_notes(rows, seed=0)
    words = Words(notes, longest=6)
    x = Modalities(dict(x.values) | {"note": words(notes)})
    x = x.drop_at_random("m", random_state=1).drop_at_random("note", random_state=2)
    encoders = {"note": NoteEncoder(len(words.numbers), 32)}
    clf = PrimoClassifier(encoders=encoders, max_epochs=epochs, **SETTINGS).fit(x, y)

    new, notes, y_new = make_notes(1000, seed=3)
    new = Modalities(dict(new.values) | {"note": words(notes)})
    print(f"accuracy with the note alone: {(clf.predict(new.drop('m')) == y_new).mean():.3f}")
    o = new.values["o"]
    impacts, exacts = [], []
    for hidden, exact in (("m", "note"), xor_impact(o)), (("note",), np.zeros(len(new))):
        impacts.append(clf.predictive_impact(new.drop(*hidden), "note")["impact"].to_numpy())
        exacts.append(exact)
        means = f"{impacts[-1].mean():.3f}, exact {exact.mean():.3f}"
        print(f"without {' and '.join(hidden)}, mean V of the note: {means}")
    impact, exact = np.concatenate(impacts), np.concatenate(exacts)
    error = np.abs(impact - exact).mean() / np.abs(exact - np.median(exact)).mean()
    print(f"check: error of V over that of the best constant: {error:.3f}, expected at most {tolerance}")
    sys.exit(0 if error <= tolerance else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--tolerance", type=float, default=0.5, help="largest error that passes")
    main(**vars(parser.parse_args()))
