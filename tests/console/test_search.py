"""The page Search, as somebody uses it."""

import pytest
from playwright.sync_api import expect

from looks import assert_accessible, assert_fits, reloaded

ASK = {"en": "What are you looking for?", "zh": "想找什么?"}


@pytest.mark.parametrize(("language", "size"), [("en", "desk"), ("zh", "phone")])
def test_a_question_finds_records_and_says_why_and_a_reload_brings_them_back(visit, language: str, size: str) -> None:
    page = visit("/search?collection=messages", language, size)
    page.get_by_label(ASK[language]).fill("退款")
    page.keyboard.press("Enter")
    first = page.locator("[data-hit]").first
    expect(first).to_contain_text("退款还没有到账 <script>alert(1)</script>")
    expect(first.locator("mark").first).to_have_text("退款")
    first.get_by_text({"en": "Why this one?", "zh": "为什么是它?"}[language]).click()
    expect(first).to_contain_text("BM25")
    assert_fits(page)
    reloaded(page)
    expect(first).to_contain_text("退款还没有到账")
    assert page.url.count("q=") == 1


def test_words_stand_beside_meaning(visit) -> None:
    page = visit("/search?collection=messages&q=refund&mode=compare")
    expect(page.locator("section")).to_have_count(2)
    expect(page.locator("section").first.locator("[data-hit]")).to_have_count(1)
    expect(page.locator("section").last.locator("[data-hit]")).to_have_count(4)
    assert_accessible(page)
    assert_fits(page)


def test_filters_narrow_and_are_in_the_address(visit) -> None:
    page = visit('/search?collection=messages&q=shoes&filter={"channel":{"$in":["email"]},"price":{"$lt":10}}')
    expect(page.locator("[data-hit]")).to_have_count(1)
    expect(page.locator("[data-hit]")).to_contain_text("password")
    page.get_by_label("Filter as JSON").fill("{wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("no JSON object")
    assert "filter=" in page.url


def test_a_search_works_by_keyboard_alone(visit) -> None:
    page = visit("/search?collection=messages")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("password")
    page.keyboard.press("Enter")
    expect(page.locator("[data-hit]").first).to_contain_text("password")
    expect(page.locator(":focus")).to_have_count(1)


def test_it_begins_with_records_in_the_visitors_language(visit) -> None:
    page = visit("/search?collection=messages")
    expect(page.locator(".empty")).to_contain_text("I forgot my password")
    expect(page.locator(".empty")).not_to_contain_text("退款")
