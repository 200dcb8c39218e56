"""The benchmark runs, small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "metrics.py"


@pytest.mark.slow
def test_the_benchmark_prints_a_row_per_format_and_the_machine() -> None:
    printed = subprocess.check_output([sys.executable, str(BENCHMARK), "--images", "600"], text=True)
    assert "600 images x 1006 labels x M=7" in printed
    assert [line for line in printed.splitlines() if "float32" in line and "GB" in line]
    assert [line for line in printed.splitlines() if "float16" in line and "GB" in line]
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in printed
