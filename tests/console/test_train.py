"""The page Train, as somebody uses it."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from looks import assert_accessible, assert_fits, reloaded
from tickets import rows

TRAINING_MS = 600_000  # torch starts, a small adapter learns


def pairs(folder: Path) -> Path:
    found = [row for row in rows() if row["label"]]
    lines = ["sentence1\tsentence2\tlabel"]
    for at, one in enumerate(found):
        for other in (found[(at + 3) % len(found)], found[(at + 17) % len(found)]):
            lines.append(f"{one['text']}\t{other['text']}\t{int(one['label'] == other['label'])}")
    path = folder / "own pairs.tsv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_without_a_file_the_page_says_what_is_needed(visit) -> None:
    page = visit("/train", "zh", "phone")
    page.get_by_role("button", name="开始训练").click()
    expect(page.get_by_role("alert")).to_contain_text("请先上传句对文件")
    assert_fits(page)
    assert_accessible(page)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_an_adapter_is_learned_compared_with_its_base_and_served(visit, tmp_path: Path) -> None:
    page = visit("/train")
    page.locator("input[type=file]").set_input_files(pairs(tmp_path))
    expect(page.get_by_label("Name of the adapter")).not_to_have_value("")
    page.get_by_label("Name of the adapter").fill("mine")
    page.get_by_role("button", name="Train", exact=True).click()
    run = page.locator("[data-run]")
    expect(run.get_by_role("button", name="Serve it")).to_be_visible(timeout=TRAINING_MS)
    expect(run).to_contain_text("zero-shot")
    expect(run.locator(".js-plotly-plot svg").first).to_be_visible()
    reloaded(page)
    run.get_by_role("button", name="Serve it").click()
    expect(run.locator("[data-served]")).to_be_visible(timeout=TRAINING_MS)
    assert_fits(page)
    page.goto(page.url.split("/train")[0] + "/similarity")
    expect(page.locator("main")).to_contain_text("starter")
