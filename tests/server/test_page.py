"""The page in a real browser: what people do with it, by mouse, keyboard and ear.

`TAGPRISM_SCREENSHOTS=docs python -m pytest tests/server/test_page.py -k screenshots` makes the pictures of
docs/server.md again; drawings of Open Clip Art join the photos where they are found.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tagprism.datasets.openclipart import find_openclipart
from tests.keywords.sidecars import DARKTABLE
from tests.server.served import PHOTOS, TOKEN, Served, make_index, make_photos, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
pytestmark = pytest.mark.slow  # a browser starts slowly; after a change of the page, run this file


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def own_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of these tests alone, which write beside them."""
    folder = make_photos(tmp_path_factory.mktemp("page") / "photos")
    (folder / "coffee.jpg").rename(folder / "<img src=x onerror=document.title='broken'>.jpg")
    return folder


@pytest.fixture(scope="module")
def server(own_photos: Path) -> Iterator[Served]:
    index = make_index(own_photos.parent / "photos.index", own_photos)
    # A cache of its own, in which there are no encoders, and no journals of other runs.
    places = {name: str(own_photos.parent / name) for name in ("TAGPRISM_CACHE", "TAGPRISM_STATE")}
    with served(index, environment=places) as server:
        yield server


def open_page(browser: Browser, address: str, **options: object) -> tuple[Page, list[str]]:
    """A page in a browser of its own, and what it complains of: errors, and requests to anyone else."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB", **options)
    context.set_default_timeout(15_000)
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
    host = address.split("/")[2]
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", "blob:")) or host in request.url
            else complaints.append(request.url)
        ),
    )
    page.goto(address)
    return page, complaints


@pytest.fixture
def page(browser: Browser, server: Served) -> Iterator[Page]:
    page, complaints = open_page(browser, server.address)
    expect(page.locator(".tile")).to_have_count(21)
    yield page
    assert complaints == []
    page.context.close()


def names(page: Page) -> list[str]:
    """File names in the grid, in order."""
    return [str(alt).partition(":")[0] for alt in page.locator(".tile img").evaluate_all("all => all.map(i => i.alt)")]


def query_of(page: Page) -> str:
    return page.locator("#text").input_value()


def test_tags_are_completed_and_the_grid_keeps_up(page: Page) -> None:
    everything = names(page)
    entry = page.get_by_role("combobox", name="Add a tag", exact=True)
    entry.press_sequentially("rocke", delay=20)
    options = page.locator("#options").get_by_role("option")
    expect(options.first).to_be_visible()
    assert all("rocke" in text for text in options.all_inner_texts())
    expect(page.locator("#count")).not_to_have_text("21 pictures")  # the likeliest completion is shown already
    assert names(page) != everything and query_of(page) == ""
    entry.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    assert entry.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    chosen = options.first.locator("span").inner_text()
    entry.press("Enter")
    assert query_of(page) == chosen and f"q={chosen}".replace(" ", "+") in page.url
    assert entry.input_value() == ""


def test_chips_toggle_the_text_follows_and_back_goes_back(page: Page) -> None:
    entry = page.get_by_role("combobox", name="Add a tag", exact=True)
    entry.fill("sky")
    entry.press("Enter")
    entry.fill("head")
    entry.press(",")
    assert query_of(page) == "sky AND head"
    first = names(page)
    page.get_by_role("button", name="head: exclude it instead").click()
    assert query_of(page) == "sky NOT head"
    expect(page.get_by_role("button", name="not head: ask for it instead")).to_be_focused()
    page.wait_for_function(
        "first => JSON.stringify([...document.querySelectorAll('.tile img')].map(i => i.alt)) != first", arg=str(first)
    )
    page.get_by_role("button", name="Remove sky").click()
    assert query_of(page) == "NOT head"
    page.go_back()
    assert query_of(page) == "sky NOT head"
    page.reload()
    expect(page.locator("#text")).to_have_value("sky NOT head")
    expect(page.locator(".chip.not")).to_contain_text("head")
    page.locator("#entry").press("Backspace")
    expect(page.locator("#text")).to_have_value("sky")
    page.get_by_role("button", name="Clear the query").click()
    expect(page.locator(".tile")).to_have_count(21)
    expect(page.locator("#count")).to_have_text("21 pictures")


def test_the_text_is_edited_and_errors_point_at_the_place(page: Page) -> None:
    text = page.get_by_label("Query", exact=True)
    text.fill("(sky OR water) AND 2*tree NOT head")
    text.press("Enter")
    chips = page.locator("#chips > li")
    expect(chips).to_have_text(["(", "sky", "OR", "water", ")", "tree", "not head"], use_inner_text=True)
    chips.nth(3).get_by_role("button").first.click()
    assert query_of(page) == "(sky OR NOT water) AND 2*tree NOT head"
    text.fill("sky AND (head")
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("not closed")
    expect(problem.locator("mark")).to_have_text("(")
    expect(text).to_have_attribute("aria-invalid", "true")
    text.fill("sky AND head")
    expect(problem).to_be_hidden()


def test_nothing_fits(page: Page) -> None:
    page.get_by_label("Query", exact=True).fill("path:nowhere")
    expect(page.get_by_role("heading", name="No picture fits")).to_be_visible()
    expect(page.get_by_role("status").first).to_have_text("nothing found")
    page.get_by_role("button", name="look at all pictures.").click()
    expect(page.locator(".tile")).to_have_count(21)


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.locator("#entry")).to_be_focused()
    page.keyboard.press("ArrowDown")
    tiles = page.locator(".tile .open")
    expect(tiles.nth(0)).to_be_focused()
    assert page.locator('.tile .open[tabindex="0"]').count() == 1
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert below > page.evaluate("document.querySelector('.tile').getBoundingClientRect().top")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(page.locator("#viewer-name")).to_be_focused()
    first = page.locator("#viewer-name").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-name")).not_to_have_text(first)
    assert "photo=" in page.url
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(tiles.nth(1)).to_be_focused()
    assert "photo=" not in page.url
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def open_picture(page: Page, name: str) -> None:
    page.locator(f'.tile img[alt^="{name}"]').click()
    expect(page.locator("#viewer-name")).to_have_text(name)


def painted(page: Page) -> int:
    """Pixels of the heat map that have a colour."""
    return page.evaluate(
        "() => { const c = document.getElementById('heat'); return c.width && c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3 && v > 20).length }"
    )


def test_a_tag_shows_where_it_comes_from(page: Page) -> None:
    open_picture(page, "rocket.jpg")
    rows = page.locator(".tag")
    expect(page.locator("#why")).to_contain_text("Point at a tag")
    rows.first.hover()
    expect(page.locator("#heat")).to_have_class("on")
    assert painted(page) > 1000
    label = rows.first.get_attribute("data-label")
    expect(page.locator("#why")).to_contain_text(re.compile(f"{label}: vector [1-7] of 7 fired"))
    expect(page.locator("#why rect")).to_have_count(7)
    expect(page.locator("#why rect.won")).to_have_count(1)
    page.locator("#meta").hover()
    expect(page.locator("#heat")).not_to_have_class("on")
    rows.nth(1).locator(".show").focus()
    expect(page.locator("#heat")).to_have_class("on")
    rows.nth(1).locator(".show").press("Enter")
    expect(rows.nth(1).locator(".show")).to_have_attribute("aria-pressed", "true")


def test_what_a_person_says_is_kept_and_becomes_a_keyword(page: Page, own_photos: Path) -> None:
    sidecar = own_photos / "chelsea.jpg.xmp"
    open_picture(page, "chelsea.jpg")
    keywords = page.get_by_role("button", name="Write as keywords")
    expect(keywords).to_be_disabled()
    first = str(page.locator(".tag").first.get_attribute("data-label"))
    page.get_by_role("button", name=f"Reject {first}", exact=True).click()
    expect(page.locator(".tag.rejected")).to_contain_text(first)
    page.get_by_role("combobox", name="Add a tag to this picture").fill("Tom & <b>cat</b>")
    page.keyboard.press("Enter")
    expect(page.locator(".tag").first).to_contain_text("Tom & <b>cat</b>")
    page.reload()
    expect(page.locator(".tag").first).to_contain_text("Tom & <b>cat</b>")
    expect(page.locator(".tag.rejected")).to_contain_text(first)
    keywords.click()
    said = page.locator("#said")
    expect(said).to_contain_text("Written into chelsea.jpg.xmp: Tom & <b>cat</b>.")
    assert b"Tom &amp; &lt;b" in sidecar.read_bytes()
    said.get_by_role("button", name="Undo").click()
    expect(said).to_contain_text("is as it was")
    assert not sidecar.exists()
    page.get_by_role("button", name=f"Reject {first}", exact=True).click()
    expect(page.locator(".tag.rejected")).to_have_count(0)


def test_more_like_this(page: Page) -> None:
    open_picture(page, "red_circle_0.png")
    page.get_by_role("button", name="More like this").click()
    expect(page.locator(".chip.like")).to_contain_text("like red_circle_0.png")
    expect(page.locator(".tile")).to_have_count(20)
    assert "like=" in page.url and "red_circle_0.png" not in names(page)
    page.reload()
    expect(page.locator(".chip.like")).to_contain_text("like red_circle_0.png")
    page.get_by_role("button", name="Remove red_circle_0.png").click()
    expect(page.locator(".tile")).to_have_count(21)


def test_a_dropped_photo_is_tagged(page: Page) -> None:
    data = list((PHOTOS / "rocket.jpg").read_bytes() + b"\0")  # not the very bytes of the indexed one
    transfer = page.evaluate_handle(
        "bytes => { const t = new DataTransfer(); t.items.add(new File([new Uint8Array(bytes)], 'mine.jpg',"
        " {type: 'image/jpeg'})); return t; }",
        data,
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator("#viewer-name")).to_have_text("mine.jpg")
    expect(page.locator("#meta")).to_contain_text("not kept")
    page.locator(".tag").first.hover()
    expect(page.locator("#heat")).to_have_class("on")
    expect(page.locator("#similar-list button").first).to_be_visible()
    page.locator("#similar-list button").first.click()
    expect(page.locator("#viewer-name")).to_have_text("rocket.jpg")  # the same photo, in the index


def test_a_file_that_is_no_photo_says_so(page: Page) -> None:
    page.locator("#file").set_input_files({"name": "letter.jpg", "mimeType": "image/jpeg", "buffer": b"Dear Sir"})
    expect(page.locator("#viewer-problem")).to_contain_text("not a picture")


def test_script_in_a_name_is_text(page: Page) -> None:
    assert "<img src=x onerror=document.title='broken'>.jpg" in names(page)
    page.locator(".tile img[alt^='<img']").click()
    expect(page.locator("#viewer-name")).to_have_text("<img src=x onerror=document.title='broken'>.jpg")
    page.get_by_role("button", name="More like this").click()
    expect(page.locator(".chip.like")).to_contain_text("like <img src=x")
    assert page.title() != "broken"
    page.goto(page.url.partition("?")[0] + "?q=%22%3Cscript%3Edocument.title%3D'broken'%3C/script%3E%22")
    expect(page.locator(".chip")).to_contain_text("<script>")
    assert page.title() != "broken"


def test_a_server_that_has_gone(browser: Browser, index: Path) -> None:
    with served(index) as server:
        page, _ = open_page(browser, server.address)
        expect(page.locator(".tile")).to_have_count(21)
        page.wait_for_load_state("networkidle")
    page.get_by_label("Query", exact=True).fill("sky")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.context.close()


def test_an_empty_index(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with served(make_index(tmp_path / "photos.index", tmp_path / "photos")) as server:
        page, complaints = open_page(browser, server.address)
        expect(page.get_by_role("heading", name="There are no pictures yet")).to_be_visible()
        page.context.close()
        assert complaints == []


def test_the_token_is_asked_for(browser: Browser, index: Path) -> None:
    with served(index, environment={"TAGPRISM_TOKEN": TOKEN}) as server:
        page, complaints = open_page(browser, server.address)
        page.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not the token")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator(".tile")).to_have_count(21)
        page.context.close()
        assert complaints == []


def test_a_phone(browser: Browser, server: Served) -> None:
    page, complaints = open_page(browser, server.address, has_touch=True)
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator(".tile")).to_have_count(21)
    page.goto(f"{server.address}/?q=birds+on+the+water")
    expect(page.locator(".chip")).to_be_visible()
    assert page.locator("#box").bounding_box()["height"] < 60  # one row
    for ask in ("", "a very long phrase that nobody would put into a single line AND sky NOT people"):
        page.get_by_label("Query", exact=True).fill(ask)
        page.get_by_label("Query", exact=True).press("Enter")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.goto(server.address)
    page.locator(".tile").first.tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.getElementById('viewer').scrollWidth") <= 360
    page.locator(".tag .show").first.tap()
    expect(page.locator("#heat")).to_have_class("on")
    page.context.close()
    assert complaints == []


CONTRAST = """scheme => {
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => (v /= 255) <= .03928 ?
    v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const back = element => { for (let e = element; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType == 3 && n.data.trim());
    if (!own || !element.checkVisibility({opacityProperty: true})) continue;
    if (element.closest('.caption, .skip, .unseen')) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(back(element))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) poor.push(element.outerHTML.slice(0, 90));
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Browser, server: Served, scheme: str) -> None:
    page, _ = open_page(browser, server.address, color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{server.address}/?q=sky+NOT+head")
    expect(page.locator(".chip.not")).to_be_visible()
    page.locator("#entry").press_sequentially("bea")
    expect(page.locator("#options li").first).to_be_visible()
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("Escape")
    page.locator(".tile").first.click()
    page.locator(".tag .no").first.click()
    expect(page.locator(".tag.rejected")).to_have_count(1)
    assert page.evaluate(CONTRAST) == []
    page.locator(".tag.rejected .no").click()
    expect(page.locator(".tag.rejected")).to_have_count(0)
    page.context.close()


def test_a_screen_reader_finds_its_way(page: Page) -> None:
    open_picture(page, "astronaut.jpg")
    nameless = page.evaluate(
        "() => [...document.querySelectorAll('button, input, a, dialog, img')].filter(e => e.checkVisibility() &&"
        " !(e.ariaLabel || e.alt || e.textContent.trim() || e.labels?.length || e.getAttribute('aria-labelledby')))"
        ".map(e => e.outerHTML.slice(0, 90))"
    )
    assert nameless == []
    page.keyboard.press("Escape")
    snapshot = page.locator("body").aria_snapshot()
    for role in ("- banner", "- search", "- main", "- status", '- combobox "Add a tag"', '- list "Pictures"'):
        assert role in snapshot, snapshot


def test_screenshots(browser: Browser, tmp_path: Path) -> None:
    """What docs/server.md shows: everything, a query, a photo with its heat map, the dark page, a phone."""
    into = Path(os.environ.get("TAGPRISM_SCREENSHOTS", tmp_path))
    photos = make_photos(tmp_path / "photos", drawn=0)
    source = find_openclipart()
    for kind in ("birds", "mammals", "flowers", "fruit", "boating", "homes") if source is not None else ():
        folder = next((one for one in sorted(Path(source).rglob(kind)) if one.is_dir() and "png" in str(one)), None)
        for file in sorted(folder.glob("*.png"))[:22] if folder else ():
            if file.stat().st_size < 400_000:
                shutil.copy(file, photos)
    for photo in sorted(photos.glob("*.jpg")):
        photo.touch()  # the latest come first
    with served(make_index(tmp_path / "photos.index", photos)) as server:
        for name, size, scheme in (
            ("", (1280, 800), "light"),
            ("_dark", (1280, 800), "dark"),
            ("_phone", (360, 700), "light"),
        ):
            page, complaints = open_page(browser, server.address, color_scheme=scheme, has_touch=name == "_phone")
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.goto(f"{server.address}/?q=birds+NOT+people" if name == "_dark" else server.address)
            expect(page.locator(".tile").first).to_be_visible()
            page.wait_for_load_state("networkidle")
            shoot(page, into / f"server{name}.jpg")
            if not name:
                open_picture(page, "chelsea.jpg")
                page.locator(".tag .show").first.click()
                expect(page.locator("#heat")).to_have_class("on")
                page.wait_for_load_state("networkidle")
                page.wait_for_timeout(300)  # until the map is there in full colour
                shoot(page, into / "server_photo.jpg")
            page.context.close()
            assert complaints == []


def shoot(page: Page, file: Path) -> None:
    page.screenshot(path=file, type="jpeg", quality=72)
    assert file.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("red car", r"red\+car"), ("king", "king"), ("water ski", r"water\+ski"), ("rocke", r"rocke.+")],
)
def test_enter_asks_for_what_was_typed_whatever_is_suggested(page: Page, typed: str, shown: str) -> None:
    entry, options = page.locator("#entry"), page.locator("#options").get_by_role("option")
    for key in ("", "Escape", "ArrowDown ArrowUp"):  # nothing is chosen by any
        with page.expect_response(lambda answer: re.search(f"&query={shown}$", answer.url) is not None):
            entry.press_sequentially(typed, delay=20)
        expect(options.first).to_be_visible()
        for one in key.split():
            entry.press(one)
        entry.press("Enter")
        assert query_of(page) == typed and page.url.endswith(f"?q={typed.replace(' ', '+')}")
        assert entry.input_value() == ""
        page.get_by_role("button", name="Clear the query").click()
    entry.press_sequentially(f"-{typed}", delay=20)
    expect(options.first).to_be_visible()
    entry.press("Enter")
    assert query_of(page) == f"NOT {typed}"
    entry.fill(f'"{typed}"')  # in quotes as it stands
    entry.press("Enter")
    assert query_of(page) == f'NOT {typed} AND "{typed}"'
    page.get_by_role("button", name="Clear the query").click()
    entry.press_sequentially(typed, delay=20)
    chosen = options.first.locator("span").inner_text()
    options.first.click()
    assert query_of(page) == chosen != typed


def test_likely_pictures_come_before_a_line(page: Page) -> None:
    page.get_by_label("Query", exact=True).fill("cat")
    fold = page.get_by_role("button", name="Show the less likely ones")
    expect(fold).to_be_visible()
    likely = names(page)
    assert 0 < len(likely) < 21 and "chelsea.jpg" in likely
    matches = page.locator(".tile .match").all_inner_texts()
    assert len(matches) == len(likely) and all(re.fullmatch(r"\d+ %", match) for match in matches)
    fold.click()
    expect(page.locator(".tile")).to_have_count(21)
    expect(page.locator(".divide")).to_have_text("Less likely: something that was asked for is unlikely here")
    assert names(page)[: len(likely)] == likely and not fold.is_visible()
    page.get_by_label("Query", exact=True).fill("rocket AND cat AND beach AND sky")
    expect(page.locator(".divide")).to_have_text("None is likely. Nearest first:")
    expect(page.locator(".tile")).to_have_count(21)


def test_an_own_tag_is_certain(page: Page) -> None:
    """A tag that no encoder knows: searched for, it is there, and nothing says that none is likely."""
    open_picture(page, "astronaut.jpg")
    page.get_by_role("combobox", name="Add a tag to this picture").fill("Rex the corgi")
    page.keyboard.press("Enter")
    expect(page.locator(".tag").first).to_contain_text("yours")
    page.keyboard.press("Escape")
    page.get_by_label("Query", exact=True).fill("Rex the corgi")
    expect(page.locator(".tile")).to_have_count(1)
    expect(page.locator(".tile .match")).to_have_text("100 %")
    expect(page.locator("#count")).to_contain_text("best first")
    page.locator(".tile .open").click()
    page.get_by_role("button", name="Keep Rex the corgi").click()
    expect(page.locator("#tags")).not_to_contain_text("Rex the corgi")


def test_the_keywords_of_a_file_are_shown_apart_and_lead_to_others(page: Page, own_photos: Path) -> None:
    sidecar = own_photos / "rocket.jpg.xmp"
    sidecar.write_text(DARKTABLE)
    open_picture(page, "rocket.jpg")
    keywords = page.locator("#own-list button")
    expect(keywords).to_have_text(["Familie", "Ostsee", "Orte"])
    sidecar.unlink()
    keywords.first.click()
    assert query_of(page) == "tag:Familie"
    expect(page.get_by_role("heading", name="No picture fits")).to_be_visible()  # the index has not read it yet


def test_several_pictures_are_chosen_tagged_and_exported(page: Page, own_photos: Path) -> None:
    page.get_by_label("Query", exact=True).fill("path:drawn")
    expect(page.locator(".tile")).to_have_count(16)
    page.locator(".tile").nth(1).hover()
    page.get_by_role("checkbox").nth(1).click()
    page.locator(".tile .open").nth(3).click(modifiers=["Shift"])
    expect(page.locator("#bar-count")).to_have_text("3 selected")
    page.locator(".tile .open").nth(2).focus()
    page.keyboard.press("x")
    expect(page.locator("#bar-count")).to_have_text("2 selected")
    chosen = [names(page)[place] for place in (1, 3)]
    page.get_by_role("combobox", name="Add a tag to the selected pictures").fill("Set <b>A</b>")
    page.keyboard.press("Enter")
    said = page.locator("#bar-said")
    expect(said).to_contain_text("Set <b>A</b>: added to 2 pictures.")
    page.locator("#bar").get_by_role("button", name="Write as keywords").click()
    expect(said).to_contain_text("Keywords of 2 pictures written.")
    assert sorted(file.name for file in own_photos.rglob("*.xmp")) == sorted(f"{name}.xmp" for name in chosen)
    said.get_by_role("button", name="Undo").click()
    expect(said).to_contain_text("2 pictures: as before.")
    assert not list(own_photos.rglob("*.xmp"))
    with page.expect_download() as download:
        page.get_by_label("Export the selected pictures").select_option("paths")
    assert download.value.suggested_filename == "pictures.txt"
    paths = Path(download.value.path()).read_text().splitlines()
    assert sorted(Path(path).name for path in paths) == sorted(chosen)
    page.get_by_role("button", name="Select all shown").click()
    expect(page.locator("#bar-count")).to_have_text("16 selected")
    page.get_by_label("Query", exact=True).fill('tag:"Set <b>A</b>"')
    expect(page.locator(".tile")).to_have_count(2)
    expect(page.locator("#bar")).to_be_hidden()
    assert sorted(names(page)) == sorted(chosen)


def test_a_dropped_photo_of_the_index_is_recognised(page: Page, own_photos: Path) -> None:
    page.locator("#file").set_input_files(own_photos / "rocket.jpg")
    expect(page.locator("#meta")).to_contain_text("One of your pictures: rocket.jpg")
    page.locator("#meta button").click()
    expect(page.locator("#add")).to_be_visible()
    expect(page.locator("#meta")).to_contain_text("×")


def test_a_dropped_heic_shows(page: Page, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    with Image.open(PHOTOS / "chelsea.jpg") as image:
        heif.from_pillow(image).save(tmp_path / "IMG_1.HEIC")
    page.locator("#file").set_input_files(tmp_path / "IMG_1.HEIC")
    expect(page.locator("#meta")).to_contain_text("not kept")
    page.wait_for_function("document.getElementById('photo').naturalWidth > 100")
    assert str(page.locator("#photo").get_attribute("src")).startswith("data:image/jpeg")
