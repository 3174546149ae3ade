"""The page Topics, as somebody uses it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from looks import assert_accessible, assert_fits
from tickets import EVIL, YOUNG, collection

JOB_MS = 200_000  # a job stands back behind everything else on the machine
WORDS = {
    "en": ("Find topics", "Rename", "Name", "Merge these 2", "New since"),
    "zh": ("发现主题", "重命名", "名称", "合并这 2 个", "起始日期"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    collection(folder)
    return folder


def topics_of(page: Page) -> int:
    return int(page.locator("[data-figure=topics]").inner_text())


@pytest.mark.parametrize(("language", "size"), [("en", "desk"), ("zh", "phone")])
def test_topics_are_found_named_merged_and_come_back_with_the_address(visit, language: str, size: str) -> None:
    page, (find, rename, name, merge, _) = visit("/topics?collection=tickets", language, size), WORDS[language]
    page.get_by_role("button", name=find).click()
    expect(page.locator(".map[data-drawn]")).to_be_visible(timeout=JOB_MS)
    cards = page.locator("[data-topic]")
    found = topics_of(page)
    assert found > 2
    assert_fits(page)
    cards.first.locator(".topic-name").click()
    detail = page.locator("#detail")
    expect(detail.locator(".message").first).to_be_visible()
    detail.get_by_label(name, exact=True).fill("<b>Mine</b>")
    detail.get_by_role("button", name=rename).click()
    expect(cards.first).to_contain_text("<b>Mine</b>")
    for place in (0, 1):
        cards.nth(place).get_by_role("checkbox").click()
    page.get_by_role("button", name=merge).click()
    expect(page.locator("[data-figure=topics]")).to_have_text(str(found - 1))
    page.reload()
    expect(cards.first).to_contain_text("<b>Mine</b>")
    expect(page.locator("[data-figure=topics]")).to_have_text(str(found - 1))
    expect(detail).to_contain_text("<b>Mine</b>")
    assert_fits(page)


def test_coarser_by_keyboard_news_messages_and_exports(visit) -> None:
    page = visit("/topics?collection=tickets")
    page.get_by_role("button", name="Find topics").click()
    expect(page.locator(".map[data-drawn]")).to_be_visible(timeout=JOB_MS)
    found = topics_of(page)
    page.locator(".granularity [tabindex]").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("[data-figure=topics]")).not_to_have_text(str(found))
    assert topics_of(page) < found
    page.get_by_label("New since").fill(YOUNG)
    expect(page.locator("[data-figure=new]")).not_to_have_text("0")
    expect(page.locator("[data-topic]").first).to_contain_text("New: nothing before")
    expect(page).to_have_url(re.compile("since=2026-05-01"))
    page.get_by_label("New since").fill("")
    page.get_by_label("Find a topic").fill("refund")
    page.locator("[data-topic] .topic-name").first.click()
    expect(page.locator("#detail")).to_contain_text("refund")
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
