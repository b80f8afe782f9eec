"""What is left of memory, by trees of files as Linux shows them; and in a real process with a real limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.spark.limits import memory_left

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory of Linux")

MACHINE = 1000
V1_NONE = 9223372036854771712  # what version 1 says where there is no limit


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has 1000 bytes free."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=MACHINE))


def tree(root: Path, groups: str, mounts: list[tuple[str, str, str, str]], files: dict[str, object]) -> Path:
    """A machine's proc and sys: what /proc/self/cgroup says; (kind, begins at, mounted at, options); files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    lines = [
        f"31 23 0:28 {inside} {point} rw,relatime - {kind} none {options}" for kind, inside, point, options in mounts
    ]
    (root / "proc/self/mountinfo").write_text("\n".join(lines))
    for name, content in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content) if isinstance(content, bytes) else file.write_text(f"{content}\n")
    return root


V1 = [("cgroup", "/", "/sys/fs/cgroup/cpu", "rw,cpu"), ("cgroup", "/", "/sys/fs/cgroup/memory", "rw,memory")]
V2 = [("cgroup2", "/", "/sys/fs/cgroup", "rw")]
HYBRID = [*V1, ("cgroup2", "/", "/sys/fs/cgroup/unified", "rw")]


def v1(group: str, limit: object, used: object, cached: int = 0) -> dict[str, object]:
    stat = f"cache 7\ninactive_file 1\ntotal_inactive_file {cached}\ntotal_active_file 0"
    place = f"memory{group}"
    return {
        f"{place}/memory.limit_in_bytes": limit,
        f"{place}/memory.usage_in_bytes": used,
        f"{place}/memory.stat": stat,
    }


def v2(group: str, limit: object, used: object, cached: int = 0) -> dict[str, object]:
    place = group.strip("/") or "."
    stat = f"anon 5\ninactive_file {cached - cached // 2}\nactive_file {cached // 2}"
    return {f"{place}/memory.max": limit, f"{place}/memory.current": used, f"{place}/memory.stat": stat}


CASES = {
    "no groups at all": ("", [], {}, MACHINE),
    "v2: a limit": ("0::/a", V2, v2("/a", 500, 100), 400),
    "v2: no limit": ("0::/a", V2, v2("/a", "max", 100), MACHINE),
    "v2: cache of files can be taken back": ("0::/a", V2, v2("/a", 500, 300, cached=250), 450),
    "v2: all is used": ("0::/a", V2, v2("/a", 500, 600), 0),
    "v2: the limit is that of a group around it": (
        "0::/a/b/c", V2, {**v2("/a", 300, 200), **v2("/a/b", "max", 150), **v2("/a/b/c", 900, 100)}, 100),
    "v2: the inner one is less": ("0::/a/b", V2, {**v2("/a", 900, 200), **v2("/a/b", 300, 100)}, 200),
    "v2: slowed down before it is killed": ("0::/a", V2, {**v2("/a", 500, 100), "a/memory.high": 350}, 250),
    "v2: in a container that sees itself as the root": ("0::/", V2, v2("/", 500, 100), 400),
    "v2: a group outside of what can be seen": ("0::/../x", V2, v2("/", 500, 100), 400),
    "v1: a limit": ("4:memory:/a\n1:cpu:/", V1, v1("/a", 500, 100), 400),
    "v1: no limit": ("4:memory:/a", V1, v1("/a", V1_NONE, 100), MACHINE),
    "v1: cache of files can be taken back": ("4:memory:/a", V1, v1("/a", 500, 300, cached=250), 450),
    "v1: two controllers in one": (
        "4:cpu,memory:/a", [("cgroup", "/", "/sys/fs/cgroup/memory", "rw,cpu,memory")], v1("/a", 500, 100), 400),
    "v1: the limit is that of a group around it": (
        "4:memory:/a/b", V1, {**v1("/a", 300, 200), **v1("/a/b", V1_NONE, 100)}, 100),
    "v1: in a container whose group is named as on the host": (
        "4:memory:/docker/12ab", [("cgroup", "/docker/12ab", "/sys/fs/cgroup/memory", "rw,memory")],
        v1("", 500, 100), 400),
    "v1: the same, in a group of its own there": (
        "4:memory:/docker/12ab/x", [("cgroup", "/docker/12ab", "/sys/fs/cgroup/memory", "rw,memory")],
        {**v1("", 800, 100), **v1("/x", 500, 100)}, 400),
    "v1: named as on the host, and the mount does not say": ("4:memory:/docker/12ab", V1, v1("", 500, 100), 400),
    "both, memory in version 1": ("4:memory:/a\n0::/a", HYBRID, v1("/a", 500, 100), 400),
    "more than the machine has": ("0::/a", V2, v2("/a", 5000, 100), MACHINE),
    "damaged: no number": ("0::/a", V2, v2("/a", "500 bytes", 100), MACHINE),
    "damaged: not text": ("0::/a", V2, {**v2("/a", b"\xff\xfe\x00", 100)}, MACHINE),
    "damaged: empty": ("0::/a", V2, v2("/a", "", ""), MACHINE),
    "damaged: no use": ("0::/a", V2, {"a/memory.max": 500}, MACHINE),
    "damaged: a group without its parts": ("nonsense\n0:", V2, v2("/", 500, 100), MACHINE),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_groups_leave(tmp_path: Path, name: str) -> None:
    groups, mounts, files, left = CASES[name]
    assert memory_left(tree(tmp_path, groups, mounts, files)).shared == left


def test_damaged_mounts_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "0::/a", V2, v2("/a", 500, 100))
    with open(tmp_path / "proc/self/mountinfo", "a") as file:
        file.write("\nhalf a line - cgroup2\n - \n31 23 - cgroup2 none rw\n")
    assert memory_left(tmp_path).shared == 400


def test_a_process_with_a_limit_of_its_own() -> None:
    """As spark.executor.pyspark.memory sets it: of 4 GB of addresses some are used."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30));"
        "from pipeline.spark.limits import memory_left; print(memory_left().own)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2 << 30 < int(done.stdout) < 4 << 30
    assert memory_left().own is None
