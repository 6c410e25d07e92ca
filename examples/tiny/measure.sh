#!/usr/bin/env bash
# Measure the tiny model inside the package: make the songs it was trained on and songs it never heard from their seeds,
# and print the table. In a folder where it was trained, what is there is used.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
model=src/jukebox_hf/tiny
codec=$run/vqvae
[ -d $codec ] || codec=$model # of a fresh clone

corpus songs 4 0
corpus many-songs 12 2
corpus more-songs 12 3
corpus last-songs 12 4
corpus test-songs 0.45 2000
encode many-songs top-codes $codec 2
encode more-songs more-codes $codec "1 2"
encode last-songs last-codes $codec 2
encode songs codes $codec "0 1 2"
$python -m examples.tiny.evaluate --run $run --model $model
