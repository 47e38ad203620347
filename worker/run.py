"""Below the process wall: `python -m worker.run` claims the job that stdin names, trains it, stores what comes out."""

import errno
import gc
import logging
import os
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path

import structlog

from core import leases
from core.addresses import reach_of
from core.blobs import Blobs
from core.database import Database
from core.errors import DiskFull, DistillError, JobFailed, OutOfMemory, TimeLimitReached
from core.leases import Lease
from core.settings import Settings
from core.spec import JobSpec
from core.sweeps import is_in_sweep
from core.tables import Job
from core.wire import NOT_CLAIMED, READY, JobError, Order
from worker.cache import cache_folder
from worker.checkpoints import restore_checkpoints
from worker.patience import patiently
from worker.recorder import Recorder
from worker.training.generation.vllm.beside import Vllm
from worker.training.observer import PeerKilled, Stopped, stop_if_asked

log = structlog.get_logger()


def main() -> int:
    if READY in sys.argv:
        _import_what_trains()
    line = sys.stdin.readline()
    if not line:
        return 0
    order = Order.model_validate_json(line)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    settings = Settings()
    database, blobs = Database(settings.database), Blobs(settings.storage)
    lease = Lease(order.job, order.token, order.worker, settings.lease_seconds)
    with database.write() as session:
        job = leases.claim(session, lease)
        session.commit()
    if job is None:
        return NOT_CLAIMED
    folder = settings.work / order.folder
    try:
        run(database, blobs, settings, lease, job, folder, order)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _import_what_trains() -> None:
    """Take the seconds of importing torch before there is a job. Nothing of it reads a device or a setting yet."""
    # What is imported stays: to look for garbage among it, again and again while it grows, is a sixth of the time.
    gc.disable()

    import worker.endpoints
    import worker.inputs
    import worker.results
    import worker.training.distil  # noqa: F401

    gc.freeze()
    gc.enable()


def run(
    database: Database, blobs: Blobs, settings: Settings, lease: Lease, job: Job, folder: Path, order: Order
) -> None:
    """Train a claimed job and write how it ended: succeeded, failed, cancelled, or queued again."""
    with Recorder(database, blobs, settings, lease, job) as recorder:
        signal.signal(signal.SIGTERM, lambda *_: recorder.ask_to_stop("shutdown"))
        try:
            _train(database, blobs, settings, lease, job, folder, order, recorder)
            return
        except Stopped as stopped:
            error = _settle_stop(database, lease, recorder, stopped, float(job.spec["resources"]["max_minutes"]))
        except PeerKilled as killed:
            error, reason = None, str(killed)
            patiently(lease, lambda: _lost(database, recorder, lease, reason, settings.max_attempts))
        except Exception as failure:  # noqa: BLE001 - whatever it is becomes the job's error; its trace goes to the log
            traceback.print_exc(file=sys.stdout)
            error = as_job_error(failure, recorder)
    if error is not None:
        patiently(lease, lambda: _fail(database, recorder, lease, error))


def _train(
    database: Database,
    blobs: Blobs,
    settings: Settings,
    lease: Lease,
    job: Job,
    folder: Path,
    order: Order,
    recorder: Recorder,
) -> None:
    recorder.stage("loading")
    # Torch takes seconds to import. The claim and the heartbeat come first, so that the user sees the job running.
    _import_what_trains()
    from worker.endpoints import line_of
    from worker.inputs import Gathered
    from worker.results import Results
    from worker.training.distil import Inputs, distil

    spec = JobSpec.model_validate(job.spec)
    line = line_of(spec, order, reach_of(settings))
    gathered = Gathered(database, blobs, settings, lease, job.owner, folder, recorder.moved)
    dataset, spec = gathered.dataset(spec)
    teachers = tuple(
        gathered.model(f"teacher-{place}", teacher.model, teacher.revision)
        for place, teacher in enumerate(spec.teacher_models)
    )
    if spec.endpoint is not None:
        gathered.black_box(spec.endpoint)
    student = None
    if spec.student.model is not None:
        student = gathered.model("student", spec.student.model, spec.student.revision)
    restore_checkpoints(database, blobs, lease, folder, recorder.moved)
    stop_if_asked(recorder)
    cache = cache_folder(settings, job.owner)
    is_awaited = patiently(lease, lambda: _is_in_sweep(database, job.id))
    vllm = Vllm(settings.vllm_python or Path(sys.executable), settings.vllm_options)
    inputs = Inputs(spec, folder, teachers, student, dataset, gathered.provenance, cache, line, vllm, is_awaited)
    outcome = distil(inputs, recorder)

    recorder.stage("uploading")
    results = Results(blobs, job)
    results.upload(outcome.student, recorder.moved)
    try:
        stop_if_asked(recorder)
        patiently(lease, recorder.flush)
    except Exception:
        results.withdraw()
        raise
    patiently(lease, lambda: results.finish(database, lease, outcome.report))


def _is_in_sweep(database: Database, job_id: str) -> bool:
    with database.read() as session:
        return is_in_sweep(session, job_id)


def _settle_stop(
    database: Database, lease: Lease, recorder: Recorder, stopped: Stopped, max_minutes: float
) -> JobError | None:
    """Write down a stop that somebody asked for; returns the error where it is one."""
    if stopped.reason == "time_limit":
        return as_job_error(TimeLimitReached(max_minutes), recorder)
    if stopped.reason == "lease_lost":
        log.warning("the lease is lost: another worker has the job, nothing is written")
        return None
    patiently(lease, lambda: _give_back(database, recorder, lease))
    return None


def _give_back(database: Database, recorder: Recorder, lease: Lease) -> None:
    recorder.flush()
    with database.write() as session:
        leases.give_back(session, lease, "Its worker was told to stop")
        session.commit()


def _lost(database: Database, recorder: Recorder, lease: Lease, reason: str, max_attempts: int) -> None:
    """Write down what the supervisor would, had this process been the one that was killed."""
    recorder.flush()
    with database.write() as session:
        leases.lost(session, lease, reason, max_attempts)
        session.commit()


def _fail(database: Database, recorder: Recorder, lease: Lease, error: JobError) -> None:
    recorder.flush()
    with database.write() as session:
        if not leases.cancelled(session, lease):
            leases.fail(session, lease, error)
        session.commit()


def as_job_error(failure: Exception, recorder: Recorder) -> JobError:
    """Say any exception in the API's words."""
    known = _known(failure)
    blame = known.blame if isinstance(known, JobFailed) else "platform"
    return JobError(
        code=known.code,
        message=str(known),
        hint=known.hint,
        stage=recorder.current_stage,
        step=recorder.current_step,
        blame=blame,
    )


def _known(failure: Exception) -> DistillError:
    if isinstance(failure, DistillError):
        return failure
    if isinstance(failure, OSError) and failure.errno == errno.ENOSPC:
        return DiskFull(f"no space left on the worker's disk ({failure.filename or 'work folder'})")
    if isinstance(failure, MemoryError):
        return OutOfMemory("the worker has too little memory for this job")
    first_line = (str(failure).strip().splitlines() or [""])[0]
    return JobFailed(f"{type(failure).__name__}: {first_line}"[:1000])


def _die_with_parent() -> None:
    """Our stdin ends when the worker does; then nobody waits for us.

    Past Python's buffer: its lock, held by this thread for as long as it waits, would abort the interpreter's end.
    """
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
