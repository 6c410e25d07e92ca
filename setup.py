"""jukebox_hf: OpenAI's Jukebox for the Hugging Face world."""

import runpy
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

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
FEATURES = ["scikit-learn>=1.6", "pyarrow"]
STUDIO = ["gradio[mcp]>=6.25,<7"]
# Beside the programs flite and fluidsynth (decision 078). pyworld has no wheels, so it is compiled, and it imports
# pkg_resources, which setuptools had until 81.
VOICE = ["pyworld>=0.3.5", "setuptools<81"]
ASR = ["jiwer>=4,<5"]
QUANT = ["torchao>=0.18,<0.19"]
SERVE = ["starlette>=0.50,<2", "uvicorn>=0.40"]
# GPU kernels are tested in Triton's interpreter; that of 3.6 does not know numpy 2.4.
TRITON = 'triton>=3.7,<3.10; platform_system == "Linux" and platform_machine == "x86_64"'
TEST = [*QUANT, *FEATURES, *SERVE, *STUDIO, *ASR, TRITON]
TEST += ["openai>=3,<4", "pytest>=8", "pytest-xdist>=3", "hypothesis>=6"]
DEV = ["ruff>=0.14", "import-linter>=2.5", "build>=1.2", "twine>=6", "packaging", "setuptools>=77"]
# What the docs site is built from (decision 066): the theme is in maintenance, and mkdocs 2 is another program.
DOCS = ["mkdocs>=1.6.1,<2", "mkdocs-material>=9.8,<10", "mkdocstrings-python>=2.0.11,<3", "pyyaml"]

SAMPLING = Path("src/jukebox_hf/model/sampling")  # as seen from here, where setuptools runs this
SOURCE = runpy.run_path(str(SAMPLING / "cpp_source.py"))
SOURCE_DIGEST = SOURCE["source_digest"](SOURCE["source_files"]())


class BuildSteps(build_ext):
    """Compiles native steps once for each set of instructions, and puts all of them into one library.

    To setuptools it is an extension, so pip builds it and puts it where it belongs; it cannot be imported, and has
    another name than what can.

    A set that the compiler does not know is left out; so is the whole extension, with a warning, where nothing can be
    compiled (decision 062).
    """

    def get_ext_filename(self, name: str) -> str:
        return str(Path(*name.split(".")[:-1], SOURCE["LIBRARY"]))

    def build_extension(self, extension: Extension) -> None:
        sets = SOURCE["sets_for"](self.plat_name.rpartition("-")[2])  # such as linux-x86_64
        for name, flags in sets.items():
            extension.extra_objects += self._objects(extension, name, flags)
        super().build_extension(extension)

    def _objects(self, extension: Extension, name: str, flags: tuple[str, ...]) -> list[str]:
        folder, more = str(Path(self.build_temp) / name), [*SOURCE["FLAGS"], *flags]
        try:
            return self.compiler.compile(extension.sources, folder, macros=[("SET", name)], extra_postargs=more)
        except CompileError as error:
            if not extension.extra_objects:
                raise  # then nothing can be compiled
            self.warn(f"native steps will have no {name} instructions: {error}")
            return []


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
    package_data={"jukebox_hf": ["py.typed", "*.pyi", "model/sampling/*.[ch]", "tiny/*", "tiny/*/*"]},
    ext_modules=[
        Extension(
            "jukebox_hf.model.sampling.cpp_step",
            [str(SAMPLING / SOURCE["MAIN"])],
            define_macros=[("SOURCE_DIGEST", str(SOURCE_DIGEST))],
            extra_compile_args=list(SOURCE["FLAGS"]),
            extra_link_args=["-pthread", "-lm"],
            depends=[str(SAMPLING / name) for name in SOURCE["source_files"]()],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildSteps},
    install_requires=CORE,
    entry_points={"console_scripts": ["jukebox-hf = jukebox_hf.app.cli:main"]},
    extras_require={
        "train": TRAIN,
        "features": FEATURES,
        "studio": STUDIO,
        "serve": SERVE,
        "voice": VOICE,
        "asr": ASR,
        "quant": QUANT,
        "test": TEST,
        "dev": DEV,
        "docs": DOCS,
    },
)
