"""The page Similarity, as somebody uses it."""

import re

import pytest
from playwright.sync_api import expect

from looks import assert_accessible, assert_fits, reloaded

LABELS = {"en": ("First text", "Second text", "Compare"), "zh": ("第一段", "第二段", "比较")}


@pytest.mark.parametrize(("language", "size"), [("en", "desk"), ("zh", "phone")])
def test_two_texts_get_a_score_and_what_differs_and_a_reload_brings_them_back(visit, language: str, size: str) -> None:
    page = visit("/similarity", language, size)
    first, second, compare = LABELS[language]
    page.get_by_label(first).fill("花呗逾期了会怎么样? <script>alert(1)</script>")
    page.get_by_label(second).fill("借呗逾期了会怎么样? <script>alert(1)</script>")
    page.get_by_role("button", name=compare).click()
    verdict = page.locator("[data-verdict]")
    expect(verdict).to_have_attribute("data-verdict", "apart")
    expect(page.locator("main")).to_contain_text("花呗 / 借呗")
    expect(page.locator(".figure").first).to_have_text(re.compile(r"0\.\d{3}"))
    assert_fits(page)
    reloaded(page)
    expect(verdict).to_have_attribute("data-verdict", "apart")
    expect(page.get_by_label(first)).to_have_value("花呗逾期了会怎么样? <script>alert(1)</script>")


def test_a_list_becomes_a_table_of_every_two(visit) -> None:
    page = visit("/similarity?mode=list&texts=My+parcel+has+not+arrived.%0AWhere+is+my+order%3F%0A<script>alert(1)</script>", size="phone")
    expect(page.locator("td.heat")).to_have_count(9)
    expect(page.locator("table")).to_contain_text("<script>alert(1)</script>")
    assert_fits(page)
    assert_accessible(page)


def test_what_cannot_be_compared_is_told_as_a_sentence(visit) -> None:
    page = visit("/similarity")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_contain_text("Write two texts")
    page.get_by_role("button", name="An example").click()
    expect(page.locator("[data-verdict]")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)
