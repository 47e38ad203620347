"""From a transformers model to one that OpenVINO runs with a cache of keys and values of its own.

Shapes: B sequences, T new positions, K all positions so far, V vocabulary.
"""

import importlib
import inspect
import logging
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from worker.training.generation.compiled.runtime import Weights, openvino
from worker.training.generation.engine import writing

FORMAT = 1
"""Raised when this file would convert the same model to something else: what is kept on disk is made anew."""
MOVING_ROTATIONS = ("dynamic", "longrope")
"""Rotary embeddings whose frequencies depend on a text's length: a trace holds those of one length."""


class NotConvertible(Exception):
    """Why a model stays with transformers, in words."""


class Step(nn.Module):
    """A model's forward pass with nothing but tensors: what it has read goes in, and comes out longer."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        takes = inspect.signature(model.forward).parameters
        self.more = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor) -> Any:
        cache = Cache(layers=[_filled(*pair) for pair in zip(past[::2], past[1::2], strict=True)])
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
            **self.more,
        )
        return found.logits[:, -1], *_states(cache)


def _filled(keys: Tensor, values: Tensor) -> DynamicLayer:
    layer = DynamicLayer()  # type: ignore[no-untyped-call]
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    return layer


def _states(cache: Cache) -> list[Tensor]:
    """Return keys and values of each layer, [B, heads, K, width] each."""
    layers: Any = cache.layers
    return [state for layer in layers for state in (layer.keys, layer.values)]


def convert(model: PreTrainedModel, file: Path, weights: Weights = "whole") -> None:
    """Write the model for OpenVINO: `file` (.xml) and the weights beside it (.bin), as they are or in 8 bits.

    Raises:
        NotConvertible: the model is not of a kind that this is known to be right for, or the conversion fails.
    """
    _check(model)
    try:
        with torch.inference_mode(mode=False), torch.no_grad(), writing(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trace warns of every shape that it takes for a number
            converted = _converted(model)
            if weights == "int8":
                converted = _in_8_bits(converted)
        openvino().save_model(converted, file, compress_to_fp16=False)
    except NotConvertible:
        raise
    except Exception as error:  # the model is anybody's, and tracing it may fail as it likes
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotConvertible(f"its conversion fails: {why}") from error


def _check(model: PreTrainedModel) -> None:
    config: Any = model.config.get_text_config()
    rotation = getattr(config, "rope_parameters", None) or {}
    kinds = {str(part.get("rope_type")) for part in (rotation, *rotation.values()) if isinstance(part, dict)}
    if kinds & set(MOVING_ROTATIONS):
        raise NotConvertible("its rotary embedding depends on a text's length")
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise NotConvertible("it takes no positions")


def _converted(model: PreTrainedModel) -> Any:
    lib, op = openvino(), openvino("opset13")
    states = _first_states(model)
    read, unread = 3, 4
    past = [state.new_zeros(2, state.shape[1], read, state.shape[3]) for state in states]
    example = (
        torch.arange(2 * unread).reshape(2, unread) % 2,
        torch.zeros(2, 1, unread, read + unread),
        torch.arange(read, read + unread).repeat(2, 1),
        *past,
    )
    made = lib.convert_model(Step(model), example_input=example)
    names = ["input_ids", "attention_mask", "position_ids", *(f"past_{place}" for place in range(len(past)))]
    free = [[-1, -1], [-1, 1, -1, -1], [-1, -1], *([-1, state.shape[1], -1, state.shape[3]] for state in past)]
    for port, name, shape in zip(made.inputs, names, free, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(lib.PartialShape(shape))
    made.outputs[0].get_tensor().set_names({"logits"})
    made.validate_nodes_and_infer_types()
    return _with_own_cache(made, len(past), lib, op)


def _in_8_bits(made: Any) -> Any:
    """Return the model with the weights of its products as whole numbers of 8 bits, with a scale and a zero for each
    output."""
    openvino()  # first: it keeps telemetry out
    nncf = importlib.import_module("nncf")
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(StringIO()):  # its bars and tables
        return nncf.compress_weights(made, mode=nncf.CompressWeightsMode.INT8_ASYM)


def _first_states(model: PreTrainedModel) -> list[Tensor]:
    """Return what a model keeps of one token."""
    found = model(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=True)
    cache = getattr(found, "past_key_values", None)
    if not isinstance(cache, Cache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
        raise NotConvertible("it does not keep keys and values of every token in every layer")
    return _states(cache)


def _with_own_cache(made: Any, states: int, lib: Any, op: Any) -> Any:
    """Turn inputs and outputs for keys and values into memory of the model's own.

    `beam_idx` chooses rows of it. Nothing here needs that; it is by the gather that OpenVINO knows attention with a
    cache when it sees one, and computes both in one kernel.
    """
    rows = op.parameter(lib.PartialShape([-1]), dtype=lib.Type.i32, name="beam_idx")
    rows.output(0).get_tensor().set_names({"beam_idx"})
    made.add_parameters([rows])
    pasts = [made.input(f"past_{place}") for place in range(states)]
    for past in pasts:
        readers = past.get_target_inputs()
        chosen = op.gather(past, rows, op.constant(0, dtype=np.int64))
        for reader in readers:
            reader.replace_source_output(chosen.output(0))
    pairs = [(past.get_node(), out.get_node()) for past, out in zip(pasts, made.outputs[1:], strict=True)]
    passes = openvino("passes")
    rewriting = passes.Manager()
    rewriting.register_pass(passes.MakeStateful(pairs))
    rewriting.run_passes(made)
    _begin_empty(made, lib, op)
    return made


def _begin_empty(made: Any, lib: Any, op: Any) -> None:
    """Let the memory begin with as many rows as there are texts, and no position."""
    shape = op.shape_of(made.input("input_ids"), output_type="i64")
    rows = op.gather(shape, op.constant([0]), op.constant(0))
    for node in made.get_ops():
        if node.get_type_name() == "ReadValue":
            heads, width = (node.get_output_partial_shape(0)[axis].get_length() for axis in (1, 3))
            empty = op.concat([rows, op.constant(np.array([heads, 0, width], dtype=np.int64))], axis=0)
            node.set_arguments([op.broadcast(op.constant(0.0, dtype=lib.Type.f32), empty)])
    made.validate_nodes_and_infer_types()
