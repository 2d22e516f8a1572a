#!/usr/bin/env python3
"""The isolation forest beside scikit-learn's, on the same rows in the same run: CPU time to fit and to score, one core.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install scikit-learn
    cargo bench --no-run && /tmp/venv/bin/python tools/forest.py

Both grow 100 trees on 256 rows each and score all rows; ours gives the share of each feature besides. The two take turns;
the table has the least of all rounds (and the median), because what disturbs a measurement only adds to it.
"""
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time

import numpy
import sklearn
from sklearn.ensemble import IsolationForest

ROWS = (288, 2_880, 28_800)


def rows(count):
    """Windows of a minute: line length, errors, warnings, different messages, lines a second; one in a hundred odd."""
    dice = random.Random(count)
    table = []
    for _ in range(count):
        lines = max(1, round(dice.gauss(200, 15)))
        errors, warnings = (sum(dice.random() < p for _ in range(lines)) for p in (0.01, 0.03))
        row = [dice.gauss(140, 6), errors, warnings, round(dice.gauss(30, 3)), lines / 60]
        if dice.random() < 0.01:
            at = dice.randrange(5)
            row[at] = row[at] * dice.uniform(3, 10) + 5
        table.append(row)
    return table


def theirs(table):
    data = numpy.array(table)
    start = time.process_time()
    forest = IsolationForest(n_estimators=100, max_samples=256, n_jobs=1, random_state=1).fit(data)
    middle = time.process_time()
    forest.score_samples(data)
    return 1e3 * (middle - start), 1e3 * (time.process_time() - middle)


def ours(bench, file):
    done = subprocess.run([*bench, "--rows", file, "--rounds", "1"], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures["fit_ms"], figures["score_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", nargs="+", default=["cargo", "bench", "-q", "--bench", "forest", "--"], metavar="COMMAND")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print("| rows | | sigyn, ms | scikit-learn, ms | ratio |\n|---:|---|---:|---:|---:|")
    for count in ROWS:
        table = rows(count)
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("\n".join(",".join(f"{value:.4f}" for value in row) for row in table))
            file.flush()
            pairs = [(ours(arguments.bench, file.name), theirs(table)) for _ in range(arguments.rounds)]
        for at, what in enumerate(("fit", "score all")):
            one, other = ([pair[who][at] for pair in pairs] for who in (0, 1))
            cell = lambda values: f"{min(values):.2f} ({statistics.median(values):.2f})"
            print(f"| {count:,} | {what} | {cell(one)} | {cell(other)} | {min(other) / min(one):.1f} |")
    print(f"\nscikit-learn {sklearn.__version__}, numpy {numpy.__version__}, {arguments.rounds} rounds in turns")


if __name__ == "__main__":
    main()
