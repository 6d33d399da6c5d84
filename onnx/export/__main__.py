"""python -m export MODEL --guard NAME --dtype bf16|fp32|int4 --out DIR"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from pathlib import Path

import numpy as np

from . import architecture, chat, graph, guard, profile
from .checkpoint import Checkpoint
from .layout import TYPES, Layout
from .refused import Refused
from .weights import FILE, JOURNAL
from .words import Words

# Room for graphs, golden scores and manifest, beside weights and tokenizer.
MARGIN = 64 << 20


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m export", description="Exports a generative guard.")
    parser.add_argument("model", type=Path, help="the model's folder as Hugging Face has it")
    parser.add_argument("--guard", required=True, help="a shipped profile, or the path of a .toml of your own")
    parser.add_argument("--dtype", choices=["bf16", "fp32", "int4"], required=True, help="of the weights")
    parser.add_argument(
        "--activations",
        choices=["fp32", "bf16"],
        help="with int4: fp32 (default) for ONNX Runtime's CPU provider, bf16 for CUDA",
    )
    parser.add_argument("--block", type=int, choices=[32, 128], default=32, help="with int4: inputs that share a scale")
    parser.add_argument("--template", help="how the model is asked, where the profile knows several ways: fig23, bare")
    parser.add_argument("--out", type=Path, required=True, help="the guard's folder; must not exist yet")
    parsed = parser.parse_args(argv)
    if parsed.activations and parsed.dtype != "int4":
        parser.error("--activations is for int4: bf16 and fp32 are the type of both")
    return parsed


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    try:
        export(options)
    except Refused as refused:
        sys.exit(f"export: {refused}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(f"export: {error}")
        sys.exit(f"export: the disk is full: make room and run this again, what {_partial(options.out)} holds is kept")


def export(options: argparse.Namespace) -> None:
    if options.out.exists():
        raise Refused(f"{options.out} is there already: remove it or choose another --out")
    wanted = profile.load(options.guard)
    checkpoint = Checkpoint(options.model)
    decoder = architecture.read(checkpoint, wanted.architectures)
    words = Words(options.model / "tokenizer.json")
    tasks = read_tasks(options.model, options.template, wanted, words)
    print(wanted.notice.strip())

    activations = TYPES[options.activations or ("bf16" if options.dtype == "bf16" else "fp32")]
    labels = [words.label(label) for label in wanted.labels]
    layout = Layout(checkpoint, decoder, options.dtype, activations, labels, wanted.tokens["max"], options.block)
    graphs = {"prefill.onnx": graph.prefill(layout), "incremental.onnx": graph.incremental(layout)}

    partial = _partial(options.out)
    _room(partial, layout.weights.size + (options.model / "tokenizer.json").stat().st_size + MARGIN)
    partial.mkdir(parents=True, exist_ok=True)
    # The decoder too: another version of the exporter may read the same configuration otherwise.
    identity = [checkpoint.identity(), repr(decoder), options.dtype, options.block, labels]
    digests = {FILE: layout.weights.write(partial, identity, lambda done: _progress(done, layout.weights.size))}
    for name, model in graphs.items():
        (partial / name).write_bytes(model.SerializeToString())
    words.save(partial / "tokenizer.json")
    _golden(partial / "golden.jsonl", wanted, layout, tasks, words)
    digests |= {name: guard.digest(partial / name) for name in guard.FILES.values() if name not in digests}
    (partial / "guard.toml").write_text(guard.manifest(wanted, layout, tasks, digests))
    (partial / JOURNAL).unlink()
    partial.rename(options.out)
    print(f"{options.out} is ready: seawall guard verify --guard {options.out}")


def read_tasks(model: Path, template: str | None, wanted: profile.Profile, words: Words) -> dict[str, guard.Task]:
    """What the guard judges, and how the model is asked."""
    template = template or wanted.template
    if template not in wanted.templates:
        raise Refused(f"{wanted.name} has no template {template}, only {', '.join(wanted.templates)}")
    words.require(wanted.controls)
    published = chat.Chat.load(model)
    sequences = {}
    for name, asked in wanted.templates[template].items():
        sequences[name], remark = chat.sequence(wanted, asked, published, words, template)
        print(f"{name}: {remark}")
    words.protect([*(made.text for made in sequences.values()), wanted.prefix])
    if words.protected:
        print(f"{len(words.protected)} added tokens are made special in the guard's tokenizer: text never makes them")
    return {name: _task(wanted, wanted.templates[template][name], made, words) for name, made in sequences.items()}


def _task(wanted: profile.Profile, asked: profile.Asked, made: chat.Sequence, words: Words) -> guard.Task:
    pieces = words.pieces(made.text, made.trims)
    words.check(pieces)
    # The model says the prefix in tokens of its own, which do not merge with what stands before.
    prefix = "" if made.text.endswith(wanted.prefix) else wanted.prefix
    return guard.Task(asked, pieces + ([{"ids": words.fill(words.pieces(prefix), {})}] if prefix else []))


def _golden(path: Path, wanted: profile.Profile, layout: Layout, tasks: dict[str, guard.Task], words: Words) -> None:
    cases = guard.golden(tasks, words)
    print(f"golden scores of {len(cases)} texts, by the reference in numpy")
    found = guard.scores(wanted, layout, cases)
    if layout.dtype == "int4":
        gap = np.abs(found - guard.scores(wanted, layout, cases, stored=False))
        print(f"int4 moves their scores by {gap.mean():.4f} on average and {gap.max():.4f} at most")
    scored = [
        case.line | {"ids": case.sequences[0], "score": round(float(score), 6)}
        for case, score in zip(cases, found, strict=True)
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in scored))


def _partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def _room(partial: Path, needed: int) -> None:
    """Refuses to begin what the disk cannot hold; what an earlier run has written counts."""
    written = partial / FILE
    needed -= written.stat().st_size if written.exists() else 0
    place = next(folder for folder in partial.absolute().parents if folder.exists())
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise Refused(f"{place} has {free / 1e9:.1f} GB free, the guard needs {needed / 1e9:.1f} GB more")


def _progress(done: int, size: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{FILE}: {done / 1e9:.2f} of {size / 1e9:.2f} GB", end="\n" if done == size else "", file=sys.stderr)


if __name__ == "__main__":
    main()
