"""What is measured. Each part yields tidy lines: part, case, what, turn, value, unit.

Rivals take turns, so that the load of the machine falls on all alike, and a ratio is taken within a turn.
Times are processor times of one thread, which other programs on the machine disturb less than elapsed time;
where processes work beside each other, elapsed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from pyro.infer import Predictive
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.mixture import BayesianGaussianMixture
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bench.checks import checks
from benchmarks.bench.plain import LateFusion, PlainObjective, as_tensors, plain_summary
from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.analysis.clusters import label_shares, plausible_labels, share_agreement
from primo_pyro.data import make_xor, xor_impact
from primo_pyro.draws import standard_normal_points
from primo_pyro.errors import PrimoWarning
from primo_pyro.prediction import summarise
from primo_pyro.program import Categorical, Loss, Objective, PrimoGuide, PrimoModel, one_latent_each
from primo_pyro.program.encoders import encoders_for

__all__ = ["MEMORY", "PARTS", "memory_of"]

Line = dict[str, Any]
HIDDEN, LATENT, DRAWS = 64, 8, 200
SHAPES: dict[
    str, tuple[dict[str, tuple[int, ...]], int, int]
] = {  # observed "o", others optional; classes; batch
    "XOR": ({"o": (1,), "m": (1,)}, 2, 128),
    "table, 1 block": ({"o": (10,), "m0": (30,)}, 2, 128),
    "table, 3 blocks": ({"o": (10,), **{f"m{i}": (30,) for i in range(3)}}, 2, 128),
    "table, 8 blocks": ({"o": (10,), **{f"m{i}": (30,) for i in range(8)}}, 2, 128),
    "series and static": ({"o": (20,), "series": (48, 12)}, 2, 128),
    "image and sound": ({"o": (1, 28, 28), "sound": (1, 112, 112)}, 10, 64),
}


def make_rows(shapes: dict[str, tuple[int, ...]], classes: int, rows: int) -> tuple[Modalities, np.ndarray]:
    """Random numbers, every optional modality absent in half of the rows: time does not depend on values."""
    random = np.random.default_rng(0)
    x = Modalities({name: random.normal(size=(rows, *s)).astype(np.float32) for name, s in shapes.items()})
    optional = [name for name in shapes if name != "o"]
    return x.drop_at_random(*optional, random_state=0), random.integers(classes, size=rows)


def make_loss(x: Modalities, classes: int, latent: int = LATENT) -> Loss:
    """The default objective of untrained programs, with parameters at which draws differ."""
    torch.manual_seed(0)
    latents = one_latent_each([name for name in x.names if name != "o"], latent)
    encoder = encoders_for(x, None, HIDDEN)
    model = PrimoModel(encoder, latents, outcome=Categorical(classes), hidden_dim=HIDDEN)
    with torch.no_grad():
        for linear in model.likelihood.from_latent.values():
            linear.weight.mul_(3)
    guide = PrimoGuide(model, hidden_dim=HIDDEN, gamma=0.5, proposes_from_prior=True)
    return Loss(model, guide, objective=Objective())


def take_turns(
    functions: dict[str, Callable[[], object]], turns: int, clock: Callable[[], float] = time.process_time
) -> Iterator[tuple[str, int, float]]:
    """Name, turn and seconds; a first round warms up."""
    for turn in range(-1, turns):
        for name, function in functions.items():
            start = clock()
            function()
            seconds = clock() - start
            if turn >= 0:
                yield name, turn, seconds


def line(part: str, case: str, what: str, turn: int, value: float, unit: str) -> Line:
    return {"part": part, "case": case, "what": what, "turn": turn, "value": value, "unit": unit}


def _step(module: nn.Module, loss: Callable[[], torch.Tensor], times: int = 1) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(module.parameters(), fused=True)

    def step() -> None:
        for _ in range(times):
            value = loss()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()

    return step


def _losses(
    loss: Loss, x: Modalities, y: np.ndarray
) -> dict[str, tuple[nn.Module, Callable[[], torch.Tensor]]]:
    by_hand, fusion = PlainObjective(loss), LateFusion(loss.training_model.model)
    labels, names = torch.as_tensor(y), list(by_hand.encoders)
    return {
        "primo": (loss, lambda: loss(x, labels) / len(x)),
        "by hand": (by_hand, lambda: by_hand(*as_tensors(x, names), labels) / len(x)),
        "multimodal": (fusion, lambda: fusion(*as_tensors(x, names), labels)),
    }


def steps(quick: bool) -> Iterator[Line]:
    """A training step: forward, backward and update of one batch."""
    for case, (shapes, classes, batch) in SHAPES.items():
        images = "image" in case
        times = 1 if images else 4 if quick else 8
        x, y = make_rows(shapes, classes, batch)
        runs = {name: _step(*of, times=times) for name, of in _losses(make_loss(x, classes), x, y).items()}
        for what, turn, seconds in take_turns(runs, 3 if quick else 7):
            yield line("step", case, what, turn, 1e3 * seconds / times, "ms")


def epochs(quick: bool) -> Iterator[Line]:
    """Two epochs of ``fit``, with all that it does around them, against the loops by hand."""
    for case, (shapes, classes, batch) in SHAPES.items():
        rows = (2 if quick else 4) * batch * (1 if "image" in case else 4)
        x, y = make_rows(shapes, classes, rows)

        def fit(x: Modalities = x, y: np.ndarray = y, batch: int = batch) -> None:
            settings: dict[str, Any] = {"hidden_dim": HIDDEN, "latent_dim": LATENT, "batch_size": batch}
            PrimoClassifier(
                max_epochs=2, validation_fraction=0, device="cpu", random_state=0, **settings
            ).fit(x, y)

        def loop(
            kind: str, x: Modalities = x, y: np.ndarray = y, batch: int = batch, classes: int = classes
        ) -> None:
            loss = make_loss(x, classes)
            module = PlainObjective(loss) if kind == "by hand" else LateFusion(loss.training_model.model)
            optimiser = torch.optim.AdamW(module.parameters(), fused=True)
            labels, names = torch.as_tensor(y), list(module.encoders)
            values, present = as_tensors(x, names)
            for _ in range(2):
                for some in torch.randperm(len(x)).split(batch):
                    value = module({n: v[some] for n, v in values.items()}, present[:, some], labels[some])
                    optimiser.zero_grad()
                    (value / len(some) if kind == "by hand" else value).backward()
                    optimiser.step()

        runs = {"primo": fit, "by hand": partial(loop, "by hand"), "multimodal": partial(loop, "multimodal")}
        for what, turn, seconds in take_turns(runs, 1 if quick else 3):
            yield line("epoch", case, what, turn, seconds / 2, "s")


def fits(quick: bool) -> Iterator[Line]:
    """Whole fits of XOR by default settings, half of the rows without m, and what they have learnt."""
    rows, new = (400, 200) if quick else (28_000, 4000)
    for seed in range(1 if quick else 2):
        x, y = make_xor(rows + new, random_state=seed)
        clf = PrimoClassifier(device="cpu", random_state=seed, max_epochs=2 if quick else None)
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrimoWarning)
            clf.fit(x[:rows].drop_at_random("m", random_state=seed), y[:rows])
        seconds = time.process_time() - start
        x, y = x[rows:], y[rows:]
        exact = xor_impact(x.values["o"].ravel())
        found = {
            "processor time, s": seconds,
            "log loss, m absent": log_loss(y, clf.predict_proba(x.drop("m"))),
            "log loss, m present": log_loss(y, clf.predict_proba(x)),
            "mean error of V": np.abs(clf.predictive_impact(x.drop("m"))["impact"] - exact).mean(),
        }
        for what, value in found.items():
            yield line("fit", f"XOR, {rows:,} rows, seed {seed}", what, 0, value, "")


# --- Prediction ----------------------------------------------------------------------------------------


def fitted(case: str, rows: int, classes: int, latent: int = LATENT) -> tuple[PrimoClassifier, Modalities]:
    """A classifier with untrained programs, and rows."""
    x, y = make_rows(SHAPES[case][0], classes, rows)
    loss = make_loss(x, classes, latent)
    y[:classes] = np.arange(classes)
    clf = PrimoClassifier(num_samples=DRAWS, random_state=0, device="cpu")
    return clf.adopt(loss.training_model.model, loss.bound.guide, x, y), x


def trained_xor(rows: int) -> tuple[PrimoClassifier, Modalities]:
    """A classifier that knows the task with two numbers, and rows."""
    x, y = make_xor(rows + 2000, random_state=0)
    clf = PrimoClassifier(latent_dim=2, hidden_dim=HIDDEN, max_epochs=12, num_samples=DRAWS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrimoWarning)
        clf.fit(x[:2000].drop_at_random("m", random_state=0), y[:2000])
    return clf, x[2000:]


def by_predictive(model: PrimoModel, x: Modalities, parallel: bool, rows: int) -> None:
    """Prediction and V from the draws of Pyro's own ``Predictive``, some rows at a time."""
    model.eval()
    predictive = Predictive(model, num_samples=DRAWS, parallel=parallel, return_sites=("logits",))
    with torch.no_grad():
        for start in range(0, len(x), rows):
            p = predictive(x[start : start + rows])["logits"].softmax(-1)
            ((p - p.mean(0)).abs().sum(-1) / 2).mean(0)


def predictions(quick: bool) -> Iterator[Line]:
    """Nanoseconds for a row and draw: probabilities, and all that `predictive_impact` says."""
    for case, classes in (("XOR", 2), ("table, 1 block", 10)):
        rows = 1500 if quick else 12_000
        clf, x = trained_xor(rows) if case == "XOR" else fitted(case, rows, classes)
        x, model = x.drop(*clf.optional_), clf.model_
        few = x[: 256 if quick else 1024]
        points = standard_normal_points(DRAWS, clf.model_.latents[clf.optional_[0]].dim, "sobol", 0).float()
        runs: dict[str, tuple[Callable[[], object], int]] = {
            "predict_proba": (lambda clf=clf, x=x: clf.predict_proba(x), len(x)),
            "predictive_impact": (lambda clf=clf, x=x: clf.predictive_impact(x), len(x)),
            "by hand": (lambda m=model, x=x, p=points: plain_summary(m, x, p), len(x)),
            "Predictive, parallel": (lambda m=model, x=few: by_predictive(m, x, True, 256), len(few)),
            "Predictive, one by one": (lambda m=model, x=few: by_predictive(m, x, False, len(x)), len(few)),
        }
        cells = {name: rows * DRAWS for name, (_, rows) in runs.items()}
        for what, turn, seconds in take_turns({n: f for n, (f, _) in runs.items()}, 2 if quick else 3):
            yield line("prediction", case, what, turn, 1e9 * seconds / cells[what], "ns")
        if case == "XOR":
            yield line(
                "prediction", case, "error of as many independent draws", 0, error_ratio(model, few), "ratio"
            )
    for case in ("table, 3 blocks", "table, 8 blocks"):
        clf, x = fitted(case, 500 if quick else 2000, 2)
        runs_of = {
            "all together": partial(clf.predictive_impact, x),
            "each": partial(clf.predictive_impact, x, "each"),
        }
        for what, turn, seconds in take_turns(runs_of, 2 if quick else 5):
            yield line("prediction", case, what, turn, 1e9 * seconds / len(x) / DRAWS, "ns")


def error_ratio(model: PrimoModel, x: Modalities) -> float:
    """Mean squared error of predictions with independent draws over that with as many Sobol draws."""
    x = x[:100]
    exact = summarise(model, x, num_samples=2**13, seed=99).prediction

    def error(kind: str) -> float:
        runs = [summarise(model, x, num_samples=DRAWS, kind=kind, seed=s).prediction for s in range(8)]
        return float(np.square(np.array(runs) - exact).mean())

    return error("independent") / error("sobol")


def labels(quick: bool) -> Iterator[Line]:
    """Plausible labels against scikit-learn's mixture for each row, in one process and, by joblib, in two."""
    for draws, classes, ours, theirs in ((500, 3, 64, 8), (2000, 10, 32, 4)):
        ours, theirs = (ours // 4, theirs // 4) if quick else (ours, theirs)
        logits = network_logits(draws, ours, classes)
        case, few = f"{draws} draws, {classes} classes", logits[:, :theirs]
        found: list[np.ndarray] = []

        def by_sklearn(few: np.ndarray = few, found: list[np.ndarray] = found, jobs: int = 1) -> None:
            found[:] = Parallel(n_jobs=jobs)(
                delayed(mixture_shares)(few[:, row]) for row in range(few.shape[1])
            )

        runs: dict[str, Callable[[], object]] = {"primo": partial(plausible_labels, logits)}
        for what, turn, seconds in take_turns(runs | {"scikit-learn": by_sklearn}, 1 if quick else 3):
            rows = ours if what == "primo" else theirs
            yield line("labels", case, what, turn, 1e3 * seconds / rows, "ms")
        elapsed = {
            "primo, elapsed": runs["primo"],
            "scikit-learn, joblib, elapsed": partial(by_sklearn, jobs=2),
        }
        for what, turn, seconds in take_turns(elapsed, 1 if quick else 3, time.perf_counter):
            rows = ours if what == "primo, elapsed" else theirs
            yield line("labels", case, what, turn, 1e3 * seconds / rows, "ms")
        shares = label_shares(plausible_labels(few), np.arange(classes), by="weight")
        again = np.array([mixture_shares(few[:, row], seed=1) for row in range(few.shape[1])])
        for what, others in ("ours and scikit-learn", shares), ("two seeds of scikit-learn", again):
            agreement = share_agreement(others, np.array(found))
            yield line("labels", case, f"agreement, {what}", 0, agreement, "share")


def network_logits(draws: int, rows: int, classes: int) -> np.ndarray:
    """Logits as a classifier makes them: random rectified networks of latents, one a row."""
    random = np.random.default_rng(0)
    z = random.normal(size=(draws, rows, 4))
    first, second = random.normal(size=(rows, 4, 16)), random.normal(size=(rows, 16, classes))
    hidden = np.maximum(np.einsum("krd,rdh->krh", z, first) + random.normal(size=(rows, 16)), 0)
    return np.einsum("krh,rhc->krc", hidden, second) * random.uniform(0.1, 0.5, size=(rows, 1))


def mixture_shares(logits: np.ndarray, clusters: int = 10, seed: int = 0) -> np.ndarray:
    """Shares of labels ``[C]`` of one row's draws ``[K, C]``, by scikit-learn with the same priors."""
    points = Categorical(logits.shape[1]).coordinates(logits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it stops at 100 iterations, as ours does
        mixture = BayesianGaussianMixture(n_components=clusters, random_state=seed).fit(points)
        owner = mixture.predict_proba(points)
    weight, p = owner.mean(0), torch.as_tensor(logits).softmax(-1).numpy()
    named = (owner.T @ p).argmax(1)
    shares = np.bincount(named, np.where(weight < 0.02, 0.0, weight), minlength=logits.shape[1])
    return shares / shares.sum()


# --- Growth, memory, share of the machine's rate ---------------------------------------------------------


def growth(quick: bool) -> Iterator[Line]:
    """Milliseconds of a prediction with V, and of a step, by one size at a time."""
    base = {"rows": 1000, "draws": DRAWS, "latent size": LATENT, "classes": 2, "modalities": 1}
    sizes = {
        "rows": (500, 1000, 2000, 4000),
        "draws": (128, 256, 512, 1024),
        "latent size": (4, 8, 16, 32),
        "classes": (2, 4, 8, 16),
        "modalities": (1, 2, 4, 8),
    }
    for size, values in sizes.items():
        runs: dict[str, Callable[[], object]] = {}
        for value in values:
            of = base | {size: value}
            shapes = {"o": (10,), **{f"m{i}": (30,) for i in range(of["modalities"])}}
            x, y = make_rows(shapes, of["classes"], of["rows"] // (4 if quick else 1))
            loss = make_loss(x, of["classes"], of["latent size"])
            model = loss.training_model.model
            runs[f"V: {value}"] = partial(summarise, model, x, num_samples=of["draws"])
            if size not in ("rows", "draws"):
                few, labels = x[:128], y[:128]
                runs[f"step: {value}"] = _step(*_losses(loss, few, labels)["primo"], times=3)
        for what, turn, seconds in take_turns(runs, 1 if quick else 3):
            yield line("growth", size, what, turn, 1e3 * seconds, "ms")


def memory_of(case: str) -> tuple[float, float]:
    """Peak memory of this process in megabytes: above what it had before the case, and in all."""
    run = MEMORY[case]()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on; of Linux
    before = _status("VmRSS")
    run()
    peak = _status("VmHWM")
    return (peak - before) / 1024, peak / 1024


def _status(name: str) -> int:
    """Kilobytes, of what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _memory_of_v(rows: int, draws: int, how: str = "primo") -> Callable[[], object]:
    clf, x = fitted("XOR", rows, 2)
    x, model = x.drop("m"), clf.model_
    if how == "primo":
        return lambda: summarise(model, x, num_samples=draws)
    if how == "by hand":
        return lambda: plain_summary(model, x, standard_normal_points(draws, LATENT, "sobol", 0).float())
    return lambda: by_predictive(model, x, how == "parallel", 256 if how == "parallel" else rows)


def _memory_of_step(case: str, kind: str) -> Callable[[], object]:
    shapes, classes, batch = SHAPES[case]
    x, y = make_rows(shapes, classes, batch)
    return _step(*_losses(make_loss(x, classes), x, y)[kind], times=3)


def _memory_of_labels() -> Callable[[], object]:
    logits = np.random.default_rng(0).normal(size=(2000, 32, 10)) * 3
    return lambda: plausible_labels(logits)


MEMORY: dict[str, Callable[[], Callable[[], object]]] = {
    "V, 12,000 rows, 200 draws": partial(_memory_of_v, 12_000, 200),
    "V, 120,000 rows, 200 draws": partial(_memory_of_v, 120_000, 200),
    "V, 12,000 rows, 2,000 draws": partial(_memory_of_v, 12_000, 2000),
    "V by hand, 12,000 rows, 200 draws": partial(_memory_of_v, 12_000, 200, "by hand"),
    "Predictive, parallel, 256 rows at a time": partial(_memory_of_v, 2048, 200, "parallel"),
    "Predictive, one by one, 12,000 rows": partial(_memory_of_v, 12_000, 200, "one by one"),
    "step, table of 8 blocks": partial(_memory_of_step, "table, 8 blocks", "primo"),
    "step by hand, table of 8 blocks": partial(_memory_of_step, "table, 8 blocks", "by hand"),
    "step, multimodal, table of 8 blocks": partial(_memory_of_step, "table, 8 blocks", "multimodal"),
    "plausible labels, 2,000 draws, 10 classes": _memory_of_labels,
}
# Memory that is freed goes back to the system at once. Else the peak is what glibc happens to keep, which is
# up to five times as much, and another amount in each run.
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
QUICK_MEMORY = 1  # cases; each is a process of its own, which takes seconds to start


def memory(quick: bool) -> Iterator[Line]:
    """Peak memory of each case, in a process of its own."""
    for case in list(MEMORY)[: QUICK_MEMORY if quick else None]:
        command = [sys.executable, "-m", "benchmarks.bench", "--memory", case]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | RETURNED)
        for what, value in zip(("above before", "in all"), done.stdout.split()[-2:], strict=True):
            yield line("memory", case, what, 0, float(value), "MB")


def rate(quick: bool) -> Iterator[Line]:
    """Arithmetic in products of matrices per second, against a large product in the same turn."""
    size = 512 if quick else 1024
    a = torch.randn(size, size)
    clf, x = fitted("XOR", 500 if quick else 4000, 2)
    x = x.drop("m")
    shapes, classes, batch = SHAPES["table, 3 blocks"]
    rows, y = make_rows(shapes, classes, batch)
    runs: dict[str, Callable[[], object]] = {
        "large product": lambda: a @ a,
        "V": partial(clf.predictive_impact, x),
        "V by hand": partial(plain_summary, clf.model_, x, torch.randn(DRAWS, LATENT)),
        "step": _step(*_losses(make_loss(rows, classes), rows, y)["primo"]),
        "step by hand": _step(*_losses(make_loss(rows, classes), rows, y)["by hand"]),
    }
    operations = {}
    for name, run in runs.items():
        with FlopCounterMode(display=False) as counter:
            run()
        operations[name] = counter.get_total_flops()
    for what, turn, seconds in take_turns(runs, 3 if quick else 9):
        yield line("rate", "products of matrices", what, turn, operations[what] / seconds / 1e9, "GFLOP/s")


PARTS = {
    "step": steps,
    "epoch": epochs,
    "fit": fits,
    "prediction": predictions,
    "labels": labels,
    "growth": growth,
    "rate": rate,
    "memory": memory,
    "checks": checks,
}
