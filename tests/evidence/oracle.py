"""Checks an export of walproof's records with nothing of walproof: the standard library's
json and hashlib, and RFC 8785 as far as entries need it. Prints what it counted as JSON."""

import csv
import datetime
import hashlib
import json
import pathlib
import sys


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def refuse_float(text):
    raise SystemExit(f"a broken number in an entry: {text}")


def main(directory):
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    for file in manifest["files"]:
        content = (directory / file["name"]).read_bytes()
        assert len(content) == file["bytes"], file["name"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"], file["name"]

    raw = (directory / "entries.jsonl").read_bytes()
    assert raw.endswith(b"\n") or not raw
    previous = manifest["entries"]["previous"]
    sequence = manifest["entries"]["first"]
    kinds = {}
    begin, end = moment(manifest["from"]), moment(manifest["to"])
    # By cluster, kind, copy and schedule: what each due moment came to at last.
    moments = {}
    missed = {}
    for line in raw.split(b"\n")[:-1]:
        entry = json.loads(line, parse_float=refuse_float)
        again = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert again.encode("utf-8") == line, f"entry {sequence} is not canonical"
        assert entry["sequence"] == sequence, f"entry {sequence} bears {entry['sequence']}"
        assert entry["previous"] == previous, f"entry {sequence} is not linked"
        previous = hashlib.sha256(line).hexdigest()
        sequence += 1
        kinds[entry["kind"]] = kinds.get(entry["kind"], 0) + 1
        body = entry["body"]
        if not begin <= moment(entry["at"]) < end:
            continue
        if entry["kind"] in ("verify", "replicate", "drill"):
            asked = body["run"]["asked"]
            if asked["trigger"] == "schedule":
                key = (entry["cluster"], entry["copy"], entry["kind"])
                due = (asked["schedule"], asked["due_at"])
                moments.setdefault(key, {})[due] = body["run"]
        elif entry["kind"] == "missed" and body["reason"] != "overdue":
            key = (entry["cluster"], entry["copy"], body["job"])
            missed[key] = missed.get(key, 0) + body["moments"]
    head = manifest["entries"]["head"]
    assert head == {"sequence": sequence - 1, "sha256": previous}, "the head is another one"

    with (directory / "population.csv").open(newline="", encoding="utf-8") as table:
        rows = {(r["cluster"], r["copy"], r["kind"]): r for r in csv.DictReader(table)}
    for key, runs in moments.items():
        row = rows[key]
        assert int(row["run"]) == len(runs), (key, row)
        for verdict in ("failed", "unproven"):
            count = sum(run["verdict"] == verdict for run in runs.values())
            assert int(row[verdict]) == count, (key, verdict, row)
        good = sum(run["verdict"] in (None, "proven") for run in runs.values())
        assert int(row["proven"]) + int(row["passed"]) == good, (key, row)
        assert int(row["missed"]) == missed.get(key, 0), (key, row)
        total = len(runs) + int(row["missed"]) + int(row["skipped"])
        assert int(row["due"]) == total, (key, row)
    print(json.dumps({"entries": sum(kinds.values()), "kinds": kinds, "head": head}))


main(pathlib.Path(sys.argv[1]))
