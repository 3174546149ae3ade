"""Documents of every format: their text, titles, sections and places; folders read in order, with all that was left out said."""

import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.errors import InvalidInput, MissingExtra, NotFound
from huiyi.sources.documents import Document, Skipped, read_document, read_documents


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def outline(document: Document) -> list[tuple[str, str]]:
    """(heading, text) of each section; sections must cover the text without gaps."""
    assert [section.start for section in document.sections[1:]] == [section.end for section in document.sections[:-1]]
    assert (document.sections[0].start, document.sections[-1].end) == (0, len(document.text))
    return [(" > ".join(section.heading), document.text[section.start : section.end].strip()) for section in document.sections]


MARKDOWN = """---
title: "售后手册"
tags: [a, b]
---
引言。

# 退货
## 期限
七天内可以退货。

```python
# not a heading
```

运费
----
谁出？

> # nor this

## `code` and *stress*
### 3.1 深
内容
# 换货
"""


def test_markdown_is_split_at_its_headings(tmp_path) -> None:
    document = read_document(write(tmp_path / "手册.md", MARKDOWN))
    assert (document.source, document.kind, document.title, document.encoding) == ("手册.md", "markdown", "售后手册", "utf-8")
    headings = [heading for heading, _ in outline(document)]
    assert headings == ["", "退货 > 期限", "退货 > 运费", "退货 > code and stress > 3.1 深", "换货"]
    assert dict(outline(document))["退货 > 期限"].startswith("# 退货\n## 期限\n七天")
    assert "# not a heading" in dict(outline(document))["退货 > 期限"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_line_breaks_and_encodings_change_no_heading(tmp_path, newline, encoding) -> None:
    document = read_document(write(tmp_path / "a.md", MARKDOWN.replace("\n", newline), encoding))
    assert [heading for heading, _ in outline(document)][1] == "退货 > 期限"
    assert document.text == MARKDOWN.replace("\n", newline)
    assert len(document.lines) == MARKDOWN.count("\n") + 1


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=300))
def test_any_markdown_and_code_is_covered_by_its_sections(tmp_path_factory, text) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.md", "a.py", "a.java", "a.unknown"):
        if text.strip():
            document = read_document(write(folder / name, text))
            outline(document)
            assert document.text == text


PYTHON = '''"""Orders."""
import os

LIMIT = 3


# A comment that belongs to the function.
@cache
def price(order):
    def inner():
        return 1
    return inner()


class Order:
    """An order."""

    lines = []

    @property
    def total(self):
        return sum(self.lines)

    async def send(self):
        pass

    tail = 1


print(LIMIT)
'''


def test_python_is_split_at_functions_classes_and_methods(tmp_path) -> None:
    document = read_document(write(tmp_path / "orders.py", PYTHON))
    assert document.kind == "code"
    assert [heading for heading, _ in outline(document)] == ["", "price", "Order", "Order > total", "Order > send", "Order", ""]
    assert dict(outline(document))["price"].startswith("# A comment that belongs")
    assert dict(outline(document))["Order > total"].startswith("@property")


def test_python_that_does_not_parse_is_split_all_the_same(tmp_path) -> None:
    document = read_document(
        write(tmp_path / "old.py", "import os\n\ndef a(x):\n    print x\n\nclass B:\n    def c(self):\n        pass\n")
    )
    assert [heading for heading, _ in outline(document)] == ["", "a", "B", "B > c"]


OTHERS = {
    "a.java": (
        """\
package x;

import y;

/** Orders. */
@Entity
public class Order extends Base {
    private int n = 0;

    /** Sum. */
    public int total(List<Line> lines) {
        for (Line l : lines) {
            n += 1;
        }
        return n;
    }

    @Override
    public void send()
    {
    }
}
""",
        ["", "Order", "Order > total", "Order > send"],
    ),
    "a.js": (
        """\
'use strict'
import a from 'a'

export async function load (x) {
  if (x) {
    go(x)
  }
}

export const save = async (y) => {
  return y
}

class Cart {
  constructor(a) {
    this.a = a
  }
  total() {
    return 1
  }
}

start()
""",
        ["", "load", "save", "Cart", "Cart > constructor", "Cart > total", ""],
    ),
    "a.go": (
        """\
package main

import "fmt"

// Order is one.
type Order struct {
	ID int
}

// Total sums.
func (o *Order) Total(x int) (int, error) {
	return 1, nil
}

func main() {
	fmt.Println(1)
}
""",
        ["", "Order", "Total", "main"],
    ),
    "a.rs": (
        """\
use std::io;

#[derive(Debug)]
pub struct Order {
    id: u32,
}

impl Display for Order {
    fn fmt(&self) -> Result {
        ok()
    }
}

pub(crate) async fn run<T>(x: T) -> T {
    x
}
""",
        ["", "Order", "Order > fmt", "run"],
    ),
    "a.cpp": (
        """\
#include <vector>

class Order {
public:
  int total() const {
    return 1;
  }
};

int main(int argc, char** argv) {
  while (true) {
  }
  return 0;
}

static void
help(void)
{
}
""",
        ["", "Order", "Order > total", "main", "", "help"],
    ),
    "a.rb": (
        """\
require 'x'

module Shop
  class Order
    def total
      1
    end

    def paid?
      true
    end
  end
end
""",
        ["", "Shop", "Shop > Order", "Shop > Order > total", "Shop > Order > paid?"],
    ),
    "a.sql": (
        """\
-- Orders
CREATE TABLE orders (
  id int
);

CREATE OR REPLACE FUNCTION total(x int) RETURNS int AS $$
  SELECT 1;
$$;
""",
        ["orders", "total"],
    ),
    "a.sh": (
        """\
#!/bin/sh
set -e

# Builds.
build() {
  make
}

build
""",
        ["", "build", ""],
    ),
    "a.lua": (
        """\
local M = {}

local function add(a)
  return a
end

function M.sub(a)
  return a
end

return M
""",
        ["", "add", "M.sub", ""],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_languages_are_split_at_what_looks_like_a_definition(tmp_path, name) -> None:
    text, headings = OTHERS[name]
    assert [heading for heading, _ in outline(read_document(write(tmp_path / name, text)))] == headings


def test_hostile_lines_of_code_take_no_time(tmp_path) -> None:
    text = "\n".join(
        ["a " * 190 + "(", "*" * 399, "@x(" * 130, "export " * 57, "var " * 99 + "=", "a:" * 150 + "<"] * 20
        + ["(" * 100_000, "x=" * 50_000]
    )
    outline(read_document(write(tmp_path / "a.js", text)))
    outline(read_document(write(tmp_path / "a.md", "[" * 5000 + "\n" + "> " * 3000 + "a\n" + "#" * 9000 + "\n" + "---\n" * 5000)))


HTML = """<!DOCTYPE html><html><head><meta charset="{charset}"><title> 售后
服务 </title><style>p {{}}</style></head>
<body><nav>首页 | 联系</nav><p>引言 <b>粗</b>体。</p><script>alert(1)</script>
<h1>退货</h1><p>七天<br>无理由 &amp; 免费</p><ul><li>一</li><li>二</li></ul>
<h2>运费</h2><table><tr><td>重</td><td>价</td></tr><tr><td>1</td><td>2</td></tr></table>
<div hidden>看不见</div><!-- 注释 --><pre>a
  b</pre></body></html>"""


def test_html_is_what_a_reader_sees(tmp_path) -> None:
    document = read_document(write(tmp_path / "a.html", HTML.format(charset="utf-8")))
    assert (document.kind, document.title) == ("html", "售后 服务")
    found = dict(outline(document))
    assert list(found) == ["", "退货", "退货 > 运费"]
    assert found[""] == "引言 粗体。"
    assert found["退货"] == "退货\n\n七天\n无理由 & 免费\n\n一\n二"
    assert found["退货 > 运费"].startswith("运费\n\n重 | 价\n1 | 2\n\na\n  b")
    for unseen in ("首页", "alert", "看不见", "注释", "p {"):
        assert unseen not in document.text


@pytest.mark.parametrize(("charset", "encoding"), [("gb2312", "gb18030"), ("big5", "big5"), ("gbk", "gb18030"), ("iso-8859-1", "utf-8")])
def test_html_says_its_encoding_itself_unless_it_is_wrong(tmp_path, charset, encoding) -> None:
    page = HTML.format(charset=charset).replace("务", "務") if encoding == "big5" else HTML.format(charset=charset)
    page = page if encoding != "big5" else "".join(c for c in page if c.isascii() or c in "退七天一二")
    document = read_document(write(tmp_path / "a.htm", page, encoding))
    assert document.encoding == encoding
    assert "七天" in document.text


def test_html_nests_as_deep_as_it_likes(tmp_path) -> None:
    assert read_document(write(tmp_path / "a.html", "<div>" * 20_000 + "深")).text.strip() == "深"


def test_html_without_text_is_refused(tmp_path) -> None:
    with pytest.raises(InvalidInput, match=r"a.html holds no text.*script"):
        read_document(write(tmp_path / "a.html", "<body><script>render()</script></body>"))


def pdf(*pages: list[str], title: str | None = None, password: str | None = None) -> bytes:
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    made = io.BytesIO()
    canvas = Canvas(made, encrypt=StandardEncryption(password) if password else None)
    if title:
        canvas.setTitle(title)
    for lines in pages:
        canvas.setFont("STSong-Light", 12)
        for number, line in enumerate(lines):
            canvas.drawString(50, 780 - 20 * number, line)
        canvas.showPage()
    canvas.save()
    return made.getvalue()


def test_pdf_gives_pages_and_whole_sentences(tmp_path) -> None:
    data = pdf(
        ["售后手册第一章说明七天之内没有用过的商品可以", "退货，运费由买家承担。", "The customer pays for ship-", "ping and the", "rest."],
        ["第二页。"],
        title="售后手册",
    )
    document = read_document(write(tmp_path / "手册.pdf", data))
    assert (document.kind, document.title, document.encoding) == ("pdf", "售后手册", None)
    assert len(document.pages) == 2
    assert "商品可以退货，运费由买家承担。" in document.text
    assert "shipping and the" in document.text
    assert document.text[document.pages[1] :].strip() == "第二页。"


def test_a_pdf_that_cannot_be_read_is_refused_with_the_way_out(tmp_path) -> None:
    good = pdf(["文字。"])
    for data, reason in (
        (b"%PDF-1.4 nonsense", "not a readable PDF"),
        (good[: len(good) // 3], "not a readable PDF|pictures"),
        (b"", "not a readable PDF"),
        (pdf([]), r"text recognition \(OCR\)"),
        (pdf(["秘密"], password="geheim"), "locked with a password"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            read_document(write(tmp_path / "a.pdf", data))


def docx_file(path: Path) -> Path:
    import docx

    document = docx.Document()
    document.core_properties.title = ""
    document.add_heading("售后手册", 0)
    document.add_paragraph("引言。")
    document.add_heading("退货", 1)
    document.add_heading("期限", 2)
    document.add_paragraph("七天。")
    table = document.add_table(2, 2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ["重", "价", "1\n公斤", "2"], strict=True):
        cell.text = text
    document.add_paragraph("尾声。")
    document.add_heading("换货", 1)
    document.save(path)
    return path


def test_docx_gives_headings_paragraphs_and_tables_in_order(tmp_path) -> None:
    document = read_document(docx_file(tmp_path / "手册.docx"))
    assert (document.kind, document.title) == ("docx", "售后手册")
    assert outline(document) == [
        ("", "售后手册\n\n引言。"),
        ("退货 > 期限", "退货\n\n期限\n\n七天。\n\n重 | 价\n1 公斤 | 2\n\n尾声。"),
        ("换货", "换货"),
    ]


def test_a_docx_that_cannot_be_read_is_refused(tmp_path) -> None:
    import zipfile

    good = docx_file(tmp_path / "good.docx").read_bytes()
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as packed:
        packed.writestr("a.txt", "a")
    for data in (b"PK\x03\x04", b"nonsense", good[:2000], other.getvalue()):
        with pytest.raises(InvalidInput, match=r"not a readable DOCX file.*save it as .docx"):
            read_document(write(tmp_path / "a.docx", data))


@pytest.mark.parametrize(("name", "module"), [("a.pdf", "pypdf"), ("a.docx", "docx"), ("a.html", "bs4")])
def test_without_the_extra_its_name_is_said(tmp_path, monkeypatch, name, module) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'huiyi\[files\]'"):
        list(read_documents(write(tmp_path / name, "<p>text")))
    with pytest.raises(MissingExtra):
        list(read_documents(tmp_path))


def test_a_folder_is_read_in_order_and_says_what_it_left_out(tmp_path) -> None:
    root = tmp_path / "docs"
    write(root / "b.txt", "乙", "gb18030")
    write(root / "a" / "z.md", "# 甲\n")
    write(root / "a" / "Makefile", "all:\n\tmake\n")
    write(root / ".git" / "config", "x")
    write(root / ".hidden.md", "x")
    write(root / "photo.png", b"\x89PNG\0\0")
    write(root / "late.log", b"text " * 4000 + b"\0")
    write(root / "empty.md", "  \n")
    write(root / "table.csv", "a,b\n1,2\n")
    write(root / "old.doc", b"\xd0\xcf\x11\xe0")
    write(root / "broken.pdf", b"nonsense")
    write(root / "bad.txt", "我的订单在哪里".encode() * 4 + b"\xff\xff")
    write(tmp_path / "outside.md", "# secret\n")
    (root / "link.md").symlink_to(tmp_path / "outside.md")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root)
    (root / "inside.md").symlink_to(root / "a" / "z.md")
    (root / "nowhere").symlink_to(root / "gone")
    os.mkfifo(root / "pipe")
    found = list(read_documents(root))
    assert [each.source for each in found if isinstance(each, Document)] == ["a/Makefile", "a/z.md", "b.txt", "inside.md"]
    skipped = {each.source: each.reason for each in found if isinstance(each, Skipped)}
    assert {name: reason.split(":")[0].split(";")[0][:40] for name, reason in skipped.items()} == {
        ".git": "hidden",
        ".hidden.md": "hidden",
        "bad.txt": "is UTF-8 up to byte 84 in line 1, which ",
        "broken.pdf": skipped["broken.pdf"][:40].split(";")[0],
        "empty.md": "empty",
        "late.log": "is a binary file, not text (byte 20000 i",
        "link.md": "a link that leads out of the folder",
        "loop": "a link to a folder that is read anyway",
        "nowhere": "a link that leads nowhere",
        "old.doc": "of a format that is not read",
        "photo.png": "binary",
        "pipe": "neither a file nor a folder",
        "table.csv": "a table",
        "up": "a link that leads out of the folder",
    }
    assert {each.source for each in found if isinstance(each, Skipped) and each.failed} == {"broken.pdf", "bad.txt"}
    assert [each.source for each in found] == sorted((each.source for each in found), key=lambda name: name.split("/"))


def test_one_file_that_was_named_is_refused_with_an_error(tmp_path) -> None:
    with pytest.raises(NotFound, match=r"there is no file or folder .*gone.md"):
        list(read_documents(tmp_path / "gone.md"))
    with pytest.raises(InvalidInput, match=r"a.csv is a table, not a document"):
        read_document(write(tmp_path / "a.csv", "a\n1\n"))
    with pytest.raises(InvalidInput, match=r"a.doc is of a format.*save it as .docx"):
        read_document(write(tmp_path / "a.doc", b"x"))
    with pytest.raises(InvalidInput, match=r"a.md is empty"):
        read_document(write(tmp_path / "a.md", "\n"))
    with pytest.raises(InvalidInput, match=r"an encoding was named"):
        read_document(docx_file(tmp_path / "a.docx"), encoding="utf-8")


def test_an_encoding_can_be_forced(tmp_path) -> None:
    assert read_document(write(tmp_path / "a.txt", "退貨", "big5"), encoding="big5").text == "退貨"


def test_a_name_of_bytes_that_are_no_text_can_be_stored(tmp_path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))).write_bytes(b"text")
    (document,) = read_documents(tmp_path)
    assert document.source == "\\xff.txt"
