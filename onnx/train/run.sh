#!/bin/sh
# Rebuilds the guard: trains it, writes its folder, and measures what was written.
# usage: run.sh --base FILE --tokenizer FILE --data FOLDER --text FOLDER --out FOLDER [--threads N]
set -eu

here=$(dirname "$0")
base= tokenizer= data= text=$here/text out= threads=1
while [ $# -gt 0 ]; do
    case $1 in
    --base) base=$2 ;;
    --tokenizer) tokenizer=$2 ;;
    --data) data=$2 ;;
    --text) text=$2 ;;
    --out) out=$2 ;;
    --threads) threads=$2 ;;
    *)
        sed -n '2,3s/^# //p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done
: "${base:?--base is missing}" "${data:?--data is missing}" "${out:?--out is missing}"
tokenizer=${tokenizer:-$out/tokenizer.json}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$tokenizer" "$work/tokenizer.json"
set -- --tokenizer "$work/tokenizer.json" --data "$data" --text "$text" --weights "$work/weights.npz"
python3 "$here/train.py" --base "$base" --threads "$threads" "$@"
python3 "$here/export.py" --out "$out" "$@"
python3 "$here/evaluate.py" --guard "$out" --data "$data" --text "$text"
