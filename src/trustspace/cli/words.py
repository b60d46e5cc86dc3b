"""How states, kinds, times, sizes and fingerprints read."""

from __future__ import annotations

import datetime

from trustspace.cli.i18n import _, mark, translate

_WORDS: dict[str, dict[str, str]] = {
    "state": {
        "sealed": mark("sealed"),
        "withdrawn": mark("withdrawn"),
        "waiting": mark("waiting"),
        "in review": mark("in review"),
        "not released": mark("not released"),
        "changes requested": mark("changes requested"),
        "changes-requested": mark("changes requested"),
        "revoked": mark("revoked"),
        "submitted": mark("waiting for grants"),
        "granted": mark("granted"),
        "refused": mark("refused"),
        "cancelled": mark("cancelled"),
        "expired": mark("expired"),
        "running": mark("running"),
        "failed": mark("failed"),
        "in-review": mark("in review"),
        "approved": mark("approved"),
        "released": mark("released"),
        "rejected": mark("rejected"),
    },
    "next": {
        "source units and buyer": mark("source units and buyer"),
        "brokers and enclaves": mark("brokers and enclaves"),
        "enclaves": mark("enclaves"),
        "reviewers": mark("reviewers"),
        "space": mark("the space"),
        "buyer": mark("the buyer"),
    },
    "role": {
        "source-unit": mark("source unit"),
        "developer": mark("model developer"),
        "buyer": mark("buyer"),
        "auditor": mark("auditor"),
        "operator": mark("operator"),
    },
    "use": {
        "act": mark("signs for the party"),
        "grant": mark("signs grants"),
        "broker": mark("releases keys"),
        "review": mark("signs reviews"),
        "review-open": mark("opens what is reviewed"),
        "receive": mark("opens what is released"),
        "enclave": mark("identity of an enclave"),
    },
    "column": {
        "number": mark("number"),
        "integer": mark("whole number"),
        "category": mark("category"),
        "text": mark("text"),
        "date": mark("date"),
        "datetime": mark("date and time"),
        "image": mark("image"),
    },
    "kind": {
        "train": mark("train a model"),
        "statistics": mark("compute statistics"),
        "compute": mark("compute with the developer's own code"),
        "score": mark("score with an encrypted model"),
    },
    "custody": {
        "own": mark("run by the source unit"),
        "operator-hosted": mark("hosted: the operator is not blind"),
    },
    "verdict": {
        "approve": mark("approved"),
        "reject": mark("rejected"),
        "changes": mark("asked for changes"),
        "hidden": mark("hidden until you have decided"),
        "lapsed": mark("approved, but that has lapsed"),
        "": mark("not decided yet"),
    },
    "reason": {
        "small-groups": mark("Groups of few patients stand out: ask for coarser groups or fewer of them."),
        "overfitted": mark("The model remembers whom it was trained on: train it less, or regularise it."),
        "too-large": mark("A file is larger than its purpose needs: make it smaller or coarser."),
        "differencing": mark("Beside something delivered before, it would tell about single patients."),
        "own-code": mark(
            "The developer's own code could not be judged: simplify it, or use the platform's own."
        ),
        "needs-privacy": mark("It needs differential privacy."),
        "not-measurable": mark("What it tells about patients could not be measured."),
        "unclear-purpose": mark("It is not clear what it is needed for: say so in the purpose."),
        "other": mark("Another reason."),
    },
    "evidence": {"software": mark("software: that machine's administrator can see both sides")},
    "field": {
        "model": mark("Model"),
        "target": mark("Column to predict"),
        "positive": mark("Counts as 1"),
        "classes": mark("Classes"),
        "loss": mark("Loss"),
        "hidden": mark("Hidden layers"),
        "categories": mark("Category columns"),
        "image_size": mark("Image size"),
        "channels": mark("Image channels"),
        "optimiser": mark("Optimiser"),
        "learning_rate": mark("Learning rate"),
        "weight_decay": mark("Weight decay"),
        "epochs": mark("Epochs"),
        "batch_size": mark("Batch size"),
        "seed": mark("Seed"),
        "standardise": mark("Standardise numbers"),
        "max_parameters": mark("Largest model (parameters)"),
        "arguments": mark("Arguments"),
        "strategy": mark("Strategy"),
        "rounds": mark("Most rounds"),
        "local_steps": mark("Steps in a round"),
        "proximal": mark("Pull towards the common model"),
        "server_learning_rate": mark("Size of the common step"),
        "server_adaptivity": mark("Adaptivity of the common step"),
        "clip": mark("Largest update (L2 norm)"),
        "weight_cap": mark("Rows that count at most"),
        "validation_percent": mark("Patients that watch the rounds (%)"),
        "patience": mark("Rounds without progress"),
        "wait_seconds": mark("Wait for a slow source unit (seconds)"),
        "numeric": mark("Columns of numbers"),
        "bounds": mark("Ranges"),
        "quantiles": mark("Quantiles"),
        "bins": mark("Bins of a histogram"),
        "tables": mark("Cross-tables"),
        "features": mark("Features and their ranges"),
        "feature_bits": mark("Bits of a feature"),
        "weight_bits": mark("Bits of a weight, at most"),
        "group": mark("Added up by"),
        "groups": mark("Groups"),
        "result": mark("Result"),
        "withheld_percent": mark("Patients withheld (%)"),
        "canaries": mark("Canaries: of the audited, those with a changed label (%)"),
        "epsilon": mark("Epsilon (how much at most)"),
        "delta": mark("Delta (the chance that it fails)"),
        "max_gradient_norm": mark("Largest step by one patient"),
        "ranges": mark("Published ranges"),
        "minimum_participants": mark("Fewest source units"),
        "release_quorum": mark("Must approve"),
        "sandbox_tier": mark("Weakest sandbox"),
        "evidence_kind": mark("Platform evidence"),
        "wall_seconds": mark("Longest time (seconds)"),
        "memory_mib": mark("Most memory (MiB)"),
        "output_mib": mark("Largest output (MiB)"),
        "threads": mark("Threads"),
        "gpu": mark("One GPU to itself"),
    },
    "value": {
        "all": mark("every source unit"),
        "any": mark("any"),
        "logistic_regression": mark("logistic regression"),
        "mlp": mark("multi-layer perceptron"),
        "small_cnn": mark("small convolutional network"),
        "custom": mark("the developer's own model"),
        "binary_cross_entropy": mark("binary cross-entropy"),
        "cross_entropy": mark("cross-entropy"),
        "mean_squared_error": mark("mean squared error"),
        "software": mark("software"),
        "linear": mark("linear"),
        "logistic": mark("logistic"),
        "group-sums": mark("encrypted sums by group, for the developer"),
        "rows": mark("a score for each row, for the source unit alone"),
    },
}

# The codes of domain/bodies.py's Reason, here without what that imports.
REASONS = tuple(_WORDS["reason"])


def word(group: str, key: str) -> str:
    """What people read for a word of the protocol; the word itself where there is nothing better."""
    return translate(_WORDS[group].get(key, key))


def roles(keys: list[str] | tuple[str, ...]) -> str:
    """Several roles in a row."""
    return _(", ").join(word("role", key) for key in keys)


def when(seconds: int) -> str:
    """A time in this computer's zone."""
    try:
        return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def size(count: int) -> str:
    """Bytes in a unit that is easy to read."""
    value, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def fingerprint(digits: str) -> str:
    """A fingerprint as it is read out: groups of four digits, eight to a line."""
    groups = [digits[start : start + 4] for start in range(0, len(digits), 4)]
    return "\n".join(" ".join(groups[start : start + 8]) for start in range(0, len(groups), 8))


def short(digest: str) -> str:
    """The first digits of a digest: enough to point at it."""
    return digest[:12]


def rows(bucket: int) -> str:
    """A rounded number of rows, as a dataset's description has it."""
    return _("fewer than 20") if bucket < 20 else _("at least {count}", count=bucket)
