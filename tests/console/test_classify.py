"""The page Classify, as somebody uses it."""

import pytest
from playwright.sync_api import Page, expect

from looks import JOB_MS, assert_accessible, assert_fits, reloaded

MARKUP = "I want my money back <script>alert(1)</script>"


@pytest.fixture(scope="module")
def fitted(finished) -> str:
    finished("tickets/classify/fit", classifier="kept", label="label")
    return "kept"


def try_it(page: Page, text: str, sort: str) -> None:
    page.get_by_label(text, exact=True).fill(MARKUP)
    page.get_by_role("button", name=sort, exact=True).click()
    expect(page.locator("[data-verdict]")).to_contain_text("%")
    assert_fits(page)
    reloaded(page)
    expect(page.get_by_label(text, exact=True)).to_have_value(MARKUP)


def test_labels_are_learned_judged_and_tried(visit) -> None:
    page = visit("/classify?collection=tickets")
    if not page.get_by_role("button", name="Learn", exact=True).is_visible():
        page.locator("summary").click()
    page.get_by_label("Name of the classifier").fill("mine")
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.locator("h2", has_text="What mine is worth")).to_be_visible(timeout=JOB_MS)
    expect(page.locator("[data-figure=accuracy]")).to_contain_text("%")
    expect(page.locator("td.heat")).to_have_count(25)
    try_it(page, "Text", "Sort it")
    expect(page.locator("h2", has_text="What mine is worth")).to_be_visible()


def test_a_classifier_is_shown_on_a_phone(visit, fitted: str) -> None:
    page = visit(f"/classify?name={fitted}", "zh", "phone")
    expect(page.locator("[data-figure=accuracy]")).to_contain_text("%")
    assert_accessible(page)
    try_it(page, "文本", "分类")


def test_what_has_no_label_is_suggested_and_learned(visit, fitted: str) -> None:
    page = visit(f"/classify?name={fitted}")
    expect(page.locator("main")).to_contain_text("62 labelled rows in 5 classes")
    assert_accessible(page)
    page.get_by_role("button", name="Suggest some").click()
    asked = page.locator("[data-suggestions] .message")
    expect(asked).to_have_count(1)
    expect(asked).to_contain_text("my parcel is still not here")
    asked.get_by_role("button", name="Save").click()
    expect(asked).to_have_count(0)
    page.get_by_role("button", name="Learn again").click()
    expect(page.locator("main")).to_contain_text("63 labelled rows in 5 classes", timeout=JOB_MS)
