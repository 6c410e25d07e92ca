#!/usr/bin/env bash
# Train the priors of v2 on a CPU, behind the codec in weights/, and put the whole model together:
#   examples/tiny/v2/train_priors.sh
# It wants a voice bank in runs/v2/songs. Run it again to go on where it stopped; what is finished is left alone.
# BF16=true COMPILE=true make a step four times as quick where the processor multiplies bfloat16.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python=${PYTHON:-.venv/bin/python}
run=runs/v2

corpus() { # folder, hours, seed, share a cappella: evenly paced songs
  [ -f "$run/$1/metadata.csv" ] || "$python" -m jukebox_hf synth-corpus "$run/$1" --voices recorded --hours "$2" \
    --seed "$3" --uneven 0 --instrumentals 0.04 --a-cappella "$4" --voice-bank $run/songs/voice-bank.zip
}

encode() { # songs, codes, levels
  [ -f "$run/$2/codes.json" ] || "$python" -m jukebox_hf encode-dataset "$run/$1" "$run/$2" --model $run/given/vqvae \
    --levels $3
}

train() { # prior, codes, windows of a step, steps
  [ -f "$run/$1/model.safetensors" ] || "$python" -m jukebox_hf train-prior "examples/tiny/v2/$1.yaml" \
    --train_codes "$run/$2" --use_cpu true --bf16 "${BF16:-false}" --torch_compile "${COMPILE:-false}" \
    --per_device_train_batch_size "$3" --max_steps "$4" --save_steps 100 --resume_from_checkpoint auto
}

[ -f $run/given/vqvae/model.safetensors ] || "$python" -m examples.tiny.v2.pieces examples/tiny/v2/weights $run/given
corpus more 6 101 0.5
encode more codes 2
train prior_top codes 6 "${STEPS:-3200}"
corpus part 2 103 0.5
encode part fine-codes "0 1 2"
train prior_1 fine-codes 16 1200
train prior_0 fine-codes 16 800
[ -d $run/model ] || "$python" -m jukebox_hf assemble $run/model --vqvae $run/given/vqvae \
  --priors $run/prior_0 $run/prior_1 $run/prior_top
corpus head-songs 0.02 1001 1
"$python" -m jukebox_hf find-alignment-head $run/model $run/head-songs
"$python" -m examples.tiny.package $run $run/packed
