from .features.music_features import JukeboxFeatures as JukeboxFeatures
from .model.alignment.alignment_times import TimedLyrics as TimedLyrics
from .model.checkpoints.quantization import int8_config as int8_config
from .model.checkpoints.tiny_model import tiny_repository as tiny_repository
from .model.configuration.attention_patterns import ATTENTION_ORDERS as ATTENTION_ORDERS
from .model.configuration.configuration_jukebox import JukeboxConfig as JukeboxConfig
from .model.configuration.configuration_jukebox import JukeboxPriorConfig as JukeboxPriorConfig
from .model.configuration.configuration_jukebox import JukeboxVQVAEConfig as JukeboxVQVAEConfig
from .model.configuration.presets import model_preset as model_preset
from .model.configuration.presets import prior_preset as prior_preset
from .model.configuration.presets import vqvae_preset as vqvae_preset
from .model.inputs.feature_extraction_jukebox import JukeboxFeatureExtractor as JukeboxFeatureExtractor
from .model.inputs.processing_jukebox import JukeboxProcessor as JukeboxProcessor
from .model.inputs.tokenization_jukebox import JukeboxTokenizer as JukeboxTokenizer
from .model.modeling_jukebox import JukeboxModel as JukeboxModel
from .model.networks.cache import JukeboxCache as JukeboxCache
from .model.networks.modeling_jukebox_prior import JukeboxPrior as JukeboxPrior
from .model.networks.modeling_jukebox_vqvae import JukeboxVQVAE as JukeboxVQVAE
from .model.pipeline_jukebox import JukeboxPipeline as JukeboxPipeline
from .model.sampling.gumbel_noise import DrawCounters as DrawCounters
from .model.sampling.sampling_ops import SamplingSettings as SamplingSettings
from .model.sampling.window_decoder import sample_window as sample_window
from .registration import register as register

__version__: str
