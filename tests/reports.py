"""A report as the trainer writes it, for tests that only need there to be one."""

from typing import Any

from core.report import (
    Alignment,
    ClassificationReport,
    Cost,
    Examples,
    Gain,
    GenerationReport,
    Interval,
    Quality,
    Sample,
    Spent,
    StudentFacts,
    WritingExamples,
    WritingGain,
    WritingQuality,
    WrittenTexts,
)


def quality(accuracy: float, **changed: Any) -> Quality:
    facts: dict[str, Any] = {
        "accuracy": accuracy,
        "macro_f1": accuracy,
        "ce_loss": 0.5,
        "agreement": 0.9,
        "kl_to_teacher": 0.1,
        "parameters": 1000,
        "bytes": 4000,
        "latency_ms": 2.0,
        "examples_per_second": 500.0,
    }
    return Quality(**facts | changed)


def a_report() -> ClassificationReport:
    return ClassificationReport(
        task="text-classification",
        held_out="test",
        examples=Examples(train=80, labelled=80, validation=10, test=10, truncated=0),
        labels=["negative", "positive"],
        student=StudentFacts(architecture="BertForSequenceClassification", layers=2, embedding_parameters=100),
        teacher=quality(0.9, parameters=5000),
        teachers={},
        student_before=quality(0.5),
        student_after=quality(0.85),
        baseline=quality(0.7),
        gain=Gain(
            accuracy=0.15,
            accuracy_interval=Interval(low=0.1, high=0.2),
            macro_f1=0.15,
            agreement=0.2,
            kl_to_teacher=-0.3,
        ),
        classes=[],
        compression=5.0,
        speedup=2.0,
        cost=Cost(seconds={"training": 1.0}, steps=10, device="cpu", precision="fp32"),
        verdict="The teacher brought 15 points of accuracy over labels alone.",
    )


def writing_quality(loss: float, **changed: Any) -> WritingQuality:
    facts: dict[str, Any] = {
        "loss": loss,
        "perplexity": 2.718281828**loss,
        "agreement": 0.4,
        "kl_to_teacher": 0.5,
        "distinct_2": 0.75,
        "parameters": 63_728_640,
        "bytes": 254_914_560,
        "tokens_per_second": 45.0,
    }
    return WritingQuality(**facts | changed)


def a_writing_report() -> GenerationReport:
    return GenerationReport(
        task="text-generation",
        held_out="test",
        examples=WritingExamples(train=90, validation=0, test=10, kept_tokens=4321, truncated=2, dropped=1),
        student=StudentFacts(architecture="LlamaForCausalLM", layers=10, embedding_parameters=28_311_552),
        teacher=writing_quality(3.1, agreement=1.0, kl_to_teacher=0.0, parameters=134_515_008, tokens_per_second=15.0),
        teachers={},
        student_before=writing_quality(9.0, kl_to_teacher=6.0),
        student_after=writing_quality(4.2),
        baseline=writing_quality(4.6, kl_to_teacher=0.9),
        gain=WritingGain(
            loss=-0.4,
            loss_interval=Interval(low=-0.5, high=-0.3),
            kl_to_teacher=-0.4,
            kl_interval=Interval(low=-0.45, high=-0.35),
            agreement=0.1,
        ),
        samples=[
            Sample(
                prompt="But the games also convey",
                reference=" another message.",
                teacher=" a sense of joy.",
                student_before=" the the the",
                student_after=" a sense <b>of</b> unity.",
            )
        ],
        compression=2.1,
        speedup=3.0,
        cost=Cost(seconds={"training": 300.0}, steps=90, device="cpu", precision="bf16"),
        verdict="The teacher brought -0.400 nats of KL to it per token over the texts alone.",
    )


def a_report_across_tokenizers() -> GenerationReport:
    """The report of a student that learned from the logits of a teacher with other tokens."""
    plain, unknown = a_writing_report(), {"agreement": None, "kl_to_teacher": None}

    def across(loss: float, distance: float | None, **changed: Any) -> WritingQuality:
        return writing_quality(loss, **unknown, uld_to_teacher=distance, **changed)

    assert plain.gain is not None
    changed: dict[str, Any] = {
        "teacher": across(3.1, None, parameters=134_515_008, tokens_per_second=15.0),
        "student_before": across(9.0, 1.25),
        "student_after": across(4.2, 0.31),
        "baseline": across(4.6, 0.62),
        "gain": plain.gain.model_copy(update={"kl_to_teacher": None, "kl_interval": None, "agreement": None}),
        "speedup": None,
        "alignment": Alignment(aligned_tokens=3210, incomparable="its tokens are <b>others</b>"),
    }
    return plain.model_copy(update=changed)


def a_report_by_texts() -> GenerationReport:
    """The report of a student that learned from a server's texts: of the teacher nothing is measured."""
    plain = a_writing_report()
    unknown = {"agreement": None, "kl_to_teacher": None}
    texts = WrittenTexts(
        prompts=100,
        samples=200,
        kept=150,
        dropped={"unfinished": 40, "near_duplicate": 10},
        tokens=9000,
        kept_tokens=7000,
        tokens_per_second=70.0,
        kept_of={},
        verified=10,
        no_baseline="the data set has no completions of its own to train on",
        incomparable="the teacher's weights are not here",
        spent=Spent(requests=201, prompt_tokens=3000, completion_tokens=9200, unknown_tokens=0, cost=12.5),
    )
    (sample,) = plain.samples
    changed: dict[str, Any] = {
        **dict.fromkeys(("teacher", "baseline", "gain", "compression", "speedup")),
        "student_before": writing_quality(9.0, **unknown, pass_rate=0.0),
        "student_after": writing_quality(4.2, **unknown, pass_rate=0.3),
        "samples": [sample.model_copy(update={"reference": None})],
        "texts": texts,
    }
    return plain.model_copy(update=changed)
