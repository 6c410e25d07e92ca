#!/usr/bin/env bash
# Train the top prior of v2 on a CPU, behind the codec in weights/, on evenly paced songs of which half are a cappella:
#   examples/tiny/v2/train_top_prior.sh
# It wants a voice bank in runs/v2/songs. Run it again to go on where it stopped; what is finished is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python=${PYTHON:-.venv/bin/python}
run=runs/v2

[ -f $run/given/vqvae/model.safetensors ] || "$python" -m examples.tiny.v2.pieces examples/tiny/v2/weights $run/given
if [ ! -f $run/more/metadata.csv ]; then
  "$python" -m jukebox_hf synth-corpus $run/more --voices recorded --hours 6 --seed 101 --uneven 0 \
    --instrumentals 0.04 --a-cappella 0.5 --voice-bank $run/songs/voice-bank.zip
fi
if [ ! -f $run/codes/codes.json ]; then
  "$python" -m jukebox_hf encode-dataset $run/more $run/codes --model $run/given/vqvae --levels 2
fi
"$python" -m jukebox_hf train-prior examples/tiny/v2/prior_top.yaml --use_cpu true --bf16 "${BF16:-false}" --torch_compile "${COMPILE:-false}" \
  --per_device_train_batch_size 6 --max_steps "${STEPS:-1200}" --resume_from_checkpoint auto
