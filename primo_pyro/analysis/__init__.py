"""Analysis of predictions and impact: arrays and frames in; numbers, frames, pictures and a report out."""

__all__ = ["acquisition", "calibration", "clusters", "impact", "plots", "report", "scores"]
