from pathlib import Path

import pytest

from tests.distill_client.cli.conftest import Run
from tests.distill_client.live import Live


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_student_goes_into_the_chosen_folder(run: Run, live: Live, tmp_path: Path) -> None:
    ran = run("download", live.finished_job(), "--to", str(tmp_path / "s"))
    assert ran.out == f"3 files, 102.4 kB, in {tmp_path / 's'}\n"
    assert files_below(tmp_path / "s") == ["config.json", "model.safetensors", "report.html"]


def test_without_a_folder_it_is_named_like_the_job(
    run: Run, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job_id = live.finished_job()
    lines = run("download", job_id, "--json").lines
    assert [line["path"] for line in lines] == [f"{job_id}/{name}" for name in files_below(tmp_path / job_id)]


def test_all_brings_the_teacher_too(run: Run, live: Live, tmp_path: Path) -> None:
    run("download", live.finished_job(), "--all", "--to", str(tmp_path))
    assert "teacher/config.json" in files_below(tmp_path)


def test_the_latest_checkpoint_of_a_running_job(run: Run, live: Live, tmp_path: Path) -> None:
    job_id = live.job()
    worker = live.worker(job_id)
    assert "has no checkpoint yet" in run("download", job_id, "--checkpoint", "latest", "--to", str(tmp_path)).err
    worker.checkpoint(10)
    newest = worker.checkpoint(20)
    run("download", job_id, "--checkpoint", "latest", "--to", str(tmp_path))
    assert files_below(tmp_path) == [f"{newest}.zip"]
    worker.succeed()


def test_a_job_without_files_says_so(run: Run, live: Live, tmp_path: Path) -> None:
    ran = run("download", live.job(), "--to", str(tmp_path / "s"))
    assert ran.code == 1
    assert "nothing to download yet" in ran.err
    assert not (tmp_path / "s").exists()


def test_a_strangers_file_is_not_replaced_unless_it_is_wished(run: Run, live: Live, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    job_id = live.finished_job()
    ran = run("download", job_id, "--to", str(tmp_path))
    assert ran.code == 1
    assert f"{tmp_path} has other files of the same names: report.html" in ran.err
    assert "--force" in ran.err
    assert {file: (tmp_path / file).read_text() for file in files_below(tmp_path)} == {"report.html": "mine"}
    assert run("download", job_id, "--to", str(tmp_path), "--force").code == 0
    assert (tmp_path / "report.html").read_text() == "<html>report</html>"


def test_one_student_does_not_mix_with_another(run: Run, live: Live, tmp_path: Path) -> None:
    other = live.job()
    worker = live.worker(other)
    worker.artifact("config.json", b'{"model_type": "gpt2"}')
    worker.artifact("vocab.json", b"{}")
    worker.succeed()
    run("download", live.finished_job(), "--to", str(tmp_path))
    assert run("download", other, "--to", str(tmp_path)).code == 1
    assert files_below(tmp_path) == ["config.json", "model.safetensors", "report.html"]


def test_a_download_goes_on_and_can_be_repeated_beside_files_of_ones_own(run: Run, live: Live, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.safetensors.part").write_bytes(bytes(range(256)) * 100)
    job_id = live.finished_job()
    (tmp_path / "config.json").write_bytes(b'{"model_type": "bert"}')
    first, again = (run("download", job_id, "--to", str(tmp_path)) for _ in range(2))
    assert (first.code, first.out) == (0, again.out)
    assert (tmp_path / "model.safetensors").read_bytes() == bytes(range(256)) * 400
    assert files_below(tmp_path) == ["config.json", "model.safetensors", "notes.txt", "report.html"]


def test_a_file_in_the_way_is_said(run: Run, live: Live, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    assert "is a file" in run("download", live.finished_job(), "--to", str(tmp_path / "s")).err
    assert (tmp_path / "s").read_text() == "mine"


def test_the_report_page_is_saved(run: Run, live: Live, tmp_path: Path) -> None:
    run("report", live.finished_job(), "--html", str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").read_text() == "<html>report</html>"


def test_a_folder_is_no_file_for_the_page(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reports").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in (".", "reports/", str(tmp_path)):
        ran = run("report", "job_1", "--html", folder)
        assert ran.code == 2
        assert "directory" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
