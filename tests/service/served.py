"""Tiny models, uploaded to a running service, and a serving process of its own behind it."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from core.database import Database
from core.tables import Model
from tests.service.live import Live, running_service
from tests.worker.training.conftest import WORDS, classifier, wordpiece
from tests.worker.training.language.conftest import bpe, counting, saved

CLASSES = ["bad", "good"]


def llama(vocabulary: int, *, layers: int = 3, seed: int = 1, positions: int = 128) -> LlamaForCausalLM:
    """Random weights that are large enough to have opinions."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def tokenizer_of(template: bool = True) -> PreTrainedTokenizerFast:
    told = counting(50)
    made = bpe([*told["prompt"], *told["completion"]])
    if not template:
        made.chat_template = None
    return made


@dataclass(frozen=True)
class Served:
    """A running service with models, and the same models here."""

    live: Live
    writer: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    classifier_folder: Path

    @property
    def http(self) -> httpx.Client:
        return self.live.http

    def process(self) -> httpx.Client:
        """The serving process itself. Only for looking at how it is."""
        own = self.live.service.serving.own
        assert own is not None
        assert own.address is not None, "it does not run"
        return httpx.Client(base_url=own.address.url, trust_env=False)


@contextmanager
def serving_service(folder: Path, **settings: object) -> Iterator[Served]:
    """Yield a service with the models `writer`, `plain` (without a chat template), `judge`, and `endless`, which at
    temperature 0 never ends by itself."""
    tokenizer = tokenizer_of()
    writer = llama(len(tokenizer))
    endless = llama(len(tokenizer), positions=8192)
    with torch.no_grad():
        # The token that ends a text is never the likeliest.
        endless.lm_head.weight[2] = 0
    with running_service(folder / "data", **settings) as live:
        upload(live.http, saved(folder / "writer", writer, tokenizer), "writer")
        upload(live.http, saved(folder / "plain", llama(len(tokenizer), seed=2), tokenizer_of(template=False)), "plain")
        upload(live.http, saved(folder / "endless", endless, tokenizer), "endless")
        (folder / "judge").mkdir()
        judge = classifier(folder / "judge", CLASSES, wordpiece(WORDS))
        upload(live.http, judge, "judge")
        yield Served(live, writer, tokenizer, judge)


def upload(http: httpx.Client, folder: Path, name: str) -> None:
    answer = http.post("/v1/models", files={"file": ("model.tar", packed(folder))}, data={"name": name})
    assert answer.status_code == 201, answer.text


def packed(folder: Path) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, ".")
    return archive.getvalue()


def given_to(database: Database, name: str, owner: str) -> None:
    """Make a model another owner's."""
    with database.write() as session:
        session.query(Model).where(Model.name == name).update({"owner": owner})
        session.commit()
