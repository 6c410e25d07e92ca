"""jukebox_hf: OpenAI's Jukebox for the Hugging Face world."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    "torch>=2.9,<2.15",
    "transformers>=5.17,<6",
    "huggingface_hub>=1.31,<3",
    "safetensors>=0.8",
    "tokenizers>=0.23.1,<0.24",
    "accelerate>=1.15,<2",
    "numpy>=2,<3",
    "soundfile>=0.13",
    "soxr>=1.0",
    "matplotlib>=3.9",
    "anyascii>=0.3",
    "tqdm",
    "typer",
]
TRAIN = ["datasets>=5.2,<6", "peft>=0.21,<1", "tensorboard"]
FEATURES = ["scikit-learn>=1.5", "pyarrow"]
QUANT = ["torchao>=0.18,<0.19"]
# GPU kernels are tested in Triton's interpreter; that of 3.6 does not know numpy 2.4.
TRITON = 'triton>=3.7,<3.10; platform_system == "Linux" and platform_machine == "x86_64"'
TEST = [*QUANT, *FEATURES, TRITON, "pytest>=8", "pytest-xdist>=3", "hypothesis>=6"]
DEV = ["ruff>=0.14", "import-linter>=2.5", "build>=1.2", "twine>=6", "packaging", "setuptools>=77"]
# What the docs site is built from (decision 068): the theme is in maintenance, and mkdocs 2 is another program.
DOCS = ["mkdocs>=1.6.1,<2", "mkdocs-material>=9.8,<10", "mkdocstrings-python>=2.0.11,<3", "pyyaml"]

setup(
    name="jukebox_hf",
    version="0.1.0",
    description="OpenAI's Jukebox, which sings raw audio from lyrics, artist and genre, for the Hugging Face world",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    # conversion/ stands at the top level of the repository and ships inside the package.
    package_dir={"": "src", "jukebox_hf.conversion": "conversion"},
    packages=[*find_packages("src"), "jukebox_hf.conversion"],
    package_data={"jukebox_hf": ["py.typed", "*.pyi", "model/*/*.c", "tiny/*", "tiny/*/*"]},
    install_requires=CORE,
    entry_points={"console_scripts": ["jukebox-hf = jukebox_hf.app.cli:main"]},
    extras_require={"train": TRAIN, "features": FEATURES, "quant": QUANT, "test": TEST, "dev": DEV, "docs": DOCS},
)
