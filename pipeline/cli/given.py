"""From options to the arguments of the library.

Comes in: options as they were typed, None where they were not. Goes out: settings, columns, and who gives a session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.command.columns import edge_columns, feature_columns
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.job.sessions import Sessions


def sessions(verbose: bool) -> Sessions:
    """Who gives a session, if somebody asks for one."""
    from pipeline.command.own_session import spark_is_optional
    from pipeline.job.sessions import Sessions

    return Sessions(spark_is_optional, partial(_session, verbose))


def _session(verbose: bool, small: bool = False, meanwhile: Callable[[], None] | None = None) -> Any:
    from pipeline.command.own_session import spark_session

    return spark_session(verbose, small, meanwhile)


def settings_from(conf: str | None, **options: Any) -> Settings:
    """Those of a file, changed by options."""
    return (Settings.load(conf) if conf else Settings()).changed(given(**options))


def graph_columns(features: str | None, edge_features: str | None, *others: Any) -> dict[str, Any]:
    """What the columns of raw tables mean, as options of a `Graph`, as far as they were given."""
    names = ("undirected", "drop_dangling", "id", "src", "dst")
    return given(
        features=None if features is None else feature_columns(features),
        edge_features=None if edge_features is None else edge_columns(edge_features),
        **dict(zip(names, others, strict=True)),
    )


def of_tables(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Those that name columns."""
    return {name: each for name, each in columns.items() if each is not True}


def as_typed(names: Iterable[str]) -> str:
    """As they are typed."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def given(**options: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None and value is not False}
