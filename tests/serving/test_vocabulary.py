"""Every token has bytes, and the bytes of a text's tokens are the text's."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from serving.vocabulary import Vocabulary
from tests.service.served import tokenizer_of

BPE = tokenizer_of()
VOCABULARY = Vocabulary(BPE)


@settings(max_examples=50)
@given(text=st.text(max_size=30))
def test_bytes_of_byte_level_tokens_join_to_the_text(text: str) -> None:
    joined = bytes(byte for token in BPE(text)["input_ids"] for byte in VOCABULARY.bytes_of(token))
    assert joined == text.encode()


def test_a_special_token_is_its_name_and_a_row_beyond_the_tokens_is_nothing() -> None:
    assert bytes(VOCABULARY.bytes_of(BPE.eos_token_id)) == b"<|end|>"
    assert VOCABULARY.bytes_of(len(BPE) + 7) == ()


def test_pieces_of_sentencepiece_are_read_with_their_spaces_and_single_bytes() -> None:
    words = {"<unk>": 0, "\u2581one": 1, "<0xE2>": 2, "two": 3}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    vocabulary = Vocabulary(PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>"))
    assert [bytes(vocabulary.bytes_of(token)) for token in (1, 2, 3)] == [b" one", b"\xe2", b"two"]
