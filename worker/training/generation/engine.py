"""What computes the tokens of a text that a model writes: an interface, and the engine on transformers' `generate`.

Shapes: B sequences, T positions.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList


class Engine(Protocol):
    """Computes logits. What is made of them (temperature, nucleus, draw) is the same code whichever engine it is."""

    @property
    def name(self) -> str:
        """What the report calls it; two engines of one name give the same bytes on one machine."""

    def generate(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor,
        config: GenerationConfig,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
    ) -> Tensor:
        """Go on from prompts, always by the token whose processed score is largest, as `generate` does.

        Args:
            ids_BT: the prompts, padded on the left.
            mask_BT: bool, False where it is padding.
            config: `max_new_tokens`, `eos_token_id` (a list or None) and `pad_token_id` are read, and no more.

        Returns:
            The prompts with what follows each; behind its end a text is padded.
        """


class TransformersEngine:
    """`generate`, on any device."""

    name = "transformers"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def generate(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor,
        config: GenerationConfig,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
    ) -> Tensor:
        device = self.model.device
        with torch.inference_mode(), writing(self.model):
            whole_BT: Tensor = self.model.generate(  # type: ignore[operator]
                ids_BT.to(device),
                attention_mask=mask_BT.long().to(device),
                generation_config=config,
                logits_processor=processors,
                stopping_criteria=criteria,
            )
        return whole_BT


@contextlib.contextmanager
def writing(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout and without the generation settings that came with the model; both are put back."""
    was_training, settings = model.training, model.generation_config
    model.train(False)
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        model.generation_config = settings
        model.train(was_training)
