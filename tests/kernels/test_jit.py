"""Compiled code is kept where only its user can write."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import platformdirs
import pytest

from pipeline.kernels import jit as module
from pipeline.kernels.jit import cache_directory, jit

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test finds its directory anew, with NUMBA_CACHE_DIR unset."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    cache_directory.cache_clear()
    module._kept_source.cache_clear()
    yield
    cache_directory.cache_clear()
    module._kept_source.cache_clear()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def homes(monkeypatch: pytest.MonkeyPatch, home: Path, temporary: Path) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: home / name)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(temporary))


def double(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(values)):
        out[i] = 2 * values[i]


def test_the_users_own_cache_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    homes(monkeypatch, tmp_path / "home", tmp_path / "tmp")
    assert cache_directory() == tmp_path / "home" / "graphsweep"
    assert mode(cache_directory()) == 0o700


def test_an_open_directory_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    homes(monkeypatch, tmp_path, tmp_path / "tmp")
    (tmp_path / "graphsweep").mkdir(mode=0o755)
    assert mode(cache_directory()) == 0o700


def test_without_a_home_it_is_among_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, not a directory")
    homes(monkeypatch, tmp_path / "home", tmp_path / "tmp")
    assert cache_directory() == tmp_path / "tmp" / f"graphsweep-{os.getuid()}"
    assert mode(cache_directory()) == 0o700


def test_a_planted_link_is_not_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("graphsweep", f"graphsweep-{os.getuid()}"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    homes(monkeypatch, tmp_path, tmp_path)
    directory = cache_directory()
    assert not directory.is_symlink()
    assert directory != tmp_path / "elsewhere"
    assert mode(directory) == 0o700


def test_a_directory_of_somebody_else_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    homes(monkeypatch, tmp_path, tmp_path / "tmp")
    (tmp_path / "graphsweep").mkdir()
    other = os.getuid() + 1
    monkeypatch.setattr(module.os, "getuid", lambda: other)
    assert cache_directory() not in (tmp_path / "graphsweep", tmp_path / "tmp" / f"graphsweep-{other}")
    assert mode(cache_directory()) == 0o700


def test_the_users_choice_is_respected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert cache_directory().parent == tmp_path
    out = np.empty(2)
    jit(double)(np.ones(2), out)
    assert out.tolist() == [2, 2]
    assert list(tmp_path.rglob("*.nbi"))
    assert str(tmp_path) == numba.config.CACHE_DIR


def test_decorating_changes_nothing_for_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    homes(monkeypatch, tmp_path, tmp_path)
    out = np.empty(2)
    jit(double)(np.ones(2), out)
    assert numba.config.CACHE_DIR == ""
    assert list((tmp_path / "graphsweep").rglob("*.nbi"))


CALLS = (
    "import numpy as np; from pipeline.kernels.hash import blocks_of; out = np.empty(3, np.int32);"
    "blocks_of(np.arange(3), 4, out); print(sum(blocks_of.stats.cache_hits.values()))"
)


def hits(checkout: Path, cache: Path) -> int:
    """How often a new process loads compiled code, which imports from there."""
    done = subprocess.run(
        [sys.executable, "-c", CALLS], cwd=checkout, capture_output=True, text=True, check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    return int(done.stdout)


def test_a_new_process_loads_what_another_one_compiled(tmp_path: Path) -> None:
    """Also one of another checkout, whose files are as old as they like; but not once a kernel is another one."""
    checkouts = [tmp_path / "one", tmp_path / "two"]
    for number, checkout in enumerate(checkouts):
        shutil.copytree(Path(module.__file__).parents[1], checkout / "pipeline")
        os.utime(checkout / "pipeline" / "kernels" / "hash.py", (number, number))
    cache = tmp_path / "cache"
    assert hits(checkouts[0], cache) == 0
    compiled = sorted(cache.rglob("*.nbc"))
    assert compiled
    assert hits(checkouts[0], cache) == hits(checkouts[1], cache) == 1
    assert sorted(cache.rglob("*.nbc")) == compiled, "nothing is compiled in the second run"
    with open(checkouts[1] / "pipeline" / "kernels" / "hash.py", "a") as file:
        file.write("# changed\n")
    assert hits(checkouts[1], cache) == 0
