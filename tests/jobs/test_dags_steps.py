"""The steps of the nightly DAGs, without Airflow."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from pipeline import cli
from tests.jobs.dags import DAGS, FLIGHTS, PUBLISHED, given, webhook


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.syspath_prepend(str(DAGS))
    import graphsweep_steps

    return graphsweep_steps


def test_steps_are_commands_that_can_be_given_twice(steps, tmp_path, no_session):
    for again in (False, True):
        for name, arguments in steps.steps(given(tmp_path / "out", FLIGHTS / "model"), "2026-11-27").items():
            done = CliRunner().invoke(cli.app, [*arguments, "--json"])
            assert done.exit_code == 0, done.output
            assert json.loads(done.stdout).get("skipped", again) is again, name
    assert steps.publish(str(tmp_path / "out"), "2026-11-27") == PUBLISHED
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"graph", "scores", "work", "latest"}


def test_a_work_directory_is_of_one_day(steps):
    """What a run of yesterday has left there, whose graph is no more, would be refused today."""
    told = dict(steps.PARAMS)
    assert steps.steps(told, "2026-11-27")["infer"] != steps.steps(told, "2026-11-28")["infer"]
    (work,) = [path for path in steps.steps(told, "2026-11-28")["infer"] if "/work/" in path]
    assert work == "/data/scored/work/2026-11-28"


def test_publish_turns_a_link(steps, tmp_path):
    for day in ("2026-11-26", "2026-11-27"):
        (tmp_path / "scores" / day).mkdir(parents=True)
    (tmp_path / "latest.new").symlink_to("of/a/publish/that/was/killed")
    for day in ("2026-11-26", "2026-11-27", "2026-11-27"):
        steps.publish(str(tmp_path), day)
        assert os.readlink(tmp_path / "latest") == f"scores/{day}"
    with pytest.raises(FileNotFoundError, match="there are no scores of 2026-11-28 to publish"):
        steps.publish(str(tmp_path), "2026-11-28")
    assert os.readlink(tmp_path / "latest") == PUBLISHED


def test_people_are_told(steps):
    with webhook() as (texts, url):
        steps.post(url, "verify failed: „größer“")
    assert texts == ["verify failed: „größer“"]
