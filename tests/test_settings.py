"""Settings: what each accepts, in which words the rest is refused, and that the files in conf/ say all of them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.settings import ACCEPTED, Settings

CONF = Path(__file__).parent.parent / "conf"
FILES = sorted(CONF.glob("*.toml"))


def test_every_field_is_checked():
    assert list(ACCEPTED) == [field.name for field in dataclasses.fields(Settings)]


def test_defaults_are_accepted():
    assert Settings() == Settings.of({})
    names = ("blocks", "task_memory", "threads", "scratch", "tier", "read")
    assert Settings.of(dict.fromkeys(names, "auto")) == Settings()


@pytest.mark.parametrize(
    ("text", "size"),
    [("512m", 512 << 20), ("4g", 4 << 30), ("4GB", 4 << 30), ("1.5 GiB", 3 << 29), ("64k", 64 << 10), (4096, 4096)],
)
def test_sizes(text, size):
    assert Settings.of({"task_memory": text}).task_memory == size
    assert Settings(task_memory=text).task_memory == size


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"teir": "fused"}, "unknown setting 'teir'; did you mean 'tier'?"),
        (
            {"colour": 1},
            "unknown setting 'colour'; known: blocks, exchange, read, scratch, task_memory, threads, tier, transport, "
            "wire, work_dir, write",
        ),
        ({"tier": "fusd"}, "tier is 'fusd'; accepted: auto, fused, distributed; did you mean 'fused'?"),
        ({"tier": 3}, "tier is 3; accepted: auto, fused, distributed"),
        ({"tier": None}, "tier is None; accepted: auto, fused, distributed"),
        ({"blocks": 0}, "blocks is 0; accepted: a whole number from 1, or auto"),
        ({"blocks": True}, "blocks is True; accepted: a whole number from 1, or auto"),
        ({"blocks": "8"}, "blocks is '8'; accepted: a whole number from 1, or auto"),
        ({"threads": 1.5}, "threads is 1.5; accepted: a whole number from 1, or auto"),
        ({"task_memory": "4"}, "task_memory is '4'; accepted: a size like 512m or 4g, or auto"),
        ({"task_memory": "lots"}, "task_memory is 'lots'; accepted: a size like 512m or 4g, or auto"),
        ({"read": "jvm"}, "read is 'jvm'; accepted: auto, worker, spark"),
        ({"scratch": ""}, "scratch is ''; accepted: a directory, or auto"),
        ({"wire": "float61"}, "wire is 'float61'; accepted: float32, float16, bfloat16; did you mean 'float16'?"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        Settings.of(given)


def test_load(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('tier = "fused"\nblocks = 8\ntask_memory = "2g"\n')
    assert Settings.load(file) == Settings(tier="fused", blocks=8, task_memory=2 << 30)
    assert Settings.load(file).changed({"blocks": 4}) == Settings(tier="fused", blocks=4, task_memory=2 << 30)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "run.toml: cannot be read: No such file or directory"),
        (b"tier = fused", "run.toml: is not TOML: "),
        (b"\xff\xfe", "run.toml: is not TOML: it is text in UTF-16, and UTF-8 is expected"),
        (b"PAR1\x15\xff", "run.toml: is not TOML: it is a Parquet file"),
        (b"PK\x03\x04\xff", "run.toml: is not TOML: it is a ZIP archive, such as torch.save and NumPy write"),
        (b"\x00\xff", "run.toml: is not TOML: it is a binary file"),
        (b'tear = "fused"', "run.toml: unknown setting 'tear'; did you mean 'tier'?"),
        (b"[spark]\nmaster = 1", "run.toml: unknown setting 'spark'; "),
    ],
)
def test_files_that_are_refused(tmp_path, content, message):
    file = tmp_path / "run.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingError, match=re.escape(message)):
        Settings.load(file)


# ---- conf/


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_conf_file_says_every_setting_with_a_comment(file):
    Settings.load(file)
    lines = file.read_text().splitlines()
    said = [line.partition("=")[0].strip() for line in lines if "=" in line and not line.startswith("#")]
    assert said == [field.name for field in dataclasses.fields(Settings)]
    assert all("#" in line for line in lines if "=" in line)


def test_the_local_file_holds_the_defaults():
    databricks = {f"databricks-{compute}.toml" for compute in ("standard", "dedicated", "serverless")}
    assert {file.name for file in FILES} == {"local.toml", "cluster.toml", *databricks}
    assert Settings.load(CONF / "local.toml") == Settings()
