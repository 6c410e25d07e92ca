#!/usr/bin/env bash
# Train the priors of v2 on a CPU, behind the codec in weights/, and put the whole model together:
#   examples/tiny/v2/train_priors.sh
# It wants a voice bank in runs/v2/songs. Run it again to go on where it stopped; what is finished is left alone.
# BF16=true COMPILE=true make a step quicker where the processor multiplies bfloat16.
run=runs/v2
source "$(dirname "${BASH_SOURCE[0]}")/../steps.sh"
codec=$run/given/vqvae
voices="--voices recorded --voice-bank $run/songs/voice-bank.zip --uneven 0 --instrumentals 0.04"

train() { # prior, codes, windows of a step, steps
  [ -f "$run/$1/model.safetensors" ] && return
  step "training: $1" "$run/$1.log" -m jukebox_hf train-prior "examples/tiny/v2/$1.yaml" --train_codes "$run/$2" \
    --use_cpu true --bf16 "${BF16:-false}" --torch_compile "${COMPILE:-false}" \
    --per_device_train_batch_size "$3" --max_steps "$4" --save_steps 100 --resume_from_checkpoint auto
}

if [ ! -f $codec/model.safetensors ]; then
  step "the codec" $run/given.log -m examples.tiny.v2.pieces examples/tiny/v2/weights $run/given
fi
corpus more 6 101 $voices --a-cappella 0.5
encode more codes $codec 2
train prior_top codes 6 "${STEPS:-3200}"
corpus part 2 103 $voices --a-cappella 0.5
encode part fine-codes $codec "0 1 2"
train prior_1 fine-codes 16 1200
train prior_0 fine-codes 16 800
corpus fresh 8 201 $voices --a-cappella 0.5
encode fresh fresh-codes $codec 2
train prior_top_longer fresh-codes 6 960
corpus fresh-part 1 202 $voices --a-cappella 0.5
encode fresh-part fresh-fine-codes $codec "0 1"
train prior_0_longer fresh-fine-codes 16 1200
assemble $codec $run/prior_0_longer $run/prior_1 $run/prior_top_longer
corpus head-songs 0.02 1001 $voices --a-cappella 1
find_head head-songs
step "packing" $run/packed.log -m examples.tiny.package $run $run/packed
say "done: $run/packed"
