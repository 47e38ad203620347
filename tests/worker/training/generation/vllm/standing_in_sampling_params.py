"""What stands in the place of vllm.sampling_params."""

from dataclasses import dataclass
from enum import Enum


class RequestOutputKind(Enum):
    FINAL_ONLY = 2


@dataclass
class SamplingParams:
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    max_tokens: int
    stop: list[str]
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool
    seed: int
    output_kind: RequestOutputKind
