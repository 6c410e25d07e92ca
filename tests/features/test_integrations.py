"""scikit-learn and MARBLE take our features as they take others."""

import warnings

import numpy as np
import pytest
import soundfile
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from jukebox_hf import JukeboxFeatures, JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.features.marble_encoder import JukeboxEncoder
from jukebox_hf.features.sklearn_features import JukeboxFeatureTransformer
from jukebox_hf.model.inputs.audio_input import resample

RATE = 1000
_NOT_OF_SOUND = {
    "check_estimators_dtypes": "int64 samples have no full scale, so they are refused",
    "check_estimator_sparse_tag": "fit does not look at recordings, sparse or not",
    "check_transformer_general": "a recording to transform may be longer than those of fit",
    "check_fit_idempotent": "hands over samples beyond full scale, which are refused",
}


class _OfRows(JukeboxFeatureTransformer):
    """Tells scikit-learn's checks that it takes matrices, so that they run: of codes of 2 samples a row is a sound."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What all of scikit-learn's checks say, by outcome and name."""
    sizes = {"level_strides": ((2,),), "codebook_dim": 4, "hidden_sizes": (4,), "residual_depths": (1,)}
    folder = tmp_path_factory.mktemp("vqvae")
    JukeboxVQVAE(JukeboxVQVAEConfig(sampling_rate=RATE, codebook_size=8, **sizes)).save_pretrained(folder)
    step, found = _OfRows(str(folder), kind="latents"), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = estimator_checks.check_estimator(step, on_skip=None, on_fail=None)
    for one in said:
        found.setdefault(one["status"], {})[one["check_name"]] = one["exception"]
    return found


def test_scikit_learns_own_checks_pass_where_they_apply(outcomes):
    failed = {name: str(error) for name, error in outcomes["failed"].items() if name not in _NOT_OF_SOUND}
    assert not failed
    assert len(outcomes["passed"]) >= 25
    assert {"check_transformers_unfitted", "check_estimators_pickle", "check_dict_unchanged"} <= set(outcomes["passed"])


def test_what_does_not_apply_fails_for_the_reason_that_is_said(outcomes):
    assert "says nothing of its scale" in str(outcomes["failed"]["check_estimators_dtypes"])
    assert "number of features in transform is different" in str(outcomes["failed"]["check_transformer_general"])
    assert "full scale is 1" in str(outcomes["failed"]["check_fit_idempotent"])


def test_rows_are_features_and_have_names(model, sound, tmp_path):
    clips = [sound(0.5, number) for number in range(6)]
    for number, clip in enumerate(clips):
        soundfile.write(tmp_path / f"{number}.wav", clip, RATE, subtype="FLOAT")
    paths = [tmp_path / f"{number}.wav" for number in range(6)]
    step = JukeboxFeatureTransformer(model, layers=(1, 3))
    for unfitted in (lambda: step.transform(paths), step.get_feature_names_out):
        with pytest.raises(NotFittedError, match=r"not fitted; call fit\(\) first"):
            unfitted()
    rows = step.fit_transform(paths)
    assert rows.shape == (6, 32)
    wanted = JukeboxFeatures(model, layers=(1, 3))(clips).features.numpy()
    assert np.array_equal(rows, wanted.reshape(6, 32))
    names = step.get_feature_names_out()
    assert (names[0], names[16], names[31]) == ("layer1_0000", "layer3_0000", "layer3_0015")
    assert step.transform([]).shape == (0, 32)
    made = make_pipeline(clone(step), StandardScaler(), LogisticRegression())
    assert made.fit(paths, [0, 1] * 3).predict(paths).shape == (6,)


def test_a_preset_with_time_is_no_row(model):
    with pytest.raises(ValueError, match="preset='sheetsage' gives several vectors per recording"):
        JukeboxFeatureTransformer(model, preset="sheetsage").fit()


class _BaseEncoder(torch.nn.Module):
    """What MARBLE asks of an encoder, as its configurations say: a list of (B, L, T, H)."""

    def selected(self, encoder, waveforms, layer):
        states = encoder(waveforms)
        assert isinstance(states, list)
        stacked = torch.stack(states, dim=1) if states[0].dim() == 3 else states[0]
        return stacked[:, layer].mean(dim=1)


def test_marble_gets_layers_and_time_at_its_own_rate(repository, sound):
    encoder = JukeboxEncoder(str(repository), layers=[1, 2, 3], sampling_rate=1500).eval()
    assert (encoder.NUM_FEATURES, encoder.N_TRANSFORMER_LAYERS, encoder.TOKEN_RATE) == (16, 3, 125)
    waveforms = torch.from_numpy(np.stack([sound(1.0, 1), sound(1.0, 2)]))
    (states,) = encoder(waveforms)
    assert states.shape == (2, 3, 83, 16)
    alone = encoder.features.track(resample(waveforms[1].numpy(), 1500, RATE)).values
    assert np.array_equal(states[1].numpy(), alone)
    assert _BaseEncoder().selected(encoder, waveforms[:, None], 1).shape == (2, 16)
    (cut,) = encoder(waveforms, input_lengths=torch.tensor([1000, 500]))
    assert not cut[1, :, 45:].any()
    with pytest.raises(ValueError, match=r"x has shape \(2, 2, 1000\), but must be"):
        encoder(torch.zeros(2, 2, 1000))
    with pytest.raises(ValueError, match="pool='mean' leaves no time"):
        JukeboxEncoder(str(repository), pool="mean")
