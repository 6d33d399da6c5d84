"""What the script runs on: the device, what it is made of, and how fast it multiplies and copies."""

from __future__ import annotations

import datetime
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata

import torch

# isort: split
# Second: its CUDA provider takes the CUDA and cuDNN that torch has loaded.
import onnxruntime

GIGA = 1e9


class Stopped(Exception):
    """Why nothing can be measured: one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class Machine:
    """`device` is cuda or cpu. `dtype` is what torch computes in there, and the graphs with it."""

    device: str
    dtype: torch.dtype
    provider: str
    facts: dict[str, str]

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"

    def finish(self) -> None:
        """Waits until torch has done what it was told."""
        if self.gpu:
            torch.cuda.synchronize()

    def products(self) -> tuple[Callable[[], None], float]:
        """A burst of large matrix products, and how many operations it is."""
        # 8192: large enough for the card's best rate. A CPU would take minutes.
        size, count = (8192, 10) if self.gpu else (1024, 2)
        left, right = (torch.randn(size, size, device=self.device, dtype=self.dtype) for _ in range(2))
        into = torch.empty_like(left)

        def burst() -> None:
            for _ in range(count):
                torch.mm(left, right, out=into)
            self.finish()

        return burst, 2 * size**3 * count

    def bandwidth(self) -> float:
        """Bytes a second that a copy within the device's memory reads and writes."""
        size, count = (1 << 30, 20) if self.gpu else (1 << 26, 5)
        source = torch.zeros(size, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        copy = partial(target.copy_, source)
        copy()
        self.finish()
        started = time.perf_counter()
        for _ in range(count):
            copy()
        self.finish()
        return 2 * size * count / (time.perf_counter() - started)


def found() -> Machine:
    """The machine; Stopped where there is a GPU that ONNX Runtime cannot use."""
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "ONNX Runtime": onnxruntime.__version__,
        "transformers": metadata.version("transformers"),
    }
    if not torch.cuda.is_available():
        return Machine("cpu", torch.float32, "CPUExecutionProvider", facts | {"device": platform.processor() or "CPU"})
    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise Stopped(
            f"ONNX Runtime {onnxruntime.__version__} in {onnxruntime.__file__} is not the CUDA build: "
            "install onnxruntime-gpu, or name the folder that holds it with --ort-site"
        )
    facts |= {
        "device": torch.cuda.get_device_name(),
        "memory": f"{torch.cuda.get_device_properties(0).total_memory / GIGA:.0f} GB",
        "driver": _driver(),
        "CUDA": torch.version.cuda,
    }
    return Machine("cuda", torch.bfloat16, provider, facts)


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
