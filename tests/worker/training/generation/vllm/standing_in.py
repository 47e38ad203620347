"""Stands where vLLM would, which needs a GPU: the part of its API that is used, answered by transformers.

What it takes and gives is what docs.vllm.ai says of LLM, LLMEngine, SamplingParams and RequestOutput (0.22).
"""

import os
import time
from dataclasses import dataclass
from typing import Any

import torch
from vllm.sampling_params import RequestOutputKind, SamplingParams  # type: ignore[import-not-found]

__all__ = ["LLM", "RequestOutputKind", "SamplingParams"]


@dataclass
class CompletionOutput:
    token_ids: tuple[int, ...]
    stop_reason: int | str | None


@dataclass
class RequestOutput:
    request_id: str
    outputs: list[CompletionOutput]
    finished: bool = True


class LLM:
    def __init__(self, model: str, dtype: str, max_model_len: int, generation_config: str, **others: Any) -> None:
        os.write(1, b"vLLM says much while it starts\n")
        if "refuse" in others:
            raise ValueError(f"no such thing:\n{others['refuse']}")
        assert generation_config == "vllm"
        self.llm_engine = LLMEngine(model, dtype, max_model_len, others)


class LLMEngine:
    def __init__(self, model: str, dtype: str, longest: int, others: dict[str, Any]) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.longest, self.others = longest, others
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.waiting: list[tuple[str, list[int], Any]] = []

    def add_request(self, request_id: str, prompt: dict[str, list[int]], params: Any) -> None:
        assert len(prompt["prompt_token_ids"]) + params.max_tokens <= self.longest
        self.waiting.append((request_id, prompt["prompt_token_ids"], params))

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def step(self) -> list[RequestOutput]:
        """The last one that was asked for is done first, with the step after."""
        if "exhaust" in self.others:
            raise RuntimeError("CUDA out of memory.")
        if "hang" in self.others:
            time.sleep(600)
        return [RequestOutput(request_id, [self._written(*asked)]) for request_id, *asked in [self.waiting.pop()]]

    def _written(self, prompt: list[int], sampling: Any) -> CompletionOutput:
        torch.manual_seed(sampling.seed)
        shaped: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            shaped = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
            shaped |= {"top_k": max(0, sampling.top_k), "min_p": sampling.min_p}
        ids = torch.tensor([prompt])
        whole = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=sampling.max_tokens,
            eos_token_id=sampling.stop_token_ids,
            pad_token_id=0,
            repetition_penalty=sampling.repetition_penalty,
            **shaped,
        )
        return self._ended(whole[0, len(prompt) :].tolist(), sampling)

    def _ended(self, ids: list[int], sampling: Any) -> CompletionOutput:
        assert sampling.detokenize or not sampling.stop
        for count in range(1, len(ids) + 1):
            text = self.tokenizer.decode(ids[:count], skip_special_tokens=True)
            found = next((stop for stop in sampling.stop if stop in text), None)
            if found is not None:
                return CompletionOutput(tuple(ids[:count]), found)
        return CompletionOutput(tuple(ids), ids[-1] if ids[-1] in sampling.stop_token_ids else None)
