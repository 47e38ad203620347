"""The store of samples: what is on the disk survives, what is half there is written again."""

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.training.generation import corpus as corpus_module
from worker.training.generation.corpus import Corpus, plan_of
from worker.training.generation.samples import Sample


def sample(prompt: int, number: int = 0, text: str = "fünf\u2028\n") -> Sample:
    return Sample(prompt, number, text, 3, 2, finished=True)


BATCHES = [[sample(4), sample(4, 1)], [sample(0), sample(9)], [sample(2, text="x" * 50)]]


def filled(folder: Path) -> Corpus:
    corpus = Corpus(folder, "plan")
    for batch in BATCHES:
        corpus.append(batch)
    return corpus


def test_samples_come_back_by_prompt_and_number(tmp_path: Path) -> None:
    filled(tmp_path / "corpus")
    keys = [sample.key for sample in Corpus(tmp_path / "corpus", "plan")]
    assert keys == [(0, 0), (2, 0), (4, 0), (4, 1), (9, 0)]
    assert list(Corpus(tmp_path / "corpus", "plan")) == sorted(chain(*BATCHES), key=lambda sample: sample.key)


def test_nothing_is_there_twice(tmp_path: Path) -> None:
    corpus = filled(tmp_path / "corpus")
    before = (tmp_path / "corpus" / "samples-00000.jsonl").read_bytes()
    corpus.append([sample(4, text="another"), sample(0)])
    assert (tmp_path / "corpus" / "samples-00000.jsonl").read_bytes() == before


def test_cut_anywhere_whole_batches_remain_and_the_rest_is_written_again(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole")
    shard = (tmp_path / "whole" / "samples-00000.jsonl").read_bytes()
    for size in [*range(0, len(shard), 5), len(shard)]:
        folder = tmp_path / "cut"
        Corpus(folder, "plan")
        (folder / "samples-00000.jsonl").write_bytes(shard[:size])
        resumed = Corpus(folder, "plan")
        assert {len(resumed)} <= {0, 2, 4, 5}
        for batch in BATCHES:
            resumed.append(batch)
        assert (folder / "samples-00000.jsonl").read_bytes() == shard
        assert list(resumed) == list(whole)


def test_a_changed_byte_costs_only_what_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "SHARD_BYTES", 1)
    filled(tmp_path / "corpus")
    middle = tmp_path / "corpus" / "samples-00001.jsonl"
    middle.write_bytes(b"?" + middle.read_bytes()[1:])
    resumed = Corpus(tmp_path / "corpus", "plan")
    assert len(resumed) == 2
    for batch in BATCHES:
        resumed.append(batch)
    assert len(list(Corpus(tmp_path / "corpus", "plan"))) == 5


def test_texts_of_another_plan_are_not_continued(tmp_path: Path) -> None:
    filled(tmp_path / "corpus")
    assert len(Corpus(tmp_path / "corpus", "other")) == 0
    assert plan_of(tmp_path / "corpus") == "other"


def test_a_copy_stays_as_it_was_while_the_corpus_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "SHARD_BYTES", 1)
    corpus = Corpus(tmp_path / "corpus", "plan")
    corpus.append(BATCHES[0])
    corpus.append(BATCHES[1])
    corpus.copy_to(tmp_path / "copy")
    corpus.append(BATCHES[2])
    assert len(Corpus(tmp_path / "copy", "plan")) == 4
    full = (tmp_path / name / "samples-00000.jsonl" for name in ("copy", "corpus"))
    assert len({path.stat().st_ino for path in full}) == 1, "a full shard is not stored twice"


@settings(max_examples=50)
@given(text=st.text(alphabet=st.characters(codec=None)))
def test_any_text_comes_back(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("texts") / "corpus"
    Corpus(folder, "plan").append([sample(0, text=text)])
    (back,) = Corpus(folder, "plan")
    assert back.text == text.encode("utf-8", "replace").decode()
