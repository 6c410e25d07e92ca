"""Two processes with half of every batch train what one process trains on the whole of it."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

STEPS, THRESHOLD = 3, 4.0
RANK = """
import json, sys, torch
from jukebox_hf import JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.training import JukeboxVQVAETrainer, JukeboxVQVAETrainingArguments

torch.set_num_threads(1)
folder, config, settings = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
model = JukeboxVQVAE(JukeboxVQVAEConfig(**config))
model.load_state_dict(torch.load(f"{folder}/start.pt", weights_only=True))
songs = [{"input_values": audio} for audio in torch.load(f"{folder}/songs.pt", weights_only=True)]
arguments = JukeboxVQVAETrainingArguments(output_dir=f"{folder}/two", ddp_backend="gloo", **settings)
trainer = JukeboxVQVAETrainer(model, arguments, train_dataset=songs)
assert arguments.world_size == 2
trainer.train()
own = torch.cat([codebook.codes.flatten() for codebook in trainer.model.codebooks])
both = [torch.empty_like(own) for _ in range(2)]
torch.distributed.all_gather(both, own)
assert torch.equal(*both), "the ranks have different codebooks"
if arguments.process_index == 0:
    logs = [entry for entry in trainer.state.log_history if "usage" in entry]
    print("LOGS" + json.dumps(logs))
"""


def run_ranks(words, folder):
    """Run the script as two ranks of one group; what rank 0 logged."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(folder), *words],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [rank.communicate(timeout=300) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], told[0][1] + told[1][1]
    return json.loads(next(line for line in told[0][0].splitlines() if line.startswith("LOGS"))[4:])


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this build of torch has no gloo")
def test_two_ranks_give_the_codebooks_of_one_rank_on_the_joined_batch(fresh_vqvae, trainer_for, songs, tmp_path):
    """Random restarts and the first codes included; a checkpoint of two ranks is whole, too."""
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "train_sampling_strategy": "sequential",
        "restart_threshold": THRESHOLD,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": STEPS,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 3,
    }
    model, data = fresh_vqvae(), songs(12)
    torch.save(model.state_dict(), tmp_path / "start.pt")
    torch.save(data.audio, tmp_path / "songs.pt")
    config = {name: value for name, value in model.config.to_diff_dict().items() if name != "architectures"}
    logs = run_ranks([json.dumps(config), json.dumps(settings)], tmp_path)
    one = trainer_for(model, data, **{**settings, "per_device_train_batch_size": 4})
    one.train()
    checkpoint = tmp_path / "two" / f"checkpoint-{STEPS}"
    weights, statistics = (load_file(checkpoint / f"{name}.safetensors") for name in ("model", "codebook_ema"))
    for level, codebook in enumerate(one.model.codebooks):
        assert torch.allclose(weights[f"codebooks.{level}.codes"], codebook.codes, atol=1e-5), level
        assert torch.allclose(statistics[f"level_{level}.counts"], one.codebooks.ema.counts[level], atol=1e-4), level
    expected = [entry for entry in one.state.log_history if "usage" in entry]
    assert expected[-1]["usage"] < 32  # some codes were dead
    for ours, theirs in zip(logs, expected, strict=True):
        for name in ("usage", "entropy", "dk", "fit", "pn", "loss", "recons_loss_l1"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name
    sealed = json.loads((checkpoint / "sealed.json").read_text())["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth", "codebook_ema.safetensors"} <= set(sealed)
