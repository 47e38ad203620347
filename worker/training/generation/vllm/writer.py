"""A teacher that writes with vLLM: as many texts at once as its GPU holds."""

import hashlib
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.methods import GenerationSpec
from worker.training.device import Precision
from worker.training.generation.samples import Ask, Sample
from worker.training.generation.vllm.beside import Request, Vllm, VllmBeside
from worker.training.generation.writer import ModelWriter

DTYPES = {"bf16": "bfloat16", "fp32": "float32"}


class VllmWriter(ModelWriter):
    """Writes with a copy of a model that vLLM has in memory while texts are asked for, and no longer.

    Temperature, nucleus and penalties mean what they mean to `ModelWriter`. The draw is vLLM's: each sample has a seed
    of its own, and other texts come of it.
    """

    is_batched = False

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        spec: GenerationSpec,
        seed: int,
        vllm: Vllm,
        precision: Precision,
        folder: Path,
        save: Callable[[Path], object],
    ) -> None:
        """Make it ready; nothing is started yet.

        Args:
            folder: for the copy, which is deleted when the last text is there.
            save: writes model and tokenizer into a folder, weights as they are to write, and leaves the GPU to vLLM.
        """
        super().__init__(model, tokenizer, spec, seed)
        self.vllm, self.precision, self.folder, self._save = vllm, precision, folder, save
        self._oldest_transformers = 5 if has_several_rotaries(model.config.to_dict()) else 4

    def write(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> list[Sample]:
        """Return all samples, in the order of their asks."""
        with closing(self.pieces(asks, each_token)) as pieces:
            found = {sample.key: sample for piece in pieces for sample in piece}
        return [found[ask.key] for ask in asks]

    def pieces(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> Generator[Sequence[Sample], None, None]:
        """Yield samples as they are done.

        Raises:
            EngineUnavailable, OutOfMemory: vLLM cannot write with the model.
            PeerKilled: somebody outside ended it.
        """
        prompts = [self.encoder.ids(ask.prompt) for ask in asks]
        fitting = [place for place, ids in enumerate(prompts) if self._fits(ids)]
        without_room = sorted(set(range(len(asks))) - set(fitting))
        if without_room:
            yield [self.without_room(asks[place], prompts[place]) for place in without_room]
        if not fitting:
            return
        sampling = self._sampling()
        requests = [Request(place, prompts[place], seed_of(self.seed, asks[place].key), sampling) for place in fitting]
        each_token()
        with self._running(max(len(request.prompt) for request in requests)) as beside:
            for texts in beside.texts(requests, each_token):
                yield [
                    self.sample_of(
                        asks[text.id],
                        prompts[text.id],
                        self.completion(prompts[text.id], text.ids, len(text.ids) if text.is_stopped else None),
                    )
                    for text in texts
                ]

    @contextmanager
    def _running(self, longest_prompt: int) -> Iterator[VllmBeside]:
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self._save(self.folder)
            told = {
                "model": str(self.folder),
                "dtype": DTYPES[self.precision],
                "max_model_len": longest_prompt + self.spec.max_new_tokens,
                "generation_config": "vllm",  # the model's own settings play no part
                "transformers": self._oldest_transformers,
            }
            with VllmBeside(self.vllm, told) as beside:
                yield beside
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _sampling(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "top_k": spec.top_k or -1,
            "min_p": spec.min_p or 0.0,
            "repetition_penalty": spec.repetition_penalty,
            "max_tokens": spec.max_new_tokens,
            "stop": list(spec.stop),
            "stop_token_ids": list(self.end_ids),
            "ignore_eos": True,  # what ends a text is said in full by the line before
            "detokenize": bool(spec.stop),
        }


def seed_of(seed: int, key: tuple[int, int]) -> int:
    """Return a sample's own seed, below 2^31."""
    digest = hashlib.blake2b(f"{seed}:{key[0]}:{key[1]}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def has_several_rotaries(config: Mapping[str, Any]) -> bool:
    """Tell whether layers turn positions differently, which no file says so that transformers 4 understands it."""
    rotary = config.get("rope_parameters")
    return isinstance(rotary, dict) and any(isinstance(value, dict) for value in rotary.values())
