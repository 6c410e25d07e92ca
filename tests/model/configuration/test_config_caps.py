"""A configuration that asks for more than any Jukebox is refused before a list of that length is made."""

import json
import time

import pytest
import torch

from jukebox_hf import JukeboxConfig, JukeboxFeatureExtractor, JukeboxPriorConfig, JukeboxTokenizer, JukeboxVQVAEConfig
from jukebox_hf.conversion.openai_config import prior_config, vqvae_config
from jukebox_hf.model.songs.generation_arguments import check_generation_defaults

LARGE = [10**9, 10**12, 10**30, -1, 0, True, "x" * 10**5, [1] * 10**5, [10**9], float("nan"), None]


@pytest.fixture(scope="module")
def released(request):
    folder = request.path.parents[2] / "reference"
    read = lambda name: torch.load(folder / "openai" / name, weights_only=True)["hps"]  # noqa: E731
    legacy = json.loads((folder / "transformers_v4/tiny_1b/safetensors/config.json").read_text())
    vqvae = read("vqvae/vqvae_3level/checkpoint_step_7.pth.tar")
    return vqvae, read("chain/checkpoint_chain_top_single.pth.tar"), legacy


def _refused(make):
    start = time.process_time()
    with pytest.raises(ValueError) as error:
        make()
    assert time.process_time() - start < 5, "what is too much is counted before it is read, not read first"
    assert len(str(error.value)) < 700
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", LARGE[:8], ids=lambda value: repr(value)[:12])
def test_depths_and_levels_of_foreign_checkpoints_are_capped(released, value):
    vqvae, prior, legacy = released
    for name in ("levels", "depth", "width", "l_bins", "strides_t", "downs_t"):
        is_cut = isinstance(value, list) and name in ("strides_t", "downs_t")  # only as many as there are levels count
        if value is not True and not is_cut:
            _refused(lambda name=name: vqvae_config(vqvae | {name: value}))
    ours = vqvae_config(vqvae)
    for name in ("prior_depth", "prior_width", "heads", "n_ctx"):
        if value is not True:
            _refused(lambda name=name: prior_config(prior | {name: value}, ours))
    for name in ("levels", "res_downs_t", "res_strides_t"):
        part = legacy["vqvae_config"] | {name: value}
        _refused(lambda part=part: JukeboxConfig.from_dict(legacy | {"vqvae_config": part}))
    _refused(lambda: JukeboxConfig.from_dict(legacy | {"prior_config_list": value}))


def test_lists_and_unknown_names_are_counted_before_they_are_read():
    _refused(lambda: JukeboxPriorConfig(attention_kinds=["row"] * 10**6))
    _refused(lambda: JukeboxPriorConfig(num_hidden_layers=10**9, attention_kinds=None))
    _refused(lambda: JukeboxVQVAEConfig(multispectral_fft_sizes=[512] * 10**6))
    _refused(lambda: JukeboxConfig(prior_configs=[{}] * 10**6))
    _refused(lambda: JukeboxPriorConfig(**{f"key{number}": 1 for number in range(10**5)}))
    _refused(lambda: JukeboxPriorConfig(num_labels=10**9))
    _refused(lambda: JukeboxTokenizer(artists={}, genres={}, label_versions=["v2"] * 10**6))
    _refused(lambda: JukeboxFeatureExtractor(sampling_rate=10**12))
    _refused(lambda: JukeboxFeatureExtractor(hop_length=-1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 10**12),
        ("max_new_tokens", "many"),
        ("temperature", [1]),
        ("do_sample", "no"),
        ("top_k", 10**12),
    ],
)
def test_generation_defaults_of_other_kinds_are_refused_with_their_file(name, value):
    with pytest.raises(ValueError, match=f"generation_config.json says {name}="):
        check_generation_defaults({name: value}, "generation_config.json")


def test_generation_defaults_that_a_cut_may_not_have_are_refused_with_their_file(cut):
    check_generation_defaults({cut.name: {"2": cut.number}}, "generation_config.json")
    for value in (*cut.refused, True, "some", float("nan"), {"2": cut.refused[0]}):
        with pytest.raises(ValueError, match=f"^generation_config.json says {cut.name}=.*, which must .*; correct it$"):
            check_generation_defaults({cut.name: value}, "generation_config.json")


def test_a_configuration_file_goes_through_the_door_for_json(tmp_path):
    for text, cause in (("[" * 10**5, "nested"), ('{"level": 1, "level": 2}', "twice"), ("<html>", "web page")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=cause):
            JukeboxPriorConfig.from_pretrained(tmp_path)
