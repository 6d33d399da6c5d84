#!/bin/sh
# Rebuilds the guard: trains it, writes its folder, chooses its thresholds, and measures it.
# usage: run.sh --base FILE --data FOLDER --out FOLDER [--text FOLDER] [--tokenizer FILE] [--seawall PROGRAM] [--threads N]
# The guard is put in its place when it is trained, tuned and proven; until then all stands in a folder of its own.
set -eu

usage() {
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
}

here=$(dirname "$0")
base= tokenizer= data= text=$here/text out= threads=$(nproc) seawall=$here/../../target/release/seawall
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case $1 in
    --base) base=$2 ;;
    --tokenizer) tokenizer=$2 ;;
    --data) data=$2 ;;
    --text) text=$2 ;;
    --out) out=$2 ;;
    --seawall) seawall=$2 ;;
    --threads) threads=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ -n "$base" ] && [ -n "$data" ] && [ -n "$out" ] || usage
command -v "$seawall" >/dev/null || {
    echo "$seawall is not there: run make first, or name it with --seawall" >&2
    exit 2
}
tokenizer=${tokenizer:-$out/tokenizer.json}

work=$(mktemp -d)
echo "working in $work, which stays if anything fails"
cp "$tokenizer" "$work/tokenizer.json"
set -- --tokenizer "$work/tokenizer.json" --data "$data" --text "$text"
python3 "$here/train.py" --base "$base" --threads "$threads" --weights "$work/weights.npz" "$@"
python3 "$here/export.py" --out "$work/guard" --weights "$work/weights.npz" "$@"
python3 "$here/labelled.py" --out "$work" "$@"
# A language has too few safe prompts for a threshold of its own. Safe responses are mostly help on alarming subjects, of which
# more may be flagged.
"$seawall" guard calibrate "$work/calibration-prompts.jsonl" --guard "$work/guard" --target-fpr 0.015 --enough 100000
"$seawall" guard calibrate "$work/calibration-responses.jsonl" --guard "$work/guard" --target-fpr 0.05
"$seawall" guard verify --guard "$work/guard"
for part in own daily public everyday; do
    "$seawall" eval "$work/$part.jsonl" --guard "$work/guard"
done
"$seawall" eval "$work/own.jsonl" "$work/everyday.jsonl" --guard "$work/guard" --hide 10
"$seawall" eval "$here/smoke.jsonl" --guard "$work/guard"
mkdir -p "$out"
cp "$work"/guard/* "$out/"
rm -rf "$work"
