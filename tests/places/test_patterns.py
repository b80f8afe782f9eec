"""Patterns of names mean what they mean to Hadoop, wherever a path is looked at."""

from __future__ import annotations

import pytest

from pipeline.errors import StorageError
from pipeline.places.patterns import alternatives, escaped, expanded, is_pattern, matcher, meeting


def test_braces_stand_for_several_patterns() -> None:
    assert alternatives("/a{b,c{d,e}}f") == ["/abf", "/acdf", "/acef"]
    assert alternatives("/{a/b,c}/*") == ["/a/b/*", "/c/*"]
    assert alternatives(r"/\{a,b}") == [r"/\{a,b}"]
    with pytest.raises(StorageError, match=r"/a\{b: a brace is not closed"):
        alternatives("/a{b")


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("day=*", ["day=", "day=1"], ["a_day=1"]),
        ("a?", ["ab"], ["a", "abc"]),
        ("[^x]", ["a"], ["x"]),
        ("[!x-z]", ["a"], ["x", "y"]),
        (r"\*", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_names_that_match(pattern: str, names: list[str], others: list[str]) -> None:
    assert all(matcher(pattern).fullmatch(name) for name in names)
    assert not any(matcher(pattern).fullmatch(name) for name in others)


def test_paths_that_a_pattern_names() -> None:
    there = {"/": ["a", "b"], "/a": ["x1", "x2"], "/b": ["x1"]}

    def names(folder: str) -> list[str]:
        return there.get(folder, [])

    assert list(expanded("/*/x[1]", names)) == ["/a/x1", "/b/x1"]
    assert list(expanded("/{a,b}/x?", names)) == ["/a/x1", "/a/x2", "/b/x1"]
    assert list(expanded("/c/x?", names)) == []
    assert list(expanded(r"/a/\{x", names)) == ["/a/{x"], "a name: whether it is there, others look"
    assert list(expanded("bucket/a", names)) == ["bucket/a"]


def test_how_a_path_lies_to_what_a_pattern_names() -> None:
    assert meeting("/a/*/c", "/a/b/c") == "is"
    assert meeting("/a/*/c", "/a/b") == "holds"
    assert meeting("/a/*/c", "/a/b/c/d") == "lies in"
    assert meeting("/a/[^x]/c", "/a/x/c/d") is None
    assert meeting("/a/?", "/a/bb") is None
    assert meeting(r"/a/\*", "/a/*") == "is"
    assert meeting(r"/a/\*", "/a/b") is None
    assert meeting("/a/[b", "/a/[b/c") == "lies in", "a bracket that is not closed is a letter of a name"
    assert meeting("/a/{b", "/a/b") is None


def test_a_name_as_a_pattern_of_itself() -> None:
    name = r"a*b?[c]{d}\e"
    assert is_pattern(name)
    assert alternatives(escaped(name)) == [escaped(name)]
    assert matcher(escaped(name)).fullmatch(name)
    assert not matcher(escaped("a*")).fullmatch("ab")
