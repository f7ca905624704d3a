"""Where the real files are, for the tests that want them."""

import os
from pathlib import Path

import pooch
import pytest


@pytest.fixture(autouse=True)
def no_real_places(monkeypatch, tmp_path):
    """Nothing of the user's own cache or environment, unless a test asks for the real files."""
    monkeypatch.delenv("PRIMO_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")


def _real_folder() -> Path | None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("PRIMO_DATA", beside))
    return folder if folder.is_dir() else None


REAL = _real_folder()


@pytest.fixture
def real_data():
    if REAL is None:
        pytest.skip("no real data files: set PRIMO_DATA")
    return REAL
