from .model.alignment_times import TimedLyrics as TimedLyrics
from .model.attention_orders import ATTENTION_ORDERS as ATTENTION_ORDERS
from .model.cache import JukeboxCache as JukeboxCache
from .model.configuration_jukebox import JukeboxConfig as JukeboxConfig
from .model.configuration_jukebox import JukeboxPriorConfig as JukeboxPriorConfig
from .model.configuration_jukebox import JukeboxVQVAEConfig as JukeboxVQVAEConfig
from .model.embedded import tiny_repository as tiny_repository
from .model.feature_extraction_jukebox import JukeboxFeatureExtractor as JukeboxFeatureExtractor
from .model.generation import sample_window as sample_window
from .model.modeling_jukebox import JukeboxModel as JukeboxModel
from .model.modeling_jukebox_prior import JukeboxPrior as JukeboxPrior
from .model.modeling_jukebox_vqvae import JukeboxVQVAE as JukeboxVQVAE
from .model.pipeline_jukebox import JukeboxPipeline as JukeboxPipeline
from .model.presets import model_preset as model_preset
from .model.presets import prior_preset as prior_preset
from .model.presets import vqvae_preset as vqvae_preset
from .model.processing_jukebox import JukeboxProcessor as JukeboxProcessor
from .model.quantization import int8_config as int8_config
from .model.sampling_ops import SamplingSettings as SamplingSettings
from .model.tokenization_jukebox import JukeboxTokenizer as JukeboxTokenizer
from .registration import register as register

__version__: str
