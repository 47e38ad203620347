"""Copies for a checkpoint are what was there, whatever is learned after."""

import torch
from torch import nn

from tests.worker.training.language.conftest import llama
from worker.training.copies import copied, copied_state


def test_copies_stay_what_they_were_and_tied_weights_stay_one() -> None:
    model = llama(layers=1, tied=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = copied(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert made.keys() == before.keys()
    for name, tensor in before.items():
        assert made[name].equal(tensor), name
    assert made["lm_head.weight"] is made["model.embed_tokens.weight"]


def test_of_an_optimizer_too_numbers_and_groups_included() -> None:
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.5)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    made = copied_state(optimizer.state_dict())
    moment = optimizer.state[layer.weight]["exp_avg"].clone()
    optimizer.state[layer.weight]["exp_avg"].zero_()
    assert made["state"][0]["exp_avg"].equal(moment)
    assert made["param_groups"] == optimizer.state_dict()["param_groups"]
