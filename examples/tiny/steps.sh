# What train.sh, measure.sh and v2/train_priors.sh share: steps that are done once, with a line for each and their output
# in a log. They work in $run; whoever sources this may have set it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python=${PYTHON:-.venv/bin/python}
run=${run:-runs/tiny}
mkdir -p $run

say() { echo "$(date -u +%FT%TZ) $*" | tee -a $run/train.log; }

step() { # what, log, arguments of Python
  say "$1"
  local log=$2
  shift 2
  "$python" "$@" >>"$log" 2>&1 || {
    tail -n 3 "$log" >&2
    exit 1
  }
}

corpus() { # folder, hours, seed, more options
  [ -f "$run/$1/metadata.csv" ] && return
  step "songs: $1" $run/corpus.log \
    -m jukebox_hf synth-corpus "$run/$1" --hours "$2" --seed "$3" --format wav "${@:4}"
}

encode() { # songs, codes, VQ-VAE, levels
  [ -f "$run/$2/codes.json" ] && return
  step "encoding: $2" $run/encode.log \
    -m jukebox_hf encode-dataset "$run/$1" "$run/$2" --model "$3" --levels ${4}
}

assemble() { # VQ-VAE, priors, finest level first
  local prior
  for prior in "${@:2}"; do # a model of older priors makes way
    if [ "$prior/model.safetensors" -nt $run/model ]; then rm -rf $run/model; fi
  done
  [ -d $run/model ] && return
  step "assembling" $run/model.log -m jukebox_hf assemble $run/model --vqvae "$1" --priors "${@:2}"
}

find_head() { # songs
  step "the head that follows the lyrics" $run/model.log -m jukebox_hf find-alignment-head $run/model "$run/$1"
}
