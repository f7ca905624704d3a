"""What predictions and impact are worth: arrays and frames in, numbers, frames, pictures and a page out."""

__all__ = ["acquisition", "calibration", "clusters", "impact", "plots", "report", "scores"]
