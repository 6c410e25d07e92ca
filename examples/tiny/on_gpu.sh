#!/usr/bin/env bash
# One stage of training v2 on a machine with a GPU and without a network, in one command of at most 9 minutes:
#   examples/tiny/on_gpu.sh BANK OUT [--prior prior_top] [--given FOLDER] [--minutes 9] [--hours 6]
# BANK is voice-bank.zip of a corpus of recorded voices, GIVEN a folder of pieces of earlier stages. Without --prior the
# VQ-VAE is trained, from GIVEN if it is there. OUT then holds networks in pieces under 16 MB, and report.json.
# What Python lacks there travels as wheels, and pyworld as source, in the folder WHEELS, if it is set.
set -euo pipefail
bank=$(realpath "$1") out=$(realpath -m "$2") wheels=$(realpath -m "${WHEELS:-none}")
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}
site=$(mktemp -d)
if [ -d "$wheels" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-build-isolation --target "$site" "$wheels"/*
fi
if ! "$python" -c "import jukebox_hf" 2>/dev/null; then # not installed: what setup.py puts together, as links
  mkdir "$site/jukebox_hf"
  ln -s "$PWD"/src/jukebox_hf/* "$PWD/conversion" "$site/jukebox_hf/"
fi
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
exec "$python" -m examples.tiny.v2.stage "$out" --bank "$bank" "$@"
