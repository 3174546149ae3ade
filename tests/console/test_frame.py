"""What all pages of the console share, in a real browser."""

import pytest
from playwright.sync_api import expect

from fakes import until
from looks import PATIENCE_MS, assert_accessible, assert_fits, reloaded, settled


def test_the_front_page_leads_to_the_first_page(visit, address: str) -> None:
    page = visit("/")
    assert page.url.startswith(address + "/search")
    expect(page.locator("nav a[aria-current]")).to_have_count(1)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size", ["desk", "phone"])
def test_navigation_is_there_on_a_desk_and_behind_a_button_on_a_phone(visit, language: str, size: str) -> None:
    page = visit("/similarity", language, size)
    link = page.locator("nav a", has_text={"en": "Similarity", "zh": "相似度"}[language])
    menu = page.get_by_role("button", name={"en": "Menu", "zh": "菜单"}[language])
    if size == "desk":
        expect(link).to_be_in_viewport()
        menu.click()
    expect(link).not_to_be_in_viewport()
    menu.click()
    expect(link).to_be_in_viewport()
    assert_fits(page)


def test_the_language_is_the_browsers_until_another_is_chosen_and_is_remembered(visit, address: str) -> None:
    page = visit("/similarity", "en")
    expect(page.locator("html")).to_have_attribute("lang", "en-US")
    page.get_by_role("button", name="Language").click()
    expect(page.get_by_role("menuitemradio", name="English", checked=True)).to_be_visible()
    assert_accessible(page)
    page.get_by_role("menuitemradio", name="中文", checked=False).click()
    expect(page.locator("h1")).to_have_text("相似度")
    page.goto(address + "/")
    settled(page)
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


def test_colours_follow_the_system_until_others_are_chosen_and_are_remembered(visit) -> None:
    page = visit("/similarity", theme="dark")
    expect(page.locator("body.body--dark")).to_have_count(1)
    page.get_by_role("button", name="Colours").click()
    page.get_by_text("Light", exact=True).click()
    expect(page.locator("body.body--light")).to_have_count(1)
    reloaded(page)
    expect(page.locator("body.body--light")).to_have_count(1)


def test_an_address_that_is_no_page_says_so_and_leads_back(browser, address: str) -> None:
    context = browser.new_context(locale="zh-CN")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    answer = page.goto(address + "/nothing/here<script>alert(1)</script>")
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("main")).to_contain_text("<script>")
    page.get_by_text("回到首页").click()
    expect(page.locator("nav a[aria-current]")).to_have_count(1)
    context.close()


def test_what_a_page_remembers_lies_in_the_workspace_folder(visit, home) -> None:
    page = visit("/similarity")
    page.get_by_role("button", name="Colours").click()
    page.get_by_text("Dark", exact=True).click()
    expect(page.locator("body.body--dark")).to_have_count(1)
    until(lambda: any((home / "console").glob("storage-user-*.json")))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/search", "/similarity", "/data", "/server"])
def test_no_page_has_a_serious_barrier(visit, path: str, theme: str) -> None:
    page = visit(path, theme=theme)
    assert_accessible(page)
