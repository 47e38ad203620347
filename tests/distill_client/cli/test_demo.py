"""The demo against the real service, with tiny assets and a worker that the test plays: everything but the training."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from core.tables import Job
from core.wire import JobError
from distill_client.cli.demo import EXAMPLE
from tests.distill_client.cli.conftest import Run
from tests.distill_client.live import Live, PlayedWorker
from tests.service.samples import model_files

FETCH = """
import json
print(json.dumps({"teacher": "TEACHER", "dataset": "DATASET"}))
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier with random weights, as transformers saves it."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("classifier")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "not"]
    (folder / "vocab.txt").write_text("\n".join(words))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {0: "negative", 1: "positive"}
    config = BertConfig(vocab_size=len(words), id2label=labels, label2id={v: k for k, v in labels.items()}, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an example of its own, whose assets are there already."""
    real = Path(__file__).parents[3] / EXAMPLE
    example, teacher, dataset = tmp_path / EXAMPLE, tmp_path / "teacher", tmp_path / "films.jsonl"
    example.mkdir(parents=True)
    teacher.mkdir()
    for name, content in model_files(labels=None).items():
        (teacher / name).write_bytes(content)
    rows = [
        {
            "text": f"film {place}",
            "label": ("negative", "positive")[place % 2],
            "split": ("train", "test")[place % 3 == 0],
        }
        for place in range(30)
    ]
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (example / "fetch.py").write_text(FETCH.replace("TEACHER", str(teacher)).replace("DATASET", str(dataset)))
    for name in ("job.json", "classify.py"):
        shutil.copy(real / name, example / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def play(live: Live, story: str, classifier: Path) -> threading.Thread:
    """Wait for the demo's job, then live it."""

    def run() -> None:
        worker = _claimed(live)
        worker.stage("teaching", 10)
        if story == "fails":
            worker.log("line 1\nboom\n")
            worker.fail(JobError(code="out_of_memory", message="it was too much", hint="Take less."))
            return
        for path in sorted(classifier.iterdir()):
            worker.artifact(path.name, path.read_bytes())
            worker.artifact(f"teacher/{path.name}", path.read_bytes())
        worker.succeed()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def _claimed(live: Live) -> PlayedWorker:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with live.database.read() as session:
            query = select(Job.id).where(Job.name == "movie-reviews", Job.status == "queued")
            job_id = session.scalars(query).first()
        if job_id is not None:
            return live.worker(job_id)
        time.sleep(0.05)
    raise AssertionError("the demo submitted nothing")


def test_the_demo_shows_both_models_the_report_and_the_curl_lines(
    run: Run, live: Live, here: Path, classifier: Path
) -> None:
    worker = play(live, "succeeds", classifier)
    ran = run("demo", "--folder", "d", "--seed", "7")
    worker.join()
    assert ran.code == 0, ran.err
    table = [line for line in ran.out.splitlines() if "warm, funny" in line]
    assert table[0].count("%") == 2, "teacher and student, side by side"
    assert "labels only" in ran.out
    assert "+9.5 points" in ran.out
    assert f"curl {live.url}/v1/jobs/job_" in ran.out
    assert (here / "d" / "student" / "model.safetensors").is_file()


def test_a_second_demo_uses_what_the_first_one_uploaded(run: Run, live: Live, here: Path, classifier: Path) -> None:
    counts = []
    for _ in range(2):
        worker = play(live, "fails", classifier)
        assert run("demo", "--folder", "d", "--seed", "8").code == 1
        worker.join()
        counts.append(len(run("models", "list", "--json").lines) + len(run("datasets", "list", "--json").lines))
    assert counts[0] == counts[1]


def test_a_failed_job_ends_the_demo_with_its_reason_and_last_lines(
    run: Run, live: Live, here: Path, classifier: Path
) -> None:
    worker = play(live, "fails", classifier)
    ran = run("demo", "--folder", "d")
    worker.join()
    assert ran.code == 1
    for word in ("out_of_memory: it was too much", "hint: Take less.", "| boom"):
        assert word in ran.err


def test_assets_that_cannot_be_fetched_are_said(run: Run, here: Path) -> None:
    (here / EXAMPLE / "fetch.py").write_text("import sys; sys.exit('error: the index is away')")
    ran = run("demo", "--folder", "d")
    assert ran.code == 1
    assert ran.err == "error: the index is away\n"
