"""A report as the trainer writes it, for tests that only need there to be one."""

from typing import Any

from core.report import ClassificationReport, Cost, Examples, Gain, Interval, Quality, StudentFacts


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
