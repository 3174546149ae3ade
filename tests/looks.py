"""How a page of the console is looked at: when it stands, and what every page must be: nothing cut or wider than the screen, and no
serious finding of axe-core."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

PATIENCE_MS = 120_000
JOB_MS = 400_000  # a job stands back behind everything else on the machine
KEY = "open-sesame-open-sesame"  # of the server that asks for one
# Texts whose own box is narrower or lower than they are, and that no scrolling shows.
CUT = """() => [...document.querySelectorAll("main *, header *, nav *")].filter(e => {
  const style = getComputedStyle(e), own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.offsetParent || style.overflow === "visible") return false;
  const wide = e.scrollWidth > e.clientWidth + 1, high = e.scrollHeight > e.clientHeight + 2;
  return (wide && style.overflowX === "hidden") || (high && style.overflowY === "hidden");
}).map(e => e.textContent.trim().slice(0, 60))"""


def settled(page: Page) -> None:
    """After an address was opened: once the page has a connection and shows what it begins with; what is clicked from now on is heard."""
    expect(page.locator("h1")).to_have_count(1)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def reloaded(page: Page) -> None:
    page.reload()
    settled(page)


def log_in(page: Page) -> None:
    page.locator("#key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_have_count(1)
    settled(page)


def assert_fits(page: Page) -> None:
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"the page is {wide} px wider than the screen"
    assert page.evaluate(CUT) == []


def assert_accessible(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [
        f"{each['id']}: {node['html'][:200]}" for each in found if each["impact"] in ("serious", "critical") for node in each["nodes"][:3]
    ]
    assert not serious, "\n".join(serious)
