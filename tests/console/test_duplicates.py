"""The page Duplicates, as somebody uses it."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from live_server import get
from looks import JOB_MS, assert_accessible, assert_fits, reloaded

KEEP = {"en": "Keep", "zh": "保留"}
MERGE = {"en": "Merge", "zh": "合并"}


@pytest.fixture(scope="module")
def found(finished) -> str:
    return finished("tickets/dedup")


@pytest.mark.parametrize(("language", "size"), [("en", "desk"), ("zh", "phone")])
def test_twins_are_found_traps_held_apart_and_a_decision_stays(visit, found: str, language: str, size: str) -> None:
    page = visit(f"/duplicates?job={found}", language, size)
    gone = page.locator("[data-figure=gone]")
    expect(gone).to_have_text("1")
    group = page.locator("[data-group]")
    expect(group).to_have_count(1)
    expect(group).to_contain_text("I WANT A REFUND FOR ORDER 300")
    expect(page.locator("[data-apart]")).to_contain_text("300")
    assert_fits(page)
    group.locator("[data-row]").get_by_role("button", name=KEEP[language]).click()
    expect(gone).to_have_text("0")
    reloaded(page)
    expect(gone).to_have_text("0")
    group.locator("[data-row]").get_by_role("button", name=MERGE[language]).click()
    expect(gone).to_have_text("1")


def test_the_page_begins_with_what_was_found_last(visit, found: str) -> None:
    page = visit("/duplicates")
    expect(page.locator("[data-figure=gone]")).to_be_visible()
    expect(page).to_have_url(re.compile(r"job=\d{8}-"))
    reloaded(page)
    expect(page.locator("[data-figure=gone]")).to_be_visible()
    page = visit("/duplicates?collection=tickets")
    expect(page.locator(f"a[href*='{found}']")).to_be_visible()
    expect(page.locator("[data-figure=gone]")).to_have_count(0)


def slide(page: Page, key: str, address: str, told: str) -> None:
    """Until the address (a pattern) and then the page say so: a key is lost when the page is drawn anew before it comes."""
    for _ in range(30):
        page.locator(".granularity [tabindex]").focus()
        page.keyboard.press(key)
        with suppress(PlaywrightTimeout):
            page.wait_for_url(re.compile(address), timeout=4_000, wait_until="commit")
            expect(page.get_by_text(re.compile(told))).to_be_visible()
            return
    raise AssertionError(f"the address is {page.url}")


def test_the_threshold_moves_the_counts_and_what_goes_is_deleted_when_that_was_said(visit, address: str) -> None:
    page = visit("/duplicates?collection=others")
    page.get_by_role("button", name="Find repeats").click()
    held = page.locator("[data-figure=apart]")
    expect(page.locator("[data-figure=gone]")).to_have_text("1", timeout=JOB_MS)
    before = int(held.inner_text())
    slide(page, "PageDown", r"threshold=0\.[0-8]", r"Threshold: cosine 0\.[0-8]")
    assert int(held.inner_text()) > before
    slide(page, "PageUp", r"threshold=1\.00", r"Threshold: cosine 1\.00")
    expect(page.locator("[data-figure=gone]")).to_have_text("1")
    assert int(held.inner_text()) <= before
    assert_accessible(page)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as given:
        page.get_by_text("Rows that stay, csv").click()
    assert len(Path(given.value.path()).read_text("utf-8-sig").splitlines()) == 63
    page.get_by_role("button", name="Delete repeats: 1").click()
    page.get_by_role("button", name="Delete 1 records").click()
    expect(page.get_by_role("status")).to_contain_text("1 records of others are deleted")
    assert get(address, "/v1/collections/others").json()["records"] == 62
