"""The process beside a job: it starts, answers, and leaves nothing behind, however it ends."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core.errors import EngineUnavailable, OutOfMemory
from worker.training.generation.vllm.beside import PROGRAM, Request, Vllm, VllmBeside, environment
from worker.training.observer import PeerKilled, Stopped

SAMPLING = {"temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 3}
REQUESTS = [
    Request(n, [5, 6, 7], n, {**SAMPLING, "stop": [], "stop_token_ids": [], "ignore_eos": True, "detokenize": False})
    for n in range(3)
]


def silent() -> None:
    pass


@pytest.fixture
def told(model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> dict[str, Any]:
    model.save_pretrained(tmp_path / "model")
    plain_tokenizer.save_pretrained(tmp_path / "model")
    sizes = {"dtype": "float32", "max_model_len": 9, "generation_config": "vllm", "transformers": 4}
    return {"model": str(tmp_path / "model"), **sizes}


def test_its_name_is_its_version_and_what_it_is_told_besides(vllm: Vllm) -> None:
    assert vllm.name() == "vllm 0.0"
    assert replace(vllm, options={"b": 1, "a": "x"}).name() == 'vllm 0.0 {"a": "x", "b": 1}'


@pytest.mark.parametrize("python", [Path(sys.executable), Path("/nowhere/python")])
def test_a_python_without_it_is_said(python: Path) -> None:
    with pytest.raises(EngineUnavailable, match="DISTILL_VLLM_PYTHON"):
        Vllm(python).name()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"refuse": "this architecture"}, "vllm: ValueError: no such thing: this architecture"),
        ({"transformers": 99}, "the model needs transformers 99"),
    ],
)
def test_a_model_that_it_does_not_take_is_said_in_its_words(
    vllm: Vllm, told: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(EngineUnavailable, match=words):
        VllmBeside(replace(vllm, options=options), told)


def test_memory_that_does_not_suffice_is_what_it_is_everywhere(vllm: Vllm, told: dict[str, Any]) -> None:
    with VllmBeside(replace(vllm, options={"exhaust": True}), told) as beside, pytest.raises(OutOfMemory):
        list(beside.texts(REQUESTS, silent))


def test_one_that_is_killed_while_it_writes_may_be_tried_again(vllm: Vllm, told: dict[str, Any]) -> None:
    with VllmBeside(replace(vllm, options={"hang": True}), told) as beside:
        beside.child.kill()
        beside.child.wait()
        with pytest.raises(PeerKilled):
            list(beside.texts(REQUESTS, silent))


def test_while_it_is_silent_nobody_is_told_that_it_lives(
    vllm: Vllm, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    with VllmBeside(replace(vllm, options={"hang": True}), told) as beside:
        poll = beside.child.poll

        def patience_ends() -> int | None:
            looks.append(time.monotonic())
            if len(looks) == 3:
                beside.child.kill()
                beside.child.wait()
            return poll()

        monkeypatch.setattr(beside.child, "poll", patience_ends)
        with pytest.raises(PeerKilled):
            list(beside.texts(REQUESTS, lambda: pytest.fail("it gave no sign of life")))
    assert len(looks) >= 3


def test_who_is_told_to_stop_ends_it_at_its_next_sign_of_life(vllm: Vllm, told: dict[str, Any]) -> None:
    def told_to_stop() -> None:
        raise Stopped("cancel")

    with VllmBeside(vllm, told) as beside, pytest.raises(Stopped):
        list(beside.texts(REQUESTS, told_to_stop))
    assert beside.child.returncode is not None


@pytest.mark.parametrize(
    ("python", "error"),
    [("exit 3", EngineUnavailable), ("read line; kill -11 $$", EngineUnavailable), ("kill -9 $$", PeerKilled)],
)
def test_how_it_ended_says_what_becomes_of_the_job(tmp_path: Path, python: str, error: type[Exception]) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{python}\n")
    program.chmod(0o755)
    with pytest.raises(error):
        VllmBeside(Vllm(program), {})


def test_what_it_had_started_ends_with_it(tmp_path: Path) -> None:
    """Also where that still holds its pipe, so that its end is not the pipe's."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/pid\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(EngineUnavailable, match="exit code 3"):
        VllmBeside(Vllm(program), {})
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: is_gone(pid))


@pytest.mark.parametrize("is_apart", [False, True])
def test_the_program_ends_with_whoever_asks(*, is_apart: bool) -> None:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=is_apart
    ) as program:
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(60) == (-9 if is_apart else 0)


def test_it_is_given_nothing_that_is_only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    own, other = environment(Path(sys.executable)), environment(Path("/opt/vllm/bin/python"))
    assert not [name for name in own if name.startswith("DISTILL_")]
    assert own["VLLM_NO_USAGE_STATS"] == other["VLLM_NO_USAGE_STATS"] == "1"
    assert own["PYTHONPATH"] == "/ours"
    assert "PYTHONPATH" not in other
    assert other["PATH"].split(":")[0] == "/opt/vllm/bin"


def test_texts_that_were_done_before_it_failed_are_handed_on(tmp_path: Path) -> None:
    program, said = tmp_path / "python", tmp_path / "said"
    said.write_text('{"id": "1", "ids": [5], "is_stopped": false}\n{"failed": "CUDA out of memory"}\n')
    ready = """read line; echo '{"ready": true}'; read line"""
    program.write_text(f"#!/bin/sh\n{ready}\ncat {said}\nsleep 600\n")
    program.chmod(0o755)
    with VllmBeside(Vllm(program), {}) as beside:
        texts = beside.texts(REQUESTS[:2], silent)
        assert [text.id for text in next(texts)] == [1]
        with pytest.raises(OutOfMemory):
            next(texts)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whoever is to bury it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state == "Z"
