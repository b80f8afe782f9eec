"""One rule for what belongs to a table and what its values are: each case by every way, and rows written by hand."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph
from pipeline.errors import DataError
from pipeline.tables.csv_text import Csv
from tests.tables.ways import Case, Way, all_ways, by_spark_alone, by_verify

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

X = {1: 0.5, 2: -2.0, 3: 4.25}
EDGES = [(1, 2), (2, 3), (3, 1), (1, 1)]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does without Spark what it can, although the tests' session is there."""
    monkeypatch.setattr("pipeline.command.own_session.spark_is_optional", lambda: True)


# ---- tables


def parquet(path: Path, table: pa.Table, **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return str(path)


def node_table(ids: Sequence[Any] = tuple(X), **more: Any) -> pa.Table:
    return pa.table({"id": pa.array(ids), "x": pa.array([X[i] for i in (1, 2, 3)][: len(ids)], pa.float32()), **more})


def edge_table(edges: Sequence[tuple[Any, Any]] = tuple(EDGES), **more: Any) -> pa.Table:
    return pa.table({"src": pa.array([s for s, _ in edges]), "dst": pa.array([d for _, d in edges]), **more})


def text(path: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return str(path)


def rows(names: Sequence[Any] = (1, 2, 3), edges: Sequence[tuple[int, int]] = tuple(EDGES)) -> Any:
    """What the tables hold, where node i is called names[i - 1]."""
    nodes = {name: (X[i],) for i, name in enumerate(names, 1)}
    return nodes, sorted((names[s - 1], names[d - 1]) for s, d in edges)


def csv_case(at: Path, names: Sequence[str], quote: Callable[[str], str] = str, **options: Any) -> Case:
    text(at / "n.csv", "id,x", *(f"{quote(name)},{X[i]}" for i, name in enumerate(names, 1)))
    text(at / "e.csv", "src,dst", *(f"{quote(names[s - 1])},{quote(names[d - 1])}" for s, d in EDGES))
    return Case(f"{at}/n.csv", f"{at}/e.csv", **{"ids": tuple(names), **options})


def with_edges(at: Path, edges: str, **options: Any) -> Case:
    return Case(parquet(at / "n.parquet", node_table()), edges, **options)


def with_nodes(at: Path, nodes: str, **options: Any) -> Case:
    return Case(nodes, parquet(at / "e.parquet", edge_table()), **options)


def agree(
    case: Case, spark: SparkSession, at: Path, expected: Any, but: tuple[Way, ...] = (), in_jobs: bool = False
) -> None:
    (at / "work").mkdir()
    found = all_ways(case, spark, at / "work", but, in_jobs)
    assert len(found) + len(but) == (8 if in_jobs else 5)
    for way, got in found.items():
        if isinstance(expected, str):
            assert isinstance(got, str), f"{way} takes it: {got}"
            assert re.search(expected, got), f"{way} says: {got}"
        else:
            assert got == expected, way


# ---- CSV


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def edge_files(at: Path, **files: Sequence[str]) -> str:
    for name, lines in files.items():
        text(at / "e" / f"{name}.csv", *lines)
    return str(at / "e")


CSV_IDS = {
    "leading zeros": ("007", "008", "9"),
    "a plus": ("+4917", "12", "13"),
    "an exponent": ("1e5", "2", "3"),
    "a space before": (" 12", "12", "3"),
    "a space behind": ("12 ", "12", "3"),
    "minus zero": ("-0", "0", "1"),
    "hexadecimal": ("0x10", "16", "1"),
    "beyond int64": ("9223372036854775808", "1", "2"),
    "many digits": ("123456789012345678901234567890", "1", "2"),
    "a point": ("1.0", "1", "2"),
    "a zero byte": ("1\0", "1", "2"),
    "words that mean null elsewhere": ("null", "NA", "NaN"),
    "true": ("true", "True", "1"),
    "other digits": ("١", "٢", "3"),
}


@pytest.mark.parametrize("what", CSV_IDS)
def test_ids_of_csv_that_are_text(spark: SparkSession, tmp_path: Path, what: str) -> None:
    names = CSV_IDS[what]
    agree(csv_case(tmp_path, names), spark, tmp_path, rows(names), in_jobs=what == "leading zeros")


def test_ids_of_csv_that_are_integers(spark: SparkSession, tmp_path: Path) -> None:
    names = ("-9223372036854775808", "0", "9223372036854775807")
    ids = tuple(map(int, names))
    agree(csv_case(tmp_path, names, ids=ids), spark, tmp_path, rows(ids))


def test_ids_of_csv_that_were_said_to_be_text(spark: SparkSession, tmp_path: Path) -> None:
    names = ("1", "2", "3")
    said = {"options": {"csv": Csv(ids="text")}, "arguments": ("--csv-ids", "text")}
    agree(csv_case(tmp_path, names, **said), spark, tmp_path, rows(names))


def test_one_id_that_is_text_makes_all_of_both_tables_text(spark: SparkSession, tmp_path: Path) -> None:
    nodes = text(tmp_path / "n.csv", "id,x", "1,0.5", "2,-2", "3,4.25")
    edges = text(tmp_path / "e.csv", "src,dst", "1,2", "2,03")
    case = Case(nodes, edges, options={"drop_dangling": True}, arguments=("--drop-dangling",), ids=("1", "2", "3"))
    agree(case, spark, tmp_path, rows(("1", "2", "3"), [(1, 2)]), (by_spark_alone, by_verify))


@pytest.mark.parametrize("kind", ["integers", "text"])
def test_csv_beside_parquet(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    nodes = text(tmp_path / "n.csv", "id,x", "1,0.5", "2,-2", "3,4.25")
    names = (1, 2, 3) if kind == "integers" else ("1", "2", "3")
    edges = parquet(tmp_path / "e.parquet", edge_table([(names[s - 1], names[d - 1]) for s, d in EDGES]))
    agree(Case(nodes, edges, ids=names), spark, tmp_path, rows(names))


def test_text_in_csv_beside_integers_in_parquet(spark: SparkSession, tmp_path: Path) -> None:
    nodes = text(tmp_path / "n.csv", "id,x", "01,0.5", "2,-2")
    case = Case(nodes, parquet(tmp_path / "e.parquet", edge_table()))
    agree(case, spark, tmp_path, r"nodes\.id is string \(for example '01'\) but edges\.src is bigint")


def test_quotes_newlines_and_separators_in_ids(spark: SparkSession, tmp_path: Path) -> None:
    names = ('say "hi"', "two\nlines", "a,b")
    agree(csv_case(tmp_path, names, quoted), spark, tmp_path, rows(names), in_jobs=True)


@pytest.mark.parametrize("what", ["crlf", "cr", "mark", "no last end", "blank lines"])
def test_spellings_of_csv(spark: SparkSession, tmp_path: Path, what: str) -> None:
    mark = "\ufeff" if what == "mark" else ""
    end = "\r\n" if what == "crlf" else "\r" if what == "cr" else "\n\n" if what == "blank lines" else "\n"
    nodes = text(tmp_path / "n.csv", mark + "id,x", "u1,0.5", '"u2",-2', "u3,4.25", end=end)
    edges = text(tmp_path / "e.csv", mark + "src,dst", *(f"u{s},u{d}" for s, d in EDGES), end=end)
    if what == "no last end":
        for path in (nodes, edges):
            Path(path).write_bytes(Path(path).read_bytes().rstrip(b"\n"))
    agree(Case(nodes, edges, ids=("u1", "u2", "u3")), spark, tmp_path, rows(("u1", "u2", "u3")))


@pytest.mark.parametrize("sep", [";", "\t", "|", "^"])
def test_separators(spark: SparkSession, tmp_path: Path, sep: str) -> None:
    nodes = text(tmp_path / "n.csv", f"id{sep}x", *(f"{i}{sep}{x}" for i, x in X.items()))
    edges = text(tmp_path / "e.csv", f"src{sep}dst", *(f"{s}{sep}{d}" for s, d in EDGES))
    said = {"options": {"csv": Csv(sep="^")}, "arguments": ("--csv-sep", "^")} if sep == "^" else {}
    agree(Case(nodes, edges, **said), spark, tmp_path, rows())


def test_without_header_lines(spark: SparkSession, tmp_path: Path) -> None:
    nodes = text(tmp_path / "n.csv", *(f"{i},{x}" for i, x in X.items()))
    edges = text(tmp_path / "e.csv", *(f"{s},{d}" for s, d in EDGES))
    names = {"id": "_c0", "src": "_c0", "dst": "_c1"}
    arguments = ("--csv-no-header", "--id", "_c0", "--src", "_c0", "--dst", "_c1")
    case = Case(nodes, edges, ["_c1"], options={"csv": Csv(header=False), **names}, arguments=arguments)
    agree(case, spark, tmp_path, rows())


def test_other_encodings(spark: SparkSession, tmp_path: Path) -> None:
    names = ("Zoë", "Ødegård", "u3")
    text(tmp_path / "n.csv", "id,x", *(f"{name},{X[i]}" for i, name in enumerate(names, 1)), encoding="latin-1")
    text(tmp_path / "e.csv", "src,dst", *(f"{names[s - 1]},{names[d - 1]}" for s, d in EDGES), encoding="latin-1")
    case = Case(f"{tmp_path}/n.csv", f"{tmp_path}/e.csv", ids=names)
    agree(case, spark, tmp_path, r"n\.csv, line 2, is not utf-8; give its encoding")
    said = Case(
        case.nodes, case.edges, options={"csv": Csv(encoding="latin-1")}, ids=names,
        arguments=("--csv-encoding", "latin-1"),
    )  # fmt: skip
    (tmp_path / "work").rmdir()
    agree(said, spark, tmp_path, rows(names))


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst", "GZ"])
def test_compressed_csv(spark: SparkSession, tmp_path: Path, ending: str) -> None:
    """Two streams one after the other, as parallel compressors write them, are one file."""
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "zst": lambda data: pa.compress(data, "zstd", asbytes=True)}
    two = [b"src,dst\n1,2\n2,3\n", b"3,1\n1,1\n"]
    (tmp_path / f"e.csv.{ending}").write_bytes(b"".join(map(pack[ending.lower()], two)))
    agree(with_edges(tmp_path, f"{tmp_path}/e.csv.{ending}"), spark, tmp_path, rows())


def test_columns_in_another_order_in_one_file(spark: SparkSession, tmp_path: Path) -> None:
    edges = edge_files(tmp_path, a=["src,dst", "1,2", "2,3"], b=["dst,other,src", "1,9,3", "1,8,1"])
    agree(with_edges(tmp_path, edges), spark, tmp_path, rows(), in_jobs=True)


def test_numbers_of_csv(spark: SparkSession, tmp_path: Path) -> None:
    texts = ["1e-45", "0.1", "123456789.123456789", " 3 ", "+2.5", ".5", "-1e38", "1e-400", "16777217"]
    ids = range(len(texts))
    nodes = text(
        tmp_path / "n.csv", "id,x,t", *(f"{i},{x},{'TRUE' if i % 2 else 'false'}" for i, x in enumerate(texts))
    )
    expected = {i: (float(i % 2), float(np.float32(float(x)))) for i, x in enumerate(texts)}
    edges = text(tmp_path / "e.csv", "src,dst", "0,1")
    agree(Case(nodes, edges, ["t", "x"], ids=tuple(ids)), spark, tmp_path, (expected, [(0, 1)]))


BAD_CSV = {
    "a file without header line": (
        {"a": ["src,dst", "1,2"], "b": ["2,3", "3,1"]},
        r"b\.csv has no column 'src'; its first line is '2,3'; is the header line missing in it\?",
    ),
    "a field too many": ({"a": ["src,dst", "1,2", "2,3,1"]}, r"a\.csv, line 3: 3 fields instead of 2: '2,3,1'"),
    "a field too few": ({"a": ["src,dst", '"1",2', '"2\n"', "3,1"]}, r"a\.csv, line 3: 1 field instead of 2"),
    "a name twice": ({"a": ["src,dst,dst", "1,2,3"]}, r"a\.csv has more than one column named 'dst'"),
    "a quote that stays open": (
        {"a": ["src,dst", "1,2", '2,"3', "3,1"]},
        r"a\.csv, line 3: a quote that is not closed",
    ),
    "text after a quote": ({"a": ["src,dst", "1,2", '2,"3"4', "3,1"]}, r"a\.csv, line 3: text after a closing quote"),
    "a null": ({"a": ["src,dst", "1,2", "2,"]}, r"edges\.dst holds 1 null"),
    "no rows at all": ({"a": [""]}, r"a\.csv is empty, without a header line"),
    "other names": ({"a": ["from,to", "1,2"]}, r"edges has no column 'src'; known: from, to"),
    "Excel's own line": ({"a": ["sep=;", "src;dst", "1;2"]}, r"edges has no column 'src'; known: , sep="),
    "a comment first": ({"a": ["# of 2024", "src,dst", "1,2"]}, r"edges has no column 'src'; known: # of 2024"),
    "spaces in the header line": ({"a": ["src, dst", "1, 2"]}, r"edges has no column 'dst'; did you mean ' dst'\?"),
    "two marks": ({"a": ["\ufeff\ufeffsrc,dst", "1,2"]}, r"edges has no column 'src'; did you mean '\\ufeffsrc'\?"),
    "two separators": ({"a": ["src;x|dst", "1;2|2"]}, r"edges has no column 'src'"),
}


@pytest.mark.parametrize("what", BAD_CSV)
def test_csv_that_is_refused(spark: SparkSession, tmp_path: Path, what: str) -> None:
    files, words = BAD_CSV[what]
    but = (by_verify,) if what == "a null" else ()  # which takes what was prepared from the same tables
    agree(with_edges(tmp_path, edge_files(tmp_path, **files)), spark, tmp_path, words, but)


@pytest.mark.parametrize("number", ["1,5", "1_000", "0x10", "٣", "high", "2024-01-01"])
def test_fields_that_are_no_numbers(spark: SparkSession, tmp_path: Path, number: str) -> None:
    nodes = text(tmp_path / "n.csv", "id;x", "1;0.5", f"2;{number}")
    words = rf"nodes\.x is string \(for example '{number}'\); values must be numbers"
    agree(with_nodes(tmp_path, nodes), spark, tmp_path, words)


def test_an_empty_text_is_no_null(spark: SparkSession, tmp_path: Path) -> None:
    nodes = text(tmp_path / "n.csv", "id,x", '"",0.5', "b,-2", "c,4.25")
    edges = text(tmp_path / "e.csv", "src,dst", '"",b', "b,c", 'c,""', '"",""')
    agree(Case(nodes, edges, ids=("", "b", "c")), spark, tmp_path, rows(("", "b", "c")))


def test_a_cut_stream(spark: SparkSession, tmp_path: Path) -> None:
    whole = gzip.compress(b"src,dst\n" + b"".join(b"%d,1\n" % (i * i) for i in range(2000)))
    (tmp_path / "e.csv.gz").write_bytes(whole[:-20])
    agree(with_edges(tmp_path, f"{tmp_path}/e.csv.gz"), spark, tmp_path, r"e\.csv\.gz cannot be read as CSV: Truncated")


# ---- which files


def plain(at: Path) -> str:
    parquet(at / "e" / "a.parquet", edge_table(EDGES[:2]))
    parquet(at / "e" / "b.parquet", edge_table(EDGES[2:]))
    return str(at / "e")


def a_folder_that_is_no_partition(at: Path) -> str:
    for name in ("backup", "2024/01", "HIVE_UNION_SUBDIR_1"):
        parquet(at / "e" / name / "a.parquet", edge_table())
    return plain(at)


def hidden_names(at: Path) -> str:
    for name in ("_SUCCESS", ".old.crc", "a.parquet._COPYING_", "_temporary/0/a.parquet", ".x/a.parquet"):
        parquet(at / "e" / name, edge_table())
    return plain(at)


def a_result_of_ours(at: Path) -> str:
    text(Path(plain(at)) / "_graphsweep.json", "{}")
    return str(at / "e")


def files_of_no_bytes(at: Path) -> str:
    plain(at)
    (at / "e" / "0.parquet").touch()
    (at / "e" / "note").touch()
    return str(at / "e")


def partitions(at: Path) -> str:
    parquet(at / "e" / "_day=1" / "h=a%20b" / "a.parquet", edge_table(EDGES[:2]))
    parquet(at / "e" / "_day=2" / "h=__HIVE_DEFAULT_PARTITION__" / "a.parquet", edge_table(EDGES[2:]))
    return str(at / "e")


def a_file_in_a_partition(at: Path) -> str:
    return parquet(at / "lake" / "src=9" / "e.parquet", edge_table())


def a_pattern(at: Path) -> str:
    parquet(at / "lake" / "day=1" / "e.parquet", edge_table(EDGES[:2]))
    parquet(at / "lake" / "day=2" / "e.parquet", edge_table(EDGES[2:]))
    parquet(at / "lake" / "day=3" / "e.parquet", edge_table())
    return f"{at}/lake/day={{1,2}}/*.parquet"


def a_pattern_of_folders(at: Path) -> str:
    a_pattern(at)
    return f"{at}/lake/day=[12]"


def brackets_that_are_names(at: Path) -> str:
    parquet(at / "e[1]{a,b}*" / "part[0].parquet", edge_table())
    parquet(at / "e1a" / "part.parquet", edge_table(EDGES[:1]))
    return f"{at}/e[1]{{a,b}}*"


def other_endings(at: Path) -> str:
    parquet(at / "e" / "A.PARQUET", edge_table(EDGES[:2]))
    parquet(at / "e" / "part-00000", edge_table(EDGES[2:]))
    return str(at / "e")


def links(at: Path) -> str:
    """Of a file, and of a folder that is a partition."""
    parquet(at / "elsewhere" / "part.parquet", edge_table(EDGES[:2]))
    parquet(at / "e" / "day=1" / "part.parquet", edge_table(EDGES[2:3]))
    (at / "e" / "day=2").symlink_to(at / "elsewhere")
    os.symlink(parquet(at / "single.parquet", edge_table(EDGES[3:])), at / "e" / "day=1" / "other.parquet")
    return str(at / "e")


def a_uri(at: Path) -> str:
    parquet(at / "my data" / "e.parquet", edge_table())
    return f"file://{at}/my%20data/e.parquet"


def a_uri_with_one_slash(at: Path) -> str:
    return f"FILE:{plain(at)}"


def columns_in_other_orders(at: Path) -> str:
    parquet(at / "e" / "a.parquet", edge_table(EDGES[:2]))
    parquet(at / "e" / "b.parquet", edge_table(EDGES[2:], more=pa.array(["a", "b"])).select(["more", "dst", "src"]))
    return str(at / "e")


def a_stream(at: Path, root: str = "e") -> str:
    """A log of two batches, the first within a compacted one, and a file that a killed batch has left."""
    plain(at)
    parquet(at / root / "left.parquet", edge_table())
    log = at / root / "_spark_metadata"
    log.mkdir()

    def entry(name: str) -> str:
        path = at / root / name
        size = path.stat().st_size if path.exists() else 1
        times = {"modificationTime": 1, "blockReplication": 1, "blockSize": 1 << 25}
        return json.dumps({"path": f"file://{path}", "size": size, "isDir": False, **times, "action": "add"})

    text(log / "0", "v1", entry("gone.parquet"))
    text(log / "1.compact", "v1", entry("a.parquet"))
    text(log / "2", "v1", entry("b.parquet"))
    text(log / ".2.crc", "x")
    return str(at / root)


GOOD_FILES = (
    plain, a_folder_that_is_no_partition, hidden_names, a_result_of_ours, files_of_no_bytes, partitions,
    a_file_in_a_partition, a_pattern, a_pattern_of_folders, brackets_that_are_names, other_endings, links, a_uri,
    a_uri_with_one_slash, columns_in_other_orders, a_stream,
)  # fmt: skip


@pytest.mark.parametrize("make", GOOD_FILES)
def test_files_that_belong_to_a_table(spark: SparkSession, tmp_path: Path, make: Callable[[Path], str]) -> None:
    agree(with_edges(tmp_path, make(tmp_path)), spark, tmp_path, rows(), in_jobs=make in (partitions, a_stream))


def test_spark_reads_the_same(spark: SparkSession, tmp_path: Path) -> None:
    """What the rule says is what a DataFrame of the same path has, where Spark takes the path at all."""
    for make in GOOD_FILES:
        if make in (brackets_that_are_names, a_uri):  # Spark takes these as a pattern, and as a name with %20
            continue
        at = tmp_path / make.__name__
        found = spark.read.parquet(make(at)).select("src", "dst").collect()
        assert sorted(map(tuple, found)) == sorted(EDGES), make.__name__


def only_folders(at: Path) -> str:
    parquet(at / "e" / "2024" / "01" / "a.parquet", edge_table())
    return str(at / "e")


def files_beside_partitions(at: Path) -> str:
    parquet(at / "e" / "day=1" / "a.parquet", edge_table())
    return plain(at)


def a_folder_beside_partitions(at: Path) -> str:
    parquet(at / "e" / "day=1" / "a.parquet", edge_table())
    parquet(at / "e" / "backup" / "a.parquet", edge_table())
    return str(at / "e")


def a_folder_in_a_partition(at: Path) -> str:
    parquet(at / "e" / "day=1" / "a.parquet", edge_table())
    parquet(at / "e" / "day=1" / "backup" / "a.parquet", edge_table())
    return str(at / "e")


def partitions_of_two_kinds(at: Path) -> str:
    parquet(at / "e" / "day=1" / "a.parquet", edge_table())
    parquet(at / "e" / "hour=1" / "a.parquet", edge_table())
    return str(at / "e")


def a_link_that_leads_nowhere(at: Path) -> str:
    os.symlink(at / "gone.parquet", Path(plain(at)) / "c.parquet")
    return str(at / "e")


def a_link_to_itself(at: Path) -> str:
    (at / "e" / "day=1").mkdir(parents=True)
    (at / "e" / "day=1" / "day=1").symlink_to(at / "e" / "day=1")
    return str(at / "e")


def a_pipe(at: Path) -> str:
    os.mkfifo(Path(plain(at)) / "c.parquet")
    return str(at / "e")


def two_formats(at: Path) -> str:
    text(Path(plain(at)) / "c.csv", "src,dst", "1,1")
    return str(at / "e")


def a_note(at: Path) -> str:
    text(Path(plain(at)) / "readme.txt", "hello")
    return str(at / "e")


def a_damaged_page(at: Path) -> str:
    path = Path(parquet(at / "e.parquet", edge_table(), compression="snappy"))
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(b ^ 0x5A for b in data[4:60])
    path.write_bytes(data)
    return str(path)


def a_column_that_a_file_lacks(at: Path) -> str:
    parquet(Path(plain(at)) / "c.parquet", edge_table().select(["src"]))
    return str(at / "e")


def types_that_differ(at: Path) -> str:
    parquet(Path(plain(at)) / "c.parquet", edge_table([("1", "2")]))
    return str(at / "e")


def a_log(at: Path, name: str) -> str:
    text(Path(plain(at)) / name / "00000000000000000000.json", "{}")
    return str(at / "e")


def delta_by_its_files(at: Path) -> str:
    return a_log(at, "_delta_log") + "/*.parquet"


def a_partition_of_delta(at: Path) -> str:
    parquet(at / "e" / "day=1" / "a.parquet", edge_table())
    (at / "e" / "_delta_log").mkdir()
    return str(at / "e" / "day=1")


def iceberg(at: Path) -> str:
    parquet(at / "e" / "data" / "a.parquet", edge_table())
    text(at / "e" / "metadata" / "v1.metadata.json", "{}")
    return str(at / "e" / "data")


def hudi(at: Path) -> str:
    return a_log(at, ".hoodie")


def a_stream_that_lost_a_file(at: Path) -> str:
    path = a_stream(at)
    (at / "e" / "b.parquet").unlink()
    return path


def a_stream_that_lost_a_batch(at: Path) -> str:
    path = a_stream(at)
    text(at / "e" / "_spark_metadata" / "4", "v1")
    return path


def a_stream_that_was_moved(at: Path) -> str:
    os.rename(a_stream(at), at / "moved")
    return str(at / "moved")


def an_id_in_the_name_of_a_folder(at: Path) -> str:
    parquet(at / "e" / "src=007" / "a.parquet", edge_table().select(["dst"]))
    return str(at / "e")


def another_format(at: Path) -> str:
    text(at / "e" / "part-0.snappy.ORC", "ORC")
    return str(at / "e")


BAD_FILES = {
    another_format: r"part-0\.snappy\.ORC is a \.orc file; parquet, csv, delta are read\. Read it with Spark or pandas",
    only_folders: r"holds no files itself, only folders that are no partitions \(2024\)",
    files_beside_partitions: r"the file a\.parquet lies beside partitions \(day=1\)",
    a_folder_beside_partitions: r"the folder backup lies beside partitions",
    a_folder_in_a_partition: r"the folder day=1/backup lies beside partitions",
    partitions_of_two_kinds: r"its folders are partitions by day .* and by hour",
    a_link_that_leads_nowhere: r"c\.parquet: a link that leads nowhere \(to .*gone\.parquet\)",
    a_link_to_itself: r"more than 40 folders in each other",
    a_pipe: r"c\.parquet: neither a file nor a folder",
    two_formats: r"holds parquet and csv files \(a\.parquet, c\.csv\)",
    a_note: r"holds readme\.txt beside parquet files",
    a_damaged_page: r"e\.parquet",
    a_column_that_a_file_lacks: r"c\.parquet has no column 'dst', which a\.parquet has",
    types_that_differ: r"edges\.src is bigint in .*a\.parquet but string in c\.parquet",
    delta_by_its_files: r"lies in a Delta table, of which not all files count; give the table itself",
    a_partition_of_delta: r"lies in a Delta table",
    iceberg: r"an Iceberg table \(.*\), of which not all files count",
    hudi: r"a Hudi table",
    a_stream_that_lost_a_file: r"b\.parquet is missing, which _spark_metadata says",
    a_stream_that_lost_a_batch: r"lacks batch 3",
    a_stream_that_was_moved: r"names files elsewhere",
    an_id_in_the_name_of_a_folder: r"edges\.src is in the names of folders, where '007' would be read as a number",
}


@pytest.mark.parametrize("make", BAD_FILES)
def test_files_that_are_refused(spark: SparkSession, tmp_path: Path, make: Callable[[Path], str]) -> None:
    agree(with_edges(tmp_path, make(tmp_path)), spark, tmp_path, BAD_FILES[make])


def test_delta_is_not_read_as_parquet(spark: SparkSession, tmp_path: Path) -> None:
    path = a_log(tmp_path, "_delta_log")
    for spelt in (path, f"file:{path}", f"file://{path}"):
        case = with_edges(tmp_path, spelt, options={"edges_format": "parquet"}, arguments=("--edges-format", "parquet"))
        found = all_ways(case, spark, tmp_path / "work" if (tmp_path / "work").exists() else made(tmp_path / "work"))
        for way, got in found.items():
            assert isinstance(got, str), way
            assert "a Delta table; read as parquet its removed rows would count" in got


def made(path: Path) -> Path:
    path.mkdir()
    return path


# ---- which values


def test_partition_columns_as_features(spark: SparkSession, tmp_path: Path) -> None:
    for value, ids in {"1": [1], "2.5": [2], "+3": [3]}.items():
        parquet(tmp_path / "n" / f"x={value}" / "a.parquet", pa.table({"id": ids}))
    case = with_nodes(tmp_path, str(tmp_path / "n"))
    expected = {1: (1.0,), 2: (2.5,), 3: (3.0,)}, sorted(EDGES)
    agree(case, spark, tmp_path, expected, in_jobs=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1", "__HIVE_DEFAULT_PARTITION__"], r"nodes\.x holds 1 null \(first: 2\)"),
        (["2024-01-01", "2024-01-02"], r"nodes\.x is date; values must be numbers"),
        (["a", "1"], r"nodes\.x is string"),
    ],
)
def test_partition_columns_that_are_no_numbers(
    spark: SparkSession, tmp_path: Path, values: Sequence[str], words: str
) -> None:
    for id, value in enumerate(values, 1):
        parquet(tmp_path / "n" / f"x={value}" / "a.parquet", pa.table({"id": [id]}))
    case = Case(str(tmp_path / "n"), parquet(tmp_path / "e.parquet", edge_table([(1, 1)])))
    agree(case, spark, tmp_path, words, (by_verify,) if "null" in words else ())


TYPES = {
    "int8": pa.int8(), "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(),
    "float64": pa.float64(), "decimal": pa.decimal128(9, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_types_of_numbers(spark: SparkSession, tmp_path: Path, name: str) -> None:
    numbers = [Decimal("0.125"), Decimal("7.001"), Decimal("3")] if name == "decimal" else [1, 100, 3]
    nodes = pa.table({"id": [1, 2, 3], "x": pa.array(numbers, TYPES[name])})
    expected = {i: (float(np.float32(float(x))),) for i, x in zip((1, 2, 3), numbers, strict=True)}
    case = with_nodes(tmp_path, parquet(tmp_path / "n.parquet", nodes))
    agree(case, spark, tmp_path, (expected, sorted(EDGES)), in_jobs=name in ("decimal", "uint64"))


LISTS = {
    "list": pa.list_(pa.float32()), "large_list": pa.large_list(pa.float64()), "fixed": pa.list_(pa.float32(), 2),
    "halves": pa.list_(pa.float16()), "decimals": pa.list_(pa.decimal128(5, 2)), "bytes": pa.list_(pa.int8()),
}  # fmt: skip
TEXTS = {"string": pa.string(), "large": pa.large_string(), "dictionary": pa.dictionary(pa.int32(), pa.string())}


@pytest.mark.parametrize(
    ("ids", "kind"), [*(("string", kind) for kind in LISTS), *((ids, "list") for ids in TEXTS if ids != "string")]
)
def test_lists_and_texts(spark: SparkSession, tmp_path: Path, kind: str, ids: str) -> None:
    """As polars and pandas 3 write them."""
    names = ("a", "ä", "日本")
    numbers: list[list[Any]] = [[1, 2], [3, 4], [5, 6]]
    if kind == "decimals":
        numbers = [[Decimal(n) for n in row] for row in numbers]
    nodes = pa.table({"id": pa.array(names).cast(TEXTS[ids]), "x": pa.array(numbers, LISTS[kind])})
    case = Case(
        parquet(tmp_path / "n.parquet", nodes),
        parquet(tmp_path / "e.parquet", edge_table([(names[s - 1], names[d - 1]) for s, d in EDGES])),
        ids=names,
    )
    expected = {name: tuple(map(float, row)) for name, row in zip(names, numbers, strict=True)}, rows(names)[1]
    but = (by_spark_alone,) if kind == "halves" else ()
    agree(case, spark, tmp_path, expected, but, in_jobs=kind == "decimals" or ids == "dictionary")


UNUSED = {
    "timestamp[ns]": pa.array([1, 2, 3], pa.timestamp("ns")), "time": pa.array([1, 2, 3], pa.time64("ns")),
    "float16": pa.array(np.ones(3, np.float16)), "decimal of 50 digits": pa.array([Decimal(1)] * 3, pa.decimal256(50)),
    "struct": pa.array([{"a": 1}] * 3), "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
    "bytes": pa.array([b"\xff"] * 3), "null": pa.nulls(3),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)] * 3, pa.binary(16))),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSED)
def test_columns_that_nobody_reads(spark: SparkSession, tmp_path: Path, name: str) -> None:
    case = with_nodes(tmp_path, parquet(tmp_path / "n.parquet", node_table(unused=UNUSED[name])))
    agree(case, spark, tmp_path, rows())


def test_names_that_differ_in_case_only(spark: SparkSession, tmp_path: Path) -> None:
    nodes = node_table(X=pa.array([9.0, 9.0, 9.0]), ID=pa.array([7, 8, 9]))
    case = with_nodes(tmp_path, parquet(tmp_path / "n.parquet", nodes))
    agree(case, spark, tmp_path, rows(), (by_spark_alone,))  # Spark itself calls both names one


@pytest.mark.parametrize("folder", ["X", "x"])
def test_a_name_in_folders_and_in_files(spark: SparkSession, tmp_path: Path, folder: str) -> None:
    """Spark takes the folders' value; in another case it does too, and the files' column cannot be had."""
    for id in (1, 2):
        stored = pa.table({"id": [id], "x": [9.0]})
        parquet(tmp_path / "n" / f"{folder}={id}" / "a.parquet", stored)
    case = Case(str(tmp_path / "n"), parquet(tmp_path / "e.parquet", edge_table([(1, 2)])), ids=(1, 2))
    words = r"nodes: 'X' is in the names of folders and 'x' in the files of .*; to Spark these are one name: rename one"
    agree(case, spark, tmp_path, words if folder == "X" else ({1: (1.0,), 2: (2.0,)}, [(1, 2)]))


def test_decimals_of_more_digits_than_spark_has(spark: SparkSession, tmp_path: Path) -> None:
    wide = pa.array([Decimal("0.1"), Decimal("16777217.0000000001"), Decimal(-3)], pa.decimal256(50, 12))
    case = with_nodes(tmp_path, parquet(tmp_path / "n.parquet", pa.table({"id": [1, 2, 3], "x": wide})))
    expected = {1: (float(np.float32(0.1)),), 2: (16777218.0,), 3: (-3.0,)}, sorted(EDGES)
    agree(case, spark, tmp_path, expected, (by_spark_alone,))
    graph = Graph.read(spark, case.nodes, case.edges)
    with pytest.raises(DataError, match=r"n\.parquet: x is decimal\(50,12\), and Spark has to read it, whose decimals"):
        graph.nodes.frame(spark, ["x"])


TEXTS_ALIKE = {
    "blanks and zeros behind": ("a", "a ", "a\0"),
    "accents": ("\u00e9", "e\u0301", "E\u0301"),
    "ends of lines": ("a\u2028b", "c\x85d", "e\x0bf\x0cg\x1ch"),
    "spaces": ("a\u00a0", "a", "\u3000a"),
}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("what", TEXTS_ALIKE)
def test_texts_that_look_alike(spark: SparkSession, tmp_path: Path, what: str, kind: str) -> None:
    """They stay what they are: nothing is trimmed, made one of, or taken for the end of a line."""
    names = TEXTS_ALIKE[what]
    case = csv_case(tmp_path, names)
    if kind == "parquet":
        nodes = parquet(tmp_path / "n.parquet", node_table([1, 2, 3]).set_column(0, "id", pa.array(names)))
        ends = [(names[s - 1], names[d - 1]) for s, d in EDGES]
        case = Case(nodes, parquet(tmp_path / "e.parquet", edge_table(ends)), ids=names)
    agree(case, spark, tmp_path, rows(names))


IDS_THAT_ARE_NONE = {
    "timestamp": (pa.timestamp("us"), "timestamp_ntz"), "date": (pa.date32(), "date"),
    "decimal": (pa.decimal128(10), r"decimal\(10,0\)"), "uint64": (pa.uint64(), r"decimal\(20,0\)"),
    "double": (pa.float64(), "double"),
}  # fmt: skip


@pytest.mark.parametrize("what", IDS_THAT_ARE_NONE)
def test_types_that_are_no_ids(spark: SparkSession, tmp_path: Path, what: str) -> None:
    kind, word = IDS_THAT_ARE_NONE[what]
    nodes = node_table().set_column(
        0, "id", pa.array([1, 2, 3], pa.int64() if what == "timestamp" else pa.int32()).cast(kind)
    )
    cast = r"; cast them, in a view or a DataFrame: CAST\(`id` AS BIGINT\)" if word.startswith("decimal") else "$"
    words = rf"nodes\.id is {word}; ids may be integers up to 64 bits, or strings{cast}"
    agree(with_nodes(tmp_path, parquet(tmp_path / "n.parquet", nodes)), spark, tmp_path, words)


NULLS_IN_LISTS = {"a row": [[1.0, 2.0], None, [3.0, 4.0]], "a number": [[1.0, 2.0], [None, 5.0], [3.0, 4.0]]}


@pytest.mark.parametrize("what", NULLS_IN_LISTS)
@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 2), pa.large_list(pa.float64())])
def test_nulls_in_lists(spark: SparkSession, tmp_path: Path, what: str, kind: pa.DataType) -> None:
    nodes = pa.table({"id": [1, 2, 3], "x": pa.array(NULLS_IN_LISTS[what], kind)})
    case = with_nodes(tmp_path, parquet(tmp_path / "n.parquet", nodes))
    agree(case, spark, tmp_path, r"nodes\.x holds 1 null \(first: 2\); fill them or drop these rows", (by_verify,))


def row_groups_of_no_rows(at: Path) -> str:
    (at / "e").mkdir()
    with pq.ParquetWriter(at / "e" / "a.parquet", edge_table().schema) as writer:
        for part in (edge_table().slice(0, 2), edge_table().slice(0, 0), edge_table().slice(2)):
            writer.write_table(part)
    pq.ParquetWriter(at / "e" / "b.parquet", edge_table().schema).close()
    assert pq.read_metadata(at / "e" / "b.parquet").num_row_groups == 0
    return str(at / "e")


def ids_in_a_dictionary_in_one_file(at: Path) -> str:
    coded = edge_table(EDGES[:2])
    coded = coded.set_column(0, "src", coded["src"].dictionary_encode())
    parquet(at / "e" / "a.parquet", coded)
    parquet(at / "e" / "b.parquet", edge_table(EDGES[2:]))
    return str(at / "e")


@pytest.mark.parametrize("make", [row_groups_of_no_rows, ids_in_a_dictionary_in_one_file])
def test_files_of_the_same_rows(spark: SparkSession, tmp_path: Path, make: Callable[[Path], str]) -> None:
    agree(with_edges(tmp_path, make(tmp_path)), spark, tmp_path, rows())


def test_a_part_without_rows_and_without_types(spark: SparkSession, tmp_path: Path) -> None:
    """As pandas writes a data frame that is empty."""
    plain(tmp_path)
    parquet(tmp_path / "e" / "c.parquet", pa.table({"src": pa.nulls(0), "dst": pa.nulls(0)}))
    words = r"edges\.src is bigint in .*a\.parquet but void in c\.parquet; write all files of a table with one type"
    agree(with_edges(tmp_path, str(tmp_path / "e")), spark, tmp_path, words)


NUMBERS = {
    "unsigned": (pa.array([2**64 - 1, 2**63 + 2**38, 7], pa.uint64()), [2.0**64, 2.0**63, 7.0]),
    "integers between floats": (pa.array([2**53 + 1, 2**24 + 1, -(2**63)]), [2.0**53, 2.0**24, -(2.0**63)]),
    "smaller than any": (pa.array([4.9e-324, 1e-46, -0.0]), [0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_that_are_rounded(spark: SparkSession, tmp_path: Path, what: str) -> None:
    numbers, expected = NUMBERS[what]
    nodes = pa.table({"id": [1, 2, 3], "x": numbers})
    case = with_nodes(tmp_path, parquet(tmp_path / "n.parquet", nodes))
    agree(case, spark, tmp_path, ({i: (x,) for i, x in enumerate(expected, 1)}, sorted(EDGES)))


def test_files_of_two_widths_of_a_type(spark: SparkSession, tmp_path: Path) -> None:
    parquet(
        tmp_path / "e" / "a.parquet", edge_table(EDGES[:2]).cast(pa.schema([("src", pa.int32()), ("dst", pa.int32())]))
    )
    parquet(tmp_path / "e" / "b.parquet", edge_table(EDGES[2:]))
    agree(with_edges(tmp_path, str(tmp_path / "e")), spark, tmp_path, rows())


NULLS = {
    "boolean": pa.array([True, None, False, True]),
    "array of booleans": pa.array([[True], [None], [False], [True]]),
    "array": pa.array([[1.0], None, [2.0], [3.0]]),
    "integer": pa.array([1, None, 2, 3]),
}


@pytest.mark.parametrize("name", NULLS)
def test_nulls(spark: SparkSession, tmp_path: Path, name: str) -> None:
    edges = parquet(tmp_path / "e.parquet", edge_table(w=NULLS[name]))
    words = r"edges\.w holds 1 null \(first: 2 -> 3\); fill them or drop these rows"
    ways = (by_verify,)
    agree(with_edges(tmp_path, edges, edge_features=["w"]), spark, tmp_path, words, ways)


def test_arrays_of_length_0(spark: SparkSession, tmp_path: Path) -> None:
    nodes = pa.table({"id": [1, 2, 3], "x": pa.array([[], [], []], pa.list_(pa.float32()))})
    words = r"nodes\.x holds arrays without numbers in 3 rows \(first: 1, 2, 3\)"
    case = with_nodes(tmp_path, parquet(tmp_path / "n.parquet", nodes))
    agree(case, spark, tmp_path, words, (by_verify,))


def test_ids_that_are_no_utf_8(spark: SparkSession, tmp_path: Path) -> None:
    bad = pa.array([b"\xff\xfe", b"b", b"c"]).view(pa.string())
    nodes = pa.table({"id": bad, "x": [1.0, 2.0, 3.0]})
    edges = parquet(tmp_path / "e.parquet", edge_table([("b", "c")]))
    case = Case(parquet(tmp_path / "n.parquet", nodes), edges, ids=("b", "c"))
    words = r"nodes\.id holds 1 text not in UTF-8 \(first: '\\xff\\xfe'\); store them in UTF-8"
    agree(case, spark, tmp_path, words, (by_verify,))
