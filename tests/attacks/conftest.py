"""How often the suites of this folder try, and what they have tried.

``make test`` runs them as they are; ``make attack`` sets ``PRIMO_ATTACK=10``, which multiplies all numbers of
examples, and prints how many inputs of each kind were tried. Every failure is a failed test.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("PRIMO_ATTACK", "1"))

# No time limit for one example: the machine may be busy. The same examples in every run: a failure is the
# change's, not the draw's.
settings.register_profile(
    "attacks",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("attacks")


def examples(count: int) -> settings:
    """So many examples in ``make test``, ten times as many in ``make attack``."""
    return settings(max_examples=count * TIMES)


@pytest.fixture
def tried(request):
    """Counts of what a test has tried, by kind."""
    counts: Counter[str] = Counter()
    yield counts
    request.node.user_properties.append(("tried", dict(counts)))


def pytest_terminal_summary(terminalreporter):
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                for name, counts in report.user_properties:
                    if name == "tried":
                        total.update(counts)
    if total:
        terminalreporter.section("tried, by kind")
        for kind, count in sorted(total.items()):
            terminalreporter.write_line(f"{count:8,d}  {kind}")
