"""Results as a Markdown section.

usage: report.py RESULTS.json FILE.md    puts results that another machine has written into a file's GPU section
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name("report.md")
WIDTH = 126
# Where the section lies in a file that holds more.
BEGIN, END = "<!-- tests/gpu: begin -->", "<!-- tests/gpu: end -->"
FIGURES = """\
prompts and tokens a second, the share of the card's matrix rate, the latency of a check, incremental checks against
whole passes, the comparison with transformers, parity in bfloat16"""
NAMES = {"bf16": "bfloat16", "int4": "int4 weights", "fp32": "float32"}


def read(path: Path, gpu: bool, machine: dict, model: dict) -> dict:
    """Results of earlier steps, if they come from the same machine and model; else none."""
    made = {"gpu": gpu, "machine": machine, "model": model, "runs": {}}
    if not path.exists():
        return made
    earlier = json.loads(path.read_text())
    undated = [{**value["machine"], "date": None} for value in (earlier, made)]
    same = undated[0] == undated[1] and earlier["model"] == model
    return made | {"runs": earlier["runs"]} if same else made


def section(results: dict) -> str:
    model = results["model"]
    head = Template(TEMPLATE.read_text()).substitute(
        machine=facts(results["machine"]),
        parameters=f"{model['parameters'] / 1e9:.2f}",
        layers=model["layers"],
        vocabulary=f"{model['vocabulary']:,}",
        operations=f"{model['operations_a_token'] / 1e9:.1f}",
    )
    parts = [_prose(head)]
    for dtype, steps in results["runs"].items():
        parts.append(f"### {NAMES[dtype]}")
        for step, found in steps.items():
            failed = found.get("failed")
            parts.append(_prose(f"{step}: failed, {failed}") if failed else WRITERS[step](found))
    return "\n\n".join(parts) + "\n"


def facts(machine: dict[str, str]) -> str:
    return ", ".join(f"{name} {fact}" for name, fact in machine.items())


def put(text: str, path: Path) -> None:
    """Replaces the marked section of the file; a file without one becomes the section."""
    before, mark, rest = (path.read_text() if path.exists() else "").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}" if mark else text)


def _prose(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def _parity(found: dict) -> str:
    models, tolerance = found["models"], found["tolerance"]
    gaps = [model[graph] for model in models.values() for graph in ("prefill", "incremental")]
    most, mean = (max(gap[key] for gap in gaps) for key in ("most", "mean"))
    elsewhere = sorted({operator for model in models.values() for operator in model["elsewhere"]})
    return _prose(f"""
        Parity: labels' logits of the tiny models ({", ".join(models)}) are off by {mean:.2g} on average and {most:.2g}
        at most, {"within" if found["passed"] else "**beyond**"} the tolerance of {tolerance["mean"]:g} and
        {tolerance["most"]:g}: ragged batches, sequences beyond the sliding window, pasts continued and rolled back.
        Operators that the provider leaves to the CPU: {", ".join(elsewhere) or "none"}.""")


def _build(found: dict) -> str:
    words = {"generated_s": "made", "exported_s": "exported"}
    times = "".join(f", {word} in {found[key]:.0f} s" for key, word in words.items() if key in found)
    return f"Weights: {found['weights_bytes'] / 1e9:.1f} GB{times}."


def _prefill(found: dict) -> str:
    lines = [
        "| batch | prompts/s | tokens/s | of the matrix rate | ours, ms | transformers, ms | transformers/ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        ratio = row["peer_to_ours"]
        cells = [
            row["name"],
            f"{row['prompts_s']:.1f}",
            f"{row['tokens_s']:,.0f}",
            f"{row['share_of_products']:.0%}",
            f"{row['ours_ms']['median']:.1f}",
            f"{row['peer_ms']['median']:.1f}",
            f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    gap = found["difference_from_peer"]
    remark = _prose(f"""
        Medians over {found["rounds"]} rounds. Large matrix products ran at {found["products_a_second"] / 1e12:.3g}
        TFLOP/s in the same rounds. The labels' logits (unsafe less safe) differ from transformers' by {gap["mean"]:.2g}
        on average and {gap["most"]:.2g} at most; their own standard deviation is {found["deviation_of_peer"]:.2g}.""")
    return "\n".join([*lines, "", remark])


def _incremental(found: dict) -> str:
    median = {key: value["median"] for key, value in found.items() if isinstance(value, dict) and "median" in value}
    gap, ratio = found["difference_from_full"], found["stream_to_full"]
    return _prose(f"""
        Incremental: a check of {found["new"]} tokens on a past of {found["past"]:,} takes {median["check_ms"]:.1f} ms,
        a full pass over all of them {median["full_of_check_ms"]:.1f} ms. All {found["checks"]} checks of a
        completion of 1,000 tokens together cost {median["stream_to_full"]:.2f} times one full pass
        ({ratio["least"]:.2f} to {ratio["most"]:.2f}; {median["stream_ms"]:.0f} against {median["full_ms"]:.0f} ms);
        scored whole each time, {median["rescored_to_full"]:.1f} times. Reading the weights once, at the
        {found["bytes_a_second"] / 1e12:.3g} TB/s at which memory is copied, takes {found["weights_once_ms"]:.1f} ms: a
        check of a single stream cannot be faster. Logits differ from full passes' by {gap["mean"]:.2g} on average and
        {gap["most"]:.2g} at most.""")


def _alone(found: dict) -> str:
    ratio, fresh = found["queue_to_alone"], found["new_shape_ms"]
    return _prose(f"""
        Seawall's queue: {found["prompts"]} prompts of {found["tokens"]:.0f} tokens on average wait at once and are
        judged at {found["queue_texts_s"]:.1f} a second, encoding included; ONNX Runtime alone, with sorted batches of
        {found["budget"]:,} tokens, does {found["alone_texts_s"]:.1f}. The ratio in the same rounds:
        {ratio["median"]:.3f} ({ratio["least"]:.3f} to {ratio["most"]:.3f}; {found["rounds"]} rounds). With an answer
        of {found["tokens_of_answers"]:.0f} tokens to each prompt, ONNX Runtime alone does
        {found["alone_calls_s"]:.1f} pairs a second. One sequence of a length that no run had before takes it
        {fresh["first"]:.1f} ms, the same again {fresh["again"]:.1f}.""")


def _serve(found: dict) -> str:
    verdicts, memory, full = found["verdicts"], found["gpu_mib"], found["capacity"]
    head = _prose(f"""
        `seawall serve`: ready {found["start_s"]:.0f} s after its start, {memory["most"] - memory["before"]:,} MiB of
        the GPU's memory at most. Scores of {verdicts["texts"]} prompts over HTTP differ from those of ONNX Runtime
        alone by {verdicts["gap"]:.4f} at most. One new prompt by itself takes {verdicts["one_ms"]:.1f} ms. With
        {found["callers"]} callers that always ask, {full["calls_s"]:.1f} calls a second are judged, each a new prompt
        with its answer, {full["batch"]:.1f} texts a batch, {full["p50_ms"]:.0f} ms at the median{_busy(full)}.""")
    lines = [
        "| load | offered/s | judged/s | p50 ms | p99 ms | refused | refused p50, p99 ms | texts a batch | GPU busy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        refused = f"{row['refused_p50_ms']:.1f}, {row['refused_p99_ms']:.1f}" if row["refused"] else ""
        cells = [
            f"{row['load']:g}",
            f"{row['offered_s']:.0f}",
            f"{row['judged_s']:.1f}",
            f"{row['p50_ms']:.0f}",
            f"{row['p99_ms']:.0f}",
            f"{row['refused']:.1%}",
            refused,
            f"{row['batch']:.1f}",
            "" if row["busy"] is None else f"{row['busy']:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| mode | streams at once | first sentence late, ms | sentences late, p50 and p99 ms | the last, ms | whole |",
        "|---|---|---|---|---|---|",
    ]
    for mode in ("hold", "lag"):
        for row in found[mode]["rows"]:
            events = f"{row['event_p50_ms']:.1f}, {row['event_p99_ms']:.1f}"
            first, last = (f"{row[name]:.1f}" for name in ("first_p50_ms", "last_p50_ms"))
            cells = [mode, row["streams"], first, events, last, row["whole"]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, "", *lines])


def _busy(row: dict) -> str:
    return "" if row["busy"] is None else f", the GPU busy {row['busy']:.0%} of the time"


WRITERS = {
    "parity": _parity,
    "build": _build,
    "prefill": _prefill,
    "incremental": _incremental,
    "alone": _alone,
    "serve": _serve,
}


def main() -> None:
    results = json.loads(Path(sys.argv[1]).read_text())
    if not results["gpu"]:
        sys.exit(f"{sys.argv[1]} comes from a machine without a GPU: there is nothing to report")
    put(section(results), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
