"""Counts and means by group; groups smaller than the agreed size are left out."""

import pyarrow.compute as pc

from trustspace.jobs.compute import Inputs, Outputs


def run(inputs: Inputs, outputs: Outputs) -> None:
    """``inputs.table()`` is the granted data; ``outputs`` takes what the job declared, once each."""
    table = inputs.table()
    key = inputs.arguments["group_by"]
    smallest = inputs.arguments["smallest_group"]
    measured = [name for name in table.column_names if name != key]

    groups = table.group_by(key).aggregate([(name, "mean") for name in measured] + [([], "count_all")])
    groups = groups.filter(pc.greater_equal(groups["count_all"], smallest)).sort_by(key)

    columns = {key: groups[key].to_pylist(), "patients": groups["count_all"].to_pylist()}
    for name in measured:
        columns[f"mean of {name}"] = [round(value, 1) for value in groups[f"{name}_mean"].to_pylist()]
    outputs.csv("groups.csv", columns)
    outputs.json("summary.json", {"groups": groups.num_rows, "smallest_group": smallest})
    print(f"{groups.num_rows} groups")
