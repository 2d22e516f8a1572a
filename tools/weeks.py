#!/usr/bin/env python3
"""What comes at its hour, and what does not: four weeks of one service, told by `sigyn scan`. Python 3 standard library only.

    cargo build --release
    python3 tools/weeks.py /tmp/weeks --write docs/accuracy.md

The streams are made in FOLDER unless they are there already (28 days, about 1.6 million lines and 130 MB each). A service logs
40 lines a minute by the rhythm of day and week; one line in seven is an error, so that errors come and go with it. A job
of the night brings 40 warnings a minute for six minutes each day, one of the week 60 errors a minute for ten minutes each
Sunday. From the third week on, on some nights between one and five, errors come as often as by day for a quarter of an hour, and
on some days between ten and six seven of ten lines are missing for a quarter of an hour: as many are left as at night.
In every second stream the traffic also wanders, grows by a tenth a week, and has a holiday and a day of half as much again.
"""
import argparse
import collections
import datetime
import json
import math
import os
import random
import re
import subprocess

MARKS = ("<!-- figures: tools/weeks.py -->", "<!-- /figures: tools/weeks.py -->")
START = datetime.datetime(2026, 3, 2, tzinfo=datetime.timezone.utc).timestamp()  # a Monday
DAYS, DAY = 28, 1440
INFO = ("order {} accepted for customer {}", "cart {} priced in {} ms", "payment {} captured, amount {}",
        "session {} refreshed by {}", "search '{}' gave {} hits")


def poisson(dice, mean):
    if mean > 50:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    count, left = 0, dice.random() - math.exp(-mean)
    term = math.exp(-mean)
    while left > 0 and count < 1000:
        count += 1
        term *= mean / count
        left -= term
    return count


def traffic(dice, minute, wanders):
    day, hour = divmod(minute / DAY, 1)
    level = 40 * (1 + 0.85 * math.sin((hour * 24 - 9) / 24 * 2 * math.pi)) * (0.35 if day % 7 >= 5 else 1)
    if wanders is None:
        return level
    wanders[0] = 0.98 * wanders[0] + dice.gauss(0, 0.06)
    return level * math.exp(wanders[0]) * 1.1 ** (day / 7) * {17: 0.35, 24: 1.5}.get(day, 1)


def make(folder, seed):
    path, dice, wanders = os.path.join(folder, f"{seed}.log"), random.Random(seed), [0.0] if seed % 2 == 0 else None
    faults = [day * DAY + dice.randrange(60, 300) for day in range(14, DAYS) if dice.random() < 0.5]
    falls = [day * DAY + dice.randrange(600, 1080) for day in range(14, DAYS) if dice.random() < 0.5]
    with open(path + ".part", "w") as out:
        for minute in range(DAYS * DAY):
            level, lines = traffic(dice, minute, wanders), []
            level *= 0.3 if any(at <= minute < at + 15 for at in falls) else 1
            for _ in range(poisson(dice, level)):
                lines.append("INFO " + dice.choice(INFO).format(dice.randrange(10**6), dice.randrange(10**4)))
            late = poisson(dice, level * 0.15) + (poisson(dice, 9) if any(at <= minute < at + 15 for at in faults) else 0)
            lines += [f"ERROR upstream inventory timed out after {dice.randrange(1000, 3000)} ms" for _ in range(late)]
            lines += [f"WARN slow query took {dice.randrange(500, 900)} ms" for _ in range(poisson(dice, level * 0.05))]
            if 120 <= minute % DAY < 126:
                lines += [f"WARN reindex: document {dice.randrange(10**6)} has no owner, skipped" for _ in range(40)]
            if minute // DAY % 7 == 6 and 320 <= minute % DAY < 330:
                lines += [f"ERROR vacuum: table part {dice.randrange(10**4)} is locked" for _ in range(60)]
            dice.shuffle(lines)
            for at in sorted(dice.random() * 60 for _ in lines):
                moment = datetime.datetime.fromtimestamp(START + minute * 60 + at, datetime.timezone.utc)
                out.write(f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z {lines.pop()}\n")
    os.replace(path + ".part", path)
    with open(path + ".faults", "w") as out:
        json.dump([faults, falls], out)


def judge(sigyn, folder, seed):
    path = os.path.join(folder, f"{seed}.log")
    if not os.path.exists(path + ".faults"):
        make(folder, seed)
    with open(path + ".faults") as file:
        faults, falls = json.load(file)
    run = subprocess.run([sigyn, "scan", path, "--window", "1m", "--output", "json"], capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{sigyn} scan {path} failed:\n{run.stderr}")
    counts, found = collections.Counter(), set()
    for line in map(json.loads, filter(None, run.stdout.splitlines())):
        if line["type"] != "incident" or line["transition"] not in ("opened", "reopened"):
            continue
        begins = datetime.datetime.fromisoformat(line["started_at"].replace("Z", "+00:00")).timestamp()
        minute = int(begins - START) // 60
        hit = [at for at in faults + falls if at <= minute < at + 15 + 2]
        if hit:
            found.update(hit)
        elif 120 <= minute % DAY < 132:
            counts["night"] += 1
        elif minute // DAY % 7 == 6 and 320 <= minute % DAY < 336:
            counts["week"] += 1
        else:
            counts["false"] += 1
    return counts, [(len(found.intersection(planted)), len(planted)) for planted in (faults, falls)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--sigyn", default="target/release/sigyn")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--write", metavar="FILE", help="put the table between its marks in this file")
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    rows = ["| traffic | days | job of the night, told of nights | job of the week, told of weeks | faults at night found | falls by day found | false a day |",
            "|---|---:|---:|---:|---:|---:|---:|"]
    for name, seeds in (("even", range(1, args.seeds, 2)), ("wandering", range(2, args.seeds + 1, 2))):
        total, hits = collections.Counter(), []
        for seed in seeds:
            counts, found = judge(args.sigyn, args.folder, seed)
            total, hits = total + counts, hits + [found]
        night, day = (tuple(map(sum, zip(*planted))) for planted in zip(*hits))
        days = DAYS * len(seeds)
        rows.append(f"| {name} | {days} | {total['night']} of {days} | {total['week']} of {days // 7} | {night[0]} of {night[1]} "
                    f"| {day[0]} of {day[1]} | {total['false'] / days:.2f} |")
    table = "\n".join(rows)
    print(table)
    if args.write:
        with open(args.write) as file:
            text = file.read()
        start, end = MARKS
        if start not in text or end not in text:
            raise SystemExit(f"{args.write} has no marks {start} and {end}: put them where the table belongs")
        text = re.sub(re.escape(start) + ".*" + re.escape(end), lambda _: f"{start}\n{table}\n{end}", text, flags=re.S)
        with open(args.write, "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()
