"""Open every page of a built site in a browser, on a phone and on a desk: no page may scroll sideways.

``python docs/check_width.py build/site``, with ``--pictures FOLDER`` to look at the pages. Where there is no
Chromium it says so and checks nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["browser", "too_wide"]

WIDTHS = (400, 1280)  # pixels
# What is wider than the window and not inside a box that scrolls by itself.
WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const scrolls = e => e && (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)
                             || scrolls(e.parentElement));
  return [...document.body.querySelectorAll("*")]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement))
    .map(e => `${e.tagName.toLowerCase()}.${e.className}: ${e.textContent.trim().slice(0, 40)}`)
    .slice(0, 3);
}"""


def browser() -> str | None:
    """Path of a Chromium or Chrome on this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


def too_wide(site: Path, pictures: Path | None = None) -> Iterator[str]:
    """A line for each page and width that scrolls sideways."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        for width in WIDTHS:
            page = chromium.new_page(viewport={"width": width, "height": 800})
            page.route(
                "http*://**", lambda route: route.abort()
            )  # pages are files; nothing waits for a network
            for path in sorted(site.rglob("*.html")):
                name = path.relative_to(site)
                if name.parts[0] in ("_static", "_modules"):
                    continue
                page.goto(path.resolve().as_uri())
                excess = page.evaluate(
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                )
                if excess > 0:
                    yield f"{name} at {width} px: {excess} px too wide; {page.evaluate(WIDE)}"
                if pictures:
                    pictures.mkdir(parents=True, exist_ok=True)
                    picture = "-".join(name.with_suffix("").parts) + f"-{width}.png"
                    page.screenshot(path=pictures / picture)
        chromium.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    if browser() is None:
        print("No Chromium here: the width of pages is not checked.")
        return 0
    found = list(too_wide(given.site, given.pictures))
    print("\n".join(found) or f"No page scrolls sideways at {' or '.join(map(str, WIDTHS))} px.")
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main())
