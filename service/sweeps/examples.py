"""The request body that the documentation shows; a test posts it."""

from fastapi.openapi.models import Example

SWEEP = {
    "name": "intents",
    "base": {
        "teacher": "my-teacher",
        "student": {"from_teacher": {"layers": [0, 3]}},
        "dataset": "ds_0192f0c1a2b37c4d8e9fa0b1c2d3e4f5",
        "output": {"model": "intents"},
    },
    "grid": {"T": [1, 2, 4], "alpha": [0.5, 0.9]},
}
SWEEP_EXAMPLES: dict[str, Example] = {"sweep": {"summary": "Six jobs that share one teacher pass", "value": SWEEP}}
