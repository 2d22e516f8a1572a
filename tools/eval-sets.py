#!/usr/bin/env python3
"""Examine sigyn on all labelled sets in one go, and put the figures beside the baselines. Python 3 standard library only.

    cargo build --release
    python3 tools/eval-sets.py ../shared --streams /tmp/streams --write docs/accuracy.md

SHARED holds data/ (the labelled sets) and tools/resample.py. Streams of resampled requests are made in the folder that
--streams names (about 180 MB; with --days, 72 clean hours at two rates, about 300 MB more) unless they are there already.
Prints Markdown; --write puts it between the markers of a document; --json keeps every figure, one object a line.
--ablation measures something else, between markers of its own: what each detector finds alone, and what is found without it.
"""
import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys

MARKS = ("<!-- figures: tools/eval-sets.py -->", "<!-- /figures -->")
ABLATION = ("<!-- figures: tools/eval-sets.py --ablation -->", "<!-- /figures: --ablation -->")

# Of the baselines that come with the sets: the best simple method, and the prototype of the recipe.
# (file, window, protocol) -> (name in the table, best F1 at an own threshold, best PR-AUC, prototype)
UNITS = {
    ("hdfs/hdfs_dev.tsv.gz", "session", "all"): ("hdfs", "0.868 (rarity)", "0.953 (PCA)", "F1 0.984"),
    ("hdfs/hdfs_dev.tsv.gz", "session", "split"): ("hdfs", "0.933 (rarity)", "0.979 (simple)", "F1 1.000"),
    ("hdfs100k_sessions/hdfs100k_sessions.tsv.gz", "session", "all"): ("hdfs100k", "0.461 (rarity)", "0.450 (forest)", "F1 0.653"),
    ("hdfs100k_sessions/hdfs100k_sessions.tsv.gz", "session", "split"): ("hdfs100k", "0.503 (forest)", "0.385 (forest)", "F1 0.615"),
    ("bgl/bgl_2k.tsv.gz", "20lines", "all"): ("bgl_2k", "0.577 (novel)", "0.582 (forest)", "F1 0.718"),
    ("bgl/bgl_2k.tsv.gz", "20lines", "split"): ("bgl_2k", "0.667 (simple)", "0.638 (simple)", "F1 0.791"),
    ("bgl/bgl_2k.tsv.gz", "100lines", "all"): ("bgl_2k", "0.769 (novel)", "0.888 (novel)", ""),
    ("bgl/bgl_2k.tsv.gz", "100lines", "split"): ("bgl_2k", "0.857 (simple)", "0.957 (simple)", ""),
    ("hdfs/hdfs_dev.tsv.gz", "1m", "all"): ("hdfs", "0.305 (forest)", "0.614 (forest)", ""),
    ("hdfs/hdfs_dev.tsv.gz", "1m", "split"): ("hdfs", "0.316 (forest)", "0.520 (forest)", ""),
    ("injected/stream.tsv.gz", "10s", "all"): ("injected", "0.301 (simple)", "0.561 (simple)", ""),
    ("injected/stream.tsv.gz", "10s", "split"): ("injected", "0.523 (PCA)", "0.799 (PCA)", ""),
    ("trainticket/trainticket_dev.tsv.gz", "10s", "all"): ("trainticket", "0.279 (simple)", "0.622 (PCA)", ""),
    ("trainticket/trainticket_dev.tsv.gz", "10s", "split"): ("trainticket", "0.292 (simple)", "0.609 (forest)", ""),
}

# Online: file -> (name, baseline and prototype)
ONLINE = {
    "bgl/bgl_first5000.tsv.gz": ("bgl_first5000 (nothing to find)", "prototype: 2 notifications"),
    "trainticket/trainticket_dev.tsv.gz": ("trainticket (real faults)", "prototype: 20 of 26, 25 s"),
    "injected/stream.tsv.gz": ("injected (half real)", "prototype: 76 of 90 over five seeds"),
}

FAULTS = [(f"f{seed}", ["--seed", str(seed), "--hours", "6", "--faults", "10", "--benign", "4"]) for seed in range(1, 6)]
CLEAN = [(f"clean{seed}", ["--seed", str(seed), "--hours", "6"]) for seed in (1, 2)]
DAYS = [
    ("clean72", ["--seed", "1", "--hours", "72"]),
    ("clean72-rate012", ["--seed", "1", "--hours", "72", "--rate", "0.12"]),
]
# The same without the ids of requests, as most services log: (name, stream that it is made of).
PLAIN_FAULTS = [(f"{name}-noid", name, options) for name, options in FAULTS]
PLAIN_CLEAN = [(f"{name}-noid", name, options) for name, options in CLEAN + DAYS]
IDS = re.compile(r" ?TraceID: [0-9a-f]+ SpanID: [0-9a-f]+")


class Runner:
    def __init__(self, sigyn, keep):
        self.sigyn, self.keep, self.cpu, self.lines = sigyn, keep, 0.0, 0

    def run(self, path, *arguments):
        """The report of one file, or None with what was said on standard error."""
        print(f"  {path} {' '.join(arguments)}", file=sys.stderr)
        command = [self.sigyn, "eval", path, "--output", "json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"    {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}", file=sys.stderr)
            return None
        report = json.loads(done.stdout)
        self.cpu += report["cpu_seconds"] or 0
        self.lines += report["lines"]
        if self.keep:
            self.keep.write(json.dumps(report) + "\n")
        return report


def share(value):
    return "-" if value is None else f"{value:.3f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def units(runner, data):
    rows = []
    for (file, window, protocol), (name, f1, area, prototype) in UNITS.items():
        report = runner.run(os.path.join(data, file), "--window", window, "--protocol", protocol)
        head = [name, window, protocol]
        if report is None:
            rows.append(head + ["-", "not yet", "-", "-", "-", f1, area, prototype])
            continue
        interval = "-" if report["pr_auc"] is None else f"{report['pr_auc']:.3f} ({report['pr_auc_low']:.3f}-{report['pr_auc_high']:.3f})"
        rows.append(head + [
            f"{report['units']} ({report['units_anomalous']})", share(report["f1"]), share(report["best_f1"]),
            share(report["roc_auc"]), interval, f1, area, prototype,
        ])
    header = ["set", "window", "protocol", "units (anomalous)", "F1", "best F1", "ROC-AUC", "PR-AUC (95 %)",
              "baseline F1", "baseline PR-AUC", "prototype"]
    return table(header, rows)


def online(runner, data):
    rows = []
    for file, (name, beside) in ONLINE.items():
        report = runner.run(os.path.join(data, file))
        if report is None:
            continue
        delay = report["median_delay_seconds"]
        rows.append([
            name, f"{report['incidents_found']} of {report['incidents_total']} (any {report['incidents_any']})",
            "-" if delay is None else f"{delay:.0f} s", report["notifications"], share(report["alarm_share"]), beside,
        ])
    return table(["set", "found and named", "median delay", "notifications", "alarm share", "beside"], rows)


def pooled(reports, name, beside):
    """Several streams as one row."""
    kinds, delays = {}, []
    total = lambda key: sum(report[key] or 0 for report in reports)
    for report in reports:
        for kind, found in report["kinds"].items():
            have = kinds.setdefault(kind, [0, 0])
            have[0] += found["found"]
            have[1] += found["total"]
        delays += report["delays_seconds"]
    hours, wrong = total("normal_hours"), total("false_notifications")
    low, high = poisson(wrong)
    alarms = sum((report["alarm_windows_per_normal_hour"] or 0) * (report["normal_hours"] or 0) for report in reports)
    rate = f"{24 * wrong / hours:.1f} ({24 * low / hours:.1f}-{24 * high / hours:.1f})" if hours else "-"
    delays.sort()
    return [
        name, f"{total('incidents_found')} of {total('incidents_total')} (any {total('incidents_any')})" if kinds else "-",
        ", ".join(f"{kind} {found}/{count}" for kind, (found, count) in sorted(kinds.items())) or "-",
        f"{delays[len(delays) // 2]:.0f} s" if delays else "-", total("notifications"), f"{wrong} in {hours:.1f} h", rate,
        f"{alarms / hours:.1f}" if hours else "-", f"{total('benign_notified')} of {total('benign_total')}", beside,
    ]


def poisson(count):
    """95 % interval of a rate from a count, exact, by bisection of the Poisson tails."""
    import math

    def below(most, mean):
        term, total = math.exp(-mean), 0.0
        for n in range(most + 1):
            total += term
            term *= mean / (n + 1)
        return total

    def solve(wanted):
        low, high = 0.0, 10.0 * (count + 5)
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if wanted(middle) else (low, middle)
        return low

    lower = 0.0 if count == 0 else solve(lambda mean: 1 - below(count - 1, mean) < 0.025)
    return lower, solve(lambda mean: below(count, mean) > 0.025)


def stream(shared, folder, name, options):
    """The file of a stream, made when it is not there."""
    out = os.path.join(folder, name)
    file = os.path.join(out, "stream.tsv.gz")
    if not os.path.exists(file):
        print(f"  making {file}", file=sys.stderr)
        os.makedirs(out, exist_ok=True)
        script = os.path.join(shared, "tools", "resample.py")
        made = [sys.executable, script, os.path.join(shared, "data", "trainticket"), *options, "--out", out]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    return file


def plain(shared, folder, name, of, options):
    """The file of a stream without ids, made when it is not there."""
    source, out = stream(shared, folder, of, options), os.path.join(folder, name)
    file = os.path.join(out, "stream.tsv.gz")
    if not os.path.exists(file):
        print(f"  making {file}", file=sys.stderr)
        os.makedirs(out, exist_ok=True)
        for truth in ("incidents.tsv", "benign.tsv"):
            shutil.copy(os.path.join(folder, of, truth), out)
        text = {"encoding": "utf-8", "newline": "\n"}
        with gzip.open(source, "rt", **text) as lines, gzip.open(file + ".part", "wt", compresslevel=1, **text) as made:
            made.writelines(IDS.sub("", line) for line in lines)
        os.replace(file + ".part", file)
    return file


def resampled(runner, shared, folder, days):
    sets = [
        ("faults, 5 x 6 h", FAULTS, "prototype: 27 named (any 29), 3 false in 15.7 h, 8 of 20 benign"),
        ("the same without ids", PLAIN_FAULTS, ""),
        ("clean, 2 x 6 h", CLEAN, "prototype: 2 false in 11.8 h (simple 195)"),
    ]
    if days:
        sets += [
            ("clean, 72 h", DAYS[:1], "prototype, 24 h: 10 a day (simple 227)"),
            ("clean, 72 h, rate 0.12", DAYS[1:], "prototype, 24 h: 32 a day (simple 197)"),
            ("all clean ones without ids", PLAIN_CLEAN, ""),
        ]
    rows = []
    for name, streams, beside in sets:
        files = [stream(shared, folder, *one) if len(one) == 2 else plain(shared, folder, *one) for one in streams]
        reports = [runner.run(file) for file in files]
        rows.append(pooled([report for report in reports if report], name, beside))
    header = ["streams", "found and named", "by kind", "median delay", "notifications", "false", "false a day (95 %)",
              "alarm windows / normal hour", "benign notified", "beside"]
    return table(header, rows)


# Seeds of the generator's streams.
GENERATED = range(61, 66)

# Of the sets that are scored by units: (file, window, protocol, name)
ABLATED = [
    ("hdfs/hdfs_dev.tsv.gz", "session", "all", "hdfs"),
    ("hdfs/hdfs_dev.tsv.gz", "session", "split", "hdfs"),
    ("bgl/bgl_2k.tsv.gz", "20lines", "all", "bgl_2k"),
    ("bgl/bgl_2k.tsv.gz", "20lines", "split", "bgl_2k"),
]


def variants(runner, path, *arguments):
    """The reports of a file: combined, (alone, name), (without, name)."""
    print(f"  {path} {' '.join(arguments)}", file=sys.stderr)
    command = [runner.sigyn, "eval", path, "--output", "json", "--ablation", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {}
    for report in map(json.loads, done.stdout.splitlines()):
        runner.cpu += report["cpu_seconds"] or 0
        runner.lines += report["lines"]
        if runner.keep:
            runner.keep.write(json.dumps(report) + "\n")
        out = report["without"]
        found["without" if out else "alone", out or report["detector"]] = report
    return found


def units_ablated(runner, data):
    rows = []
    for file, window, protocol, name in ABLATED:
        found = variants(runner, os.path.join(data, file), "--window", window, "--protocol", protocol)
        hits = lambda report: " / ".join(share(report[key]) for key in ("precision", "recall", "f1"))
        for kind, detector in found:
            if kind == "alone":
                alone, without = found[kind, detector], found.get(("without", detector))
                rows.append([
                    f"{name}, {window}, {protocol}", detector, hits(alone), share(alone["pr_auc"]),
                    hits(without) if without else "", share(without["pr_auc"]) if without else "",
                ])
    return table(["set", "detector", "alone: P / R / F1", "PR-AUC", "without it: P / R / F1", "PR-AUC"], rows)


def generated(generator, folder, seed):
    """A stream of our own generator: five hours, one fault of each kind after 90 minutes."""
    file = os.path.join(folder, f"generated{seed}", "stream.tsv.gz")
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        options = ["--seed", str(seed), "--duration", "5h", "--rate", "10", "--quiet", "90m", "--labelled", file]
        subprocess.run([generator, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return file


def generated_ablated(runner, generator, folder):
    """Our own generator's faults: found and named, false."""
    arguments = ("--window", "1m", "--warm-up", "60m")
    pool = [variants(runner, generated(generator, folder, seed), *arguments) for seed in GENERATED]
    total = lambda key, variant: sum(reports[variant][key] or 0 for reports in pool)
    cells = lambda variant: [total(key, variant) for key in ("incidents_found", "false_notifications", "benign_notified")]
    rows = []
    for kind, detector in pool[0]:
        if kind == "alone":
            without = ("without", detector)
            rows.append([detector, *cells((kind, detector)), *(cells(without) if without in pool[0] else [""] * 3)])
    return table(["detector", "alone: found", "false", "benign", "without: found", "false", "benign"], rows)


def streams_ablated(runner, shared, folder):
    """The resampled streams with faults and the clean ones, and real faults: found and named, false."""
    pools = {"faults": [], "clean": [], "plain": [], "trainticket": []}
    for pool, streams in (("faults", FAULTS), ("clean", CLEAN)):
        pools[pool] = [variants(runner, stream(shared, folder, one, options)) for one, options in streams]
    pools["plain"] = [variants(runner, plain(shared, folder, *one)) for one in PLAIN_FAULTS]
    pools["trainticket"] = [variants(runner, os.path.join(shared, "data", "trainticket/trainticket_dev.tsv.gz"))]
    total = lambda pool, key, variant: sum(reports[variant][key] or 0 for reports in pools[pool])
    found = lambda pool, variant: f"{total(pool, 'incidents_found', variant)}"
    rows = []
    for kind, detector in pools["faults"][0]:
        if kind != "alone":
            continue
        cells = [detector]
        for variant in ((kind, detector), ("without", detector)):
            if variant not in pools["faults"][0]:
                cells += [""] * 6
                continue
            cells += [
                found("faults", variant),
                total("faults", "false_notifications", variant) + total("clean", "false_notifications", variant),
                total("faults", "benign_notified", variant), found("plain", variant),
                found("trainticket", variant), total("trainticket", "notifications", variant),
            ]
        rows.append(cells)
    head = ["found", "false", "benign", "found without ids", "trainticket found", "its notifications"]
    return table(["detector", *(f"alone: {one}" if one == "found" else one for one in head),
                  *(f"without: {one}" if one == "found" else one for one in head)], rows)


def ablated(runner, shared, folder, generator):
    parts = ["Units at the engine's own threshold:", units_ablated(runner, os.path.join(shared, "data"))]
    if folder:
        parts += [
            "Incidents, online, 10 s windows: resampled streams, five with 50 faults and 20 harmless surprises, two clean, 27.5 "
            "normal hours in all; the five without ids; and `trainticket` with 26 real faults:",
            streams_ablated(runner, shared, folder),
        ]
    if folder and generator:
        parts += [
            "Our own generator, online, windows of a minute: five streams of five hours with 60 faults, five of each kind:",
            generated_ablated(runner, generator, folder),
        ]
    return parts


def put(document, text, marks):
    with open(document, encoding="utf-8") as file:
        before, _, rest = file.read().partition(marks[0])
    _, mark, after = rest.partition(marks[1])
    if not mark:
        raise SystemExit(f"{document} has no place for figures between {marks[0]} and {marks[1]}")
    with open(document, "w", encoding="utf-8") as file:
        file.write(f"{before}{marks[0]}\n\n{text}\n\n{marks[1]}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", metavar="SHARED", help="folder of data/ and tools/")
    parser.add_argument("--streams", metavar="FOLDER", help="folder of resampled streams; without it they are left out")
    parser.add_argument("--days", action="store_true", help="the 72-hour streams too")
    parser.add_argument("--ablation", action="store_true", help="each detector alone, and all without it, instead")
    parser.add_argument("--generator", metavar="BINARY", help="log-generator; with --ablation its streams too")
    parser.add_argument("--sigyn", default="target/release/sigyn", metavar="BINARY")
    parser.add_argument("--write", metavar="DOCUMENT", help="put the tables between the markers of this document")
    parser.add_argument("--json", metavar="FILE", help="keep all figures, one object a line")
    arguments = parser.parse_args()
    data = os.path.join(arguments.shared, "data")
    for path, what in ((data, "the labelled sets"), (arguments.sigyn, "sigyn; build it, or name it with --sigyn")):
        if not os.path.exists(path):
            raise SystemExit(f"{path} does not exist; expected {what}")
    keep = open(arguments.json, "w", encoding="utf-8") if arguments.json else None
    runner = Runner(arguments.sigyn, keep)
    if arguments.ablation:
        parts = ablated(runner, arguments.shared, arguments.streams, arguments.generator)
    else:
        parts = ["Units at the engine's own threshold:", units(runner, data), "Online, 10 s windows:", online(runner, data)]
    if arguments.streams and not arguments.ablation:
        parts += ["Resampled, online, 10 s windows:", resampled(runner, arguments.shared, arguments.streams, arguments.days)]
    version = subprocess.run([arguments.sigyn, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    parts.append(f"`{version}`; {runner.cpu:.1f} s of CPU time for {runner.lines:,} lines of files, unpacking included.")
    text = "\n\n".join(parts)
    print(text)
    if arguments.write:
        put(arguments.write, text, ABLATION if arguments.ablation else MARKS)


if __name__ == "__main__":
    main()
