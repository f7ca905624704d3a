"""Studies: data sets as tasks, comparisons of methods, and what the example scripts print and draw."""

__all__ = [
    "bias",
    "comparison",
    "dataset_figures",
    "figures",
    "measures",
    "methods",
    "protocols",
    "revealed",
    "runner",
    "several",
    "tasks",
]
