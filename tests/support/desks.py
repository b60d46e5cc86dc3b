"""A review desk over a real in-process space with something on it, for tests in a browser and for its pictures."""

from __future__ import annotations

import threading
from typing import Any

from support.enclaves import TRAIN
from support.story import TWO_OUTPUTS, TWO_OUTPUTS_CODE, Story
from trustspace.client import review
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.web.server import DeskServer

STATISTICS = """
[job]
title = "Size and texture by diagnosis"
purpose = "Table 1 of the study's report."
kind = "statistics"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "cytology"
version = 1
columns = ["size", "texture", "diagnosis"]

[statistics]
numeric = ["size", "texture"]
bounds = { size = [0, 30], texture = [0, 4] }
tables = [["diagnosis"]]
categories = { diagnosis = ["B", "M"] }
"""
ASKED = TRAIN.replace('title = "Malignancy"', 'title = "Malignancy, second reading"').replace(
    'purpose = "A second opinion."',
    'purpose = "A second opinion for the tumour board.\\nTrained on cytology of 2025; no patient is named."',
)
NEW_CODE = TWO_OUTPUTS_CODE.replace(
    '    sizes = table.column("size").to_pylist()\n',
    '    sizes = table.column("size").to_pylist()\n    large = [size for size in sizes if size > 12]\n',
).replace('"rows": table.num_rows, ', '"rows": table.num_rows, "large": len(large), ')


class DeskStory(Story):
    """One approved job of the developer with its own code, three outputs that wait, and one request."""

    def __init__(self) -> None:
        rules = {"reexecution": "skip", "not_applicable": DEFAULT_POLICY.not_applicable}
        super().__init__(policy=DEFAULT_POLICY.model_copy(update=rules))
        self.waiting: dict[str, str] = {}
        self._servers: list[tuple[DeskServer, threading.Event, threading.Thread]] = []

    def fill(self, *, train: bool = True) -> DeskStory:
        """Tell the story; without ``train`` no model is trained, which is quicker."""
        both = {"reviewers": ("Dr Li", "Dr Wang"), "threshold": 2}
        self.until_review(**both)
        for reviewer in ("Dr Li", "Dr Wang"):
            self.approve(reviewer)
        self.fetch()
        for name, text, code in (
            ("code", TWO_OUTPUTS.replace("Mean size by diagnosis", "Mean size by diagnosis, large ones"), NEW_CODE),
            ("statistics", STATISTICS, ""),
            ("more", STATISTICS.replace("Size and texture", "Texture").replace('"size", "texture"', '"texture"')
                .replace("size = [0, 30], ", ""), ""),
            *((("train", TRAIN, ""),) if train else ()),
        ):  # fmt: skip
            self.until_review(text=text, code=code or TWO_OUTPUTS_CODE, **both)
            self.waiting[name] = self.job
        review.reject(self.hospital, review.sealed_case(self.hospital, self.waiting["statistics"], "Dr Wang"))
        self.ask(text=ASKED)
        return self

    def serve(self, reviewer: str = "Dr Li", **options: Any) -> DeskServer:
        """A desk that listens until the story is closed."""
        from trustspace.cli.i18n import catalogue

        server = DeskServer(self.hospital, reviewer, chinese=catalogue(), **options)
        stop = threading.Event()
        thread = threading.Thread(target=server.serve, args=(stop,), daemon=True)
        thread.start()
        self._servers.append((server, stop, thread))
        return server

    def close(self) -> None:
        for _, stop, thread in self._servers:
            stop.set()
            thread.join(30)
        super().close()
