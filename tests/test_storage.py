"""Arrays, rows and files are the same thing; directories appear whole or not at all."""

from __future__ import annotations

import json
import os
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

from pipeline import rows as rows_module
from pipeline import storage
from pipeline.blocks import Block
from pipeline.build.steps import blocks_from_tables
from pipeline.columns import CHUNK_BYTES, KIND, ROW_COLUMNS, ROW_DDL, TARGET
from pipeline.errors import StorageError
from pipeline.rows import (
    COLUMNS,
    FEATURES,
    ID_OFFSETS,
    IDS,
    KINDS,
    PULLED,
    PUSHES,
    SENDS,
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
from pipeline.schema import EDGE, NODE, EdgeType
from pipeline.storage import discard, publish, read_block, read_manifest, read_rows, stage, write_rows
from tests.graphs import GRAPHS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


SENT = (SENDS, PULLED, *PUSHES)


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
    nodes = pa.table({"id": [1, 2], "x": pa.array([[], []], pa.list_(pa.float32()))})
    (block,) = blocks_from_tables(nodes, pa.table({"src": [1], "dst": [2]}))
    assert block_from_rows(0, all_rows(block)).features[NODE]["x"].shape == (2, 0)


@pytest.mark.parametrize("part", ["ids", "features", "tiles", "sends", "pushes"])
def test_a_digest_sees_every_part(part: str) -> None:
    """One bit changed anywhere is another graph."""
    block = built("mixed")[0]
    before = digest(all_rows(block))
    kind = {"ids": IDS, "features": FEATURES, "tiles": COLUMNS, "sends": SENDS, "pushes": PUSHES[2]}[part]
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
    for kinds in ((IDS,), (FEATURES, IDS), (SENDS, PULLED), TILES):
        taken.clear()
        list(read_rows(str(tmp_path), 0, kinds))
        assert taken == set(kinds) | ({PULLED} if SENDS in kinds else set())


@pytest.mark.parametrize("kinds", [(IDS, ID_OFFSETS), (FEATURES,), TILES, (SENDS, PULLED), (SENDS,), SENT])
def test_only_some_kinds_are_read(kinds: tuple[str, ...], tmp_path: Path) -> None:
    block = built("text")[0]
    write(tmp_path, block)
    assert {row.kind for row in read_rows(str(tmp_path), 0, kinds)} == set(kinds) - {"push middles"}
    part = read_block(str(tmp_path), 0, kinds)
    assert bool(part.ids) == (IDS in kinds)
    assert any(part.features.values()) == (FEATURES in kinds)
    assert bool(part.tiles[EDGE]) == (kinds == TILES)
    assert bool(part.sends[EDGE]) == (SENDS in kinds)
    assert bool(part.pulled) == (PULLED in kinds)
    assert bool(part.pushes) == (kinds == SENT)


def test_row_groups_are_small_and_of_one_part(tmp_path: Path) -> None:
    """Spark reads 4096 rows of a row group at once; a reader of send lists skips the features."""
    rows = [*array_rows(0, 0, FEATURES, "node/x", np.zeros((1 << 23, 1), np.float32))]
    rows += array_rows(0, 1, SENDS, "node__to__node", np.zeros(10, np.int32))
    write_rows(str(tmp_path), 0, "static", rows)
    meta = pq.read_metadata(tmp_path / "blocks" / "target=0" / "static.parquet")
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    assert max(group.total_byte_size for group in groups) < 17 << 20
    column = next(i for i in range(meta.num_columns) if meta.schema.column(i).name == KIND)
    for group in groups:
        assert group.column(column).statistics.min == group.column(column).statistics.max


def test_spark_reads_the_same_rows(spark: SparkSession, tmp_path: Path) -> None:
    blocks = built("mixed")
    for block in blocks:
        write(tmp_path, block)
    table = spark.read.parquet(str(tmp_path / "blocks")).select(*ROW_COLUMNS)
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
    (tmp_path / "blocks" / "target=0" / ".static-1.parquet").write_bytes(b"PAR1 half")
    assert digest(all_rows(read_block(str(tmp_path), 0))) == digest(all_rows(block))
    names = sorted(name for name in os.listdir(tmp_path / "blocks" / "target=0"))
    assert names == [".static-1.parquet", "sends.parquet", "static.parquet"]


def test_a_missing_block(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="block 4 is missing"):
        read_block(str(tmp_path), 4)


def test_a_damaged_block(tmp_path: Path) -> None:
    write(tmp_path, built("mixed")[0])
    file = tmp_path / "blocks" / "target=0" / "sends.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"sends\.parquet of block 0 is damaged"):
        read_block(str(tmp_path), 0)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_paths_and_uris(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = built("mixed")[0]
    write_rows(f"{scheme}{tmp_path}", 0, "static", static_rows(block))
    monkeypatch.chdir(tmp_path.parent)
    assert len(list(read_rows(tmp_path.name, 0))) == len(list(static_rows(block)))


def test_a_scheme_that_nobody_knows() -> None:
    with pytest.raises(StorageError, match=r"gopher://x/y: cannot be opened"):
        storage.locate("gopher://x/y")


# ---- the directory


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_nothing_is_there_before_it_is_published(tmp_path: Path) -> None:
    target = str(tmp_path / "graph")
    staging = stage(target, overwrite=False)
    write(Path(staging), built("mixed")[0])
    assert not os.path.exists(target)
    publish(staging, target, {"blocks": 3})
    assert names(tmp_path) == ["graph"]
    assert names(tmp_path / "graph") == ["blocks", "manifest.json"]
    assert read_manifest(target)["blocks"] == 3


def test_nothing_is_left_of_what_is_discarded(tmp_path: Path) -> None:
    staging = stage(str(tmp_path / "deep" / "er" / "graph"), overwrite=False)
    write(Path(staging), built("mixed")[0])
    discard(staging)
    discard(staging)
    assert names(tmp_path / "deep" / "er") == []


def test_what_is_there_is_kept_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    target = str(tmp_path / "graph")
    publish(stage(target, False), target, {"blocks": 1})
    with pytest.raises(StorageError, match=r"graph: exists already; give another path, or overwrite"):
        stage(target, overwrite=False)
    staging = stage(target, overwrite=True)
    assert read_manifest(target)["blocks"] == 1
    publish(staging, target, {"blocks": 2})
    assert read_manifest(target)["blocks"] == 2
    assert names(tmp_path) == ["graph"]


def test_a_trailing_slash_does_not_matter(tmp_path: Path) -> None:
    target = f"{tmp_path}/graph/"
    publish(stage(target, False), target, {"blocks": 1})
    publish(stage(target, True), target, {"blocks": 2})
    assert names(tmp_path) == ["graph"]
    assert read_manifest(target)["blocks"] == 2


@pytest.mark.parametrize("content", ["letter.txt", "manifest.json"])
def test_what_is_not_a_prepared_graph_is_never_overwritten(content: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / content).write_text("dear")
    with pytest.raises(StorageError, match="home: not overwritten, because it is not a prepared graph"):
        stage(str(tmp_path / "home"), overwrite=True)
    (tmp_path / "file").write_text("dear")
    with pytest.raises(StorageError, match="file: not overwritten"):
        stage(str(tmp_path / "file"), overwrite=True)
    assert (tmp_path / "home" / content).read_text() == "dear"


def test_an_empty_directory_may_be_overwritten(tmp_path: Path) -> None:
    target = str(tmp_path / "graph")
    os.mkdir(target)
    publish(stage(target, True), target, {"blocks": 2})
    assert read_manifest(target)["blocks"] == 2


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="graph: cannot be written"):
        stage(str(tmp_path / "file" / "graph"), overwrite=False)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"graph: cannot be written.*Permission denied"):
        stage(str(tmp_path / "graph"), overwrite=False)


MANIFESTS = [
    (None, r"no prepared graph here \(manifest.json is missing\)"),
    ("{", "manifest.json is damaged"),
    ("[1]", "manifest.json is of something else"),
    ('{"format": "model"}', "manifest.json is of something else"),
    (json.dumps({"format": storage.FORMAT, "version": 99}), "version 99 of the format, but this is version 4; prepare"),
]


@pytest.mark.parametrize(("content", "words"), MANIFESTS)
def test_manifests_of_something_else(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(StorageError, match=words):
        read_manifest(str(tmp_path))


def test_every_kind_belongs_to_a_part() -> None:
    assert set(KINDS) == {IDS, ID_OFFSETS, FEATURES, *TILES, *SENT}
