"""The page Topics, as somebody uses it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from looks import JOB_MS, assert_accessible, assert_fits, reloaded
from tickets import EVIL, YOUNG


@pytest.fixture(scope="module")
def found(finished) -> str:
    return finished("tickets/cluster", date="when")


def topics_of(page: Page) -> int:
    return int(page.locator("[data-figure=topics]").inner_text())


def test_topics_are_found_named_merged_and_come_back_with_the_address(visit) -> None:
    page = visit("/topics?collection=tickets")
    page.get_by_role("button", name="Find topics").click()
    expect(page.locator(".map[data-drawn]")).to_be_visible(timeout=JOB_MS)
    cards, figure, detail = page.locator("[data-topic]"), page.locator("[data-figure=topics]"), page.locator("#detail")
    many = topics_of(page)
    assert many > 2
    cards.first.locator(".topic-name").click()
    expect(detail.locator(".message").first).to_be_visible()
    detail.get_by_label("Name", exact=True).fill("<b>Mine</b>")
    detail.get_by_role("button", name="Rename").click()
    expect(cards.first).to_contain_text("<b>Mine</b>")
    expect(detail.locator("h2")).to_have_text("<b>Mine</b>")
    for place in (0, 1):
        cards.nth(place).get_by_role("checkbox").click()
    page.get_by_role("button", name="Merge these 2").click()
    expect(figure).to_have_text(str(many - 1))
    reloaded(page)
    expect(cards.first).to_contain_text("<b>Mine</b>")
    expect(figure).to_have_text(str(many - 1))
    expect(detail).to_contain_text("<b>Mine</b>")
    assert_fits(page)


def test_a_map_that_was_found_before_is_opened_on_a_phone_and_a_point_says_its_text(visit, found: str) -> None:
    page = visit("/topics?collection=tickets", "zh", "phone")
    page.locator(f"a[href*='{found}']").click()
    expect(page.locator(".map[data-drawn]")).to_be_visible()
    assert_fits(page)
    name = page.locator(".map .names span").first  # it stands on a point
    name.scroll_into_view_if_needed()
    box = name.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".picked")).not_to_contain_text("指向圆点")
    said = page.locator(".picked").inner_text()
    expect(page.locator("#detail .message", has_text=said)).to_have_count(1)
    assert_fits(page)


def test_coarser_by_keyboard_news_messages_and_exports(visit, found: str) -> None:
    page = visit(f"/topics?job={found}")
    expect(page.locator(".map[data-drawn]")).to_be_visible()
    cards, new, many = page.locator("[data-topic]"), page.locator("[data-figure=new]"), topics_of(page)
    page.locator(".granularity [tabindex]").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("[data-figure=topics]")).not_to_have_text(str(many))
    assert topics_of(page) < many
    page.get_by_label("New since").fill(YOUNG)
    expect(new).not_to_have_text("0")
    expect(cards.first).to_contain_text("New: nothing before")
    expect(page).to_have_url(re.compile("since=2026-05-01"))
    page.get_by_label("New since").fill("")
    expect(new).to_have_count(0)
    every = topics_of(page)
    expect(cards).to_have_count(every)
    page.get_by_label("Find a topic").fill("refund")
    expect(cards).not_to_have_count(every)
    cards.first.locator(".topic-name").click()
    expect(page.locator("#detail")).to_contain_text("refund")
    expect(page).to_have_url(re.compile(r"level=\d+&.*topic=\d+"))
    page.get_by_role("button", name="Export").click()
    item = page.get_by_role("menuitem", name="Rows with topics, csv")
    expect(item).to_be_visible()
    assert_accessible(page)
    with page.expect_download() as given:
        item.click()
    text = Path(given.value.path()).read_text("utf-8-sig")
    assert EVIL in text.replace('""', '"')
    assert text.splitlines()[0].endswith("topic,name")
    assert_accessible(page)


def test_a_job_that_is_not_there_is_a_sentence_and_the_page_goes_on(visit) -> None:
    page = visit("/topics?job=20260101-000000-00000000")
    expect(page.get_by_role("alert")).to_contain_text("There is no such job", ignore_case=True)
    expect(page.get_by_role("button", name="Find topics")).to_be_enabled()


def test_the_page_begins_with_what_was_found_last(visit, found: str) -> None:
    page = visit("/topics")
    expect(page.locator(".map[data-drawn]")).to_be_visible()
    expect(page).to_have_url(re.compile(r"job=\d{8}-"))
    reloaded(page)
    expect(page.locator(".map[data-drawn]")).to_be_visible()


def test_the_page_begins_with_the_largest_collection_that_has_dates(visit) -> None:
    page = visit("/topics")
    expect(page.get_by_label("Dates from")).to_have_value("when")
    expect(page.get_by_label("Collection")).to_have_value(re.compile("tickets|others"))
