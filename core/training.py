"""How a job trains, and on what."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from pydantic_core import PydanticCustomError

from core.methods import Count, Flag, Fraction, Frozen, NotNegative, Positive


def not_available(what: str, instead: str, place: str | None = None) -> PydanticCustomError:
    """The answer to a part of the contract that is not built yet: said, never ignored."""
    said = {"what": what, "instead": instead} | ({"place": place} if place is not None else {})
    return PydanticCustomError("not_available", "{what} is not available yet. {instead}", said)


class EarlyStoppingSpec(Frozen):
    """Stops when validation loss has not improved for `patience` evaluations; the best student is kept."""

    patience: Annotated[Count, Field(le=1000)] = 3
    """Evaluations in a row without a gain."""
    min_delta: NotNegative = 0.0
    """A smaller gain is none, in what the loss is counted in."""


class AugmentSpec(Frozen):
    """Images that are learned from differ a little at every step. The teacher looks at the same changed image."""

    jitter_pixels: Annotated[Count, Field(le=16)] = Field(
        description="The most pixels by which an image is shifted in each direction; what is left empty is 0."
    )


MEAN_EXAMPLES = 32
"""Examples of a micro-batch, on average, where its size is decided by their tokens."""


class TrainingSpec(Frozen):
    epochs: Annotated[Positive, Field(le=10_000)] = 3.0
    """Passes over the data; may be a fraction."""
    max_steps: Annotated[Count, Field(le=100_000_000)] | None = None
    """Optimizer steps, instead of epochs."""
    batch_size: Annotated[Count, Field(le=65_536)] | Literal["auto"] = Field(
        32,
        description='Examples of a batch. "auto": batches of about equally many tokens, with 32 examples on average: '
        "fewer where they are long, more where they are short.",
    )
    gradient_accumulation: Annotated[Count, Field(le=4096)] = 1
    """Batches of an optimizer step."""
    learning_rate: Annotated[Positive, Field(le=10_000)] = 2e-4
    """The highest, after the warm-up."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up."""
    warmup_ratio: Fraction = 0.06
    """The share of the steps in which the rate rises."""
    weight_decay: NotNegative = 0.01
    """Of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    max_grad_norm: Positive | None = 1.0
    """Longer gradients are cut to it; null cuts none."""
    max_length: Annotated[Count, Field(ge=4, le=1_000_000)] = 256
    """Tokens of an example; what is longer is cut, and the job says how many were."""
    train_on_prompt: Flag = Field(False, description="Language models: prompts count in the loss like completions.")
    augment: AugmentSpec | None = None
    """How images differ from step to step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device multiplies faster with it, which is tried as a job starts."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 42
    """Every draw comes from it: the same spec gives the same student on the same machine."""
    evaluate_every_steps: Count | None = None
    """Ten times in a training when absent."""
    checkpoint_every_steps: Count | None = None
    """When absent, ten times in a training of over 1,000 steps, and every 100 steps in a shorter one."""
    early_stopping: EarlyStoppingSpec | None = None
    """`{}` takes the defaults; null trains to the end."""

    @property
    def batch_examples(self) -> int:
        """Examples of a micro-batch, on average where their tokens decide."""
        return MEAN_EXAMPLES if self.batch_size == "auto" else self.batch_size

    @property
    def step_examples(self) -> int:
        """Examples of an optimizer step, on average where their tokens decide."""
        return self.batch_examples * self.gradient_accumulation


class ResourcesSpec(Frozen):
    queue: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = "default"
    """Workers take jobs of the queues that they name."""
    max_minutes: Annotated[Positive, Field(le=60 * 24 * 30)] = Field(
        240.0, description="The job fails as time_limit after so long, with its last checkpoint kept."
    )
    processes: Annotated[int, Field(strict=True, ge=1, le=64)] = Field(
        1, description="How many share each training, on one machine and a GPU each where it has them."
    )
    sharded: bool | None = Field(
        None,
        description=(
            "Whether the processes spread the layers of what they train, with gradients and optimizer state, instead "
            "of each holding all of them (FSDP, ZeRO stage 3). null: where one GPU could not hold them."
        ),
    )
    priority: Annotated[int, Field(strict=True, ge=-100, le=100)] = 0
    """Of two jobs that wait, the higher runs first."""

    def check_fits(self, training: TrainingSpec, method: str, *, has_adapters: bool) -> None:
        """Refuse what several processes cannot share."""
        if self.sharded and has_adapters:
            instead = "Leave one of the two out: adapters have little to spread."
            raise not_available("resources.sharded with student.lora", instead, "resources.sharded")
        if self.processes == 1:
            if self.sharded:
                raise not_available(
                    "resources.sharded in one process", "Give processes 2 or more.", "resources.sharded"
                )
            return
        alone = {"method on_policy": method == "on_policy", "training.augment": training.augment is not None}
        for what, is_wanted in alone.items():
            if is_wanted:
                raise not_available(f"{what} in several processes", "Use processes 1.", "resources.processes")
        if training.batch_size != "auto" and training.batch_size % self.processes:
            count = {"count": self.processes, "size": training.batch_size, "place": "resources.processes"}
            raise PydanticCustomError("uneven_shares", "{count} processes cannot share batches of {size} evenly", count)
