"""
Measure Qudao beside what one could have used instead: a table, and in a folder figures and a plot for each benchmark.

    make bench [BENCH="--quick"] [BENCH="--only accept --folder figures"]

What is compared is run in turn, round by round; CPU is the operating system's. It takes about ten minutes on two cores,
which should have nothing else to do. ``--quick`` only shows that everything runs.
"""

import argparse
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import orjson
import uvloop
from matplotlib import pyplot as plt

from tests.benchmarks import accept, latency, publish, work
from tests.benchmarks.rig import broker_from
from tests.postgres.servers import running_server

Figures = dict[str, dict[str, Any]]


def measured(name: str, broker: str, state: str, *, quick: bool) -> Figures:
    """Run the benchmark called *name*."""
    rounds, share = (1, 0.05) if quick else (5, 1.0)
    benchmarks: dict[str, Callable[[], Any]] = {
        "accept": lambda: accept.compare(broker, list(accept.RECEIVERS), round(6000 * share), rounds),
        "publish": lambda: publish.compare(broker, round(20_000 * share), 64, rounds),
        "work": lambda: work.compare(broker, state, round(3000 * share), 1 if quick else 3),
        "latency": lambda: latency.measure_all(broker, state, [10, 50] if quick else [10, 50, 150], 20 * share),
    }
    figures: Figures = uvloop.run(benchmarks[name]())
    return figures


def table(figures: Figures) -> str:
    """Return *figures* in Markdown, a row for each of what was compared."""
    heads = list(dict.fromkeys(key for row in figures.values() for key in row))
    lines = [["", *heads], ["---"] * (len(heads) + 1)]
    lines += [[name, *(_said(row.get(key, "")) for key in heads)] for name, row in figures.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(name: str, figures: Figures, path: Path) -> None:
    """Draw the CPU of each of what was compared, or the times of what was not."""
    costs = {of: value for of, row in figures.items() for key, value in row.items() if key.startswith("cpu_us")}
    times = {
        f"{of}, {percentile}": seconds * 1000
        for of, row in figures.items()
        for percentile, seconds in row.get("mark_seconds", {}).items()
    }
    bars = costs or times
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(bars) + 1))
    drawn = axes.barh(list(bars), list(bars.values()), color="#3b6ea5")
    axes.bar_label(drawn, padding=3)
    axes.invert_yaxis()
    axes.set_title(f"{name}: {'CPU of one, µs' if costs else 'from scan to remark, ms'}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _said(value: object) -> str:
    return " / ".join(str(each) for each in value.values()) if isinstance(value, dict) else str(value)


def main() -> int:
    """Run what was asked for; return the exit code."""
    names = ["accept", "publish", "work", "latency"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=names, action="append")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("var/bench"))
    given = parser.parse_args()
    mpl.use("agg")
    given.folder.mkdir(parents=True, exist_ok=True)
    with broker_from(None) as broker, running_server() as server:
        for name in given.only or names:
            figures = measured(name, broker, server.url, quick=given.quick)
            print(f"\n## {name}\n\n{table(figures)}", flush=True)
            document = {"benchmark": name, "python": platform.python_version(), "figures": figures}
            (given.folder / f"{name}.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            plot(name, figures, given.folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
