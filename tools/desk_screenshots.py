"""Pictures of the review desk for the documentation: a real browser before a real desk, on made-up patients.

python tools/desk_screenshots.py [--into docs/images]    needs Chromium, and fonts with Chinese
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import Browser, binary  # noqa: E402
from support.desks import DeskStory  # noqa: E402

MOST_BYTES = 250_000


def save(picture: bytes, target: Path) -> None:
    """As PNG with few enough colours to be small."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64):
        held = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
        if held.tell() < MOST_BYTES:
            break
    target.write_bytes(held.getvalue())
    print(f"{target.name}: {held.tell()} bytes")


def take(story: DeskStory, into: Path, language: str) -> None:
    """Every page in one language."""
    suffix = "" if language == "en" else ".zh-CN"
    server = story.serve(language=language)
    root = server.desk.gate.root
    base = f"{server.desk.gate.origin}{root}"
    with Browser(1280, 800, scale=1.5, language="zh-CN" if language == "zh" else "en-US") as browser:
        browser.open(server.address)
        browser.until("location.pathname.endsWith('/queue')")
        browser.open(f"{base}/queue?order=oldest&page=1&read=yes")
        browser.until("document.querySelectorAll('.list tbody tr').length")
        save(browser.picture(), into / f"desk-queue{suffix}.png")
        for name, path in (
            ("case", f"/case/{story.waiting.get('train', story.waiting['code'])}"),
            ("code", f"/case/{story.waiting['code']}"),
            ("grants", f"/request/{story.job}"),
            ("overview", "/overview"),
        ):
            browser.open(base + path)
            browser.until(f"location.pathname.endsWith({path!r}) && !!document.querySelector('h1')")
            if name == "code":
                browser.evaluate("document.querySelector('.source').scrollIntoView({block: 'center'})")
            if name in ("case", "grants"):
                browser.press("a")
                browser.evaluate("scrollTo(0, 0)")
            save(browser.picture(), into / f"desk-{name}{suffix}.png")


def main() -> int:
    """Take them all; returns 1 where there is no browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "docs/images", metavar="DIR")
    given = parser.parse_args()
    if binary() is None:
        print("There is no Chromium on this machine.", file=sys.stderr)
        return 1
    given.into.mkdir(parents=True, exist_ok=True)
    story = DeskStory().fill()
    try:
        for language in ("en", "zh"):
            take(story, given.into, language)
    finally:
        story.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
