"""`python -m worker.devices`: says as JSON what this machine trains on. A process of its own, since it loads torch."""

import json
from importlib.metadata import version

import torch


def devices() -> list[dict[str, object]]:
    if torch.cuda.is_available():
        return [
            {"type": "cuda", "name": card.name, "memory_bytes": card.total_memory}
            for card in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
    return [
        {"type": "cpu", "name": torch.cpu.get_capabilities().get("cpu_name", "CPU"), "threads": torch.get_num_threads()}
    ]


if __name__ == "__main__":
    versions = {name: version(name) for name in ("torch", "transformers", "accelerate", "peft")}
    print(json.dumps({"devices": devices(), "versions": versions}))  # noqa: T201 - this is its output
