"""Run many trainings, each exported and proven in C, and collect one CSV row for each.

A study is a YAML file: `base` (changes to trainingparameters.yaml for all runs), `grid` (a list of
values for each of some hyperparameters: all combinations), `variants` (a list of sets of changes)
and `seeds`. Finished rows are kept: a study that was stopped goes on where it was. One study at a
time writes to a CSV and to a folder.
"""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import csv
import itertools
import math
import os
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import BitNetMCU
import cli
import exportquant
import test_inference
import training
import workers
from train import checkpoint, config, loaders
from train.settings import Settings

EXAMPLES = """examples:
  python study.py studies/fc.yaml              -> docs/study-fc.csv
  python study.py studies/fc.yaml --summary    only the table of means, from the CSV as it is
"""

RESULTS = (
    "accuracy",
    "accuracy_float",
    "validation_accuracy",
    "train_loss",
    "weight_bytes",
    "entropy_bytes",
    "differing_values",
    "differing_values_multiplier",
    "differing_predictions",
    "differing_inputs",
    "seconds",
)
COUNTS = tuple(key for key in RESULTS if key.startswith("differing") or key == "weight_bytes")
# Not in the files of older studies.
LATER = ("entropy_bytes", "differing_values_multiplier", "differing_inputs")
COLUMNS = ("name", *config.PARAMETERS, *RESULTS)


def expand(study, source):
    """The `Settings` of all runs of a study (a dict with the keys above), in order."""
    shapes = {"base": dict, "grid": dict, "variants": list, "seeds": list}
    for key, value in study.items():
        if key not in shapes:
            raise cli.UserError(
                f"{source}: '{key}' is not known; {cli.suggest(key, shapes)}"
                f"it takes: {', '.join(shapes)}"
            )
        if not isinstance(value, shapes[key]):
            kind = "a list" if shapes[key] is list else "'parameter: value' lines"
            raise cli.UserError(f"{source}: {key} takes {kind}, not {value!r}")
    grid, variants = study.get("grid", {}), study.get("variants", [{}])
    for key, values in grid.items():
        if not isinstance(values, list):
            raise cli.UserError(f"{source}: grid: {key} takes a list of values, not {values!r}")
    for variant in variants:
        if not isinstance(variant, dict):
            raise cli.UserError(f"{source}: a variant is {{parameter: value}}, not {variant!r}")
    base = config.read() | config.parse(study.get("base", {}), source)
    runs = []
    for variant, *values in itertools.product(variants, *grid.values()):
        changes = config.parse(variant | dict(zip(grid, values)), source)
        for seed in study.get("seeds", [base["seed"]]):
            changed = base | changes | config.parse({"seed": seed}, source)
            runs.append(config.complete(changed, source))
    if len(set(map(config.run_name, runs))) < len(runs):
        raise cli.UserError(f"{source} names the same run twice; give each seed once, in 'seeds'")
    return runs


def run(settings: Settings, folder, export=True):
    """Train, export and prove one network; returns its CSV row as a dict of strings.

    export: False for one that only trains; what is found in its C stays empty.
    """
    start = time.perf_counter()
    build = Path(folder) / config.run_name(settings)
    path = training.train(settings, out=build, report=lambda line: None)
    metrics = checkpoint.load(path).metrics
    results = dict.fromkeys(RESULTS, "") | {
        "accuracy": metrics["test_accuracy"],
        "accuracy_float": metrics["test_accuracy_float"],
        "validation_accuracy": metrics.get("validation_accuracy", ""),
        "train_loss": metrics["train_loss"],
    }
    if export and settings.QuantType != BitNetMCU.FLOAT:
        report = exportquant.export(path, build)
        results |= {key: report[key] for key in ("weight_bytes", "entropy_bytes")}
        parity = test_inference.compare(build)
        results["accuracy"] = parity["accuracy_c"]
        results |= {key: value for key, value in parity.items() if key.startswith("differing")}
    results["seconds"] = time.perf_counter() - start
    texts = {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in results.items()}
    chosen = {key: str(value) for key, value in asdict(settings).items()}
    return {"name": build.name} | chosen | texts


def read_rows(path):
    """The rows of a study's CSV, none if it does not exist yet. Raises `UserError`."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cli.UserError(f"cannot read {path}: {error.strerror}; name the CSV of a study")
    except (UnicodeDecodeError, csv.Error):
        rows, columns = [], ()
    absent = {key: str(value) for key, value in config.ABSENT.items()} | dict.fromkeys(LATER, "")
    if {*absent, *columns} != set(COLUMNS):
        raise cli.UserError(
            f"{path} is not the CSV of a study, or has other columns than this version writes; "
            "move it away or name another"
        )
    for line, row in rows:
        problem = _problem(row)
        if problem:
            raise cli.UserError(
                f"{path}, line {line}: {problem}; mend or remove that line: its run is done again"
            )
    return [{key: (absent | row)[key] for key in COLUMNS} for _, row in rows]


def _problem(row):
    """What is wrong with a row of a study's CSV, or ""."""
    if None in row or None in row.values():
        return "it has more or fewer fields than the first line"
    for key in RESULTS:
        text, kind = row.get(key) or "0", int if key in COUNTS else float
        try:
            valid = 0 <= kind(text) < math.inf
        except ValueError:
            valid = False
        if not valid:
            return f"{key}={text!r} is not a {'whole ' * (kind is int)}number from 0"
    return ""


def differing(rows):
    """How many values and predictions of the C differ from Python's in all `rows` together."""
    columns = [key for key in RESULTS if key.startswith("differing")]
    return sum(int(row[key] or 0) for row in rows for key in columns)


def mean_sd(rows, key):
    """Mean and standard deviation of a column of `rows`, "-" where it is empty."""
    values = [float(row[key]) for row in rows if row[key]]
    if not values:
        return "-"
    sd = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{sd}"


def summarise(rows):
    """Lines of a table: the runs that differ only in their seed as mean +- standard deviation."""
    same = ("name", "seed", *RESULTS)
    varying = [key for key in COLUMNS if key not in same and len({row[key] for row in rows}) > 1]
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in varying), []).append(row)
    head = ["seeds", "accuracy %", "validation %", "float %", "bytes", "entropy-coded"]
    table = [[*varying, *head, "differing", "with multiplier"]]
    for values, members in groups.items():
        accuracies = ("accuracy", "validation_accuracy", "accuracy_float")
        cells = [str(len(members)), *(mean_sd(members, key) for key in accuracies)]
        multiplier = sum(int(row["differing_values_multiplier"] or 0) for row in members)
        cells += [members[0]["weight_bytes"], mean_sd(members, "entropy_bytes")]
        table.append([*values, *cells, str(differing(members) - multiplier), str(multiplier)])
    widths = [max(map(len, column)) for column in zip(*table)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in table
    ]


def run_all(runs, out, folder, jobs, function):
    """Call `function` (as `run`) for the `Settings` whose names are not in the CSV `out` yet.

    Returns all of its rows.
    """
    rows = {row["name"]: row for row in read_rows(out)}
    waiting = [settings for settings in runs if config.run_name(settings) not in rows]
    print(f"{len(runs)} runs, {len(runs) - len(waiting)} of them done; writing {out}")
    if waiting:
        loaders.load(waiting[0])  # fails, or downloads, once and before the work is spread
    cases = [(settings, folder) for settings in waiting]
    finished = workers.run(function, cases, jobs, ordered=False)
    for row in cli.progress(finished, total=len(waiting), unit="run"):
        rows[row["name"]] = row
        cli.write_atomic(out, cli.csv_text([rows[name] for name in sorted(rows)]))
    return list(rows.values())


def complete(runs, out, folder, jobs, function=run):
    """Run what is missing of the `Settings` `runs`, with no `jobs` nothing; print their table.

    Returns an exit code: 1 where a value of the C differs from Python's.
    """
    if jobs:
        with cli.alone(out, "--out"), cli.alone(folder, "--build"):
            rows = run_all(runs, out, folder, jobs, function)
    else:
        rows = read_rows(out)
    by_name = {row["name"]: row for row in rows}
    rows = [by_name[name] for name in map(config.run_name, runs) if name in by_name]
    if not rows:
        raise cli.UserError(f"{out} has no row of this study yet; run it without --summary")
    print("\n".join(summarise(rows)))
    return 1 if differing(rows) else 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="YAML file, as those in studies/")
    parser.add_argument("--out", metavar="CSV", help="default: docs/study-NAME.csv")
    parser.add_argument(
        "--build", default="build/study", metavar="DIR", help="folder for models and C of the runs"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="runs at a time (default: one per core)"
    )
    parser.add_argument("--summary", action="store_true", help="train nothing, print the table")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        raise cli.UserError(f"--jobs {arguments.jobs} is not valid; it takes 1 or more")

    runs = expand(config.read_yaml(arguments.study), arguments.study)
    out = Path(arguments.out or f"docs/study-{Path(arguments.study).stem}.csv")
    return complete(runs, out, arguments.build, 0 if arguments.summary else arguments.jobs)


if __name__ == "__main__":
    cli.run(main)
