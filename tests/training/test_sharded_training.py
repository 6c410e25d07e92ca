"""Ranks that share the weights (FSDP2) train what one process trains, with the plan of examples/scale.

accelerate turns FSDP into copies (DDP) where there is no GPU, and says nothing. So the ranks tell it that theirs is
FSDP: all from there on is what it does on GPUs, with gloo in the place of nccl.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from jukebox_hf import JukeboxPrior, JukeboxVQVAE
from jukebox_hf.training import (
    JukeboxPriorTrainer,
    JukeboxPriorTrainingArguments,
    JukeboxVQVAETrainer,
    JukeboxVQVAETrainingArguments,
    PriorCollator,
    consolidate,
)
from jukebox_hf.training.checkpoints import flaw_of

ROOT = Path(__file__).parents[2]
PLAN = ROOT / "examples/scale/eight_gpus_fsdp2.yaml"
STEPS = 4
KINDS = {
    "vqvae": (JukeboxVQVAE, JukeboxVQVAETrainer, JukeboxVQVAETrainingArguments),
    "prior": (JukeboxPrior, JukeboxPriorTrainer, JukeboxPriorTrainingArguments),
}
RANK = """
import json, os, sys, torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.training import (JukeboxPriorTrainer, JukeboxPriorTrainingArguments, JukeboxVQVAETrainer,
                                 JukeboxVQVAETrainingArguments, PriorCollator)

torch.set_num_threads(1)
folder, out, settings, resume = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
start = torch.load(f"{folder}/start.pt", weights_only=False)
kinds = {"vqvae": (JukeboxVQVAE, JukeboxVQVAEConfig, JukeboxVQVAETrainer, JukeboxVQVAETrainingArguments),
         "prior": (JukeboxPrior, JukeboxPriorConfig, JukeboxPriorTrainer, JukeboxPriorTrainingArguments)}
network, config, trainer, arguments = kinds[start["kind"]]
model = network(config(**start["config"]))
model.load_state_dict(start["weights"])
collator = {"data_collator": PriorCollator(model.config)} if start["kind"] == "prior" else {}
arguments = arguments(output_dir=out, ddp_backend="gloo", **settings)
trainer = trainer(model, arguments, train_dataset=start["windows"], eval_dataset=start["windows"][:4], **collator)
shared = os.environ.get("ACCELERATE_USE_FSDP") == "true"
if shared:
    plugin = FullyShardedDataParallelPlugin()
    AcceleratorState._shared_state.update(distributed_type=DistributedType.FSDP, fsdp_plugin=plugin)
    trainer.is_fsdp_enabled = True
    assert trainer.accelerator.is_fsdp2
trainer.train(resume_from_checkpoint=resume)
weights = dict(trainer.model.named_parameters())
assert all((type(weight).__name__ == "DTensor") == shared for weight in weights.values())
if shared and dist.get_world_size() == 2:
    held = sum(weight.to_local().numel() for weight in weights.values())
    assert held < 0.6 * sum(weight.numel() for weight in weights.values()), "a rank holds all"
units = {type(module).__name__ for module in trainer.model.modules()}
units = sorted(name for name in units if name.startswith("FSDP"))
for codebook in getattr(trainer.model, "codebooks", ()):
    both = [torch.empty_like(codebook.codes) for _ in range(dist.get_world_size())]
    dist.all_gather(both, codebook.codes)
    assert all(torch.equal(one, both[0]) for one in both), "the ranks have different codebooks"
trainer.save_model()
if arguments.process_index == 0:
    print("TOLD" + json.dumps({"logs": trainer.state.log_history, "units": units, "world": dist.get_world_size()}))
dist.barrier()
dist.destroy_process_group()
"""


def environment_of(plan):
    """The variables by which `accelerate launch --config_file` tells ranks how they share the weights."""
    words = launch_command_parser().parse_args(["--config_file", str(plan), "-m", "jukebox_hf"])
    told = prepare_multi_gpu_env(_validate_launch_command(words)[0])
    return {name: value for name, value in told.items() if name.startswith(("FSDP_", "ACCELERATE_USE_FSDP"))}


def run_ranks(world, folder, out, settings, resume=None, shared=True):
    """Train as so many ranks of one group; what rank 0 told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    group |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"} | (environment_of(PLAN) if shared else {})
    words = [str(folder), str(out), json.dumps(settings), json.dumps(None if resume is None else str(resume))]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, *words],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    told = [rank.communicate(timeout=300) for rank in ranks]
    assert not any(rank.returncode for rank in ranks), "\n".join(errors for _, errors in told)
    return json.loads(next(line for line in told[0][0].splitlines() if line.startswith("TOLD"))[4:])


def quick(**changes):
    """Arguments of a run whose steps do not depend on how many share it."""
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "weights_ema": True,
        "weights_ema_decay": 0.5,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 3,
    }
    return settings | changes


def begin(folder, kind, model, windows):
    """Write down what every rank begins with."""
    config = {name: value for name, value in model.config.to_diff_dict().items() if name != "architectures"}
    told = {"kind": kind, "config": config, "weights": model.state_dict(), "windows": windows}
    torch.save(told, folder / "start.pt")


def losses(logs):
    """Training and evaluation losses, in order."""
    return [entry.get("loss", entry.get("eval_loss")) for entry in logs if "loss" in entry or "eval_loss" in entry]


def codes_of(config, count):
    generator = torch.Generator().manual_seed(0)
    shape = (config.context_length,)
    return [{"codes": torch.randint(0, config.codebook_size, shape, generator=generator)} for _ in range(count)]


def alone(kind, folder, out, **changes):
    """A trainer of one process with all of the weights, from the same beginning."""
    told = torch.load(folder / "start.pt", weights_only=False)
    network, trainer, arguments = KINDS[kind]
    model = network(network.config_class(**told["config"]))
    model.load_state_dict(told["weights"])
    collator = {"data_collator": PriorCollator(model.config)} if kind == "prior" else {}
    data = {"train_dataset": told["windows"], "eval_dataset": told["windows"][:4]}
    return trainer(model, arguments(**quick(**changes), output_dir=str(out)), **data, **collator)


@pytest.fixture(scope="module", params=["vqvae", "prior"])
def runs(request, tmp_path_factory, tiny_vqvae_config, tiny_prior):
    """One process, and two that share the weights, begun alike: (kind, folder, logs of one, what two told)."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    folder, kind = tmp_path_factory.mktemp(request.param), request.param
    torch.manual_seed(11)
    if kind == "vqvae":
        model = JukeboxVQVAE(tiny_vqvae_config())
        windows = [{"input_values": 0.1 * torch.randn(1, 1056)} for _ in range(4 * STEPS)]
    else:
        model = tiny_prior("bare")
        windows = codes_of(model.config, 4 * STEPS)
    begin(folder, kind, model, windows)
    one = alone(kind, folder, folder / "one")
    one.train()
    one.save_model()
    two = run_ranks(2, folder, folder / "two", quick(per_device_train_batch_size=2))
    return kind, folder, one.state.log_history, two


def test_ranks_that_share_the_weights_find_the_losses_of_one_process(runs):
    kind, _, one, two = runs
    assert two["world"] == 2
    layers = {
        "vqvae": {"FSDPDownBlock", "FSDPUpBlock", "FSDPJukeboxVQVAE"},
        "prior": {"FSDPJukeboxBlock", "FSDPJukeboxPrior"},
    }
    assert layers[kind] <= set(two["units"])
    assert len(losses(two["logs"])) == STEPS + STEPS // 2
    assert losses(two["logs"]) == pytest.approx(losses(one), rel=1e-5)


def test_the_model_and_its_averages_are_saved_whole_and_ordinary(runs):
    kind, folder, _, _ = runs
    network = KINDS[kind][0]
    saved = [network.from_pretrained(folder / name) for name in ("one", "two")]
    assert type(saved[1]) is network
    for (name, ours), theirs in zip(saved[1].state_dict().items(), saved[0].state_dict().values(), strict=True):
        if name.endswith("query_key_value.bias"):  # no key's bias has a gradient, and Adam divides what rounding left
            continue
        # A code that few latents count for moves by what rounding left of them; another choice moves it by 0.1.
        assert torch.allclose(ours, theirs, atol=1e-3 if name.startswith("codebooks.") else 1e-5), name
    averages = [load_file(folder / name / f"checkpoint-{STEPS}" / "weights_ema.safetensors") for name in ("one", "two")]
    assert set(averages[0]) == set(averages[1])
    for name, values in averages[1].items():
        assert torch.equal(values, dict(saved[1].named_parameters())[name]), "the averages are published"


def test_ranks_with_copies_find_the_losses_of_one_process_too_and_resume_in_one(runs):
    kind, folder, one, _ = runs
    two = run_ranks(2, folder, folder / "copies", quick(per_device_train_batch_size=2), shared=False)
    assert (two["world"], two["units"]) == (2, [])
    assert losses(two["logs"]) == pytest.approx(losses(one), rel=1e-5)
    resumed = alone(kind, folder, folder / "copies")
    resumed.train(resume_from_checkpoint=folder / "copies" / "checkpoint-2")
    assert losses(resumed.state.log_history) == pytest.approx(losses(one), rel=1e-5)


def test_a_checkpoint_of_two_ranks_resumes_in_one(runs, tmp_path):
    _, folder, one, _ = runs
    came_from = folder / "two" / "checkpoint-2"
    assert flaw_of(came_from) is None, "it is sealed"
    assert not (came_from / "model.safetensors").exists(), "the weights lie in parts"
    told = run_ranks(1, folder, tmp_path / "on", quick(), resume=came_from)
    assert told["world"] == 1
    assert losses(told["logs"]) == pytest.approx(losses(one), rel=1e-5)


def test_a_checkpoint_in_parts_becomes_an_ordinary_folder(runs, tmp_path):
    kind, folder, _, _ = runs
    checkpoint, network = folder / "two" / f"checkpoint-{STEPS}", KINDS[kind][0]
    assert consolidate.main([str(checkpoint), str(tmp_path / "last")]) == 0
    assert consolidate.main([str(checkpoint), str(tmp_path / "averages"), "--averages"]) == 0
    last, averages = (network.from_pretrained(tmp_path / name).state_dict() for name in ("last", "averages"))
    published = network.from_pretrained(folder / "two").state_dict()
    assert all(torch.equal(averages[name], values) for name, values in published.items())
    moved = [name for name, values in last.items() if not torch.equal(values, published[name])]
    assert len(moved) > len(published) // 2, "the last weights are not their averages"


def test_what_cannot_be_consolidated_is_refused(runs, tmp_path, capsys):
    _, folder, _, _ = runs
    checkpoint = folder / "two" / f"checkpoint-{STEPS}"
    for words, said in (
        ([tmp_path / "none", tmp_path / "out"], f"{tmp_path / 'none'} is no folder; give one named checkpoint-N"),
        ([checkpoint, folder / "one"], "one exists already; name a new folder"),
    ):
        assert consolidate.main([str(word) for word in words]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parts_are_no_checkpoint_of_a_run_whose_weights_are_whole(runs, tmp_path):
    kind, folder, _, _ = runs
    trainer = alone(kind, folder, tmp_path / "alone")
    with pytest.raises(ValueError, match=r"holds its weights in parts, of ranks that shared them \(FSDP\); launch"):
        trainer.train(resume_from_checkpoint=folder / "two" / "checkpoint-2")
