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


def test_a_file_in_the_way_is_said(run: Run, live: Live, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    assert "is a file" in run("download", live.finished_job(), "--to", str(tmp_path / "s")).err
    assert (tmp_path / "s").read_text() == "mine"


def test_the_report_page_is_saved(run: Run, live: Live, tmp_path: Path) -> None:
    run("report", live.finished_job(), "--html", str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").read_text() == "<html>report</html>"


def test_a_folder_is_no_file_for_the_page(
    run: Run, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reports").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in (".", "reports/", str(tmp_path)):
        ran = run("report", live.finished_job(), "--html", folder)
        assert ran.code == 2
        assert "is a directory" in " ".join(ran.err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
