"""Rotary position embeddings: the angles that turn queries and keys."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .refused import Refused


@dataclass(frozen=True)
class Rope:
    """Inverse frequencies of a rope: one for each pair of a head's dimensions, in radians a position."""

    frequencies: tuple[float, ...]

    @classmethod
    def read(cls, parameters: dict, theta: float | None, dim: int) -> Rope:
        """From a configuration's `rope_parameters` or `rope_scaling`; `theta` where these do not hold it.

        Multimodal sections (`mrope_section`) make no difference: text has the same position on all their axes.
        """
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        theta = parameters.get("rope_theta", theta)
        if theta is None:
            raise Refused("config.json has no rope_theta: it is not a complete configuration")
        if parameters.get("partial_rotary_factor", 1.0) != 1.0:
            raise Refused("config.json asks for a partial rope, which the exporter does not support")
        plain = float(theta) ** -(np.arange(0, dim, 2, dtype=np.float64) / dim)
        try:
            match kind:
                case "default" | "mrope":
                    scaled = plain
                case "linear":
                    scaled = plain / parameters["factor"]
                case "llama3":
                    scaled = _llama3(plain, parameters)
                case _:
                    raise Refused(f"rope type {kind} is not supported, only default, linear and llama3")
        except KeyError as missing:
            raise Refused(f"config.json asks for rope type {kind} without {missing}") from missing
        return cls(tuple(scaled.tolist()))

    def tables(self, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines, float32 [positions, dim / 2]."""
        # In float32, as transformers has it: the model was trained with these angles, rounding included.
        angles = np.arange(positions, dtype=np.float32)[:, None] * np.array(self.frequencies, np.float32)
        return np.cos(angles), np.sin(angles)


def _llama3(plain: np.ndarray, parameters: dict) -> np.ndarray:
    """Long waves are slowed down by `factor`, short ones left alone, those between blended."""
    length = parameters["original_max_position_embeddings"]
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    blend = np.clip((length * plain / (2 * math.pi) - low) / (high - low), 0, 1)
    return (1 - blend) * plain / parameters["factor"] + blend * plain
