"""Draw docs/gallery.jpg and the pictures of docs/server.md: a search and the page, over photographs of packages.

  python recipes/photos_lite/page.py docs

The photographs are those of `datasets/sample_photos.toml` whose licence asks for no more than the author's name. Needs
chromium, `chromium` on the path.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from tagprism.datasets.sample_photos import fetch_sample_photos, sample_photos

LICENCES = ("CC BY 4.0", "CC BY 2.0", "CC0", "public domain", "no known restrictions")
COMMAND = (sys.executable, "-m", "tagprism")
SETTLED = 1500  # milliseconds
WIDE, PHONE, GALLERY = (
    ViewportSize(width=1280, height=800),
    ViewportSize(width=390, height=780),
    ViewportSize(width=1000, height=690),
)


def shoot(page: Page, to: Path) -> None:
    """Keep what the page shows, once its pictures are there."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(SETTLED)
    raw = to.with_suffix(".png")
    page.screenshot(path=raw)
    with Image.open(raw) as picture:
        picture.convert("RGB").save(to, quality=88, optimize=True)
    raw.unlink()


def draw(address: str, gallery: Path, docs: Path) -> None:
    """All pictures."""
    with sync_playwright() as programs:
        browser = programs.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=WIDE)
        page.goto(address)
        shoot(page, docs / "server.jpg")
        page.locator("img[alt*=chelsea]").first.click()
        page.wait_for_timeout(SETTLED)
        page.get_by_text("cat", exact=True).first.hover()
        shoot(page, docs / "server_photo.jpg")
        for name, size, query in (("server_dark", WIDE, "mountain"), ("server_phone", PHONE, "a cup of coffee")):
            page = browser.new_page(viewport=size, color_scheme="dark" if size is WIDE else "light")
            page.goto(address)
            page.locator("#entry").fill(query)
            page.keyboard.press("Enter")
            shoot(page, docs / f"{name}.jpg")
        page = browser.new_page(viewport=GALLERY)
        page.goto(gallery.as_uri())
        shoot(page, docs / "gallery.jpg")
        browser.close()


if __name__ == "__main__":
    fetch_sample_photos()
    with tempfile.TemporaryDirectory() as folder:
        photos, index, gallery = (Path(folder, name) for name in ("photos", "photos.index", "gallery.html"))
        photos.mkdir()
        for photo in sample_photos():
            if photo.licence in LICENCES:
                shutil.copy(photo.path, photos)
        subprocess.run([*COMMAND, "index", photos, "--into", index, "--quiet"], check=True)
        subprocess.run(
            [*COMMAND, "search", index.name, "a red bowl", "--all", "--out", gallery], cwd=folder, check=True
        )
        serve = [*COMMAND, "serve", str(index), "--port", "0"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
            assert server.stdout is not None
            found = next(filter(None, (re.search(r"http://\S+", line) for line in server.stdout)))
            try:
                draw(found[0], gallery, Path(sys.argv[1]))
            finally:
                server.terminate()
