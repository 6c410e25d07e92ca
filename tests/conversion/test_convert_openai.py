"""OpenAI checkpoints to repositories: the numbers survive, and whatever is wrong leaves nothing behind."""

import json
import os
import pickle
import random
import zipfile
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from jukebox_hf import JukeboxModel, JukeboxPrior, JukeboxVQVAE
from jukebox_hf.conversion import convert_openai, repository
from jukebox_hf.conversion.openai_checkpoint import load_prior, load_vqvae, read_checkpoint
from jukebox_hf.conversion.openai_labels import unpack_labels

FP16 = "openai/fp16/checkpoint_module_prefix_fp16.pth.tar"


def _states_are_equal(found, wanted):
    assert found.keys() == wanted.keys()
    return all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.fixture
def open_converted(run_cli, convert_words, tmp_path):
    def convert(*extra, **files):
        code, said, errors = run_cli(*convert_words(tmp_path / "repo", *extra, **files))
        assert (code, errors) == (0, "")
        return JukeboxModel.from_pretrained(tmp_path / "repo"), said

    return convert


# --- the numbers survive ---


def test_converted_model_has_the_checkpoints_tensors_bit_for_bit(open_converted, chain_files):
    model, _ = open_converted()
    vqvae = load_vqvae(chain_files[0])
    assert _states_are_equal(model.vqvae.state_dict(), vqvae.state_dict())
    for level, file in enumerate(chain_files[1]):
        assert _states_are_equal(model.prior(level).state_dict(), load_prior(file, vqvae.config).state_dict())


def test_converted_model_goes_back_to_openais_state_dict_key_for_key(open_converted, chain_files):
    model, _ = open_converted()
    for part, file in zip([model.vqvae, *map(model.prior, range(3))], [chain_files[0], *chain_files[1]], strict=True):
        _, state = read_checkpoint(file)
        assert _states_are_equal(convert_openai.to_openai_state_dict(part), state)


def test_parts_load_alone_from_the_converted_repository(open_converted, tmp_path):
    model, _ = open_converted()
    prior = JukeboxPrior.from_pretrained(tmp_path / "repo", subfolder="prior_2")
    assert _states_are_equal(prior.state_dict(), model.prior(2).state_dict())
    vqvae = JukeboxVQVAE.from_pretrained(tmp_path / "repo", subfolder="vqvae")
    assert _states_are_equal(vqvae.state_dict(), model.vqvae.state_dict())


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy stream"])
def test_both_formats_of_torch_files_and_module_prefixes_give_the_same_model(
    open_converted, chain_files, changed, options
):
    def prefix(content):
        content["model"] = {f"module.{name}": tensor for name, tensor in content["model"].items()}

    file = changed(chain_files[1][0], prefix, **options)
    model, _ = open_converted(priors=[file, *chain_files[1][1:]])
    assert _states_are_equal(
        model.prior(0).state_dict(), load_prior(chain_files[1][0], model.config.vqvae_config).state_dict()
    )


def test_conversion_prints_the_checksum_of_every_file_it_read(open_converted, chain_files):
    _, said = open_converted()
    for file in (chain_files[0], *chain_files[1]):
        assert f"{repository.sha256_of(file)}  {file.name}" in said


def _half(content):
    content["model"] = {
        name: tensor.half() if name.endswith(".w") else tensor for name, tensor in content["model"].items()
    }


def test_half_precision_files_keep_their_dtypes(open_converted, chain_files, changed, tmp_path):
    halves = [changed(file, _half, f"half_{level}.pth.tar") for level, file in enumerate(chain_files[1])]
    model, _ = open_converted(priors=halves)
    for level, file in enumerate(halves):
        _, state = read_checkpoint(file)
        stored = load_file(tmp_path / "repo" / f"prior_{level}" / "model.safetensors")
        matrix = "transformer.layers.0.attention.query_key_value.weight"
        assert stored[matrix].dtype == torch.float16
        assert torch.equal(stored[matrix].T, state["prior.transformer._attn_mods.0.attn.c_attn.w"])
        assert stored["transformer.layers.0.attention.query_key_value.bias"].dtype == torch.float32
        assert json.loads((tmp_path / "repo" / f"prior_{level}" / "config.json").read_text())["dtype"] == "float16"
        assert model.prior(level).dtype == torch.float16
        assert model.prior(level).lm_head.weight.dtype == torch.float32


def test_half_precision_reference_gives_the_originals_logits_after_conversion(
    run_cli, reference, chain_files, tmp_path, changed
):
    """The fp16 reference is a top prior; with any upsamplers below it a whole repository can be made of it."""
    vqvae = load_vqvae(chain_files[0]).config
    record = load_file(reference / "openai" / "fp16" / "fp16_params.safetensors")
    priors = [reference / f"openai/priors/upsampler_level_{level}/checkpoint_latest.pth.tar" for level in (0, 1)]
    code, _, errors = run_cli(
        "convert", "openai", tmp_path / "repo", "--vqvae", chain_files[0],
        *(word for file in (*priors, reference / FP16) for word in ("--prior", file)),
    )  # fmt: skip
    assert (code, errors) == (0, "")
    prior = JukeboxModel.from_pretrained(tmp_path / "repo", dtype=torch.float32).prior(2)
    labels = unpack_labels(record["y"], prior.config)
    with torch.no_grad():
        logits = prior(record["z"], **labels).logits
    torch.testing.assert_close(logits, record["logits_fp32_compute"], atol=5e-5, rtol=1e-5)
    assert vqvae.num_levels == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtype_option_is_for_the_transformers_matrices_alone(open_converted, chain_files, dtype, tmp_path):
    open_converted("--dtype", dtype)
    wanted = getattr(torch, dtype)
    stored = load_file(tmp_path / "repo" / "prior_1" / "model.safetensors")
    assert stored["transformer.layers.0.mlp.up.weight"].dtype == wanted
    for name in ("transformer.token_embedding.weight", "transformer.layers.0.mlp_norm.weight", "labels.artist.weight"):
        assert stored[name].dtype == torch.float32, name
    assert all(t.dtype == torch.float32 for t in load_file(tmp_path / "repo/vqvae/model.safetensors").values())


def test_shards_give_the_same_model(open_converted, chain_files, monkeypatch, tmp_path):
    monkeypatch.setattr(repository, "_SHARD_BYTES", 50_000)
    model, _ = open_converted()
    assert len(list((tmp_path / "repo" / "prior_2").glob("model-*-of-*.safetensors"))) > 3
    assert _states_are_equal(
        model.prior(2).state_dict(), load_prior(chain_files[1][2], model.config.vqvae_config).state_dict()
    )


# --- what is wrong leaves nothing behind ---


def test_folder_that_exists_is_kept_unless_forced(run_cli, convert_words, tmp_path, is_clean):
    out = tmp_path / "repo"
    assert run_cli(*convert_words(out))[0] == 0
    (out / "mine.txt").write_text("precious")
    code, _, error = run_cli(*convert_words(out))
    assert code == 2
    assert "exists already" in error
    assert (out / "mine.txt").read_text() == "precious"
    assert "mine.txt" in run_cli(*convert_words(out, "--force"))[2]  # nobody but its owner removes it
    (out / "mine.txt").unlink()
    assert run_cli(*convert_words(out, "--force"))[0] == 0
    assert is_clean(tmp_path, "repo")


def test_force_never_replaces_what_is_no_jukebox(run_cli, convert_words, tmp_path):
    out = tmp_path / "documents"
    out.mkdir()
    (out / "letter.txt").write_text("precious")
    code, _, error = run_cli(*convert_words(out, "--force"))
    assert code == 2
    assert "not a Jukebox repository" in error
    assert (out / "letter.txt").read_text() == "precious"


def test_symbolic_link_is_not_followed(run_cli, convert_words, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    code, _, error = run_cli(*convert_words(tmp_path / "link"))
    assert code == 2
    assert "symbolic link" in error
    assert list((tmp_path / "elsewhere").iterdir()) == []


def _without_a_key(content):
    del content["model"]["prior.x_emb.weight"]


def _with_a_stranger(content):
    content["model"]["stranger"] = torch.zeros(2)


def _misshapen(content):
    content["model"]["prior.x_emb.weight"] = content["model"]["prior.x_emb.weight"][:-1]


def _transposed(content):
    content["model"]["y_emb.artist_emb.emb.weight"] = content["model"]["y_emb.artist_emb.emb.weight"].T.contiguous()


def _not_finite(content):
    content["model"]["prior.transformer._attn_mods.0.mlp.c_fc.w"][0, 0] = float("nan")


def _of_integers(content):
    content["model"]["prior.pos_emb.pos_emb"] = content["model"]["prior.pos_emb.pos_emb"].long()


def _lying(content):
    shape = content["model"]["prior.pos_emb.pos_emb"].shape
    content["model"]["prior.pos_emb.pos_emb"] = torch.zeros(1).expand(shape)  # one number that claims to be many


def _not_tied(content):
    content["model"]["prior.x_out.weight"] = content["model"]["prior.x_out.weight"] + 1


def _without_model(content):
    del content["model"]


def _without_hps(content):
    del content["hps"]


def _with_hps(**changes):
    def edit(content):
        content["hps"] = {n: v for n, v in (content["hps"] | changes).items() if v is not None or n not in changes}

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_without_a_key, "1 missing (prior.x_emb.weight)"),
        (_with_a_stranger, "1 unexpected (stranger)"),
        (_misshapen, "prior.x_emb.weight has shape"),
        (_transposed, "y_emb.artist_emb.emb.weight has shape"),
        (_not_finite, "prior.transformer._attn_mods.0.mlp.c_fc.w holds numbers that are not finite"),
        (_of_integers, "prior.pos_emb.pos_emb is not a dense tensor of floating-point numbers"),
        (_lying, "prior.pos_emb.pos_emb claims more numbers than the file holds"),
        (_not_tied, "prior.x_out.weight and prior.x_emb.weight differ"),
        (_without_model, "holds no state dict under 'model'"),
        (_without_hps, "holds no hyper-parameters; name the model with --preset"),
        (_with_hps(n_ctx=-4), "JukeboxPriorConfig: context_length=-4 is not allowed"),
        (_with_hps(n_ctx=None), "hyper-parameters lack 'n_ctx'; name the model with --preset"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_checkpoint_is_refused_in_one_sentence(
    run_cli, convert_words, chain_files, changed, tmp_path, edit, message, is_clean
):
    file = changed(chain_files[1][1], edit)
    code, _, error = run_cli(*convert_words(tmp_path / "repo", priors=[chain_files[1][0], file, chain_files[1][2]]))
    assert code == 2
    assert message in error
    assert error.startswith(f"jukebox-hf: {file}")
    assert error.count(str(file)) == error.count("\n") == 1
    assert is_clean(tmp_path, file.name)


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def _write_evil(file):
    with file.open("wb") as stream:
        pickle.dump({"model": _Evil()}, stream)


def _write_evil_zip(file):
    torch.save({"model": {"a": _Evil()}}, file)


def _write_zip(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("vqvae.pth", "weights")


def _truncate(source, file):
    file.write_bytes(source.read_bytes()[:-5000])


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (_write_evil, "it holds code ("),
        (_write_evil_zip, "it holds code ("),
        (_write_zip, "it is a zip archive of 'vqvae.pth'; unpack it, and give what lies in it"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.write_text("<!DOCTYPE html><html><body>Not found</body></html>"), "is a web page"),
        (lambda file: file.write_bytes(random.Random(0).randbytes(3000)), "it is damaged"),
        (None, "it was cut short"),
    ],
    ids=["pickle with code", "zip with code", "zip", "empty", "html", "noise", "truncated"],
)
def test_what_is_no_checkpoint_is_refused_and_never_run(
    run_cli, convert_words, chain_files, tmp_path, monkeypatch, write, cause, is_clean
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "vqvae.pth.tar"
    (write or partial(_truncate, chain_files[0]))(file)
    code, _, error = run_cli(*convert_words(tmp_path / "repo", vqvae=file))
    assert code == 2
    assert f"{file} " in error
    assert cause in error
    assert "weights_only" not in error
    assert error.count("\n") == 1
    assert is_clean(tmp_path, "vqvae.pth.tar")


def test_noise_of_any_kind_is_refused_in_one_sentence(tmp_path):
    """Bytes that begin as a pickle or a zip does can fail anywhere in torch's readers."""
    beginnings = [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00", b"\x80\x02ctorch\n"]
    for seed in range(200):
        noise = random.Random(seed)
        file = tmp_path / "noise.pth.tar"
        file.write_bytes(beginnings[seed % len(beginnings)] + noise.randbytes(noise.randrange(300)))
        with pytest.raises(ValueError, match=r"is not a checkpoint of plain tensors|holds no state dict"):
            read_checkpoint(file)


def test_missing_file_and_wrong_counts_are_refused(run_cli, convert_words, chain_files, tmp_path):
    code, _, error = run_cli(*convert_words(tmp_path / "repo", vqvae=tmp_path / "nowhere.pth.tar"))
    assert (code, "is not a file" in error) == (2, True)
    code, _, error = run_cli(*convert_words(tmp_path / "repo", priors=[*chain_files[1], chain_files[1][0]]))
    assert (code, "4 priors were given for a VQ-VAE of 3 levels" in error) == (2, True)
    for priors in (chain_files[1][:2], chain_files[1][1:], chain_files[1][2:]):
        code, _, error = run_cli(*convert_words(tmp_path / "repo", priors=priors))
        given = "2 priors were given" if len(priors) == 2 else "1 prior was given"
        assert (code, f"{given} for a VQ-VAE of 3 levels; give one --prior per level" in error) == (2, True)
    code, _, error = run_cli("convert", "openai", tmp_path / "repo", "--vqvae", chain_files[0])
    assert (code, "--vqvae and --prior belong together" in error) == (2, True)
    code, _, error = run_cli("convert", "openai", tmp_path / "repo")
    assert (code, "neither a preset nor local files" in error) == (2, True)
    code, _, error = run_cli("convert", "openai", tmp_path / "repo", "--preset", "7b")
    assert (code, "preset='7b' is none of" in error) == (2, True)


def test_preset_that_does_not_fit_the_files_is_refused(run_cli, convert_words, chain_files, tmp_path, is_clean):
    code, _, error = run_cli(*convert_words(tmp_path / "repo", "--preset", "1b_lyrics"))
    assert code == 2
    assert f"{chain_files[0]}: the checkpoint does not fit its configuration" in error
    assert is_clean(tmp_path)


def test_priors_in_the_wrong_order_are_refused(run_cli, convert_words, chain_files, tmp_path, is_clean):
    code, _, error = run_cli(*convert_words(tmp_path / "repo", priors=chain_files[1][::-1]))
    assert code == 2
    assert (
        f"{chain_files[1][2]} holds the prior of level 2, but was given as that of level 0; give one --prior per "
        f"level, finest first"
    ) in error
    assert is_clean(tmp_path)


def test_upsamplers_of_equal_shapes_are_not_mistaken_under_a_preset(monkeypatch, chain_files, tmp_path, is_clean):
    """Nothing but the level in their hyper-parameters tells the released upsamplers apart."""
    files = convert_openai.OpenAIFiles(chain_files[0], tuple(chain_files[1]))
    config, versions = convert_openai._config_of(files)
    monkeypatch.setitem(convert_openai.LABEL_VERSIONS, "1b_lyrics", versions)
    monkeypatch.setattr(convert_openai, "model_preset", lambda name: config)
    swapped = convert_openai.OpenAIFiles(files.vqvae, tuple(files.priors[place] for place in (1, 0, 2)))
    with pytest.raises(ValueError, match="holds the prior of level 1, but was given as that of level 0"):
        convert_openai.convert_openai(tmp_path / "repo", preset="1b_lyrics", files=swapped)
    assert is_clean(tmp_path)


def test_a_checkpoint_of_another_kind_is_called_what_it_is(run_cli, convert_words, chain_files, tmp_path, is_clean):
    vqvae, priors = chain_files
    code, _, error = run_cli(*convert_words(tmp_path / "repo", vqvae=priors[0]))
    assert (code, f"{priors[0]} holds a prior, not a VQ-VAE; give it with --prior\n" in error) == (2, True)
    code, _, error = run_cli(*convert_words(tmp_path / "repo", priors=[vqvae, *priors[1:]]))
    assert (code, f"{vqvae} holds a VQ-VAE, not a prior; give it with --vqvae\n" in error) == (2, True)
    assert is_clean(tmp_path)


def test_failure_while_writing_leaves_the_older_repository_whole(
    run_cli, convert_words, tmp_path, monkeypatch, is_clean
):
    out = tmp_path / "repo"
    assert run_cli(*convert_words(out))[0] == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def no_space(*_, **__):
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr(repository, "save_file", no_space)
    code, _, error = run_cli(*convert_words(out, "--force"))
    assert (code, "No space left on device" in error) == (2, True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert is_clean(tmp_path, "repo")


def test_too_little_space_is_refused_before_writing(run_cli, convert_words, tmp_path, monkeypatch, is_clean):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(repository.shutil, "disk_usage", lambda _: usage)
    code, _, error = run_cli(*convert_words(tmp_path / "repo"))
    assert (code, "1,000 bytes free" in error) == (2, True)
    assert is_clean(tmp_path)


def test_numbers_too_large_for_half_precision_are_refused(run_cli, convert_words, chain_files, changed, tmp_path):
    def enlarge(content):
        content["model"]["prior.transformer._attn_mods.0.mlp.c_fc.w"][0, 0] = 1e6

    files = [changed(chain_files[1][0], enlarge), *chain_files[1][1:]]
    code, _, error = run_cli(*convert_words(tmp_path / "repo", "--dtype", "float16", priors=files))
    assert (code, "choose --dtype bfloat16" in error) == (2, True)
    assert error.startswith(f"jukebox-hf: {files[0]}: prior.transformer")


# --- downloads ---


def test_preset_is_downloaded_and_the_downloads_removed_at_the_end(tmp_path, monkeypatch, chain_files):
    """The released names are fetched, each once; the sizes are checked later, so any files will do here."""
    fetched = []

    def fake(url, target, progress):
        fetched.append(url)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(chain_files[0].read_bytes())
        return target

    monkeypatch.setattr(convert_openai, "download", fake)
    with pytest.raises(ValueError, match="does not fit its configuration"):
        convert_openai.convert_openai(tmp_path / "repo", preset="1b_lyrics", root="http://localhost/")
    assert fetched == [
        "http://localhost/jukebox/models/5b/vqvae.pth.tar",
        "http://localhost/jukebox/models/5b/prior_level_0.pth.tar",
        "http://localhost/jukebox/models/5b/prior_level_1.pth.tar",
        "http://localhost/jukebox/models/1b_lyrics/prior_level_2.pth.tar",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["repo.download"], "what was fetched is kept for another try"
