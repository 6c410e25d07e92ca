#!/usr/bin/env bash
# Train the tiny model from nothing, one step after the other; run it again to go on where it stopped.
# What is finished is left alone: to train a part for longer, see docs/how-to/train-the-tiny-model.md.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

train() { # part, command
  [ -f "$run/$1/model.safetensors" ] && return
  step "training: $1" "$run/$1.log" \
    -m jukebox_hf "$2" "examples/tiny/$1.yaml" --resume_from_checkpoint auto
}

corpus songs 4 0
corpus many-songs 12 2
corpus more-songs 12 3
corpus last-songs 12 4
corpus unseen 0.4 1000
corpus head-songs 0.02 1001
for part in vqvae_start vqvae_top vqvae_top_fine vqvae_lower; do
  train $part train-vqvae
done
if [ ! -d $run/vqvae ]; then
  step "joining the levels of the VQ-VAE" $run/vqvae.log \
    -m examples.tiny.join_levels $run/vqvae $run/vqvae_lower $run/vqvae_lower $run/vqvae_top_fine
fi
encode many-songs top-codes $run/vqvae 2
encode more-songs more-codes $run/vqvae "1 2"
encode last-songs last-codes $run/vqvae 2
encode songs codes $run/vqvae "0 1 2"
encode unseen unseen-codes $run/vqvae "0 1 2"
for part in prior_top_start prior_1_start prior_0_start prior_top_next prior_0_next prior_top prior_1 prior_0; do
  train $part train-prior
done
assemble $run/vqvae $run/prior_0 $run/prior_1 $run/prior_top
find_head head-songs
say "done: $run/model"
