"""``trustspace demo``: the whole story once, by real processes over mutual TLS, on real clinical data."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.text import Text

from trustspace.demo import again, asking, delivering, forgers, impostors, running, sums, thieves
from trustspace.demo.cast import Play, move_in
from trustspace.demo.data import load
from trustspace.demo.figures import BAR_FROM, Auc, bar, plot
from trustspace.demo.processes import Processes
from trustspace.demo.stage import Explain, Stage
from trustspace.demo.words import Language
from trustspace.errors import CATALOGUE, InvalidInput, TrustspaceError, VerificationFailed
from trustspace.storage.files import write_atomic

CHEATED = 1
INTERRUPTED = 130


def in_english(error: TrustspaceError) -> tuple[str, str]:
    """An error's message and fix as they were written."""
    return error.message.format(**error.details), error.fix.format(**error.details)


def run(json_path: Path | None, keep: Path | None, lang: str, explain: Explain = in_english) -> int:
    """Play the story; returns the process's exit code.

    ``json_path`` gets the figures, ``keep`` (a new or empty directory) everything that the story leaves behind.
    ``lang`` is "en" or "zh"; ``explain`` says errors in that language. The code is 0 when every cheat was
    refused and the certificate verified, 1 when not, an error's own code when the story could not be played,
    130 on Ctrl-C.
    """
    language: Language = "zh" if lang == "zh" else "en"
    stage = Stage(language, explain)
    # What the cheats provoke is shown in the story; the libraries' own warnings about it are not.
    logging.getLogger("trustspace").addHandler(logging.NullHandler())
    try:
        with _ending_on_signals(), _workplace(keep) as root, Processes(root / "logs", language) as processes:
            return _play(root, stage, processes, json_path, keep)
    except KeyboardInterrupt:
        stage.note("interrupted")
        return INTERRUPTED
    except TrustspaceError as error:
        stage.problem(error)
        return CATALOGUE[error.code].exit_code


def _play(root: Path, stage: Stage, processes: Processes, json_path: Path | None, keep: Path | None) -> int:
    if json_path is not None and not json_path.absolute().parent.is_dir():
        raise InvalidInput("There is no folder {folder}.", fix="Make it first.", folder=str(json_path.parent))
    stage.opening()
    cohort = load(stage.language)
    stage.scene("scene.cast")
    play = move_in(root, stage, cohort, processes)
    asking.seal_data(play)
    asking.ask(play)
    play.tried(impostors.false_buyer(play))
    asking.look_and_grant(play)
    running.run_job(play)
    again.until_not_red(play)
    stage.scene("scene.waiting")
    play.tried(sums.altered_contribution(play))
    play.tried(thieves.buyer_before_approval(play))
    play.tried(thieves.release_without_approval(play))
    stage.note("held", name=play.developer.party.name)
    with impostors.held_run(play) as held:
        play.tried(impostors.false_enclave(play, held))
        play.tried(impostors.changed_job(play, held))
    running.decide(play)
    delivering.deliver(play)
    play.tried(forgers.byte_changed(play))
    play.tried(thieves.operator_opens(play))
    play.tried(forgers.ledger_rewritten(play))
    delivering.check_ledger(play)
    stage.scene("scene.offline")
    processes.stop_all()
    stage.does("operator", "offline.stopped")
    certificate_verified, auc = _offline(play)
    losses = delivering.loss_per_round(play)
    seconds = stage.seconds
    _result(play, auc, losses, certificate_verified=certificate_verified, seconds=seconds)
    report = {
        "hospitals": len(play.hospitals), "rounds": len(losses), "auc": auc.to_json() if auc else None,
        "cheats": [{"name": cheat.name, "refused": cheat.refused} for cheat in play.cheats],
        "certificate_verified": certificate_verified, "seconds": round(seconds, 2),
    }  # fmt: skip
    if json_path is not None:
        write_atomic(json_path, json.dumps(report, indent=2).encode() + b"\n", 0o644)
    if keep is not None:
        stage.note("kept", folder=str(keep))
    return 0 if certificate_verified and all(cheat.refused for cheat in play.cheats) else CHEATED


def _offline(play: Play) -> tuple[bool, Auc | None]:
    """Whether the certificate holds, and what the model is worth; a model without a certificate is not used."""
    try:
        verified = delivering.verify_offline(play)
    except VerificationFailed as error:
        play.stage.problem(error)
        return False, None
    play.tried(forgers.false_certificate(play))
    return True, delivering.use_model(play, verified)


def _result(
    play: Play, auc: Auc | None, losses: list[float], *, certificate_verified: bool, seconds: float
) -> None:
    stage, say = play.stage, play.stage.say
    stage.scene("scene.result")
    if auc is not None:
        _figures(play, auc)
        stage.note("loss.title", rounds=len(losses), hospitals=len(play.hospitals))
        for line in plot(losses):
            stage.console.print(Text(line.rstrip()))
    rows = [
        (say(f"cheat.{cheat.name}"), str(sum(not a.control for a in cheat.attempts)),
         str(sum(a.control for a in cheat.attempts)), say("cheat.refused" if cheat.refused else "cheat.succeeded"))
        for cheat in play.cheats
    ]  # fmt: skip
    columns = [say("cheat"), say("col.attempts"), say("col.controls"), ""]
    stage.console.print()
    stage.console.print(stage.table(columns, rows, right=(1, 2), title=say("cheats.title")))
    refused = sum(cheat.refused for cheat in play.cheats)
    stage.note(
        "summary", cheats=len(play.cheats), refused=refused, seconds=f"{seconds:.1f}",
        certificate=say("certificate.holds" if certificate_verified else "certificate.broken"),
    )  # fmt: skip


def _figures(play: Play, auc: Auc) -> None:
    """Who could have learned what, measured on the same patients: each hospital alone, and all together."""
    stage, say = play.stage, play.stage.say
    found = [
        (say("auc.own", name=hospital.name), str(len(hospital.rows)), value)
        for hospital, value in zip(play.hospitals, auc.own, strict=True)
    ]
    everybody = str(sum(len(hospital.rows) for hospital in play.hospitals))
    for name, value in auc.to_json().items():
        found.append((say(f"auc.{name}"), "" if name == "local" else everybody, value))
    columns = [say("col.model"), say("col.patients"), "AUC", say("col.bar", low=f"{BAR_FROM:g}")]
    rows = [(what, patients, f"{value:.4f}", bar(value)) for what, patients, value in found]
    stage.console.print()
    stage.console.print(
        stage.table(columns, rows, right=(1, 2), title=say("auc.title", patients=len(play.cohort.buyer)))
    )
    stage.note("auc.told")


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """A directory for the whole play: the caller's own, kept, or a temporary one, removed whatever happens."""
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise InvalidInput("The folder {folder} is not empty.", fix="Name a new one.", folder=str(keep))
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield keep.resolve()
        return
    root = Path(tempfile.mkdtemp(prefix="trustspace-demo-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Let SIGTERM end the play as Ctrl-C does, with everything cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Any = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
