"""The page Data: a file becomes a collection in the browser, and goes again."""

from pathlib import Path

from playwright.sync_api import expect

from looks import assert_accessible, assert_fits, log_in, reloaded

CSV = "question,answer\n怎么退款?,在订单里点退款。\n<script>alert(1)</script>,text\nWhere is my parcel?,Look at the app.\n"


def test_a_page_without_collections_leads_to_the_next_step(visit, locked: str) -> None:
    page = visit("/search", "zh", "phone", at=locked)
    log_in(page)
    page.get_by_text("新建集合").click()
    expect(page.locator("h1")).to_have_text("数据")
    expect(page.locator(".empty")).to_contain_text("还没有集合")
    assert_fits(page)
    assert page.url.endswith("/data")


def test_a_file_becomes_a_collection_is_searched_and_deleted(visit, tmp_path: Path, home: Path) -> None:
    source = tmp_path / "faq.csv"
    source.write_bytes(CSV.encode("gb18030"))
    page = visit("/data")
    page.locator("input[type=file]").set_input_files(source)
    expect(page.locator("table")).to_contain_text("<script>alert(1)</script>")
    assert_accessible(page)
    reloaded(page)
    expect(page.locator("table")).to_contain_text("怎么退款?")
    assert_fits(page)
    page.get_by_role("button", name="Index it").click()
    card = page.locator("[data-collection]").filter(has=page.get_by_role("heading", name="faq", exact=True))
    expect(card).to_contain_text("3 records")
    expect(page.locator("[data-job=succeeded]")).to_have_count(1)
    reloaded(page)
    expect(card).to_contain_text("3 records")
    assert_accessible(page)
    card.get_by_role("button", name="Check").click()
    expect(card.get_by_role("status")).to_contain_text("all 3 records and their vectors are as they were written")
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    assert not list((home / "collections").glob("faq/*.sqlite3"))
    assert not list((home / "console" / "uploads").iterdir())


def test_what_is_no_table_is_told_as_a_sentence(visit, tmp_path: Path) -> None:
    source = tmp_path / "broken.jsonl"
    source.write_text('{"text": \n', "utf-8")
    page = visit("/data")
    page.locator("input[type=file]").set_input_files(source)
    expect(page.get_by_role("alert")).to_contain_text("broken.jsonl")
    expect(page.locator("table")).to_have_count(0)
    expect(page.locator("input[type=file]")).to_have_count(1)
