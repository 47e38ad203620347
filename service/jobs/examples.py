"""The request bodies that the documentation shows; tests post them."""

from fastapi.openapi.models import Example

SMALLEST = {
    "teacher": "my-teacher",
    "student": "my-student",
    "dataset": "ds_0192f0c1a2b37c4d8e9fa0b1c2d3e4f5",
    "T": 2.0,
    "alpha": 0.5,
}
FULL = {
    "name": "support-intents",
    "task": "text-classification",
    "teacher": {
        "model": "my-teacher",
        "revision": None,
        "weight": 1.0,
        "finetune": {"epochs": 2, "learning_rate": 5e-5},
    },
    "student": {"model": None, "from_teacher": {"layers": [0, 3]}, "trainable": "all", "lora": None},
    "dataset": {
        "id": "ds_0192f0c1a2b37c4d8e9fa0b1c2d3e4f5",
        "subset": None,
        "split": None,
        "validation": 0.1,
        "test": 0.1,
        "columns": {"text": "text", "label": "label"},
        "max_examples": None,
    },
    "T": 2.0,
    "alpha": 0.5,
    "method": {"type": "logits", "divergence": "forward_kl"},
    "training": {
        "epochs": 3,
        "max_steps": None,
        "batch_size": 32,
        "gradient_accumulation": 1,
        "learning_rate": 2e-4,
        "scheduler": "linear",
        "warmup_ratio": 0.06,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "max_length": 256,
        "precision": "auto",
        "seed": 42,
        "evaluate_every_steps": None,
        "checkpoint_every_steps": None,
        "early_stopping": None,
    },
    "evaluation": {"baseline": True},
    "output": {"model": "support-intents-small", "formats": ["safetensors"]},
    "resources": {"queue": "default", "max_minutes": 240, "processes": 1, "priority": 0},
    "notify": [],
    "labels": {"team": "nlp"},
}
SPEC_EXAMPLES: dict[str, Example] = {
    "smallest": {"summary": "The smallest job", "value": SMALLEST},
    "full": {"summary": "Everything that a job may say", "value": FULL},
}
