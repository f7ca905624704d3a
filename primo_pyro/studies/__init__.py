"""Studies: data sets as tasks, comparisons of methods, and what the example scripts print and draw."""

__all__ = [
    "bias",
    "comparison",
    "dataset_figures",
    "figures",
    "methods",
    "protocols",
    "revealed",
    "runner",
    "tasks",
]
