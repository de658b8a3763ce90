"""CPU time of the commands that scripts and editors call most, beside what it is held against.

Usage: python benchmarks/cli_startup.py [ROUNDS]

Each round runs every command once, in an order that rotates from round to round, so that a machine that slows down or
warms up treats all alike. Prints the median CPU seconds (user and system, children included) and the two ratios.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "modelport --version": [str(BIN / "modelport"), "--version"],
    "bentoml --version": [str(BIN / "bentoml"), "--version"],
    "modelport validate": [str(BIN / "modelport"), "validate", str(ROOT / "examples/digits/modelport.yaml")],
}
LIMITS = (("modelport --version", "python -c pass", 1.5), ("modelport validate", "bentoml --version", 0.6))


def measure(command: list[str]) -> float:
    """Give the CPU seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure; end with 1 where a limit is passed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    names = list(COMMANDS)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # once unmeasured: files that are read for the first time cost more
        measure(COMMANDS[name])
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(measure(COMMANDS[name]))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:22} {1000 * seconds:8.1f} ms")
    held = True
    for ours, theirs, limit in LIMITS:
        ratio = medians[ours] / medians[theirs]
        held &= ratio <= limit
        print(f"{ours} / {theirs}: {ratio:.2f} (at most {limit})")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
