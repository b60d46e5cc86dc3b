"""Leave a note in a folder and look for the note of an earlier run."""

import os

from kit import word_for


def run(inputs, outputs):
    folder, token = str(inputs.arguments["folder"]), str(inputs.arguments["token"])
    try:
        found = [name for name in os.listdir(folder) if name.startswith(f"note-{token}-")]
        loot = "".join(open(f"{folder}/{name}", encoding="utf-8").read() for name in found)
        with open(f"{folder}/note-{token}-{os.getpid()}", "w", encoding="utf-8") as file:
            file.write(inputs.table()["name"][0].as_py())
        detail = f"{len(found)} notes of earlier runs: {loot}" if found else "no note but its own"
    except OSError as error:
        found, detail = [], word_for(error)
    outputs.json("finding.json", {"worked": bool(found), "detail": detail})
