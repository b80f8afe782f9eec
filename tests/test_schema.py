"""The spelling of types: any name goes into a file and comes back."""

from __future__ import annotations

import itertools

import pytest

from pipeline.formula.spaces import PARTS, Edges, Nodes, parse_space
from pipeline.schema import EDGE, NODE, REVERSED_EDGE, EdgeType, GraphSchema, name_of, spelled

NAMES = (
    NODE, "to", REVERSED_EDGE, "rev_writes", "account", "user account", "a-b", "a:b", "a.b", "..", "a__b", "_", "__",
    "_a", "a_", "a___", "class", "for", "~to", "~", "%", "%5F", "%72ev_to", "a/b", "a[b](c)", "", "ä", "a\u0308",
    "日本語", "\n", "A",
)  # fmt: skip


def test_names_of_all_kinds_are_read_back() -> None:
    assert [name_of(spelled(name)) for name in NAMES] == list(NAMES)
    assert len({spelled(name) for name in NAMES}) == len(NAMES)
    plain = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%")
    assert all(set(spelled(name)) <= plain and "__" not in spelled(name) for name in NAMES)


def test_edge_types_of_all_names_are_read_back() -> None:
    types = [EdgeType(*each) for each in itertools.product(NAMES, NAMES, NAMES, (False, True))]
    texts = [str(each) for each in types]
    assert [EdgeType.parse(text) for text in texts] == types
    assert len(set(texts)) == len(types)


def test_plain_names_stay_as_they_are() -> None:
    assert spelled("user_account-2") == "user_account-2"
    assert str(EdgeType("author", "rev_writes", "paper")) == "author__rev_writes__paper"
    assert str(EDGE) == "node__to__node"
    assert str(EDGE.reversed) == "node__rev_to__node"  # as in files of version 1
    assert EdgeType.parse("node__rev_to__node") == EDGE.reversed


def test_an_edge_type_called_rev_is_no_reversed_one() -> None:
    back = EdgeType("paper", "rev_writes", "author")
    assert not back.is_reversed
    assert back != EdgeType("author", "writes", "paper").reversed
    assert str(EdgeType("author", "writes", "paper").reversed) == "paper__~writes__author"


def test_spaces_of_all_names_are_read_back() -> None:
    spaces = [Nodes(name) for name in NAMES]
    spaces += [Edges(EdgeType(name, other, name), part) for name in NAMES for other in NAMES for part in PARTS]
    assert [parse_space(str(space)) for space in spaces] == spaces


@pytest.mark.parametrize("text", ["", "a", "a__b", "a__b__c__d", "a.b__c__d", "a__%zz__b", "~a__b__c", "a__%62__c"])
def test_what_is_no_edge_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="edge type"):
        EdgeType.parse(text)


@pytest.mark.parametrize("text", ["a.b", "a__b", "%61", "%5f%5F", "~"])
def test_what_is_no_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the spelling"):
        name_of(text)


def test_a_schema_of_several_types_goes_through_json() -> None:
    schema = GraphSchema({name: {"x": 3} for name in NAMES}, {EdgeType("a__b", "~", "_"): {"weight": 1}})
    assert GraphSchema.from_json(schema.to_json()) == schema
