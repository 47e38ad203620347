"""How a student learns from its teacher: from logits, from texts that the teacher writes, or on its own texts."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, SchemaError, SchemaValidator, core_schema

Count = Annotated[int, Field(strict=True, ge=1)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Layer = Annotated[int, Field(strict=True, ge=0, le=1000)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]


ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Beta = Annotated[float, Field(strict=True, gt=0, lt=1)]

Divergence = Literal["forward_kl", "reverse_kl", "jsd", "tvd", "mse"]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)


class NotEmpty:
    """At least one item. Unlike `min_length`, it adds no second fault where the only item is at fault itself."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_at_least_one, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "minItems": 1}


def _at_least_one(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise PydanticCustomError("too_short", "at least one is needed")
    return items


class HiddenSpec(Frozen):
    """Pulls hidden states of mapped layers together, through a learned projection where the widths differ
    (Romero et al. 2015, arXiv:1412.6550; Sanh et al. 2019, arXiv:1910.01108)."""

    type: Literal["cosine", "mse"] = "cosine"
    """cosine: their direction (the angle between them); mse: all of them."""
    weight: Positive = 1.0
    """What the term is multiplied with in the loss."""
    layers: Annotated[tuple[tuple[Layer, Layer], ...], NotEmpty()] | None = Field(
        None, description="Pairs [teacher layer, student layer]; null: spread evenly, last on last."
    )


class _Mixing(Frozen):
    """A divergence, and the mixture's share of the teacher where it is jsd."""

    divergence: Divergence = "forward_kl"
    """What is minimised between the distributions of teacher and student."""
    beta: Beta | None = Field(None, description="The mixture's share of the teacher in jsd; 0.5 when absent.")

    @model_validator(mode="before")
    @classmethod
    def _beta_by_default(cls, written: Any) -> Any:
        if not isinstance(written, dict):
            return written
        divergence = written.get("divergence", cls.model_fields["divergence"].default)
        return {**written, "beta": 0.5} if divergence == "jsd" and written.get("beta") is None else written

    @model_validator(mode="after")
    def _beta_of_jsd(self) -> Self:
        if self.beta is not None and self.divergence != "jsd":
            raise PydanticCustomError("beta_without_jsd", "beta belongs to divergence jsd alone")
        return self


class LogitsMethod(_Mixing):
    """The student matches the teacher's distribution (Hinton, Vinyals and Dean 2015, arXiv:1503.02531)."""

    type: Literal["logits"] = "logits"
    """Distributions are compared; the method when none is named."""
    hidden: HiddenSpec | None = None
    """A term for hidden states beside the logits; text classifiers alone."""
    alignment: Literal["uld"] | None = Field(
        None,
        description="For language models with different tokenizers: the distance of their sorted probabilities in the "
        "place of a divergence (Boizard et al. 2024, arXiv:2402.12030).",
    )
    top_k: Annotated[Count, Field(le=1024)] | None = Field(
        None,
        description="Language models: keep the teacher's k largest log-probabilities of each token on disk, and the "
        "rest's mass as one more class, where they fit there. Without it the teacher's last hidden states are kept, "
        "where texts are seen more than once and they fit.",
    )

    @model_validator(mode="after")
    def _alignment_stands_alone(self) -> Self:
        """Sorted probabilities have lost their words: nothing that speaks of words or layers goes with them."""
        if self.alignment is None:
            return self
        if self.divergence != type(self).model_fields["divergence"].default:
            raise _misfit("method.divergence: alignment uld is itself what is minimised; leave divergence out")
        if self.top_k is not None:
            raise _misfit("method.top_k: alignment uld compares whole distributions; leave top_k out")
        if self.hidden is not None:
            raise _misfit("method.hidden: alignment uld compares probabilities alone; leave hidden out")
        return self

    def check_teachers(self, count: int) -> None:
        """Raise PydanticCustomError where so many teachers cannot be learned from."""
        if self.alignment is not None and count > 1:
            raise _misfit("teacher: alignment uld learns from one teacher: several have no words in common to mix")

    @model_validator(mode="after")
    def _top_k_has_no_logits(self) -> Self:
        if self.top_k is not None and self.divergence == "mse":
            raise PydanticCustomError("top_k_of_mse", "mse compares logits, and top_k keeps probabilities alone")
        return self


VLLM_COLDEST, VLLM_WARMEST = 0.01, 2.0
"""Temperatures above 0 between which vLLM draws as told; it raises colder ones, and refuses warmer ones."""
EngineName = Literal["auto", "transformers", "openvino", "openvino_int8", "vllm"]


class GenerationSpec(Frozen):
    """How texts are sampled. This temperature shapes samples; the job's T is another thing."""

    temperature: Annotated[NotNegative, Field(le=10)] = Field(0.7, description="0 always takes the likeliest token.")
    top_p: Annotated[Positive, Field(le=1)] = 0.95
    """Draw from the likeliest tokens that have so much probability together."""
    top_k: Annotated[Count, Field(le=100_000)] | None = None
    """Draw from so many of the likeliest tokens."""
    min_p: Annotated[Fraction, Field(lt=1)] | None = None
    """Leave out tokens less likely than this share of the likeliest."""
    max_new_tokens: Annotated[Count, Field(le=32_768)] = 256
    """A text is cut behind so many."""
    samples_per_prompt: Annotated[Count, Field(le=64)] = 1
    """How many texts are written for each prompt."""
    repetition_penalty: Annotated[Positive, Field(le=10)] = 1.0
    """Above 1, tokens that are there already become less likely (Keskar et al. 2019, arXiv:1909.05858, 4.1)."""
    stop: Annotated[tuple[ShortText, ...], Field(max_length=8)] = ()
    """A text ends before the first of these."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] | None = Field(
        None, description="training.seed when absent."
    )
    system_prompt: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    """Leads what is asked; the student does not see it."""
    chat: Flag | None = Field(
        None,
        description="Whether a plain `prompt` is asked as a user's message through the chat template. When absent: "
        "where the writing model has a template or a system_prompt is given.",
    )
    batch_size: Annotated[Count, Field(le=4096)] = 16
    """How many texts are written together."""
    engine: EngineName = Field(
        "auto",
        description="What computes the tokens of a teacher whose weights are here. auto: OpenVINO on a CPU where the "
        "worker has it, it agrees with transformers on the model, and the texts are long enough to repay the "
        "conversion; else transformers. openvino_int8: its weights in 8 bits, which write faster and from another "
        "distribution; auto never takes it. vllm: on a GPU, where the operator has installed it.",
    )

    @model_validator(mode="after")
    def _vllm_samples_alike(self) -> Self:
        if self.engine != "vllm":
            return self
        if self.min_p and self.top_p < 1:
            raise _misfit(
                "method.generation.engine: vllm leaves out by min_p before top_p; set top_p to 1, or leave min_p out"
            )
        if self.temperature > VLLM_WARMEST or 0 < self.temperature < VLLM_COLDEST:
            raise _misfit(
                f"method.generation.engine: vllm takes a temperature of 0, or of {VLLM_COLDEST} to {VLLM_WARMEST:g}"
            )
        return self


_TWO_LETTERS = """
af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he
hi hr ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl
nn no oc om or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk
ur uz vi vo wa xh yo zh zu
"""
LANGUAGES = frozenset(_TWO_LETTERS.split())
"""What texts are told apart by (py3langid's languages with two letters)."""


class AgreementSpec(Frozen):
    """Keeps a prompt's samples whose answer at least `k` of its `samples_per_prompt` samples gave
    (self-consistency: Wang et al. 2023, arXiv:2203.11171)."""

    k: Annotated[Count, Field(le=64)]
    """How many samples must give the answer."""


class VerifierSpec(Frozen):
    """Keeps samples whose answer is right: rejection sampling (DeepSeek-R1 2025, arXiv:2501.12948, 2.3.3)."""

    type: Literal["exact", "numeric", "boxed", "json_schema"]
    """exact: the text is the answer; numeric: its last number is; boxed: what stands in \\boxed{} is, as mathematics;
    json_schema: it is JSON of that schema."""
    column: ShortText = Field("answer", description="The column that holds the right answer.")
    json_schema: dict[str, Any] | None = Field(None, description="For type json_schema: what the text must satisfy.")

    @model_validator(mode="after")
    def _schema_of_json(self) -> Self:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise PydanticCustomError("json_schema_missing", "json_schema belongs to type json_schema, and only there")
        return self


def finder(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a pattern is found in a text, in time linear in the text whatever the pattern.

    Raises:
        ValueError: the pattern is no regular expression, or one too large.
    """
    try:
        found = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError as error:
        raise ValueError(str(error).splitlines()[-1].removeprefix("error: ").strip()) from error
    return found.isinstance_python


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise PydanticCustomError(
            "unknown_language", "'{code}' is not among the languages that can be told apart", {"code": code}
        )
    return code


class FiltersSpec(Frozen):
    """What a sample must pass to be learned. Reasons of those that do not are counted in the report."""

    min_tokens: Annotated[Count, Field(le=1_000_000)] = 1
    """In tokens of the teacher's tokenizer."""
    max_tokens: Annotated[Count, Field(le=1_000_000)] | None = None
    """In tokens of the teacher's tokenizer."""
    finished_only: Flag = Field(
        True,
        description="Only samples that ended by themselves, not by max_new_tokens. Others would be learned as if they "
        "ended where they were cut.",
    )
    deduplicate: Literal["exact", "near"] | None = "exact"
    """exact: the same text after the same prompt; near: almost the same. null keeps both."""
    language: Annotated[str, AfterValidator(_known_language)] | None = Field(
        None, description="Two letters (ISO 639-1)."
    )
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        None,
        description="A regular expression that must be found in the text, in the syntax of Rust's regex crate: without "
        "look-around and backreferences, so that none takes for ever.",
    )
    agreement: AgreementSpec | None = None
    """Keep only answers on which a prompt's samples agree."""
    verifier: VerifierSpec | None = None
    """Keep only right answers."""

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        if self.pattern is not None:
            try:
                finder(self.pattern)
            except ValueError as error:
                raise PydanticCustomError(
                    "invalid_pattern", "pattern is no usable regular expression: {reason}", {"reason": str(error)}
                ) from error
        return self


class SequenceMethod(Frozen):
    """The teacher writes, the student is fine-tuned on what passes the filters (Kim and Rush 2016, arXiv:1606.07947;
    DeepSeek-R1 2025, arXiv:2501.12948, 2.4). alpha and T play no part: the labels are the teacher's texts."""

    type: Literal["sequence"] = "sequence"
    """The teacher writes texts."""
    generation: GenerationSpec = GenerationSpec.model_validate({})
    """How the teacher writes."""
    filters: FiltersSpec = FiltersSpec.model_validate({})
    """What of it is learned."""
    keep_reasoning: Flag = Field(True, description="Whether <think>…</think> stays in the texts.")
    route: ShortText | None = Field(
        None,
        description="With several teachers: the column whose cells name the teacher that writes for the example. "
        "When absent they write in turn, by weight.",
    )

    def check_route(self, names: Sequence[str]) -> None:
        """Raise PydanticCustomError where no cell could name one of these teachers."""
        if self.route is None:
            return
        if len(names) < 2:
            why = "it names one of several teachers, and there is one"
        elif len(set(names)) < len(names):
            why = "two teachers go by one name, so that no cell could tell them apart"
        else:
            return
        raise _misfit(f"method.route: {why}")

    @model_validator(mode="after")
    def _possible_lengths(self) -> Self:
        shortest, longest = self.filters.min_tokens, self.generation.max_new_tokens
        most = min(longest, self.filters.max_tokens or longest)
        if shortest > most:
            raise PydanticCustomError(
                "filters_impossible",
                "filters.min_tokens {shortest} is more than the {most} tokens that a text may have: nothing could pass",
                {"shortest": shortest, "most": most},
            )
        return self

    @model_validator(mode="after")
    def _enough_samples_to_agree(self) -> Self:
        agreement = self.filters.agreement
        if agreement is not None and agreement.k > self.generation.samples_per_prompt:
            raise PydanticCustomError(
                "agreement_impossible", "agreement.k is larger than generation.samples_per_prompt: nothing could agree"
            )
        return self


class OnPolicyMethod(_Mixing):
    """The student writes, the teacher scores each of its tokens: GKD (Agarwal et al. 2024, arXiv:2306.13649).

    Prompts are read as the data set's texts are: chats through the template, plain prompts as they stand.
    """

    type: Literal["on_policy"] = "on_policy"
    """The student writes, and the teacher reads."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd", "tvd"] = "jsd"
    """What is minimised between the distributions of teacher and student."""
    student_share: Fraction = Field(
        0.5,
        description="Share of each step's examples whose completion the student writes anew (lambda in the paper); "
        "the others keep the data set's.",
    )
    generation: GenerationSpec = GenerationSpec.model_validate({"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 64})
    """How the student writes; temperature and top_p are 1 and max_new_tokens is 64 where they are absent."""

    @model_validator(mode="before")
    @classmethod
    def _generation_by_default(cls, written: Any) -> Any:
        """What is left out of `generation` is as this method has it, not as a writing teacher would."""
        given = written.get("generation") if isinstance(written, dict) else None
        if not isinstance(given, dict):
            return written
        usual = cls.model_fields["generation"].default.model_dump(mode="json")
        return {**written, "generation": {**usual, **given}}

    @model_validator(mode="after")
    def _asks_as_the_data_set_does(self) -> Self:
        if self.generation.system_prompt is not None or self.generation.chat:
            raise _misfit(
                "on_policy asks with the data set's prompts as they are: give chats, with their system message, as "
                "messages instead of generation.system_prompt or generation.chat"
            )
        if self.generation.samples_per_prompt != 1:
            raise _misfit("on_policy writes one text for an example each time: generation.samples_per_prompt is 1")
        return self

    def check_fits(self, alpha: float, train_on_prompt: bool, max_length: int) -> None:
        """Raise PydanticCustomError where the rest of the spec says nothing good about a student that writes."""
        tokens = self.generation.max_new_tokens
        if self.generation.engine not in {"auto", "transformers"}:
            engine = self.generation.engine.removesuffix("_int8")
            raise _misfit(f"method.generation.engine: the student changes at each step, and {engine} takes it whole")
        if alpha == 0:
            raise _misfit("alpha: the student's texts are learned from the teacher alone, whose share is 0; raise it")
        if self.student_share == 1 and alpha < 1:
            raise _misfit("alpha: student_share 1 leaves no completions that 1 - alpha could weight; set alpha to 1")
        if train_on_prompt:
            raise _misfit("training.train_on_prompt: on_policy learns what the student writes: it writes no prompts")
        if self.student_share > 0 and tokens >= max_length:
            raise _misfit(
                f"method.generation.max_new_tokens: {tokens} tokens leave no room for a prompt within "
                f"training.max_length {max_length}"
            )


def _misfit(why: str) -> PydanticCustomError:
    """The part of the spec that is at fault stands before a colon, where the method alone is not."""
    place, colon, _ = why.partition(": ")
    found = {"why": why, "place": place} if colon and " " not in place else {"why": why}
    return PydanticCustomError("wrong_for_method", "{why}", found)


Method = Annotated[LogitsMethod | SequenceMethod | OnPolicyMethod, Field(discriminator="type")]
