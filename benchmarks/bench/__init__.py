"""Speed and memory of the package as ratios to what a user would write by hand; see ``__main__``."""
