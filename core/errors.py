"""Every error that a user can meet, as a small tree. `code` is a promise to clients; classes may be renamed.

An error takes raw arguments, so that it pickles, says what happened (`str`) and what to do next (`hint`).
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

Blame = Literal["user", "teacher", "platform"]


class DistillError(Exception):
    """The root: anything this product says about a request or a job that cannot go on."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    hint: ClassVar[str] = "Try again; if it comes back, report it with the request id."
    status: ClassVar[int] = 500

    def __str__(self) -> str:
        return " ".join(str(argument) for argument in self.args) or self.title


def every_error(root: type[DistillError] = DistillError) -> Iterator[type[DistillError]]:
    """Yield the tree below `root`, parents before children; the documentation lists it."""
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


# What a request can meet


class NotFound(DistillError):
    code, title, status = "not_found", "Not found", 404
    hint = "Check the id; another owner's ids answer the same."


class JobNotFound(NotFound):
    code, title = "job_not_found", "Job not found"
    hint = "GET /v1/jobs lists your jobs."

    def __str__(self) -> str:
        return f"no job '{self.args[0]}'"


class DatasetNotFound(NotFound):
    code, title = "dataset_not_found", "Data set not found"
    hint = "GET /v1/datasets lists your data sets."

    def __str__(self) -> str:
        return f"no data set '{self.args[0]}'"


class ModelNotFound(NotFound):
    code, title = "model_not_found", "Model not found"
    hint = "GET /v1/models lists them"

    def __str__(self) -> str:
        return f"no model '{self.args[0]}'"


class ArtifactNotFound(NotFound):
    code, title = "artifact_not_found", "Artifact not found"
    hint = "GET /v1/jobs/{id}/artifacts lists what the job left."

    def __str__(self) -> str:
        return f"job '{self.args[0]}' has no artifact '{self.args[1]}'"


class ModelFileNotFound(NotFound):
    code, title = "model_file_not_found", "Model file not found"
    hint = "GET /v1/models/{name} lists its files."

    def __str__(self) -> str:
        return f"model '{self.args[0]}' has no file '{self.args[1]}'"


class CheckpointNotFound(NotFound):
    code, title = "checkpoint_not_found", "Checkpoint not found"
    hint = "GET /v1/jobs/{id}/checkpoints lists them."

    def __str__(self) -> str:
        return f"no checkpoint '{self.args[0]}'"


class ApiKeyNotFound(NotFound):
    code, title = "api_key_not_found", "API key not found"
    hint = "GET /v1/api-keys lists them."

    def __str__(self) -> str:
        return f"no API key '{self.args[0]}'"


class SecretNotFound(NotFound):
    code, title = "secret_not_found", "Secret not found"
    hint = "GET /v1/secrets lists their names; POST /v1/secrets stores one."

    def __str__(self) -> str:
        return f"no secret '{self.args[0]}'"


class SweepNotFound(NotFound):
    code, title = "sweep_not_found", "Sweep not found"
    hint = "GET /v1/sweeps lists your sweeps."

    def __str__(self) -> str:
        return f"no sweep '{self.args[0]}'"


class ResultNotReady(NotFound):
    code, title = "result_not_ready", "Result not ready"
    hint = "Ask again after Retry-After seconds, or follow GET /v1/jobs/{id}/events."

    def __str__(self) -> str:
        return f"job '{self.args[0]}' is {self.args[1]}; its result comes when it is finished"


class Conflict(DistillError):
    code, title, status = "conflict", "Conflict", 409
    hint = "GET the resource to see its present state."


class ImpossibleMove(Conflict):
    code, title = "impossible_move", "Impossible in this status"
    hint = "GET /v1/jobs/{id} shows the status."

    def __str__(self) -> str:
        verb, job_id, status = self.args
        return f"cannot {verb} job '{job_id}': it is {status}"


class SweepActive(Conflict):
    code, title = "sweep_active", "Sweep not finished"
    hint = "POST /v1/sweeps/{id}/cancel stops its jobs; or wait for them."

    def __str__(self) -> str:
        return f"sweep '{self.args[0]}' has {self.args[1]} unfinished job{'s' if self.args[1] > 1 else ''}"


class SweepFinished(Conflict):
    code, title = "sweep_finished", "Sweep finished"
    hint = "GET /v1/sweeps/{id} shows how each of its jobs ended."

    def __str__(self) -> str:
        return f"cannot cancel sweep '{self.args[0]}': all of its jobs are finished"


class DatasetInUse(Conflict):
    code, title = "dataset_in_use", "Data set in use"
    hint = "Wait for the job, or cancel it first."

    def __str__(self) -> str:
        return f"data set '{self.args[0]}' is used by job '{self.args[1]}'"


class ModelInUse(Conflict):
    code, title = "model_in_use", "Model in use"
    hint = "Wait for the job, or cancel it first."

    def __str__(self) -> str:
        return f"model '{self.args[0]}' is used by job '{self.args[1]}'"


class ModelNameTaken(Conflict):
    code, title = "model_name_taken", "Model name taken"
    hint = "Choose another name, or DELETE /v1/models/{name} first."

    def __str__(self) -> str:
        return f"there is already a model '{self.args[0]}'"


class SecretNameTaken(Conflict):
    code, title = "secret_name_taken", "Secret name taken"
    hint = 'Choose another name, or send "replace": true.'

    def __str__(self) -> str:
        return f"there is already a secret '{self.args[0]}'"


class SecretsUnavailable(DistillError):
    code, title, status = "secrets_unavailable", "Secrets cannot be kept", 503
    hint = "The operator sets DISTILL_SECRET_KEY, the same for service and workers."


class BlobMissing(DistillError):
    code, title, status = "blob_missing", "Stored file missing", 500
    hint = "The operator runs `distill doctor` and restores storage from a backup."

    def __str__(self) -> str:
        return f"storage has no '{self.args[0]}'"


class BlobDamaged(DistillError):
    code, title, status = "blob_damaged", "Stored file damaged", 500
    hint = "The operator runs `distill doctor` and restores storage from a backup."

    def __str__(self) -> str:
        return f"'{self.args[0]}' in storage is not what was stored: its SHA-256 or size differs"


# What a job can die of


class JobFailed(DistillError):
    """A job cannot go on. `blame` says who can mend it."""

    code, title, hint = "job_failed", "Job failed", "GET /v1/jobs/{id}/logs shows what the training process printed."
    blame: ClassVar[Blame] = "platform"


class ModelUnreadable(JobFailed):
    code, title, blame = "model_unreadable", "Model cannot be loaded", "user"
    hint = "Load it with transformers' Auto classes where you made it, save_pretrained it again and upload that."

    def __str__(self) -> str:
        return f"model '{self.args[0]}' cannot be loaded: {self.args[1]}"


class HubUnavailable(JobFailed):
    code, title, blame = "hub_unavailable", "Model hub not reached", "platform"
    hint = "Check name and revision, or upload the files to POST /v1/models or POST /v1/datasets."

    def __str__(self) -> str:
        return f"'{self.args[0]}' could not be fetched from the hub: {self.args[1]}"


class LabelsDiffer(JobFailed):
    code, title, blame = "labels_differ", "Teacher lacks labels", "user"
    hint = "Rename the data set's labels to the teacher's id2label, or let the job fine-tune it: teacher.finetune."

    def __str__(self) -> str:
        model, missing, known = self.args
        return f"teacher '{model}' does not know the label(s) {missing}; it knows {known}"


class InputGone(JobFailed):
    """A model or data set that the job was accepted with is not there any more."""

    code, title, blame = "input_gone", "Model or data set gone", "user"
    hint = "Upload it again and submit a new job."


class SecretUnreadable(JobFailed):
    code, title, blame = "secret_unreadable", "Secret cannot be read", "platform"
    hint = "Store the secret again; the operator gives service and workers the same DISTILL_SECRET_KEY."

    def __str__(self) -> str:
        return f"secret '{self.args[0]}' cannot be read: {self.args[1]}"


class TeacherHasNoHead(JobFailed):
    code, title, blame = "teacher_has_no_head", "Teacher is a bare encoder", "user"
    hint = 'Give the teacher a head by training it on the labels: "finetune": {"epochs": 2, "learning_rate": 5e-5}.'

    def __str__(self) -> str:
        return f"teacher '{self.args[0]}' has no classification head, so it has nothing to teach"


class DatasetUnusable(JobFailed):
    code, title, blame = "dataset_unusable", "Data set cannot be used", "user"
    hint = "GET /v1/datasets/{id}/examples shows what was understood."


class StudentUnusable(JobFailed):
    code, title, blame = "student_unusable", "Student cannot be made", "user"
    hint = "Check student.from_teacher, student.config, student.trainable and student.lora."


class TokenizersDiffer(JobFailed):
    code, title, blame = "tokenizers_differ", "Tokenizers differ", "user"
    hint = (
        'Use a student with the teacher\'s tokenizer, let the teacher write texts: "method": {"type": "sequence"}, or '
        'compare sorted probabilities: "method": {"type": "logits", "alignment": "uld"}.'
    )

    def __str__(self) -> str:
        teacher, difference = self.args
        return f"the student's tokens are not those of teacher '{teacher}': {difference}; logits cannot be compared"


class ChatTemplateUnusable(JobFailed):
    code, title, blame = "chat_template_unusable", "Chat template missing or unusable", "user"
    hint = (
        "Use a chat model, put a chat_template into its tokenizer, or give prompt and completion instead of messages."
    )

    def __str__(self) -> str:
        return f"messages cannot be written down for {self.args[0]}: {self.args[1]}"


class EngineUnavailable(JobFailed):
    """The engine that a job names cannot write its texts, and why. With auto there is always one that can."""

    code, title, blame = "engine_unavailable", "Engine cannot write", "user"
    hint = 'Set method.generation.engine to "auto", or let the operator install that engine on the workers.'

    def __str__(self) -> str:
        return f"method.generation.engine {self.args[0]}: {self.args[1]}"


class FiltersUnusable(JobFailed):
    code, title, blame = "filters_unusable", "Filters cannot be used", "user"
    hint = "Correct that part of method.filters."

    def __str__(self) -> str:
        return f"method.filters.{self.args[0]}: {self.args[1]}"


class NothingKept(JobFailed):
    """The teacher wrote, and no text passed the filters."""

    code, title, blame = "nothing_kept", "No text passed the filters", "user"
    hint = "Read texts.jsonl, where each text has its reason, then loosen in method.filters what drops them."

    def __str__(self) -> str:
        return f"of {self.args[0]:,} samples none is left to learn from: {self.args[1]}"


class LossDiverged(JobFailed):
    code, title, blame = "loss_diverged", "Loss diverged", "user"
    hint = "Lower training.learning_rate or raise training.warmup_ratio."

    def __str__(self) -> str:
        step, loss = self.args
        return f"loss was {loss} at step {step}"


class OutOfMemory(JobFailed):
    code, title, blame = "out_of_memory", "Out of memory", "user"
    hint = "Lower training.batch_size (and raise gradient_accumulation) or training.max_length."


class TooFewDevices(JobFailed):
    """The worker that took a job has fewer GPUs, or without any fewer cores, than the job has processes."""

    code, title, blame = "too_few_devices", "Too few devices", "user"
    hint = "Lower resources.processes, or name the queue of a worker with more devices in resources.queue."

    def __str__(self) -> str:
        return f"resources.processes is {self.args[0]}, and the worker has {self.args[1]} {self.args[2]}"


class DiskFull(JobFailed):
    code, title, blame, status = "disk_full", "Disk full", "platform", 507
    hint = "The operator gives the data folder more space."


class TimeLimitReached(JobFailed):
    code, title, blame = "time_limit", "Time limit reached", "user"
    hint = (
        "POST /v1/jobs/{id}/retry goes on from the last checkpoint with the same time again; "
        "set resources.max_minutes higher in the next job."
    )

    def __str__(self) -> str:
        return f"the job ran for its whole {self.args[0]:g} minutes"


class WorkerLost(JobFailed):
    code, title, blame = "worker_lost", "Worker lost", "platform"
    hint = "POST /v1/jobs/{id}/retry continues from the last checkpoint."

    def __str__(self) -> str:
        return f"its worker was lost {self.args[0]} times"


class TrainingKilled(JobFailed):
    """The training process died without a word: a signal (segmentation fault, out of memory) or an exit."""

    code, title, blame = "training_killed", "Training process died", "platform"
    hint = (
        "The last log lines are at GET /v1/jobs/{id}/logs; POST /v1/jobs/{id}/retry continues from the last checkpoint."
    )

    def __str__(self) -> str:
        how, last_lines = self.args
        return f"the training process ended by {how}" + (f"; it last said: {last_lines}" if last_lines else "")


class StorageUnavailable(JobFailed):
    code, title, blame, status = "storage_unavailable", "Storage not reached", "platform", 503
    hint = "The operator checks DISTILL_STORAGE_URL; POST /v1/jobs/{id}/retry continues from the last checkpoint."
