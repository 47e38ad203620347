"""The engine on OpenVINO: a converted model's logits, and the same choices made of them as `generate` makes.

Shapes: B sequences, T positions, V vocabulary.
"""

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from worker.training.generation.compiled.runtime import Runner, Weights, version_installed


class OpenVinoEngine:
    """Writes with a model that `conversion.convert` made."""

    def __init__(self, runner: Runner, weights: Weights = "whole") -> None:
        self.runner = runner
        self.name = f"openvino {version_installed()}" + (
            f" int8 (nncf {version_installed('nncf')})" if weights == "int8" else ""
        )

    @torch.inference_mode()
    def generate(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor,
        config: GenerationConfig,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
    ) -> Tensor:
        self.runner.begin()
        end_ids = torch.tensor(config.eos_token_id or [], dtype=torch.long)
        is_open_B = torch.ones(len(ids_BT), dtype=torch.bool)
        whole_BT, unread_BT, seen_BT = ids_BT, ids_BT, mask_BT.bool()
        for _ in range(int(config.max_new_tokens or 0)):
            logits_BV = torch.from_numpy(self.runner.step(unread_BT.numpy(), seen_BT.numpy()))
            scores_BV = processors(whole_BT, logits_BV)  # type: ignore[arg-type] # a declared kind of tensor
            token_B = scores_BV.argmax(dim=-1).masked_fill(~is_open_B, config.pad_token_id)
            unread_BT = token_B[:, None]
            whole_BT = torch.cat([whole_BT, unread_BT], dim=1)
            seen_BT = torch.cat([seen_BT, torch.ones_like(unread_BT, dtype=torch.bool)], dim=1)
            is_open_B &= ~torch.isin(token_B, end_ids) & ~criteria(whole_BT, scores_BV)
            if not is_open_B.any():
                break
        return whole_BT
