#!/usr/bin/env bash
# Train the VQ-VAE of corpus 2 on a CPU, from the weights of v1, each level by itself, narrow, then wide; join the levels:
#   examples/tiny/v2/train_vqvae.sh
# It wants a corpus in runs/v2/songs. Run it again to go on where it stopped; what is finished is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python=${PYTHON:-.venv/bin/python}
run=runs/v2

train() { # level, letter of the run, recipe, steps, learning rate, songs, weights of its losses
  local out=$run/vqvae_$1$2 from
  case $2 in a) from=$run/first ;; w) from=$run/wide ;; x) from=$run/vqvae_$1w ;; *) from=$run/vqvae_$1$(tr b-e a-d <<<"$2") ;; esac
  [ -f "$out/model.safetensors" ] && return
  "$python" -m jukebox_hf train-vqvae "examples/tiny/v2/$3.yaml" --train_levels "$1" --max_steps "$4" \
    --learning_rate "$5" --train_songs "$run/$6" --config_overrides "$7" --model_name_or_path "$from" \
    --output_dir "$out" --resume_from_checkpoint auto
}

if [ ! -d $run/first ]; then
  "$python" -m examples.tiny.v2.first_weights $run/first examples/tiny/v2/vqvae_small.json src/jukebox_hf/tiny/vqvae
fi
[ -d $run/mixed ] || "$python" -m examples.tiny.v2.voices $run/mixed $run/songs/voice-bank.zip $run/songs
train 0 a vqvae_start 300 1e-3 songs relative_weight=0.3,log_magnitude_weight=0.5
train 0 b vqvae_end 900 1e-3 songs relative_weight=0.2
train 0 c vqvae_start 1900 4e-4 songs relative_weight=0.2
train 0 d vqvae_start 200 5e-4 mixed relative_weight=0.2
train 0 e vqvae_end 400 5e-4 mixed relative_weight=0.3,log_magnitude_weight=0.3
train 1 a vqvae_start 100 1e-3 songs relative_weight=0.1
train 1 b vqvae_end 1800 1e-3 songs relative_weight=0.05,multispectral_weight=0.7
train 1 c vqvae_end 560 6e-4 mixed relative_weight=0.05,multispectral_weight=0.7
train 2 a vqvae_start 300 1e-3 songs relative_weight=0.03
train 2 b vqvae_end 2200 1e-3 songs relative_weight=0.02,multispectral_weight=0.5
train 2 c vqvae_end 600 8e-4 mixed relative_weight=0.02,multispectral_weight=0.3
[ -d $run/narrow ] || "$python" -m examples.tiny.join_levels $run/narrow $run/vqvae_0e $run/vqvae_1c $run/vqvae_2c

# Wider networks that begin as the narrow ones, on as many voices alone as songs (decision 083).
[ -d $run/halves ] || "$python" -m examples.tiny.v2.voices $run/halves $run/songs/voice-bank.zip $run/songs 240 2
[ -d $run/wide ] || "$python" -m examples.tiny.v2.first_weights $run/wide examples/tiny/v2/vqvae.json $run/narrow
distances=multispectral_loss=magnitude,spectral_bandwidth=300 # in silence no loss is relative to what is there
train 0 w vqvae_end 2600 8e-4 halves relative_weight=0.3,log_magnitude_weight=0.3,$distances
train 0 x vqvae_end 2600 8e-4 halves relative_weight=0.05,multispectral_weight=0.5,$distances # decision 084
train 1 w vqvae_end 5000 1e-3 halves relative_weight=0.05,multispectral_weight=0.5,$distances
train 2 w vqvae_end 6000 1e-3 halves relative_weight=0.02,multispectral_weight=0.3,$distances
[ -d $run/vqvae ] || "$python" -m examples.tiny.join_levels $run/vqvae $run/vqvae_0x $run/vqvae_1w $run/vqvae_2w
