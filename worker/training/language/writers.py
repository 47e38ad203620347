"""Who writes for a job: its teachers, each with a writer."""

import gc
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from core.errors import EngineUnavailable
from core.methods import GenerationSpec
from worker.training.desk import Desk
from worker.training.device import device
from worker.training.endpoint.line import Line
from worker.training.endpoint.writer import EndpointWriter
from worker.training.exchange import Inputs
from worker.training.export import save_model
from worker.training.generation.compiled.choosing import Wanted, openvino_for
from worker.training.generation.engine import Engine, TransformersEngine
from worker.training.generation.keeping import corpus_folder
from worker.training.generation.prompts import PromptEncoder
from worker.training.generation.samples import Ask, Prompt, Sample
from worker.training.generation.vllm.beside import Vllm
from worker.training.generation.vllm.writer import VllmWriter
from worker.training.generation.writer import ModelWriter, Writer
from worker.training.language.twin import Twin
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.students import required


@dataclass(frozen=True)
class Author:
    """A teacher as one who writes."""

    name: str
    writer: Writer
    is_chat: bool
    """Whether plain prompts are put to it as a user's messages."""
    engine: str | None = None
    """What computes its tokens; None behind an endpoint."""


def asks_as_chat(spec: GenerationSpec, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether a teacher with this tokenizer is asked plain prompts as a user's messages."""
    return PromptEncoder(tokenizer, spec.system_prompt, spec.chat).chat


def writer_for(
    desk: Desk, name: str, teacher: Loaded, texts: int = 1, cache: Path | None = None, vllm: Vllm | None = None
) -> Author:
    """Return a teacher whose weights are here, ready to write.

    Args:
        texts: how many it will be asked for, at most.
        cache: the folder in which later jobs look for what is kept.
        vllm: where vLLM is, for specs that name it.

    Raises:
        EngineUnavailable: the engine that the spec names cannot write with it.
    """
    spec = desk.spec.sequence_method.generation
    seed = spec.seed if spec.seed is not None else desk.spec.training.seed
    tokenizer = required(teacher.tokenizer)
    if spec.engine == "vllm":
        vllm = vllm or Vllm()
        called, folder = vllm.name(), desk.folder / "engines" / "vllm"
        save = partial(_save_apart, desk, teacher)
        beside = VllmWriter(teacher.model, tokenizer, spec, seed, vllm, desk.precision, folder, save)
        return Author(name, beside, beside.encoder.chat, called)
    engine = _engine(desk, teacher, texts * spec.max_new_tokens, cache or desk.folder / "engines")
    writer = ModelWriter(teacher.model, tokenizer, spec, seed, engine)
    return Author(name, writer, writer.encoder.chat, engine.name)


def _save_apart(desk: Desk, teacher: Loaded, folder: Path) -> None:
    """Save a teacher as it writes, and leave the GPU."""
    save_model(Twin(desk.precision).of(teacher.model.to("cpu")), required(teacher.tokenizer), folder)  # type: ignore[arg-type]
    gc.collect()
    torch.cuda.empty_cache()


def _engine(desk: Desk, teacher: Loaded, tokens: int, folder: Path) -> Engine:
    def beat() -> None:
        stop_if_asked(desk.observer)
        desk.journey.tell()

    engine = desk.spec.sequence_method.generation.engine
    compiled = openvino_for(teacher.model, Wanted(engine, desk.precision, tokens, folder, desk.observer.event, beat))
    if compiled is not None:
        desk.observer.event(f"writing: with {compiled.name}.")
        return compiled
    return TransformersEngine(Twin(desk.precision).of(teacher.model.to(device())))  # type: ignore[arg-type]


def check_engine(desk: Desk, inputs: Inputs) -> None:
    """Find out before anything is trained whether vLLM is there, where the spec names it.

    Raises:
        EngineUnavailable: it is not, or there is no GPU.
    """
    if desk.spec.sequence_method.generation.engine != "vllm":
        return
    if device().type != "cuda":
        raise EngineUnavailable("vllm", f"it writes on a GPU, and this worker computes on {device().type}")
    inputs.vllm.name()


def author_behind(desk: Desk, line: Line, name: str, texts: int) -> Author:
    """Return a teacher behind an endpoint, which is asked for so many texts in all."""
    spec, endpoint = desk.spec.sequence_method.generation, desk.spec.endpoint
    assert endpoint is not None
    seed = spec.seed if spec.seed is not None else desk.spec.training.seed
    ledger = corpus_folder(desk.folder / "writing")
    writer = EndpointWriter(line, endpoint, spec, seed, desk.observer, texts=texts, ledger=ledger)
    return Author(name, writer, spec.chat is not False)


def authors_of(
    desk: Desk, inputs: Inputs, names: Sequence[str], teachers: Sequence[Loaded], texts: int
) -> list[Author]:
    """Return all who write for the job: the models, or the server at the other end of the line."""
    if inputs.line is not None:
        return [author_behind(desk, inputs.line, names[0], texts)]
    return [
        writer_for(desk, name, teacher, texts, inputs.cache, inputs.vllm)
        for name, teacher in zip(names, teachers, strict=True)
    ]


@dataclass(frozen=True)
class Several:
    """Writers by their teacher's name; each batch is for one of them."""

    writers: Mapping[str, Writer]

    @property
    def is_batched(self) -> bool:
        return any(writer.is_batched for writer in self.writers.values())

    def prompt_tokens(self, prompt: Prompt) -> int:
        return self._whose(prompt).prompt_tokens(prompt)

    def write(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> list[Sample]:
        return self._writer_of(asks).write(asks, each_token)

    def pieces(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> Generator[Sequence[Sample], None, None]:
        return self._writer_of(asks).pieces(asks, each_token)

    def _writer_of(self, asks: Sequence[Ask]) -> Writer:
        (writer,) = {id(one): one for one in (self._whose(ask.prompt) for ask in asks)}.values()
        return writer

    def _whose(self, prompt: Prompt) -> Writer:
        assert prompt.teacher is not None, "with several teachers every prompt is somebody's"
        return self.writers[prompt.teacher]


def one_writer(authors: Sequence[Author]) -> Writer:
    """Return the authors as one writer."""
    if len(authors) == 1:
        return authors[0].writer
    return Several({author.name: author.writer for author in authors})
