#!/usr/bin/env python3
"""Does sigyn keep its budget? Simulated days of the generator's traffic, several seeds, several budgets, and what is found
of planted faults beside it: a deaf detector keeps any budget. Python 3 standard library only.

    cargo build --release --workspace
    python3 tools/budget.py /tmp/budget --write docs/accuracy.md

The streams are made in FOLDER unless they are there already (14 days at 1.5 lines a second: 67 MB each). Traffic:

    stationary  the same all day; nothing planted
    seasonal    the rhythm of day and week; nothing planted
    surprises   seasonal, with deploys, batch jobs and rises that should wake nobody
    faults      seasonal, with those and one fault of each kind

The budget counts for the pooled days of `stationary` and `seasonal`: it is broken when the 95 % Poisson lower bound of the
rate of false notifications lies above it. The first minutes are learnt only (--warm-up); all that follows counts, also what
is told before a day of history is known. --findings writes the text of each false notification, grouped by what it says.
"""
import argparse
import collections
import json
import math
import os
import re
import subprocess
import sys

MARKS = ("<!-- figures: tools/budget.py -->", "<!-- /figures: tools/budget.py -->")

TRAFFIC = {
    "stationary": ["--faults", "none", "--no-benign", "--rhythm", "0"],
    "seasonal": ["--faults", "none", "--no-benign"],
    "surprises": ["--faults", "none"],
    "faults": ["--faults", "all"],
}
POOLED = ("stationary", "seasonal")
NANOS = 1_000_000_000
# As the examiner has it: notes belong to an incident or to a surprise for so long after its end.
AFTER_INCIDENT, AFTER_BENIGN = 30 * NANOS, 60 * NANOS


def lower_bound(count, confidence=0.95):
    """The smallest mean that gives `count` or more with a chance above 1 - confidence; by bisection of the Poisson law."""
    if count == 0:
        return 0.0

    def at_least(mean):
        term, below = math.exp(-mean), 0.0
        for n in range(count):
            below += term
            term *= mean / (n + 1)
        return 1.0 - below

    low, high = 0.0, float(count)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if at_least(middle) < 1.0 - confidence else (low, middle)
    return low


def made(arguments, traffic, seed):
    """The folder of a stream, made when it is not there."""
    folder = os.path.join(arguments.folder, f"{traffic}-{seed}")
    file = os.path.join(folder, "stream.tsv.gz")
    if not os.path.exists(file):
        os.makedirs(folder, exist_ok=True)
        part = os.path.join(folder, "part.tsv.gz")
        options = ["--seed", str(seed), "--rate", str(arguments.rate), "--duration", f"{arguments.days}d"]
        print(f"  making {file}", file=sys.stderr)
        subprocess.run([arguments.generator, "--labelled", part, *options, *TRAFFIC[traffic]], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.replace(part, file)
    return folder


def intervals(folder, name, after):
    """When a note belongs to something that was planted."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        head, *rows = [line.rstrip("\n").split("\t") for line in file]
    start, end = head.index("start_ns"), head.index("end_ns")
    return [(int(row[start]), int(row[end]) + after) for row in rows]


def examined(arguments, traffic, seed, budget):
    """The report of a stream, with the texts of what was false."""
    folder = made(arguments, traffic, seed)
    notes = os.path.join(folder, f"notes-{budget}.tsv")
    command = [arguments.sigyn, "eval", os.path.join(folder, "stream.tsv.gz"), "--window", arguments.window, "--budget",
               str(budget), "--output", "json", "--notifications", notes]
    if arguments.warm_up:
        command += ["--warm-up", arguments.warm_up]
    print(f"  {traffic}, seed {seed}, budget {budget}", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    busy = intervals(folder, "incidents.tsv", AFTER_INCIDENT) + intervals(folder, "benign.tsv", AFTER_BENIGN)
    planted = intervals(folder, "incidents.tsv", 0)
    with open(notes, encoding="utf-8") as file:
        told = [line.rstrip("\n").split("\t", 2) for line in file]
    report["wrong"] = []
    for at, kind, text in told:
        at = int(at)
        if kind == "new" and not any(start <= at <= end for start, end in busy):
            before = [end for _, end in planted if end < at]
            after = (at - max(before)) / 60 / NANOS if before else None
            report["wrong"].append((traffic, seed, at, after, text))
    return report


def rate(reports):
    """False notifications, days, and the lower bound of their rate."""
    wrong = sum(report["false_notifications"] for report in reports)
    days = sum(report["normal_hours"] for report in reports) / 24
    return wrong, days, lower_bound(wrong) / days


def row(name, budget, reports, bound):
    wrong, days, low = rate(reports)
    kept = ("yes" if low <= budget else "**no**") if bound else ("" if low <= budget else "above")
    found, total = (sum(report[key] or 0 for report in reports) for key in ("incidents_found", "incidents_total"))
    delays = sorted(delay for report in reports for delay in report["delays_seconds"])
    benign, surprises = (sum(report[key] or 0 for report in reports) for key in ("benign_notified", "benign_total"))
    kinds = collections.Counter()
    for report in reports:
        kinds.update({kind: of["found"] for kind, of in report["kinds"].items()})
    missed = [f"{kind} {count}" for kind, count in sorted(kinds.items()) if count < len(reports)]
    return [
        budget, name, wrong, f"{days:.1f}", f"{wrong / days:.2f}", f"{low:.2f}", kept,
        f"{found} of {total}" if total else "", f"{delays[len(delays) // 2]:.0f} s" if delays else "", ", ".join(missed),
        f"{benign} of {surprises}" if surprises else "",
    ]


HEAD = ["budget a day", "traffic", "false", "days", "a day", "95 % lower bound", "kept", "found and named", "median delay",
        "kinds not always found", "surprises notified"]


def table(arguments, results):
    """A row for each budget and traffic, and the pooled one that counts."""
    rows = []
    for budget in arguments.budgets:
        of = {name: [results[key] for key in sorted(results) if key[0] == name and key[2] == budget] for name in TRAFFIC}
        rows += [row(name, budget, of[name], False) for name in POOLED if of[name]]
        pooled = [report for name in POOLED for report in of[name]]
        if pooled:
            rows.append(row("**both**", budget, pooled, True))
        rows += [row(name, budget, of[name], False) for name in TRAFFIC if name not in POOLED and of[name]]
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in cells) + " |" for cells in rows])


def gist(text):
    """What a note says, without the service and its figures."""
    title = text.split("{", 1)[0].split(": ", 1)[-1].strip()
    first = text.split("}: ", 1)[-1].split(";", 1)[0]
    kind = re.sub(r'"[^"]*"', "...", first)
    # Over how many windows it was seen says which rule spoke; the other numbers do not matter.
    kind = re.sub(r"(?<!over )(?<!in )\b\d[\d,]*(?:\.\d+)?|(?<=in )\d[\d,]*(?= of )", "N", kind)
    return f"{title} | {kind}"


def findings(arguments, results, file):
    """The texts of all false notifications, grouped; what a higher budget repeats too."""
    for budget in arguments.budgets:
        groups = collections.defaultdict(list)
        for (_, _, of), report in sorted(results.items()):
            if of == budget:
                for one in report["wrong"]:
                    groups[(one[0] == "faults", gist(one[4]))].append(one)
        print(f"\n## budget {budget}\n", file=file)
        for (faults, kind), ones in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]))):
            print(f"{len(ones)} x {'[faults] ' if faults else ''}{kind}", file=file)
            for traffic, seed, at, after, text in ones[:arguments.most]:
                place = f"{traffic} {seed}, hour {(at - START) / 3600 / NANOS:.1f}"
                late = f", {after:.0f} min after a fault" if after is not None and after < 180 else ""
                print(f"    [{place}{late}] {text}", file=file)


START = 1772438400 * NANOS  # The generator's default first instant, 2026-03-02T08:00:00Z.


def put(document, text):
    with open(document, encoding="utf-8") as file:
        before, _, rest = file.read().partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    if not mark:
        raise SystemExit(f"{document} has no place for figures between {MARKS[0]} and {MARKS[1]}")
    with open(document, "w", encoding="utf-8") as file:
        file.write(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}")


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="where the streams are, or are made")
    parser.add_argument("--sigyn", default="target/release/sigyn", metavar="BINARY")
    parser.add_argument("--generator", default="target/release/log-generator", metavar="BINARY")
    parser.add_argument("--seeds", default="41,42,43,44,45")
    parser.add_argument("--budgets", default="0.2,1,5", help="false alerts a day")
    parser.add_argument("--traffic", default=",".join(TRAFFIC), help=f"of {', '.join(TRAFFIC)}")
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--rate", type=float, default=1.5, help="lines a second over all services")
    parser.add_argument("--window", default="1m")
    parser.add_argument("--warm-up", metavar="SPAN", help="what is only learnt; else the examiner's default")
    parser.add_argument("--most", type=int, default=12, help="texts shown of each kind of finding")
    parser.add_argument("--findings", metavar="FILE", help="write what was false, after each seed anew")
    parser.add_argument("--write", metavar="DOCUMENT", help="put the table between the markers of this document")
    arguments = parser.parse_args()
    arguments.seeds = [int(seed) for seed in arguments.seeds.split(",")]
    arguments.budgets = [float(budget) for budget in arguments.budgets.split(",")]
    arguments.traffic = arguments.traffic.split(",")
    wrong = [name for name in arguments.traffic if name not in TRAFFIC]
    if wrong:
        raise SystemExit(f"--traffic {wrong[0]} is not known; expected {', '.join(TRAFFIC)}")
    return arguments


def main():
    arguments = read_arguments()
    results = {}
    for seed in arguments.seeds:
        for traffic in arguments.traffic:
            for budget in arguments.budgets:
                results[traffic, seed, budget] = examined(arguments, traffic, seed, budget)
        if arguments.findings:
            with open(arguments.findings, "w", encoding="utf-8") as file:
                done = arguments.seeds[:arguments.seeds.index(seed) + 1]
                print(f"seeds done: {done} of {arguments.seeds}, {arguments.days} days each\n", file=file)
                print(table(arguments, results), file=file)
                findings(arguments, results, file)
    text = table(arguments, results)
    print(text)
    if arguments.write:
        put(arguments.write, text)


if __name__ == "__main__":
    main()
