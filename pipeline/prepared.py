"""A prepared graph: the graph cut into blocks, on disk. Made once by `prepare`, opened again by `open_graph`.

Comes in: a path. Goes out: what its manifest says, and its blocks. Opens none of the tables that it was made of.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from pipeline import shown
from pipeline.blocks import storage
from pipeline.blocks.block import Block
from pipeline.blocks.manifest import checked_manifest, id_types_of
from pipeline.blocks.opening import Known, open_block
from pipeline.blocks.ranges import Ranges, merge_ranges
from pipeline.blocks.rows import KINDS
from pipeline.places.given import path_of
from pipeline.places.place import Place
from pipeline.schema import EdgeType, GraphSchema
from pipeline.tables.layout import table_of
from pipeline.tables.types import spelt


@dataclass(frozen=True)
class PreparedGraph:
    """A graph cut into blocks, on disk. Made by `prepare`, opened again by `open_graph`."""

    path: str
    """Absolute, or a URI."""
    manifest: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Where its blocks are: of this prepare, and of no other that may come to the same path."""
        return f"{self.path.rstrip('/')}/{storage.folder_name(self.manifest['prepare'])}"

    @property
    def sizes(self) -> dict[str, list[int]]:
        """File of a block → its bytes, for each block."""
        return {name: self.manifest["per_block"][f"{name}_file_bytes"] for name in storage.FILES}

    @property
    def blocks(self) -> int:
        """Number of blocks, P."""
        return int(self.manifest["blocks"])

    @property
    def schema(self) -> GraphSchema:
        schema = GraphSchema.from_json(self.manifest["schema"])
        return schema.undirected() if self.undirected else schema

    @property
    def widths(self) -> dict[str | EdgeType, dict[str, int | None]]:
        """Type → column → numbers in a row; None where there is no row to tell it."""
        schema = GraphSchema.from_json(self.manifest["schema"])
        of_all: list[tuple[str | EdgeType, Mapping[str, int]]] = [*schema.nodes.items()]
        of_all += [(kind, columns) for kind, columns in schema.edges.items() if not kind.is_reversed]
        return {kind: {name: width or None for name, width in columns.items()} for kind, columns in of_all}

    @property
    def ranges(self) -> Ranges:
        """What numbers the columns hold."""
        return merge_ranges([self.manifest["ranges"]])

    @property
    def fingerprint(self) -> str:
        """A hash of all blocks: the same for the same graph and P, however the files were split or ordered."""
        return str(self.manifest["fingerprint"])

    @property
    def nodes(self) -> int:
        return int(self.manifest["totals"]["nodes"])

    @property
    def edges(self) -> int:
        """Edges, with both directions of an undirected one."""
        return int(self.manifest["totals"]["edges"])

    @property
    def undirected(self) -> bool:
        return bool(self.manifest["undirected"])

    @property
    def id_type(self) -> str:
        """Spark's word for the type of the user's ids, of a graph without types."""
        (word,) = self.id_types.values()
        return word

    @property
    def id_types(self) -> dict[str, str]:
        """The same by node type."""
        return id_types_of(self.manifest)

    @property
    def id_names(self) -> dict[str, str]:
        """Node type → the column of its ids in the user's table."""
        return {type: self.manifest["columns"][table_of(type)]["ids"][0] for type in self.id_types}

    @property
    def is_typed(self) -> bool:
        return not isinstance(self.manifest["id_type"], str)

    @property
    def node_counts(self) -> dict[str, int]:
        """Node type → number of nodes."""
        return {type: sum(counts["nodes"]) for type, counts in self.manifest["node_types"].items()}

    @property
    def edge_counts(self) -> dict[EdgeType, int]:
        """Edge type → number of edges; those against their direction are counted too, where they are stored."""
        return {EdgeType.parse(type): sum(counts["edges"]) for type, counts in self.manifest["edge_types"].items()}

    @property
    def known(self) -> Known:
        """What its blocks are known by, for those who open them."""
        return Known.of(self.path, self.manifest)

    def __repr__(self) -> str:
        return shown.text(*self._facts())

    def _repr_html_(self) -> str:
        return shown.html(*self._facts())

    def _facts(self) -> tuple[str, dict[str, str]]:
        schema = self.schema
        columns = [("nodes", type, widths) for type, widths in schema.nodes.items()]
        columns += [("edges", str(type), widths) for type, widths in schema.edges.items() if not type.is_reversed]
        named = [
            f"{table if not self.is_typed else type}.{name} ({width})"
            for table, type, widths in columns
            for name, width in widths.items()
        ]
        facts = {"path": self.path, "nodes": f"{self.nodes:,}", "edges": f"{self.edges:,}"}
        if self.is_typed:
            facts["nodes"] += f": {shown.some(f'{type} {count:,}' for type, count in self.node_counts.items())}"
            of_edges = {type: count for type, count in self.edge_counts.items() if not type.is_reversed}
            facts["edges"] += f": {shown.some(f'{spelt(type)} {count:,}' for type, count in of_edges.items())}"
        if self.undirected:
            facts["edges"] += ", with both directions of each"
        facts["columns"] = shown.some(named) or "none"
        facts["ids"] = shown.some(dict.fromkeys(self.id_types.values()))
        by = shown.some(dict.fromkeys(self.manifest.get("blocks_by", {}).values()))
        facts["blocks"] = f"{self.blocks:,}" + (f", by {by}" if by else "")
        facts["fingerprint"] = self.fingerprint[:16]
        return "PreparedGraph", facts

    def told(self, output: str | os.PathLike[str], skipped: bool) -> dict[str, Any]:
        """What prepare says of it to programs: keys that stay. `skipped`: it was there already."""
        return {"output": os.fspath(output), "skipped": skipped, **self.facts}

    @property
    def facts(self) -> dict[str, Any]:
        """What it holds, for programs: keys that stay."""
        totals, schema = self.manifest["totals"], self.schema
        widths = {table_of(type): dict(found) for type, found in schema.nodes.items()}
        widths |= {table_of(type): dict(found) for type, found in schema.edges.items() if not type.is_reversed}
        return {
            "nodes": self.nodes,
            "edges": self.edges,
            "self_loops": totals["self_loops"],
            "largest_in_degree": totals["max_in_degree"],
            "dangling_edges_dropped": totals.get("dropped", 0),
            "undirected": self.undirected,
            "node_types": self.node_counts,
            "edge_types": {str(type): count for type, count in self.edge_counts.items() if not type.is_reversed},
            "id_types": self.id_types,
            "columns": widths,
            "blocks": self.blocks,
            "bytes": totals["static_bytes"] + totals["sends_bytes"],
            "fingerprint": self.fingerprint,
            **{name: self.manifest[name] for name in ("blocks_by", "communities") if name in self.manifest},
        }

    def block(self, index: int, kinds: Collection[str] = KINDS) -> Block:
        """A block, or of it what the kinds say."""
        return open_block(self.known, self.folder, index, kinds)


def open_graph(path: str | PathLike[str]) -> PreparedGraph:
    """A prepared graph; StorageError if there is none, or one that another version has written."""
    place = Place.of(path_of("the path of a prepared graph", path))
    manifest = checked_manifest(str(place), storage.read_manifest(place.given))
    return PreparedGraph(place.path if place.is_local else place.given, manifest)
