"""Workers answer in turn, and a dead one says why."""

import sys

import pytest

from transformer.evaluation.parallelism.process import WorkerError, WorkerProcess, turns

ECHO = """
import json, os, signal, sys
from transformer.evaluation.parallelism.process import answer_stream
answers = answer_stream()
for line in sys.stdin:
    print("a library that prints", flush=True)
    asked = json.loads(line)
    if asked == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked == "fail":
        sys.exit("it has no such model")
    print(json.dumps([asked, os.environ["COLOUR"]]), file=answers, flush=True)
"""


@pytest.fixture
def echo():
    worker = WorkerProcess([sys.executable, "-c", ECHO], {"COLOUR": "red"})
    yield worker
    worker.close()


def test_answers_come_back_and_what_libraries_print_does_not(echo):
    assert echo.ask({"do": "run"}) == [{"do": "run"}, "red"]
    assert echo.ask([1, None]) == [[1, None], "red"]


@pytest.mark.parametrize(("question", "killed", "message"), [("die", True, "a library that prints"), ("fail", False, "no such model")])
def test_a_dead_worker_says_why_and_whether_it_was_killed(echo, question, killed, message):
    with pytest.raises(WorkerError, match=message) as raised:
        echo.ask(question)
    assert raised.value.killed == killed
    with pytest.raises(WorkerError, match=message):
        echo.ask("anything")


def test_everyone_has_a_turn_in_every_round_and_nobody_is_always_first():
    rounds = turns(4, ["a", "b", "c"])
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert {sum(order.index(name) for order in rounds) for name in "abc"} == {4}
