"""Garbage that refers to itself is looked for later, and again afterwards."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from pipeline import cli
from pipeline.garbage import NEW, collect_seldom, collecting_later
from pipeline.plan.plan import Plan
from tests.formulas import build


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threshold, on = gc.get_threshold(), gc.isenabled()
    yield
    gc.set_threshold(*threshold)
    (gc.enable if on else gc.disable)()


def test_none_within() -> None:
    gc.enable()
    with collecting_later():
        with collecting_later():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), collecting_later():
        _ = 1 / 0
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    with collecting_later():
        pass
    assert not gc.isenabled()


def test_the_last_of_several_threads_switches_it_on() -> None:
    gc.enable()
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collecting_later():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with collecting_later():
        thread.start()
        inside.wait(60)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_a_plan_is_made_without_a_collection() -> None:
    found: list[str] = []
    model = build("sage")
    gc.enable()
    gc.set_threshold(10, 1, 1)
    gc.callbacks.append(lambda phase, about: found.append(phase))
    try:
        list({number: [number] for number in range(1000)}.values())
        assert found
        found.clear()
        Plan.of(model)
        assert len(found) <= 8  # around it; each is a start and an end
    finally:
        gc.callbacks.pop()


def test_a_command_is_a_process_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    gc.set_threshold(700, 10, 10)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "prepare" in capsys.readouterr().out
    assert gc.get_threshold()[0] == NEW
    gc.set_threshold(700, 10, 10)
    collect_seldom()
    assert gc.get_threshold()[0] == NEW
