#!/usr/bin/env bash
# Train the tiny model from nothing, one step after the other; run it again to go on where it stopped.
# What is finished is left alone: to train a part for longer, see docs/how-to/train-the-tiny-model.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python=${PYTHON:-.venv/bin/python}
run=runs/tiny
mkdir -p $run

say() { echo "$(date -u +%FT%TZ) $*" | tee -a $run/train.log; }

corpus() { # folder, hours, seed
  [ -f "$run/$1/metadata.csv" ] && return
  say "songs: $1"
  $python -m jukebox_hf synth-corpus "$run/$1" --hours "$2" --seed "$3" --format wav >>$run/corpus.log 2>&1
}

train() { # part, command
  [ -f "$run/$1/model.safetensors" ] && return
  say "training: $1"
  $python -m "jukebox_hf.training.$2" "examples/tiny/$1.yaml" --resume_from_checkpoint auto >>"$run/$1.log" 2>&1
}

encode() { # songs, codes, VQ-VAE, levels
  [ -f "$run/$2/codes.json" ] && return
  say "encoding: $2"
  $python -m jukebox_hf.training.encode_dataset "$run/$1" "$run/$2" --model "$run/$3" --levels ${4} >>$run/encode.log 2>&1
}

corpus songs 4 0
corpus many-songs 12 2
corpus more-songs 12 3
corpus unseen 0.4 1000
for part in vqvae_start vqvae_top vqvae_top_fine vqvae_lower; do
  train $part train_vqvae
done
if [ ! -d $run/vqvae ]; then
  say "joining the levels of the VQ-VAE"
  $python -m examples.tiny.join_levels $run/vqvae $run/vqvae_lower $run/vqvae_top_fine
fi
encode many-songs top-codes vqvae 2
encode more-songs more-codes vqvae "1 2"
encode songs codes vqvae "0 1 2"
encode unseen unseen-codes vqvae "0 1 2"
for part in prior_top_start prior_1_start prior_0_start prior_top prior_1 prior_0; do
  train $part train_prior
done
if [ ! -d $run/model ]; then
  say "assembling"
  $python -m jukebox_hf.training.assemble $run/model --vqvae $run/vqvae \
    --priors $run/prior_0 $run/prior_1 $run/prior_top >>$run/assemble.log 2>&1
fi
say "done: $run/model"
