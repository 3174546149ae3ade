"""Files of examples, in every format that tables have."""

import csv
import gzip
import json

import openpyxl
import pyarrow as pa
import pytest
from pyarrow import parquet

from conftest import shared_data
from huiyi.errors import InvalidInput, NotFound
from huiyi.training.data import Labelled, Pairs, ScoredPairs, Triplets
from huiyi.workspace.examples import Reader, read_training

HEAD = ["sentence1", "sentence2", "label"]
ROWS = [["花呗怎么还", "如何还花呗", 1], ["借呗利率", "花呗额度", 0]]


def test_the_same_pairs_out_of_every_format(tmp_path) -> None:
    with (tmp_path / "a.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([HEAD, *ROWS])
    tsv = "".join("\t".join(map(str, row)) + "\n" for row in [HEAD, *ROWS])
    (tmp_path / "b.tsv").write_text(tsv, "utf-8")
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(tsv.encode()))
    lines = [json.dumps(dict(zip(HEAD, [a, b, str(label)], strict=True)), ensure_ascii=False) for a, b, label in ROWS]
    (tmp_path / "d.json").write_text("\n".join(lines), "utf-8")  # as AFQMC comes
    book = openpyxl.Workbook()
    for row in [HEAD, *ROWS]:
        book.active.append(row)
    book.save(tmp_path / "e.xlsx")
    parquet.write_table(pa.table(dict(zip(HEAD, zip(*ROWS, strict=True), strict=True))), tmp_path / "f.parquet")
    read = [read_training(path) for path in sorted(tmp_path.iterdir())]
    assert {type(pairs) for pairs in read} == {Pairs}
    assert len(read) == 6
    assert len({pairs.digest for pairs in read}) == 1
    assert [pairs.lines.tolist() for pairs in read] == [[2, 3], [2, 3], [2, 3], [1, 2], [2, 3], [1, 2]]
    assert [pairs.name for pairs in read] == ["a.csv", "b.tsv", "c.tsv.gz", "d.json", "e.xlsx", "f.parquet"]


def test_errors_name_file_and_line(tmp_path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes('sentence1,sentence2,label\n花呗,借呗,1\n花呗,"一\n行",2\n'.encode("gb18030"))
    with pytest.raises(InvalidInput, match=r"train.csv, line 3: label is '2'"):
        read_training(path)
    path.write_text(f"sentence1,sentence2,label\na,b,1\na,{'长' * 3_500_000},1\n", "utf-8")
    with pytest.raises(InvalidInput, match=r"train.csv, line 3: sentence2 has 3,500,000 characters"):
        read_training(path)
    path.write_text("sentence1,label\na,1\n", "utf-8")
    with pytest.raises(NotFound, match=r"train.csv has the columns sentence1, label"):
        read_training(path)


def test_public_data_is_read_for_what_it_is() -> None:
    said: list[str] = []
    afqmc = read_training(shared_data("pairs/afqmc_dev.tsv.gz"), say=said.append)
    assert (type(afqmc), len(afqmc), int(afqmc.labels.sum())) == (Pairs, 4316, 1338)
    assert said == ["afqmc_dev.tsv.gz: tsv, utf-8, 4,316 rows"]
    assert isinstance(read_training(shared_data("pairs/cnsd_stsb_zh_dev.tsv.gz")), ScoredPairs)
    assert isinstance(read_training(shared_data("pairs/triclue_dev.tsv.gz")), Triplets)
    banking = Reader().labelled(shared_data("intents/banking77_test.tsv.gz"))
    assert (type(banking), len(banking), len(set(banking.labels))) == (Labelled, 3080, 77)
    with pytest.raises(InvalidInput, match=r"kuake_qtr_dev.tsv.gz, line 3: label is '2', not 0 or 1"):
        read_training(shared_data("pairs/kuake_qtr_dev.tsv.gz"))
