#!/usr/bin/env bash
# Train the VQ-VAE of corpus 2 on a CPU, from the weights of v1, each level by itself, and join the levels:
#   examples/tiny/v2/train_vqvae.sh
# It wants a corpus in runs/v2/songs. Run it again to go on where it stopped; what is finished is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python=${PYTHON:-.venv/bin/python}
run=runs/v2

train() { # recipe, level, steps, weights of its losses, what it begins from, where it goes
  [ -f "$6/model.safetensors" ] && return
  "$python" -m jukebox_hf train-vqvae "examples/tiny/v2/$1.yaml" --train_levels "$2" --max_steps "$3" \
    --config_overrides "$4" --model_name_or_path "$5" --output_dir "$6" --resume_from_checkpoint auto
}

level() { # level, steps and weights of the start, steps and weights of the end
  train vqvae_start "$1" "$2" "$3" $run/first "$run/vqvae_start_$1"
  train vqvae_end "$1" "$4" "$5" "$run/vqvae_start_$1" "$run/vqvae_$1"
}

if [ ! -d $run/first ]; then
  "$python" -m examples.tiny.v2.first_weights $run/first examples/tiny/v2/vqvae_small.json src/jukebox_hf/tiny/vqvae
fi
level 0 300 relative_weight=0.3,log_magnitude_weight=0.5 900 relative_weight=0.2
level 1 100 relative_weight=0.1 1800 relative_weight=0.05,multispectral_weight=0.7
level 2 300 relative_weight=0.03 2200 relative_weight=0.02,multispectral_weight=0.5
if [ ! -d $run/vqvae ]; then
  "$python" -m examples.tiny.join_levels $run/vqvae $run/vqvae_0 $run/vqvae_1 $run/vqvae_2
fi
