"""Adapters and styles: loaded beside others, weighed, swapped and let go, refused by other bases; and kept for good."""

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from jukebox_hf import JukeboxModel, JukeboxPrior
from jukebox_hf.data.code_shards import CodeShardWriter
from jukebox_hf.model.adapters.adapter_files import LORA_WEIGHTS, LoraMatrix, read_adapter
from jukebox_hf.model.adapters.adapter_set import AdapterSet
from jukebox_hf.model.adapters.base_digest import base_digest
from jukebox_hf.model.adapters.style_file import Style, read_style
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training.assemble import put_prior
from jukebox_hf.training.prior.prior_data import facts_of
from jukebox_hf.training.share import base_of, export_style, import_adapter, renamed, style_of, write_adapter
from jukebox_hf.training.train_prior import main

pytest.importorskip("peft")

NEW, CODEBOOK = "Eve Lark", 24
_coded_song = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["coded_song"]
WORDS = {"lyrics": "la la la", "seconds": 0.5, "seed": 3}


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_whole):
    """A folder with a whole Jukebox, codes by a new artist, and priors that learnt her: by LoRA and as a style."""
    folder = tmp_path_factory.mktemp("adapters")
    make_whole(folder)
    facts = facts_of(JukeboxModel.from_pretrained(folder / "whole").vqvae)
    with CodeShardWriter(folder / "codes", facts) as writer:
        for number in range(6):
            one = _coded_song(number)
            writer.add(replace(one, song=replace(one.song, artist=NEW)))
    lora = {"lora_rank": 2, "lora_labels": "true", "learning_rate": 0.05}
    for name, more in (
        ("lora", lora),
        ("other", lora | {"seed": 1}),
        ("style", {"style": "true", "learning_rate": 30}),
    ):
        flags = {"model_name_or_path": folder / "whole", "level": 1, "train_codes": folder / "codes", "labels": "add",
                 "output_dir": folder / name, "max_steps": 3, "per_device_train_batch_size": 4, "save_strategy": "no",
                 "report_to": "none", "disable_tqdm": "true", "use_cpu": "true", **more}  # fmt: skip
        assert main([str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]) == 0
    for name in ("lora", "other"):
        write_adapter(folder / f"{name}-adapter", str(folder / "whole"), [folder / name], names=[NEW])
    base = base_of(str(folder / "whole"), JukeboxModel.from_pretrained(folder / "whole"), [1])
    (folder / "style.safetensors").write_bytes(style_of([folder / "style"], [NEW], base).to_bytes())
    return folder


@pytest.fixture
def opened(place):
    return JukeboxModel.from_pretrained(place / "whole", keep_loaded=True)


def sung(model, **words):
    inputs = model.own_processor()({**WORDS, **words})
    return [level.tolist() for level in model.generate(inputs, return_codes=True).codes]


@torch.no_grad()
def named_logits(model, artist):
    """What the top prior makes of some codes under the name of an id."""
    prior = model.prior(1)
    inputs = {"codes": torch.arange(24)[None] % CODEBOOK, "artist_ids": torch.tensor([artist]),
              "genre_ids": torch.tensor([[1]]), "timing": torch.tensor([[2000, 0, 384]]),
              "lyric_ids": torch.ones(1, 12, dtype=torch.long)}  # fmt: skip
    return prior(**inputs, return_loss=False).logits


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


# --- style inversion ---


def test_a_style_is_one_vector_and_nothing_else_has_moved(place):
    before, after = (JukeboxPrior.from_pretrained(place / name) for name in ("whole/prior_1", "style"))
    old, new = before.state_dict(), after.state_dict()
    moved = {name for name, tensor in new.items() if name in old and not torch.equal(tensor, old[name])}
    assert moved == {"labels.artist.weight"} or not moved
    rows = new["labels.artist.weight"]
    assert torch.equal(rows[:3], old["labels.artist.weight"])
    assert not torch.equal(rows[3], rows[0])
    assert (place / "style.safetensors").stat().st_size < 4000


def test_a_name_that_was_imported_is_sung_and_old_songs_stay_bit_for_bit(place, opened, tmp_path):
    old = sung(opened, artist="Ann Ash", genre="folk")
    import_adapter(str(place / "style.safetensors"), tmp_path / "mine", str(place / "whole"))
    mine = JukeboxModel.from_pretrained(tmp_path / "mine")
    assert sung(mine, artist="Ann Ash", genre="folk") == old
    found = JukeboxTokenizer.from_pretrained(tmp_path / "mine").vocabularies["v3"].find_artist(NEW)
    assert torch.equal(mine.prior(1).labels.artist.weight[found],
                       JukeboxPrior.from_pretrained(place / "style").labels.artist.weight[3])  # fmt: skip
    assert (tmp_path / "mine" / "LICENSE").read_text() == "ours"
    opened.load_adapter(str(place / "style.safetensors"))
    assert sung(opened, artist="Ann Ash", genre="folk") == old
    assert sung(opened, artist=NEW) == sung(mine, artist=NEW)
    assert named_logits(opened, 3).equal(named_logits(mine, 3))
    assert not named_logits(opened, 3).equal(named_logits(opened, 0))


def test_what_was_exported_comes_back_the_same_and_under_another_name(place, tmp_path):
    import_adapter(str(place / "style.safetensors"), tmp_path / "mine", str(place / "whole"))
    export_style(str(tmp_path / "mine"), NEW, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (place / "style.safetensors").read_bytes()
    import_adapter(str(tmp_path / "again.safetensors"), tmp_path / "both", str(tmp_path / "mine"), artist="Eve Too")
    both = JukeboxModel.from_pretrained(tmp_path / "both")
    assert sung(both, artist=NEW) == sung(both, artist="Eve Too")
    assert named_logits(both, 3).equal(named_logits(both, 4))
    assert not named_logits(both, 3).equal(named_logits(both, 0))


def test_a_base_is_its_numbers_not_its_files(place, tmp_path):
    whole = JukeboxModel.from_pretrained(place / "whole")
    files = whole.source_files([1])["prior_1"][1:]
    digest = base_digest(files)
    whole.prior(1).save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 1
    assert base_digest(shards) == digest
    tensors = load_file(files[0])
    save_file({name: tensor.double() for name, tensor in tensors.items()}, tmp_path / "double.safetensors")
    assert base_digest([tmp_path / "double.safetensors"]) == digest
    tensors["labels.artist.weight"] += 1
    save_file(tensors, tmp_path / "named.safetensors")
    assert base_digest([tmp_path / "named.safetensors"]) == digest
    tensors["transformer.layers.0.mlp.up.weight"][0, 0] += 1e-3
    save_file(tensors, tmp_path / "other.safetensors")
    assert base_digest([tmp_path / "other.safetensors"]) != digest


# --- adapters ---


def test_an_adapter_sings_as_the_merged_prior_and_as_peft_unmerged(place, opened, inputs_for, tmp_path):
    from peft import PeftModel

    opened.load_adapter(str(place / "lora-adapter"), "eve")
    trained = JukeboxPrior.from_pretrained(place / "lora").eval()
    ours = opened.prior(1)
    inputs = inputs_for(trained.config)
    with torch.no_grad():
        assert torch.allclose(ours(**inputs).logits, trained(**inputs).logits, atol=1e-4)
        plain = JukeboxPrior.from_pretrained(place / "whole" / "prior_1").eval()
        inputs["artist_ids"] = inputs["artist_ids"].clamp(max=2)
        unmerged = PeftModel.from_pretrained(plain, place / "lora-adapter" / "prior_1")
        table = plain.labels
        table.artist.weight[:3] = ours.labels.artist.weight[:3]
        table.genre.weight.copy_(ours.labels.genre.weight)
        assert torch.allclose(unmerged(**inputs).logits, ours(**inputs).logits, atol=1e-4)
        assert not torch.allclose(ours(**inputs).logits, opened_base(place)(**inputs).logits, atol=1e-2)
    put_prior(place / "lora", tmp_path / "put", str(place / "whole"))
    assert sung(opened, artist=NEW) == sung(JukeboxModel.from_pretrained(tmp_path / "put"), artist=NEW)


def opened_base(place):
    return JukeboxPrior.from_pretrained(place / "whole" / "prior_1").eval()


@pytest.mark.parametrize("keep_base", [True, False])
def test_adapters_are_swapped_and_let_go_without_a_trace(place, keep_base):
    model = JukeboxModel.from_pretrained(place / "whole", keep_loaded=True)
    base, prior = sung(model, artist="Ann Ash"), model.prior(1)
    names = {"one": "lora-adapter", "two": "other-adapter"}
    alone = {}
    for name, folder in names.items():
        single = JukeboxModel.from_pretrained(place / "whole", keep_loaded=True)
        single.load_adapter(str(place / folder))
        alone[name] = sung(single, artist="Ann Ash")
        model.load_adapter(str(place / folder), name, keep_base=keep_base)
    assert model.active_adapters() == ["one", "two"]
    both = sung(model, artist="Ann Ash")
    for name in names:
        model.set_adapter(name)
        assert sung(model, artist="Ann Ash") == alone[name]
    model.set_adapters(["one", "two"], 1.0)
    assert sung(model, artist="Ann Ash") == both
    model.set_adapters(["one", "two"], [0.0, 0.0])
    assert sung(model, artist="Ann Ash") == base
    model.set_adapters(["two", "one"], [0.3, 0.7])
    model.disable_adapters()
    assert sung(model, artist="Ann Ash") == base
    model.enable_adapters()
    assert model.adapters == {"one": 0.7, "two": 0.3}
    model.delete_adapter(["one", "two"])
    assert model.adapters == {}
    assert model.prior(1) is prior, "nothing was loaded again"
    assert same_weights(prior, opened_base(place))
    assert model.config.prior_configs[1].num_artists == 3


def test_weights_mix_as_they_say(place, opened):
    for name in ("lora", "other"):
        opened.load_adapter(str(place / f"{name}-adapter"), name)
    opened.set_adapters(["lora", "other"], [0.7, 0.3])
    name = next(iter(read_adapter(str(place / "lora-adapter")).lora[1]))
    base = opened_base(place).get_parameter(f"{name}.weight")
    trained = [JukeboxPrior.from_pretrained(place / each).get_parameter(f"{name}.weight") for each in ("lora", "other")]
    expected = base + 0.7 * (trained[0] - base) + 0.3 * (trained[1] - base)
    assert torch.allclose(opened.prior(1).get_parameter(f"{name}.weight"), expected, atol=1e-5)
    rows = [JukeboxPrior.from_pretrained(place / each).labels.artist.weight[3] for each in ("lora", "other")]
    start = opened_base(place).labels.artist.weight[0]
    mixed = start + 0.7 * (rows[0] - start) + 0.3 * (rows[1] - start)
    assert torch.allclose(opened.prior(1).labels.artist.weight[3], mixed, atol=1e-5)


def test_a_prior_that_is_loaded_later_and_its_first_layers_are_adapted_too(place):
    model = JukeboxModel.from_pretrained(place / "whole")
    model.load_adapter(str(place / "lora-adapter"))
    first = model.first_layers(1, 1)
    whole = model.prior(1)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])
    assert first.config.num_artists == whole.labels.artist.num_embeddings == 4


def test_the_native_step_sings_an_adapter_as_the_plain_step(place, opened):
    opened.load_adapter(str(place / "lora-adapter"))
    inputs = opened.own_processor()({**WORDS, "artist": NEW})
    codes = [opened.generate(inputs, return_codes=True, backend=backend).codes for backend in ("eager", "auto")]
    assert all(torch.equal(one, other) for one, other in zip(*codes, strict=True))


def test_a_pipeline_knows_the_names_that_an_adapter_brings(place):
    from transformers import pipeline

    pipe = pipeline("text-to-audio", model=str(place / "whole"))
    pipe.model.load_adapter(str(place / "style.safetensors"))
    song = pipe("la la la", artist=NEW, strict=True, seconds=0.5, seed=3, return_codes=True)
    assert [level.tolist() for level in song["codes"]] == [level[0] for level in sung(pipe.model, artist=NEW)]


def test_an_adapter_repository_is_one_that_the_hub_reads_and_names_no_path(place):
    folder = place / "lora-adapter"
    card = ModelCard.load(folder / "README.md")
    assert "lora" in card.data.tags
    assert card.data.license == "other"
    for path in folder.rglob("*"):
        assert path.is_dir() or str(place).encode() not in path.read_bytes()
    said = json.loads((folder / "jukebox_adapter.json").read_text())
    assert said["levels"] == [1]
    style = read_style(folder / "style.safetensors")
    assert style.new == {"artist": (NEW,)}


# --- refusals ---


def refused(place, tmp_path, edit, match, source="lora-adapter", error=ValueError):
    folder = tmp_path / "edited"
    shutil.copytree(place / source, folder)
    edit(folder)
    model = JukeboxModel.from_pretrained(place / "whole", keep_loaded=True)
    before = sung(model)
    with pytest.raises(error, match=match) as told:
        model.load_adapter(str(folder))
    assert "\n" not in str(told.value)
    assert sung(model) == before
    assert model.adapters == {}


def change_tensors(file, change):
    tensors = load_file(file)
    name = sorted(tensors)[0]
    save_file(change(tensors, name), file)


@pytest.mark.parametrize("act", ["disable_adapters", "enable_adapters", "delete_adapter"])
def test_where_no_adapter_is_loaded_none_is_switched(place, act):
    model = JukeboxModel.from_pretrained(place / "whole")
    with pytest.raises(ValueError, match=r"^no adapter is loaded; load one first"):
        getattr(model, act)(*(["band"] if act == "delete_adapter" else []))


def test_numbers_that_are_not_finite_are_refused(place, tmp_path):
    def edit(folder):
        change_tensors(folder / "prior_1" / LORA_WEIGHTS, lambda t, n: {**t, n: t[n] * float("nan")})

    refused(place, tmp_path, edit, "holds numbers that are not finite")


def test_matrices_that_overflow_are_refused_when_they_are_read(place, tmp_path):
    def swell(folder):
        file = folder / "prior_1" / LORA_WEIGHTS
        save_file({name: one.sign() * 1e30 for name, one in load_file(file).items()}, file)

    refused(place, tmp_path, swell, "adds numbers up to .* to .*, beyond 65504, which no song survives")


def test_a_bound_that_is_too_high_refuses_nothing_that_can_be_sung():
    up, down = torch.tensor([[1e5, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.1], [1e5, 0.0]])
    matrix = LoraMatrix(down, up, 1.0)
    assert matrix.largest() == pytest.approx(float((up @ down).abs().max()))
    assert LoraMatrix(down, up, 0.5).largest() == pytest.approx(matrix.largest() / 2)
    small = LoraMatrix(torch.randn(2, 5), torch.randn(3, 2), 0.5)
    assert small.largest() >= float((small.up @ small.down).abs().max()) * 0.5


def test_another_layout_is_refused(place, tmp_path):
    def rename(folder):
        change_tensors(folder / "prior_1" / LORA_WEIGHTS, lambda t, n: {"strange": t[n]})

    refused(place, tmp_path, rename, "holds strange, where peft writes")


@pytest.mark.parametrize(("said", "match"), [
    ({"use_dora": True}, "says use_dora=True, which is no plain LoRA"),
    ({"r": 7}, "has rank 2 and 2, but adapter_config.json says r=7"),
    ({"peft_type": "IA3"}, "says peft_type='IA3', which is no plain LoRA"),
    ({"lora_alpha": "much"}, "says lora_alpha='much', which is no number"),
    ({"lora_alpha": 1e300}, r"says lora_alpha=1e\+300, which is no number from -1000000 to 1000000"),
    ({"rank_pattern": {"(": 4}}, "says rank_pattern=.*, which does not tell modules by their names"),
    ({"alpha_pattern": ["output"]}, "says alpha_pattern=.*, which does not tell modules by their names"),
])  # fmt: skip
def test_settings_that_are_no_plain_lora_are_refused(place, tmp_path, said, match):
    def edit(folder):
        file = folder / "prior_1" / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | said))

    refused(place, tmp_path, edit, match)


def test_matrices_of_rank_zero_are_refused(place, tmp_path):
    def empty(folder):
        file, weights = folder / "prior_1" / "adapter_config.json", folder / "prior_1" / LORA_WEIGHTS
        file.write_text(json.dumps(json.loads(file.read_text()) | {"r": 0}))
        cut = {name: (one[:0] if "lora_A" in name else one[:, :0]).clone() for name, one in load_file(weights).items()}
        save_file(cut, weights)

    refused(place, tmp_path, empty, "has rank 0 and 0, but adapter_config.json says r=0")


def test_a_folder_without_its_matrices_is_refused(place, tmp_path):
    refused(place, tmp_path, lambda folder: (folder / "prior_1" / LORA_WEIGHTS).unlink(),
            "lacks prior_1/adapter_model.safetensors; get the rest of it")  # fmt: skip


def test_an_adapter_of_another_base_is_refused(place, tmp_path):
    whole = tmp_path / "other"
    shutil.copytree(place / "whole", whole)
    file = whole / "prior_1" / "model.safetensors"
    matrix = "transformer.layers.0.mlp.up.weight"
    change_tensors(file, lambda tensors, _: {**tensors, matrix: tensors[matrix] * 1.01})
    model = JukeboxModel.from_pretrained(whole)
    for name in ("lora-adapter", "style.safetensors"):
        with pytest.raises(ValueError, match=r"was learnt on another model than .* whose weights of prior_1 differ"):
            model.load_adapter(str(place / name))
    with pytest.raises(ValueError, match="was learnt on another model"):
        import_adapter(str(place / "style.safetensors"), tmp_path / "mine", str(whole))
    assert not (tmp_path / "mine").exists()


def test_a_name_that_exists_already_is_refused(place, tmp_path):
    import_adapter(str(place / "style.safetensors"), tmp_path / "mine", str(place / "whole"))
    with pytest.raises(ValueError, match="'Eve Lark', which this model knows already; if it is the same, sing"):
        import_adapter(str(place / "style.safetensors"), tmp_path / "twice", str(tmp_path / "mine"))
    with pytest.raises(ValueError, match="exists already"):
        export_style(str(tmp_path / "mine"), NEW, place / "style.safetensors")
    with pytest.raises(ValueError, match="does not know the artist 'Nobody'; see its names with jukebox-hf labels li"):
        export_style(str(tmp_path / "mine"), "Nobody", tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match=r"'Eve Lar' \(did you mean 'eve lark'\?\); see .* labels list .*mine$"):
        export_style(str(tmp_path / "mine"), "Eve Lar", tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match=r"the artist 'unknown' of .* sounds like an unknown one"):
        export_style(str(place / "whole"), "unknown", tmp_path / "no.safetensors")


def test_a_style_replaces_a_style_and_nothing_else(place, tmp_path):
    import_adapter(str(place / "style.safetensors"), tmp_path / "mine", str(place / "whole"))
    import_adapter(str(place / "style.safetensors"), tmp_path / "mine", str(place / "whole"), force=True)
    weights = tmp_path / "mine" / "prior_1" / "model.safetensors"
    before = weights.read_bytes()
    with pytest.raises(ValueError, match=r"is no style that jukebox-hf wrote .*; --force does not replace it"):
        export_style(str(tmp_path / "mine"), NEW, weights, force=True)
    assert weights.read_bytes() == before
    shutil.copy(place / "style.safetensors", tmp_path / "older.safetensors")
    export_style(str(tmp_path / "mine"), NEW, tmp_path / "older.safetensors", force=True)


def test_a_style_takes_a_name_that_can_be_sung(place, tmp_path):
    style = read_style(place / "style.safetensors")
    assert renamed(style, "  Eve\N{NO-BREAK SPACE}Too ").new == {"artist": ("Eve Too",)}
    for name in ("2=x", "Eve\N{ZERO WIDTH SPACE} Too", " "):
        with pytest.raises(ValueError, match=r"^--artist "):
            import_adapter(str(place / "style.safetensors"), tmp_path / "no", str(place / "whole"), artist=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weight", ["much", float("nan"), float("inf"), 11, True, [1, 2]])
def test_weights_that_are_no_numbers_are_refused(place, opened, weight):
    opened.load_adapter(str(place / "style.safetensors"), "style")
    with pytest.raises(ValueError, match=r"must be a finite number|for 1 adapters"):
        opened.set_adapters("style", weight)
    assert opened.adapters == {"style": 1.0}
    with pytest.raises(ValueError, match="which is not loaded"):
        opened.set_adapters("another")
    with pytest.raises(ValueError, match="is loaded already"):
        opened.load_adapter(str(place / "style.safetensors"), "style")


def test_what_is_no_adapter_is_refused_by_what_it_is(place):
    with pytest.raises(ValueError, match="is a model, not an adapter; name it with --model"):
        read_adapter(str(place / "whole"))
    with pytest.raises(ValueError, match="is an adapter in another layout"):
        read_adapter(str(place / "lora" / "adapters"))
    with pytest.raises(ValueError, match="is no style of a Jukebox"):
        read_adapter(str(place / "whole" / "prior_1" / "model.safetensors"))
    with pytest.raises(FileNotFoundError, match="is no folder here"):
        read_adapter(str(place / "nowhere" / "at" / "all"))


MISSING = {
    "band.safetensors": r"^band\.safetensors is not there: neither a file nor a folder; check the path",
    "band-lora": r"^band-lora is not there: neither a file nor a folder; check the path",
    "me/band-lora": r"^me/band-lora is no folder here, and no adapter of that name could be found on the Hub; check",
}


@pytest.mark.parametrize("name", MISSING)
def test_an_adapter_that_is_not_there_is_said_to_be_missing(name, opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for door in (opened.load_adapter, opened.take_adapter, read_adapter):
        with pytest.raises(FileNotFoundError, match=MISSING[name]):
            door(name)


def test_a_folder_without_an_adapter_is_told_which_kinds_there_are(opened, tmp_path):
    kinds = r"jukebox_adapter\.json, style\.safetensors, or adapter_config\.json and adapter_model\.safetensors of peft"
    with pytest.raises(ValueError, match=rf"holds no adapter \({kinds}\); give the folder or the file of one"):
        opened.load_adapter(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds no adapter_model\.safetensors; save the adapter again with peft"):
        opened.load_adapter(str(tmp_path))


def test_styles_with_numbers_that_are_not_finite_are_refused(place, tmp_path):
    style = read_style(place / "style.safetensors")
    rows = {NEW: style.vectors[1]["artist"][NEW] * float("inf")}
    bad = Style({1: {"artist": rows}}, style.base, style.new)
    (tmp_path / "bad.safetensors").write_bytes(bad.to_bytes())
    with pytest.raises(ValueError, match=r"not finite for prior_1\.artist 'Eve Lark'"):
        read_style(tmp_path / "bad.safetensors")


def test_styles_whose_numbers_overflow_are_refused(place, tmp_path):
    style = read_style(place / "style.safetensors")
    rows = {NEW: torch.full_like(style.vectors[1]["artist"][NEW], 1e30)}
    (tmp_path / "bad.safetensors").write_bytes(Style({1: {"artist": rows}}, style.base, style.new).to_bytes())
    with pytest.raises(ValueError, match=r"holds numbers up to 1e\+30 as prior_1\.artist, beyond 65504"):
        read_style(tmp_path / "bad.safetensors")


def test_a_style_of_nobody_is_refused(place, opened, tmp_path):
    style = read_style(place / "style.safetensors")
    rows = {"Ann Ash": style.vectors[1]["artist"][NEW], "Nobody": style.vectors[1]["artist"][NEW]}
    (tmp_path / "nobody.safetensors").write_bytes(Style({1: {"artist": rows}}, style.base, {}).to_bytes())
    with pytest.raises(ValueError, match="a vector for the artist 'Nobody', whom it does not bring and this model"):
        opened.load_adapter(str(tmp_path / "nobody.safetensors"), "nobody")
    assert opened.adapters == {}


def test_styles_of_a_level_that_is_not_there_or_of_a_blank_name_are_refused(place, opened, tmp_path):
    style = read_style(place / "style.safetensors")
    (tmp_path / "level.safetensors").write_bytes(Style({9: style.vectors[1]}, style.base, style.new).to_bytes())
    with pytest.raises(ValueError, match=r"(brings names to|adapts) level 9, which this model has not"):
        AdapterSet(opened._own_lists()).plus("a", read_adapter(str(tmp_path / "level.safetensors")))
    blank = {1: {"artist": {" ": style.vectors[1]["artist"][NEW]}}}
    (tmp_path / "blank.safetensors").write_bytes(Style(blank, style.base, {"artist": (" ",)}).to_bytes())
    with pytest.raises(ValueError, match=r"lists ' ' as prior_1\.artist, which is no name"):
        read_style(tmp_path / "blank.safetensors")


@pytest.mark.parametrize("names", [None, 3, [3], ["band", "band"], {"band": 1.0}])
def test_names_of_adapters_that_are_none_or_said_twice_are_refused(place, names):
    model = JukeboxModel.from_pretrained(place / "whole", keep_loaded=True)
    for called in ("", " ", 3):
        with pytest.raises(ValueError, match="must be a name, such as 'band'"):
            model.load_adapter(str(place / "style.safetensors"), called)
    model.load_adapter(str(place / "style.safetensors"), "band")
    for change in (model.set_adapters, model.delete_adapter):
        with pytest.raises(ValueError, match=r"must be a name or a list of names|names one adapter twice"):
            change(names)
    assert model.adapters == {"band": 1.0}
