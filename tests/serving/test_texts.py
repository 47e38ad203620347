"""Whatever tokens come, the pieces joined are the text, and no stop is in it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from serving.texts import GrowingText, decoder
from tests.service.served import tokenizer_of
from worker.training.generation.stopping import cut_at

BPE = tokenizer_of()
TEXTS = st.text(alphabet=st.sampled_from("aé€😀 \n한<stop>oneCut"), max_size=20)
IDS = st.lists(st.integers(0, len(BPE) - 1), max_size=24)
QUICK = settings(max_examples=60)


def grown(prompt: list[int], ids: list[int], stops: tuple[str, ...] = ()) -> tuple[list[str], GrowingText]:
    text = GrowingText(decoder(BPE), prompt, stops)
    pieces = []
    for token in ids:
        pieces.append(text.add(token))
        if text.is_stopped:
            break
    return [*pieces, text.rest()], text


@QUICK
@given(prompt=TEXTS, text=TEXTS)
def test_a_text_comes_back_whole_and_no_piece_cuts_a_character(prompt: str, text: str) -> None:
    pieces, _ = grown(BPE(prompt)["input_ids"], BPE(text)["input_ids"])
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)


@QUICK
@given(ids=IDS)
def test_tokens_that_make_no_valid_text_give_what_decoding_all_of_them_gives(ids: list[int]) -> None:
    pieces, _ = grown([], ids)
    assert "".join(pieces) == BPE.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@QUICK
@given(text=TEXTS, stops=st.lists(st.text(alphabet="aon<st>", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_stop_and_all_behind_it_is_left_out_and_never_given_out_in_part(text: str, stops: list[str]) -> None:
    pieces, grew = grown([], BPE(text)["input_ids"], tuple(stops))
    before = cut_at("".join(pieces), stops)
    assert before is None
    cut = first_cut(text, stops)
    assert "".join(pieces) == (text if cut is None else cut)
    assert grew.is_stopped == (cut is not None)


def first_cut(text: str, stops: list[str]) -> str | None:
    """Where the text would have stopped while it came token by token."""
    ids = BPE(text)["input_ids"]
    for count in range(1, len(ids) + 1):
        seen = BPE.decode(ids[:count], clean_up_tokenization_spaces=False).rstrip("\ufffd")
        cut = cut_at(seen, stops)
        if cut is not None:
            return cut
    return None


def test_a_piece_that_may_become_a_stop_waits_and_comes_when_it_does_not() -> None:
    text = GrowingText(decoder(BPE), [], ("<stop>",))
    given_out = [text.add(token) for token in BPE("a<sto")["input_ids"]]
    assert "".join(given_out) == "a"
    assert "".join(text.add(token) for token in BPE("ne")["input_ids"]) == "<stone"


def test_a_tokenizer_that_marks_words_by_their_space_keeps_the_first_one() -> None:
    """Decoded alone, `▁two` would lose the space that parts it from the prompt."""
    words = {"<unk>": 0, "▁one": 1, "▁two": 2}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.decoder = decoders.Metaspace()
    metaspace = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
    text = GrowingText(decoder(metaspace), [1])
    assert text.add(2) == " two"
