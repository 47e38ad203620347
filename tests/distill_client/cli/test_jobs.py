from core.wire import JobError
from tests.distill_client.cli.conftest import Run
from tests.distill_client.live import Live
from tests.reports import a_report_across_tokenizers, a_report_by_texts, a_writing_report

ERROR = JobError(code="loss_diverged", message="loss was nan at step 3", hint="Lower it.", stage="training", step=3)


def failed_job(live: Live) -> str:
    job_id = live.job(name="diverges", labels={"cli": "failed"})
    worker = live.worker(job_id)
    worker.log("step 1\nstep 2\nboom\n")
    worker.fail(ERROR)
    return job_id


def test_list_shows_a_line_for_each_job_and_cuts_nothing_in_a_pipe(run: Run, live: Live) -> None:
    made = [live.job(name="a" * 100, labels={"cli": "list"}) for _ in range(3)]
    ran = run("list", "--label", "cli:list")
    header, *lines = ran.out.splitlines()
    assert header.split() == ["JOB", "NAME", "STATUS", "STAGE", "DONE", "AGE"]
    assert [line.split()[0] for line in lines] == made[::-1]
    assert all("a" * 100 in line for line in lines)


def test_list_as_json_is_a_job_a_line(run: Run, live: Live) -> None:
    made = [live.job(labels={"cli": "json"}) for _ in range(3)]
    assert [job["id"] for job in run("list", "--label", "cli:json", "--json", "-n", "2").lines] == made[:0:-1]


def test_show_as_json_is_what_the_server_sent(run: Run, live: Live) -> None:
    job_id = live.finished_job()
    (job,) = run("show", job_id, "--json").lines
    with live.client() as client:
        assert job == client.transport.get(f"/v1/jobs/{job_id}").json()


def test_show_tells_an_error_with_its_hint(run: Run, live: Live) -> None:
    out = run("show", failed_job(live)).out
    assert "loss_diverged: loss was nan at step 3" in out
    assert "Lower it." in out


def test_a_name_cannot_move_the_terminals_cursor(run: Run, live: Live) -> None:
    job_id = live.job(name="\x1b[2Jgone [bold]x[/bold]", labels={"cli": "escape"})
    for words in (["list", "--label", "cli:escape"], ["show", job_id]):
        out = run(*words).out
        assert "\x1b" not in out
        assert "[bold]x[/bold]" in out


def test_logs_come_whole_or_by_their_end(run: Run, live: Live) -> None:
    job_id = failed_job(live)
    assert run("logs", job_id).out == "step 1\nstep 2\nboom\n"
    assert run("logs", job_id, "--tail", "1").out == "boom\n"
    assert run("logs", job_id, "--tail", "1", "--json").lines == [{"line": "boom"}]


def test_cancel_and_retry_say_what_became_of_the_job(run: Run, live: Live) -> None:
    job_id = live.job()
    assert run("cancel", job_id).out == f"{job_id} is cancelled\n"
    assert run("cancel", job_id).code == 0
    assert run("retry", job_id, "--json").lines[0]["status"] == "queued"


def test_a_job_rests_and_goes_on(run: Run, live: Live) -> None:
    job_id = live.job()
    assert run("pause", job_id).out == f"{job_id} is paused\n"
    assert run("resume", job_id, "--json").lines[0]["status"] == "queued"


def test_an_impossible_move_exits_1(run: Run, live: Live) -> None:
    ran = run("cancel", live.finished_job())
    assert ran.code == 1
    assert "it is succeeded" in ran.err


def test_delete_takes_a_finished_job_away(run: Run, live: Live) -> None:
    job_id = live.finished_job()
    assert run("delete", job_id, "--json").lines == [{"id": job_id, "deleted": True}]
    assert run("show", job_id).code == 1


def test_metrics_are_a_curve_a_csv_or_json(run: Run, live: Live) -> None:
    job_id = live.finished_job()
    assert "kd_loss" in run("metrics", job_id).out
    assert "▁" in run("metrics", job_id).out
    assert run("metrics", job_id, "--csv", "--name", "kd_loss").out.splitlines() == [
        "name,step,value",
        "kd_loss,10,1.7",
        "kd_loss,20,1.1",
    ]
    (answer,) = run("metrics", job_id, "--json", "--name", "ce_loss").lines
    assert [point["value"] for point in answer["series"]["ce_loss"]] == [2.3, 2.1]


def test_report_is_a_table_of_every_model(run: Run, live: Live) -> None:
    out = run("report", live.finished_job()).out
    for word in (
        "teacher",
        "student before",
        "labels only",
        "79.0 %",
        "64.3 %",
        "73.8 %",
        "+9.5 points",
        "+7.2 to +11.9",
    ):
        assert word in out
    assert out.rstrip().endswith("The student keeps 93 % of the teacher's accuracy.")


def test_a_language_models_report_shows_what_is_written(run: Run, live: Live) -> None:
    job_id = live.job(task="text-generation")
    live.worker(job_id).succeed(a_writing_report().model_dump(mode="json"))
    out = run("report", job_id).out
    for word in (
        "texts alone",
        "KL to teacher per token, nats",
        "45 tokens/s",
        "But the games also convey",
        "a sense <b>of</b> unity.",
        "KL to teacher -0.400 (95 % interval -0.450 to -0.350), loss -0.400 (95 % interval -0.500 to -0.300)",
    ):
        assert word in out
    assert out.rstrip().endswith("over the texts alone.")
    assert run("show", job_id).out.count("The teacher brought") == 1
    (found,) = run("report", job_id, "--json").lines
    assert found == a_writing_report().model_dump(mode="json")


def test_a_report_by_texts_says_what_was_kept_and_what_is_not_known(run: Run, live: Live) -> None:
    job_id = live.job(task="text-generation")
    live.worker(job_id).succeed(a_report_by_texts().model_dump(mode="json"))
    out = run("report", job_id).out
    for word in (
        "right answers",
        "30.0 %",
        "Kept 150 of 200 texts; dropped: 40 unfinished, 10 near duplicate.",
        "Nothing to compare with: the data set has no completions of its own to train on.",
        "No KL to the teacher: the teacher's weights are not here.",
        "Asked 201 times: 3,000 prompt and 9,200 completion tokens, cost 12.50.",
    ):
        assert word in out
    assert "own completions" not in out
    (found,) = run("report", job_id, "--json").lines
    assert found == a_report_by_texts().model_dump(mode="json")


def test_a_gain_by_texts_says_on_which_and_over_what(run: Run, live: Live) -> None:
    plain, by_texts = a_writing_report(), a_report_by_texts()
    known = {"baseline": plain.baseline, "gain": plain.gain, "teacher": plain.teacher}
    job_id = live.job(task="text-generation")
    live.worker(job_id).succeed(by_texts.model_copy(update=known).model_dump(mode="json"))
    out = run("report", job_id).out
    assert "own completions" in out
    assert "Gain on the teacher's texts, over own completions, nats per token: KL to teacher -0.400" in out


def test_a_report_across_tokenizers_says_where_they_met_and_why_there_is_no_kl(run: Run, live: Live) -> None:
    job_id = live.job(task="text-generation")
    live.worker(job_id).succeed(a_report_across_tokenizers().model_dump(mode="json"))
    out = run("report", job_id).out
    for word in (
        "distance of sorted probabilities",
        "0.310",
        "3,210 tokens that were learned begin where one of the teacher's does.",
        "No KL to the teacher: its tokens are <b>others</b>.",
        "Gain over the texts alone, nats per token: loss -0.400 (95 % interval -0.500 to -0.300)",
    ):
        assert word in out
    (found,) = run("report", job_id, "--json").lines
    assert found == a_report_across_tokenizers().model_dump(mode="json")


def test_a_report_before_its_time_says_so(run: Run, live: Live) -> None:
    ran = run("report", live.job())
    assert ran.code == 1
    assert "has no report: it is queued" in ran.err
