"""GPU evidence: exported guards on ONNX Runtime's CUDA provider, at the true size of SEA-Guard 12B with random weights.

Without a GPU the same path runs on the CPU with a tiny model, to show that the script works; figures are then missing.
README.md says how to run it where there is no network, and how to read the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEPS = ("parity", "build", "prefill", "incremental")
# These run Seawall itself, which has to be built: only on demand.
SERVED = ("alone", "serve")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the built model and the results are kept between runs")
    parser.add_argument(
        "--steps", default=",".join(STEPS), help=f"which to run (default: %(default)s; also {', '.join(SERVED)})"
    )
    parser.add_argument("--int4", action="store_true", help="linear layers in 4 bits; activations stay as they are")
    parser.add_argument("--shape", help="a file of shapes/ (default: 12b with a GPU, tiny without)")
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has")
    parser.add_argument("--vocabulary", type=int, help="fewer rows of the embedding than the shape has: 4 GB less disk")
    parser.add_argument(
        "--rounds", type=int, help="how often everything is timed (default: 10; 3 with --quick, 1 without a GPU)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer batches and rounds, as always without a GPU")
    parser.add_argument("--ort-site", type=Path, help="a folder that holds the package onnxruntime, its CUDA build")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--report", type=Path, help="put a GPU's figures into this Markdown file's section for them")
    options = parser.parse_args()
    options.steps = options.steps.split(",")
    if unknown := set(options.steps) - {*STEPS, *SERVED}:
        parser.error(f"there is no step {', '.join(unknown)}, only {', '.join(STEPS + SERVED)}")
    return options


def main() -> None:
    options = arguments()
    sys.path[:0] = [str(ROOT / "onnx"), str(ROOT / "tests" / "bench")]
    if options.ort_site:
        sys.path.insert(0, str(options.ort_site))
    try:
        # Only now: the path decides which ONNX Runtime is imported.
        from machine import Stopped
    except ModuleNotFoundError as missing:
        sys.exit(f"gpu: {missing}: tests/gpu/README.md says what is needed")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            failed = measured(options, Path(scratch))
    except Stopped as stopped:
        sys.exit(f"gpu: {stopped}")
    sys.exit(1 if failed else 0)


def measured(options: argparse.Namespace, scratch: Path) -> list[str]:
    """Runs the steps; those that failed. Each one's result is written at once: a later one may be cut short."""
    import alone
    import machine
    import measure
    import model
    import parity
    import report
    import serve

    here = machine.found()
    print(report.facts(here.facts))
    if not here.gpu:
        print("No GPU: the same path runs on the CPU. Its figures say nothing about a GPU's, which are missing:")
        print(f"{report.FIGURES}.")
    quick = options.quick or not here.gpu
    rounds = options.rounds or (10 if not quick else 3 if here.gpu else 1)
    folder = options.folder or scratch
    folder.mkdir(parents=True, exist_ok=True)
    chosen = model.planned(folder, options.shape or ("12b" if here.gpu else "tiny"), options.layers, options.vocabulary)
    dtype = "int4" if options.int4 else "bf16" if here.gpu else "fp32"
    work = {
        "parity": lambda: parity.check(here, dtype, scratch),
        "build": lambda: model.build(chosen, here, dtype),
        "prefill": lambda: measure.prefill(here, chosen, dtype, rounds, quick),
        "incremental": lambda: measure.incremental(here, chosen, dtype, rounds),
        "alone": lambda: alone.measure(here, chosen, dtype, rounds, quick),
        "serve": lambda: serve.measure(here, chosen, dtype, results["runs"][dtype]["alone"]["words"], quick),
    }
    kept = folder / f"results-{chosen.folder.name}.json"
    results = report.read(kept, here.gpu, here.facts, chosen.facts())
    failed = []
    for step in options.steps:
        started = time.perf_counter()
        try:
            found = work[step]()
        except machine.Stopped:
            raise
        except Exception:  # whatever one step dies of, machines with a GPU are too rare not to run the next
            traceback.print_exc()
            found = {"failed": traceback.format_exc(limit=1).splitlines()[-1]}
        if "failed" in found or found.get("passed") is False:
            failed.append(step)
        # A build that found everything there keeps the times of the one that made it.
        earlier = results["runs"].setdefault(dtype, {}).setdefault(step, {})
        earlier.pop("failed", None)
        earlier.update(found)
        print(f"\n{step}, {dtype}, {time.perf_counter() - started:.0f} s: {json.dumps(found, indent=1)}", flush=True)
        for path in filter(None, (kept, options.json)):
            path.write_text(json.dumps(results, indent=1) + "\n")
        measure.release(here)
    section = report.section(results)
    print(f"\n{section}")
    if options.report and here.gpu:
        report.put(section, options.report)
    elif options.report:
        print(f"No GPU: {options.report} stays as it is, and GPU figures are missing.")
    return failed


if __name__ == "__main__":
    main()
