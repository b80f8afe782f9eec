"""The libraries that pages are made with: an extra, so that who wants no page needs none of them.

Comes in: nothing. Goes out: nothing, or a SettingError that names the extra. Imports none of them: that they are
missing is said before a run starts, and they are loaded when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from pipeline.errors import SettingError

NEEDED = {"jinja2": "Jinja2", "matplotlib": "matplotlib"}
EXTRA = "graphsweep[report]"


def require_libraries(what: str = "a report", modules: Iterable[str] = tuple(NEEDED)) -> None:
    """SettingError if one of the libraries that something is made with is missing."""
    needed = [NEEDED[module] for module in modules]
    missing = [NEEDED[module] for module in modules if find_spec(module) is None]
    if missing:
        raise SettingError(
            f"{what} is made with {' and '.join(needed)}, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed; install {EXTRA}, as in: pip install '{EXTRA}'. "
            "Nothing was started"
        )
