"""scikit-learn and MARBLE take our features as they take others."""

import numpy as np
import pytest
import soundfile
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from jukebox_hf import JukeboxFeatures
from jukebox_hf.features.marble_encoder import JukeboxEncoder
from jukebox_hf.features.sklearn_features import JukeboxFeatureTransformer
from jukebox_hf.model.inputs.audio_input import resample

RATE = 1000
_CHECKS = (  # of scikit-learn's own, those that hand over no matrix of numbers
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_mixin_order",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
)


@pytest.mark.parametrize("check", _CHECKS)
def test_scikit_learns_own_checks_pass(check):
    getattr(estimator_checks, check)("JukeboxFeatureTransformer", JukeboxFeatureTransformer())


def test_rows_are_features_and_have_names(model, sound, tmp_path):
    clips = [sound(0.5, number) for number in range(6)]
    for number, clip in enumerate(clips):
        soundfile.write(tmp_path / f"{number}.wav", clip, RATE, subtype="FLOAT")
    paths = [tmp_path / f"{number}.wav" for number in range(6)]
    step = JukeboxFeatureTransformer(model, layers=(1, 3))
    with pytest.raises(ValueError, match=r"not fitted; call fit\(\) first"):
        step.transform(paths)
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
