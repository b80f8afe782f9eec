"""The libraries that pages are made with: an extra, so that who wants no page needs none of them.

Comes in: nothing. Goes out: nothing, or a SettingError that names the extra. Imports none of them: that they are
missing is said before a run starts, and they are loaded when it has ended.
"""

from __future__ import annotations

from importlib.util import find_spec

from pipeline.errors import SettingError

NEEDED = {"jinja2": "Jinja2", "matplotlib": "matplotlib"}
EXTRA = "graphsweep[report]"


def require_libraries() -> None:
    """SettingError if a library is missing."""
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise SettingError(
            f"a report is made with {' and '.join(NEEDED.values())}, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed; install {EXTRA}, as in: pip install '{EXTRA}'. "
            "Nothing was started"
        )
