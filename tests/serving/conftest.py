"""A tiny language model in memory, ready to write."""

import pytest
from transformers import PreTrainedTokenizerFast

from serving.loading import Writer
from tests.service.served import llama, tokenizer_of


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer_of()


@pytest.fixture(scope="session")
def writer(tokenizer: PreTrainedTokenizerFast) -> Writer:
    return Writer(llama(len(tokenizer)), tokenizer, end_ids=(2,))
