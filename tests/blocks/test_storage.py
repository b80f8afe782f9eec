"""Arrays, rows and files are the same thing, and every file knows which prepare it is of."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.blocks import rows as rows_module
from pipeline.blocks import storage
from pipeline.blocks.block import Block
from pipeline.blocks.columns import CHUNK_BYTES, KIND, ROW_COLUMNS, ROW_DDL, TARGET
from pipeline.blocks.rows import (
    FEATURES,
    ID_OFFSETS,
    IDS,
    INDICES,
    KINDS,
    LISTS,
    PUSHES,
    SENDS,
    SENT_TO,
    TILES,
    Row,
    array_rows,
    block_from_rows,
    digest,
    from_batches,
    join,
    send_rows,
    static_rows,
    to_batches,
)
from pipeline.blocks.storage import read_block, read_manifest, read_rows, write_rows
from pipeline.errors import StorageError
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.schema import EDGE, NODE, EdgeType
from tests.graphs import GRAPHS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


SENT = (*LISTS, *PUSHES)


def built(name: str, blocks: int = 3) -> list[Block]:
    graph = GRAPHS[name]()
    return blocks_from_tables(graph.nodes, graph.edges, blocks=blocks, edge_features=["weight", "attr"])


def all_rows(block: Block) -> Iterator[Row]:
    yield from static_rows(block)
    yield from send_rows(block)


def write(path: Path, block: Block) -> None:
    write_rows(str(path), block.index, "static", static_rows(block))
    write_rows(str(path), block.index, "sends", send_rows(block))


# ---- arrays and rows


@given(
    arrays.arrays(
        st.sampled_from(["<f4", "<i4", "<i8", "|u1"]),
        st.tuples(st.integers(0, 60), st.integers(1, 7)) | st.tuples(st.integers(0, 60)),
        elements=st.integers(0, 100),
    ),
    st.integers(1, 200),
    st.randoms(use_true_random=False),
)
def test_an_array_is_its_rows_in_any_order(array: np.ndarray, chunk: int, random: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "CHUNK_BYTES", chunk)
        rows = list(array_rows(1, 2, "kind", "name", array))
    assert all(len(row.data) <= max(chunk, array.itemsize * array[:1].size) for row in rows)
    random.shuffle(rows)
    for same in (rows, list(from_batches(to_batches(rows, limit=3 * chunk)))):
        back = join(same)
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert (back == array).all()


def test_big_endian_arrays_become_little() -> None:
    array = np.arange(5, dtype=">i4")
    (row,) = array_rows(0, 0, "kind", "name", array)
    assert row.dtype == "<i4"
    assert (join([row]) == array).all()


def test_chunks_that_lie_together_are_not_copied() -> None:
    rows = list(array_rows(0, 0, "kind", "name", np.arange(CHUNK_BYTES, dtype=np.int32)))
    assert len(rows) == 4
    (batch,) = to_batches(rows)
    views = list(from_batches([batch]))
    joined = join(views)
    assert np.shares_memory(joined, views[0].data)
    assert np.shares_memory(joined, views[3].data)


@pytest.mark.parametrize("parts", [1, 2])
def test_arrays_are_read_only_however_they_came(parts: int) -> None:
    """To Numba a writable array is another type: a kernel would be compiled twice."""
    rows = list(array_rows(0, 0, "kind", "name", np.zeros(parts * CHUNK_BYTES, np.uint8)))
    assert not join(rows).flags.writeable
    assert not join(from_batches(to_batches(rows))).flags.writeable


def test_arrays_are_aligned_even_if_their_rows_are_not() -> None:
    rows = [
        *array_rows(0, 0, IDS, "a", np.zeros(3, np.uint8)),
        *array_rows(0, 0, IDS, "b", np.arange(4, dtype=np.int64)),
    ]
    (batch,) = to_batches(rows)
    joined = join(row for row in from_batches([batch]) if row.name == "b")
    assert joined.flags.aligned
    assert joined.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_block_is_its_rows(name: str) -> None:
    for block in built(name):
        again = block_from_rows(block.index, from_batches(to_batches(reversed(list(all_rows(block))), limit=500)))
        assert again.ids[NODE].to_pylist() == block.ids[NODE].to_pylist()
        assert digest(all_rows(again)) == digest(all_rows(block))


def test_rows_of_others_are_passed_over() -> None:
    blocks = built("mixed")
    everything = [row for block in blocks for row in all_rows(block)]
    everything += array_rows(0, 0, "something else", "", np.zeros(1))
    assert digest(all_rows(block_from_rows(1, everything))) == digest(all_rows(blocks[1]))


def test_features_of_no_width_keep_their_rows() -> None:
    nodes = pa.table({"id": [1, 2], "x": pa.array([[1.0], [2.0]], pa.list_(pa.float32()))})
    (block,) = blocks_from_tables(nodes, pa.table({"src": [1], "dst": [2]}))
    block = dataclasses.replace(block, features={NODE: {"x": np.empty((2, 0), np.float32)}})
    assert block_from_rows(0, all_rows(block)).features[NODE]["x"].shape == (2, 0)


@pytest.mark.parametrize("part", ["ids", "features", "tiles", "sends", "pushes"])
def test_a_digest_sees_every_part(part: str) -> None:
    """One bit changed anywhere is another graph."""
    block = built("mixed")[0]
    before = digest(all_rows(block))
    kind = {"ids": IDS, "features": FEATURES, "tiles": INDICES, "sends": SENDS, "pushes": f"push {INDICES}"}[part]
    changed = list(all_rows(block))
    at = next(i for i, row in enumerate(changed) if row.kind == kind)
    data = changed[at].data.copy()
    data[-1] ^= 1
    changed[at] = changed[at]._replace(data=data)
    assert digest(changed) != before


# ---- files


@pytest.mark.parametrize("name", GRAPHS)
def test_a_block_is_its_files(name: str, tmp_path: Path) -> None:
    for block in built(name):
        write(tmp_path, block)
        again = read_block(str(tmp_path), block.index)
        assert again.ids[NODE].type == block.ids[NODE].type
        assert digest(all_rows(again)) == digest(all_rows(block))


@pytest.mark.parametrize("edge_type", [EDGE, EDGE.reversed])
@pytest.mark.parametrize("name", GRAPHS)
def test_only_some_types_of_edges_are_read(
    name: str, edge_type: EdgeType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, taken = GRAPHS[name](), set()

    def spy(batches: list[pa.RecordBatch]) -> Iterator[Row]:
        for row in from_batches(batches):
            taken.add(rows_module.edge_type_of(row.kind, row.name))
            yield row

    monkeypatch.setattr(storage, "from_batches", spy)
    for block in blocks_from_tables(graph.nodes, graph.edges, 3, edge_features=["attr", "weight"], reverse=True):
        write(tmp_path, block)
        some = read_block(str(tmp_path), block.index, edge_types=[str(edge_type)])
        wanted = replace(
            block,
            **{
                part: {edge_type: getattr(block, part).get(edge_type, {})}
                for part in ("tiles", "sends", "pulled", "pushes")
            },
        )
        assert digest(all_rows(some)) == digest(all_rows(wanted))
    assert taken <= {"", str(edge_type)}  # the others are not even taken from the file


def test_parts_that_nobody_asks_for_stay_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = set()

    def spy(batches: list[pa.RecordBatch]) -> Iterator[Row]:
        for row in from_batches(batches):
            taken.add(row.kind)
            yield row

    write(tmp_path, built("mixed")[0])
    monkeypatch.setattr(storage, "from_batches", spy)
    for kinds in ((IDS,), (FEATURES, IDS), LISTS, TILES):
        taken.clear()
        list(read_rows(str(tmp_path), 0, kinds))
        assert taken == set(kinds)


@pytest.mark.parametrize("kinds", [(IDS, ID_OFFSETS), (FEATURES,), TILES, LISTS, SENT])
def test_only_some_kinds_are_read(kinds: tuple[str, ...], tmp_path: Path) -> None:
    block = built("text")[0]
    write(tmp_path, block)
    assert {row.kind for row in read_rows(str(tmp_path), 0, kinds)} == set(kinds) - {"push middles"}
    part = read_block(str(tmp_path), 0, kinds)
    assert bool(part.ids) == (IDS in kinds)
    assert any(part.features.values()) == (FEATURES in kinds)
    assert bool(part.tiles[EDGE]) == (kinds == TILES)
    assert bool(part.sends[EDGE]) == (SENDS in kinds)
    assert bool(part.pulled) == (SENT_TO in kinds)
    assert bool(part.pushes) == (kinds == SENT)


def test_row_groups_are_small_and_of_one_part(tmp_path: Path) -> None:
    """Spark reads 4096 rows of a row group at once; a reader of send lists skips the features."""
    rows = [*array_rows(0, 0, FEATURES, "node/x", np.zeros((1 << 23, 1), np.float32))]
    rows += array_rows(0, 1, SENDS, "node__to__node", np.zeros(10, np.int32))
    write_rows(str(tmp_path), 0, "static", rows)
    meta = pq.read_metadata(tmp_path / "target=0" / "static.parquet")
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    assert max(group.total_byte_size for group in groups) < 17 << 20
    column = next(i for i in range(meta.num_columns) if meta.schema.column(i).name == KIND)
    for group in groups:
        assert group.column(column).statistics.min == group.column(column).statistics.max


def test_spark_reads_the_same_rows(spark: SparkSession, tmp_path: Path) -> None:
    blocks = built("mixed")
    for block in blocks:
        write(tmp_path, block)
    table = spark.read.parquet(str(tmp_path)).select(*ROW_COLUMNS)
    assert ", ".join(f"{name} {kind}" for name, kind in table.dtypes) == ROW_DDL
    rows = list(from_batches(table.repartition(5).toArrow().to_batches()))
    for block in blocks:
        assert digest(all_rows(block_from_rows(block.index, rows))) == digest(all_rows(block))
    kinds = table.where(f"{KIND} = '{SENDS}' and {TARGET} = 1").select(KIND, TARGET).distinct().collect()
    assert kinds == [(SENDS, 1)]


def test_half_written_files_are_not_seen(tmp_path: Path) -> None:
    block = built("mixed")[0]
    write(tmp_path, block)

    def breaks() -> Iterator[Row]:
        yield from all_rows(block)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_rows(str(tmp_path), 0, "static", breaks())
    (tmp_path / "target=0" / ".static-1").write_bytes(b"PAR1 half")
    assert digest(all_rows(read_block(str(tmp_path), 0))) == digest(all_rows(block))
    names = sorted(os.listdir(tmp_path / "target=0"))
    assert names == [".static-1", "sends.parquet", "static.parquet"]


def test_a_missing_block(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="block 4 is missing"):
        read_block(str(tmp_path), 4)


def test_a_damaged_block(tmp_path: Path) -> None:
    write(tmp_path, built("mixed")[0])
    file = tmp_path / "target=0" / "sends.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"sends\.parquet of block 0 is damaged"):
        read_block(str(tmp_path), 0)


@pytest.mark.parametrize("scheme", ["", "file:", "file://", "FILE://localhost"])
def test_paths_and_uris(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = built("mixed")[0]
    write_rows(f"{scheme}{tmp_path}", 0, "static", static_rows(block))
    write_rows(f"{scheme}{tmp_path}", 0, "sends", [])
    monkeypatch.chdir(tmp_path.parent)
    assert len(list(read_rows(tmp_path.name, 0))) == len(list(static_rows(block)))


def test_a_scheme_that_only_spark_knows() -> None:
    with pytest.raises(StorageError, match=r"viewfs://x/y: a place of viewfs: can be reached by Spark only"):
        storage.locate("viewfs://x/y")


# ---- which prepare they are of


def graph_of(tmp_path: Path, name: str, prepare: str) -> Path:
    """The blocks of a graph, and as much of its manifest as tells whose they are."""
    folder = tmp_path / name / storage.folder_name(prepare)
    folder.mkdir(parents=True)
    for block in built("mixed"):
        write(folder, block)
    manifest = {"format": storage.FORMAT, "version": storage.VERSION, "prepare": prepare}
    (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    return folder


def sizes(folder: Path) -> dict[str, list[int]]:
    return {
        name: [(folder / f"target={index}" / f"{name}.parquet").stat().st_size for index in range(3)]
        for name in storage.FILES
    }


def look(check: str, folder: Path, written: dict[str, list[int]]) -> None:
    """As workers do, who read block 1, or as the driver does before Spark reads all."""
    if check == "read":
        list(read_rows(str(folder), 1, kinds=(IDS, SENDS)))
    else:
        storage.check_files(str(folder), written)


FIRST, SECOND = "20240101T000000-00000000", "20240102T000000-11111111"


@pytest.mark.parametrize("file", ["static", "sends"])
@pytest.mark.parametrize("check", ["read", "check"])
def test_files_of_another_prepare_are_not_read(tmp_path: Path, file: str, check: str) -> None:
    first, second = graph_of(tmp_path, "a", FIRST), graph_of(tmp_path, "b", SECOND)
    shutil.copy(first / "target=1" / f"{file}.parquet", second / "target=1")
    words = rf"b: {file}\.parquet of block 1 is of another prepare \(blocks-{FIRST}\): files were mixed up; prepare the"
    with pytest.raises(StorageError, match=words):
        look(check, second, sizes(second))
    assert list(read_rows(str(second), 0))


def test_what_blocks_send_is_not_opened_by_who_needs_none_of_it(tmp_path: Path) -> None:
    folder = graph_of(tmp_path, "a", FIRST)
    (folder / "target=1" / "sends.parquet").unlink()
    assert list(read_rows(str(folder), 1, kinds=(IDS, FEATURES, *TILES)))
    with pytest.raises(StorageError, match=r"block 1 is missing: it has no sends\.parquet"):
        list(read_rows(str(folder), 1, kinds=(SENDS,)))


def test_files_of_no_prepare_are_not_read(tmp_path: Path) -> None:
    folder = graph_of(tmp_path, "a", FIRST)
    file = folder / "target=1" / "static.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).replace_schema_metadata(None), file)
    with pytest.raises(StorageError, match=r"a: static\.parquet of block 1 is of no prepare: files were mixed up"):
        read_block(str(folder), 1)


@pytest.mark.parametrize("left", ["nothing", "one file", "everything"])
@pytest.mark.parametrize("check", ["read", "check"])
def test_a_graph_that_is_replaced_while_it_is_read(tmp_path: Path, left: str, check: str) -> None:
    """Whatever is still there of the old one."""
    folder = graph_of(tmp_path, "graph", FIRST)
    written = sizes(folder)
    if left == "nothing":
        shutil.rmtree(folder)
    elif left == "one file":
        (folder / "target=1" / "sends.parquet").unlink()
    else:
        (folder / "target=1" / "sends.parquet").write_bytes(b"PAR1")
    manifest = {"format": storage.FORMAT, "version": storage.VERSION, "prepare": SECOND}
    (tmp_path / "graph" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=r"/graph: replaced while being read; run again$"):
        look(check, folder, written)


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    folder = graph_of(tmp_path, "graph", FIRST)
    written = sizes(folder)
    (folder / "target=2" / "sends.parquet").unlink()
    with pytest.raises(StorageError, match=r"/graph: block 2 is missing: it has no sends\.parquet"):
        read_block(str(folder), 2)
    assert storage.missing_blocks(str(folder), written) == [2]
    with pytest.raises(StorageError, match=r"/graph: block 2 is missing or damaged, as are 1 of 3"):
        storage.check_files(str(folder), written)


def test_files_of_another_size_are_noticed(tmp_path: Path) -> None:
    folder = graph_of(tmp_path, "graph", FIRST)
    written = sizes(folder)
    file = folder / "target=0" / "static.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    assert storage.missing_blocks(str(folder), written) == [0]


def test_two_attempts_write_the_same_bytes(tmp_path: Path) -> None:
    block, file = built("mixed")[0], tmp_path / "target=0" / "static.parquet"
    write_rows(str(tmp_path), 0, "static", static_rows(block))
    first = file.read_bytes()
    assert write_rows(str(tmp_path), 0, "static", static_rows(block)) == len(first)
    assert file.read_bytes() == first


def test_a_task_that_comes_too_late_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"/graph: cannot be written: No such file or directory"):
        write_rows(f"{tmp_path}/graph/{storage.folder_name(FIRST)}", 0, "static", [])
    assert os.listdir(tmp_path) == []


def test_what_spark_says_of_a_file_that_is_gone() -> None:
    said = (
        "[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:///data/my%20graph/"
        f"blocks-{FIRST}/target=1/sends.parquet. File does not exist. It is possible the underlying files"
    )
    assert str(storage.replaced_in(said)) == "/data/my graph: replaced while being read; run again"
    assert storage.replaced_in(said.replace("blocks-", "parts-")) is None


# ---- the manifest


MANIFESTS = [
    (None, r"no prepared graph here \(manifest.json is missing\)"),
    ("{", "manifest.json is damaged"),
    ("[1]", "manifest.json is of something else"),
    ('{"format": "model"}', "manifest.json is of something else"),
    (
        json.dumps({"format": storage.FORMAT, "version": storage.VERSION, "prepare": "../x"}),
        "damaged: it does not say which blocks are",
    ),
    (json.dumps({"format": storage.FORMAT, "version": 99}), "version 99 of the format, but this is version 7; prepare"),
]


@pytest.mark.parametrize(("content", "words"), MANIFESTS)
def test_manifests_of_something_else(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(StorageError, match=words):
        read_manifest(str(tmp_path))


def test_every_kind_belongs_to_a_part() -> None:
    assert set(KINDS) == {IDS, ID_OFFSETS, FEATURES, *TILES, *SENT}
