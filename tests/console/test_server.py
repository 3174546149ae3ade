"""The page Server: figures that move, the models, whether their vectors are right, a request for programs."""

import re

import pytest
from playwright.sync_api import expect

from live_server import post
from looks import assert_accessible, assert_fits


@pytest.mark.parametrize(("language", "size"), [("en", "desk"), ("zh", "phone")])
def test_requests_show_in_the_figures_and_the_model_is_checked(visit, address: str, language: str, size: str) -> None:
    page = visit("/server", language, size)
    assert post(address, model="starter", input=["Where is my parcel?", "退款还没有到"]).status_code == 200
    milliseconds = page.locator(".figure").nth(1)
    expect(milliseconds).to_have_text(re.compile(r"^[\d,]+$"))
    expect(page.locator("[data-model]")).to_contain_text("starter")
    expect(page.locator("pre").first).to_contain_text(f"curl {address}/v1/embeddings")
    assert_fits(page)
    assert_accessible(page)
    page.get_by_role("button", name={"en": "Parity check", "zh": "一致性检查"}[language]).click()
    expect(page.get_by_role("dialog")).to_contain_text({"en": "They are.", "zh": "一致。"}[language])
