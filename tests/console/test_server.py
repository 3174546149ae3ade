"""The page Server: figures that move, the models, whether their vectors are right, a request for programs."""

import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import expect

from live_server import post
from looks import assert_accessible, assert_fits
from lora import Trained, write_about


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


@pytest.fixture
def adapter(home: Path) -> Iterator[str]:
    """One that was learned on the bundled model, in its place and served by nobody."""
    starter = Path(str(files("huiyi"))) / "starter"
    folder = home / "adapters" / "shop"
    folder.parent.mkdir(exist_ok=True)
    write_about(Trained(starter, folder).folder, starter)
    yield folder.name
    shutil.rmtree(folder)


def test_an_adapter_comes_and_goes(visit, address: str, adapter: str) -> None:
    page = visit("/server", size="phone")
    expect(page.get_by_label("An adapter of this machine")).to_have_value(adapter)
    page.get_by_role("button", name="Serve it").click()
    card = page.locator("[data-model]", has_text=adapter)
    expect(card).to_contain_text("an adapter of starter")
    assert post(address, model=adapter, input=["Where is my parcel?"]).status_code == 200
    assert_fits(page)
    card.get_by_role("button", name="Unload").click()
    expect(card).to_have_count(0)
    expect(page.get_by_role("button", name="Serve it")).to_be_visible()
    assert post(address, model=adapter, input=["Where is my parcel?"]).status_code == 404
