"""What examples/scale says runs: accelerate at tiny sizes on CPUs, the Slurm script under a false Slurm, Ray."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.data.code_shards import CodeShards

ROOT = Path(__file__).parents[2]
SCALE = ROOT / "examples/scale"
PROCESSES = {"one_gpu": (1, 1), "eight_gpus_ddp": (1, 8), "eight_gpus_fsdp2": (1, 8), "four_nodes_ddp": (4, 32),
             "four_nodes_fsdp2": (4, 32)}  # fmt: skip
ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli"]


@pytest.fixture
def run(tmp_path):
    """Run words in a folder, with the tools of this environment first; what was printed."""

    def run_one(words, **environment):
        tools = f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        quiet = {"OMP_NUM_THREADS": "1", "PATH": tools, "PYTHONPATH": str(ROOT / "src"), **environment}
        return subprocess.run(
            [str(word) for word in words], cwd=tmp_path, env={**os.environ, **quiet}, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip

    return run_one


@pytest.fixture
def small_run(tmp_path, tiny_vqvae_config, tiny_corpus):
    """A run.yaml of a tiny VQ-VAE for two steps."""
    (tmp_path / "vqvae.json").write_text(tiny_vqvae_config().to_json_string())
    settings = {
        "config": "vqvae.json",
        "train_songs": str(tiny_corpus),
        "output_dir": "out",
        "window_seconds": 1.056,
        "bandwidth_seconds": 0,
        "max_steps": 2,
        "per_device_train_batch_size": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


@pytest.fixture(scope="module")
def tiny_corpus(tmp_path_factory):
    """Eight songs of two seconds, with words."""
    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("songs")
    rows = ["file_name,artist,genre,lyrics"]
    for number in range(8):
        sound = 0.3 * np.sin(np.arange(2000) * (0.05 + 0.04 * number))
        soundfile.write(folder / f"{number}.wav", sound, 1000)
        rows.append(f"{number}.wav,Bo Vale,folk,la la")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


def test_every_configuration_is_named_here():
    assert {path.stem for path in SCALE.glob("*.yaml")} == set(PROCESSES)


@pytest.mark.parametrize("name", list(PROCESSES))
def test_accelerate_understands_every_configuration_as_it_stands(name):
    words = launch_command_parser().parse_args(["--config_file", str(SCALE / f"{name}.yaml"), "-m", "jukebox_hf"])
    told = _validate_launch_command(words)[0]
    assert (told.num_machines, told.num_processes) == PROCESSES[name]
    assert told.use_fsdp == name.endswith("fsdp2")
    assert told.mixed_precision == "bf16"
    if told.use_fsdp:
        assert int(told.fsdp_version) == 2
        assert told.fsdp_transformer_layer_cls_to_wrap is None, "the networks say their layers themselves"
    text = (SCALE / f"{name}.yaml").read_text()
    assert set(yaml.safe_load(text)) >= {"num_machines", "num_processes", "mixed_precision"}
    assert re.search(rf"examples/scale/{name}\.yaml", text), "how it is started"


def test_the_files_of_fsdp_cut_networks_in_the_same_way():
    plans = [
        yaml.safe_load((SCALE / f"{name}.yaml").read_text())["fsdp_config"] for name in PROCESSES if "fsdp" in name
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("name", ["one_gpu", "eight_gpus_ddp"])
def test_a_configuration_trains_at_a_tiny_size_on_cpus(name, small_run, run):
    """With two processes in the place of eight; what FSDP does is in tests/training/test_sharded_training.py."""
    count = min(2, PROCESSES[name][1])
    words = [*ACCELERATE, "launch", "--config_file", SCALE / f"{name}.yaml", "--num_processes", count,
             "--main_process_port", 0, "-m", "jukebox_hf", "train-vqvae", "run.yaml"]  # fmt: skip
    done = run(words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert JukeboxVQVAE.from_pretrained(small_run / "out").config.codebook_size == 32
    ranks = list((small_run / "out/checkpoint-2").glob("rng_state*"))
    assert len(ranks) == count


SRUN = """#!/bin/bash
# A false srun: the command once for each node, side by side.
shift # --kill-on-bad-exit
for node in $(seq 0 $((SLURM_NNODES - 1))); do
  SLURM_NODEID=$node "$@" &
  pids="$pids $!"
done
for pid in $pids; do wait $pid || exit 1; done
"""


@pytest.fixture
def slurm(tmp_path):
    """False srun and scontrol; the environment of a job of two nodes."""
    (tmp_path / "bin").mkdir()
    tools = {
        "srun": SRUN,
        "scontrol": "#!/bin/bash\nprintf '127.0.0.1\\nelsewhere\\n'\n",
        "accelerate": f'#!/bin/bash\nexec {" ".join(ACCELERATE)} "$@"\n',
    }
    for name, text in tools.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_JOB_ID": str(os.getpid()),
            "JUKEBOX_PER_NODE": "1"}  # fmt: skip


def test_the_slurm_script_trains_on_two_nodes_and_goes_on_when_it_is_started_again(small_run, run, slurm):
    words = ["bash", SCALE / "train.slurm", SCALE / "four_nodes_ddp.yaml", "train-vqvae", "run.yaml"]
    done = run(words, **slurm)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((small_run / "out/checkpoint-2").glob("rng_state*"))) == 2, "two nodes of one process each"
    again = run([*words, "--max_steps", "3"], **slurm)
    assert again.returncode == 0, again.stderr[-3000:]
    log = json.loads((small_run / "out/trainer_state.json").read_text())
    assert log["global_step"] == 3, "it went on from the last checkpoint"


def test_the_slurm_script_says_what_it_needs(run):
    done = run(["bash", SCALE / "train.slurm", "cpu.yaml"])
    assert done.returncode == 2
    assert "usage: sbatch train.slurm CONFIG COMMAND" in done.stderr


# --- Ray ---


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine: two actors of a CPU each, and readers beside them; nothing is told to anybody."""
    ray = pytest.importorskip("ray")
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DISABLE_IMPORT_WARNING="1")
    environment = {"env_vars": {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=4, include_dashboard=False, _node_ip_address="127.0.0.1", logging_level="error",
             object_store_memory=100 * 2**20, runtime_env=environment)  # fmt: skip
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory, tiny_vqvae):
    folder = tmp_path_factory.mktemp("vqvae") / "vqvae"
    tiny_vqvae().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory, tiny_corpus):
    """The songs as parquet with their bytes."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    folder = tmp_path_factory.mktemp("parquet") / "songs"
    folder.mkdir()
    audio = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(tiny_corpus.glob("*.wav"))]
    words = {"artist": ["Bo Vale"] * 8, "genre": ["folk"] * 8, "lyrics": ["la la"] * 8}
    parquet.write_table(pa.table({"audio": audio, **words}), folder / "songs.parquet", row_group_size=2)
    return folder


def rows_of(table):
    import pyarrow.parquet as parquet

    return parquet.read_table(table / "songs.parquet").to_pylist()


def test_batches_give_the_codes_that_encode_dataset_gives(table, vqvae, tiny_corpus, tmp_path):
    from jukebox_hf.training.encode_dataset import encode_dataset
    from jukebox_hf.training.encoded_batches import EncodeBatches, coded_folder, write_coded_rows

    encode_dataset(str(tiny_corpus), tmp_path / "wanted", str(vqvae))
    encoder = EncodeBatches(str(vqvae), done=["0.wav"])
    rows = rows_of(table)
    batch = encoder({name: [row[name] for row in rows] for name in rows[0]})
    assert list(batch["name"]) == [f"{number}.wav" for number in range(1, 8)], "the first is done already"
    whole = EncodeBatches(str(vqvae))({name: [row[name] for row in rows] for name in rows[0]})
    coded = [{name: column[index] for name, column in whole.items()} for index in range(8)]
    writer = coded_folder(tmp_path / "codes", encoder)
    assert write_coded_rows(coded, writer) == []
    found, wanted = CodeShards(tmp_path / "codes"), CodeShards(tmp_path / "wanted")
    assert found.facts == wanted.facts
    place = {wanted.song(index).name: index for index in range(8)}
    for index in range(8):
        other = place[found.song(index).name]
        assert found.song(index) == wanted.song(other)
        for level in range(3):
            assert (found.codes(index, level) == wanted.codes(other, level)).all()


def test_rows_that_fail_are_told_and_a_tenth_of_them_stop_the_run(table, vqvae, tmp_path):
    from jukebox_hf.training.encoded_batches import EncodeBatches, coded_folder, write_coded_rows

    encoder, rows = EncodeBatches(str(vqvae)), rows_of(table)
    rows[3]["audio"]["bytes"] = b"no music"
    for row in rows:
        row["timed_lyrics"] = [[0.1 * place, 0.1 * place + 0.1] for place in range(5)]
    rows[4]["timed_lyrics"] = [[0.0, 0.1]]
    batch = encoder({name: [row[name] for row in rows] for name in rows[0]})
    coded = [{name: column[index] for name, column in batch.items()} for index in range(8)]
    assert "3.wav cannot be read as audio" in coded[3]["error"]
    assert "timed_lyrics of 4.wav times 1 characters, but its lyrics have 5" in coded[4]["error"]
    assert json.loads(coded[5]["timed_lyrics"])[4] == [0.4, 0.5]
    with pytest.raises(ValueError, match=r"2 of 8 songs were skipped: 3\.wav cannot .* at most a tenth may be corrupt"):
        write_coded_rows(coded, coded_folder(tmp_path / "codes", encoder))
    with pytest.raises(ValueError, match="column='sound' is not there; the batch has audio"):
        EncodeBatches(str(vqvae), column="sound")({"audio": []})


def example(name):
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, SCALE / f"{name}.py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_ray_cluster_encodes_songs_into_one_folder(cluster, table, vqvae, tmp_path, capsys):
    example("ray_encode").main(str(table), str(tmp_path / "codes"), str(vqvae), 0)
    assert "8 songs in codes, 0 skipped" in capsys.readouterr().out
    codes = CodeShards(tmp_path / "codes")
    assert sorted(codes.song(index).name for index in range(8)) == [f"{number}.wav" for number in range(8)]


def test_a_ray_cluster_makes_songs_and_skips_finished_ones(cluster, tmp_path, capsys):
    lines = [{"artist": "Bo Vale", "seconds": 0.1}, {"artist": "Ada Brook", "seconds": 0.1, "temperature": -1}]
    songs = tmp_path / "songs.jsonl"
    songs.write_text("\n".join(map(json.dumps, lines)))
    sing = example("ray_generate").main
    cluster.cloudpickle.register_pickle_by_value(sys.modules["ray_generate"])
    assert sing(str(songs), str(tmp_path / "out"), "tiny", 0) == 2
    said = capsys.readouterr().out
    assert "1 of 2 songs are in" in said
    assert "temperature" in said
    made = (tmp_path / "out/00000.wav").stat().st_mtime_ns
    songs.write_text("\n".join(map(json.dumps, [lines[0], lines[0]])))
    assert sing(str(songs), str(tmp_path / "out"), "tiny", 0) == 0
    assert (tmp_path / "out/00000.wav").stat().st_mtime_ns == made, "what is finished stays"
    assert (tmp_path / "out/00001.wav").exists()
