"""The report's sentences, in English and Chinese, for someone who is no engineer."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

TITLES: dict[str, dict[Language, str]] = {
    "digests": {"en": "What ran is what was granted", "zh": "运行内容与授权一致"},
    "declared_vs_observed": {"en": "Nothing undeclared came out", "zh": "产出与申报一致"},
    "withheld_metrics": {"en": "Tested on patients it never saw", "zh": "用未参与训练的患者检验"},
    "sizes": {"en": "How much the files could hide", "zh": "文件可能夹带的数据量"},
    "platform": {"en": "Where it ran", "zh": "运行环境"},
    "custom_code": {"en": "Whose code met the data", "zh": "接触数据的代码"},
    "buyer_history": {"en": "What this buyer already has", "zh": "该使用单位已获得的产出"},
}

STATUSES: dict[str, dict[Language, str]] = {
    "passed": {"en": "passed", "zh": "通过"},
    "warned": {"en": "look closely", "zh": "请留意"},
    "failed": {"en": "failed", "zh": "未通过"},
    "not_applicable": {"en": "does not apply", "zh": "不适用"},
    "could_not_run": {"en": "could not run", "zh": "无法检验"},
}

VERDICTS: dict[str, dict[Language, str]] = {
    "green": {"en": "GREEN", "zh": "绿色"},
    "amber": {"en": "AMBER", "zh": "黄色"},
    "red": {"en": "RED", "zh": "红色"},
}

HEADLINES: dict[str, dict[Language, str]] = {
    "green": {
        "en": "No check found a reason against release.",
        "zh": "各项检验均未发现不宜交付的理由。",
    },
    "amber": {
        "en": "Nothing failed, but this needs your judgement: {titles}.",
        "zh": "没有未通过的检验，但以下事项需要您判断：{titles}。",
    },
    "red": {
        "en": "Do not release this as it is: {titles}.",
        "zh": "目前不宜交付：{titles}。",
    },
}

LIMITS: dict[Language, str] = {
    "en": "This is evidence, not proof. A clean report does not show that a file hides nothing, or that "
    "nobody could learn something about a patient from it.",
    "zh": "本报告是证据，不是证明。报告无异常，并不等于文件没有夹带信息，也不等于无人能从中推知某位患者的情况。",
}

SENTENCES: dict[str, dict[Language, str]] = {
    "digests.passed": {
        "en": "Code, parameters and data versions are byte for byte those you granted.",
        "zh": "代码、参数和数据版本与您授权的内容逐字节一致。",
    },
    "digests.failed": {
        "en": "What ran is not what you granted: {names}.",
        "zh": "实际运行的内容与授权不符：{names}。",
    },
    "declared_vs_observed.passed": {
        "en": "Exactly the {count} declared files came out, each in its declared form.",
        "zh": "产出恰为申报的 {count} 个文件，格式均与申报一致。",
    },
    "declared_vs_observed.failed": {
        "en": "What came out is not what was declared: {names}.",
        "zh": "产出与申报不符：{names}。",
    },
    "withheld_metrics.passed": {
        "en": "On {patients} patients that training never saw, the model does about as well as on those it "
        "was trained on (difference {gap}).",
        "zh": "对 {patients} 名未参与训练的患者，模型的表现与训练患者相当（差距 {gap}）。",
    },
    "withheld_metrics.warned": {
        "en": "On {patients} patients that training never saw, the model does clearly worse than on those "
        "it was trained on (difference {gap}). It may remember individual patients.",
        "zh": "对 {patients} 名未参与训练的患者，模型的表现明显差于训练患者（差距 {gap}），可能记住了个别患者。",
    },
    "withheld_metrics.failed": {
        "en": "On {patients} patients that training never saw, the model does much worse than on those it "
        "was trained on (difference {gap}). It has probably memorised patients, and could betray who was "
        "among them.",
        "zh": "对 {patients} 名未参与训练的患者，模型的表现远差于训练患者（差距 {gap}），"
        "很可能记住了患者数据，并可能泄露谁在其中。",
    },
    "withheld_metrics.too_few": {
        "en": "Not measurable: {patients} patients were kept from training, and at least {minimum} "
        "are needed.",
        "zh": "无法测量：仅有 {patients} 名患者未参与训练，至少需要 {minimum} 名。",
    },
    "withheld_metrics.not_measurable": {
        "en": "Not measurable: the patients kept from training do not allow a comparison, for example "
        "because they all have the same outcome.",
        "zh": "无法测量：未参与训练的患者不足以比较，例如他们的结果全部相同。",
    },
    "withheld_metrics.did_not_run": {
        "en": "The model was not tested on patients that training never saw: the test did not finish.",
        "zh": "未能用未参与训练的患者检验模型：检验没有完成。",
    },
    "withheld_metrics.no_model": {
        "en": "This job trains no model, so there is none to test. Your policy does not say that this check "
        "may be left out for such jobs.",
        "zh": "该任务不训练模型，无从检验；您的规则也未说明此类任务可免除这项检验。",
    },
    "withheld_metrics.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
    "sizes.passed": {
        "en": "All files together are {bytes} bytes. They could hold at most {records} of the "
        "{rows} records.",
        "zh": "全部文件共 {bytes} 字节，最多可容纳 {rows} 条记录中的 {records} 条。",
    },
    "sizes.warned": {
        "en": "All files together are {bytes} bytes. They could hold {records} of the {rows} records: that "
        "is room enough to hide many.",
        "zh": "全部文件共 {bytes} 字节，可容纳 {rows} 条记录中的 {records} 条，足以夹带较多记录。",
    },
    "sizes.could_not_run": {
        "en": "The size of a record is not known, so nobody can say how many would fit.",
        "zh": "单条记录的大小未知，无法判断文件可容纳多少条记录。",
    },
    "platform.passed": {
        "en": "It ran in a sandbox of tier {tier}, as demanded. Hardware evidence ({kind}) says "
        "what ran there.",
        "zh": "在要求的沙箱等级 {tier} 中运行，运行内容有硬件证明（{kind}）。",
    },
    "platform.software": {
        "en": "It ran in a sandbox of tier {tier}, as demanded. The evidence is software's own word: the "
        "administrator of that machine could see both data and code.",
        "zh": "在要求的沙箱等级 {tier} 中运行。证据仅为软件自述：该机器的管理员可能看到数据和代码。",
    },
    "platform.hosted": {
        "en": "It ran in a sandbox of tier {tier} on the operator's machine. The evidence is software's own "
        "word: the operator was not blind.",
        "zh": "在运营方机器上的沙箱（等级 {tier}）中运行。证据仅为软件自述：运营方可能看到内容。",
    },
    "platform.failed": {
        "en": "Demanded were tier {tier_demanded} and evidence {kind_demanded}; it ran with tier {tier} and "
        "evidence {kind}.",
        "zh": "要求沙箱等级 {tier_demanded}、证据类型 {kind_demanded}，实际为 {tier}、{kind}。",
    },
    "custom_code.passed": {
        "en": "Only the platform's own code met the data.",
        "zh": "只有平台自身的代码接触过数据。",
    },
    "custom_code.warned": {
        "en": "The developer's own code met the data. Such code can hide records in a file in ways that no "
        "check finds: have someone read it.",
        "zh": "开发方自己的代码接触过数据。这类代码可能以检验无法发现的方式夹带记录，请安排人员审阅代码。",
    },
    "custom_code.failed": {
        "en": "The developer's own code met the data, which your policy refuses.",
        "zh": "开发方自己的代码接触过数据，而您的规则不允许。",
    },
    "buyer_history.passed": {
        "en": "This buyer has received nothing computed from this data before.",
        "zh": "该使用单位此前未获得过由这些数据得出的产出。",
    },
    "buyer_history.warned": {
        "en": "Outputs computed from the same data that this buyer already has: {count}. Together they can say "
        "more than each one alone.",
        "zh": "该使用单位已有 {count} 项由相同数据得出的产出，合并分析可能得知更多信息。",
    },
}


# What stands under a check: the name of a fact in the report, and how a person reads it.
FACTS: dict[str, dict[Language, str]] = {
    "accuracy": {"en": "accuracy", "zh": "准确率"},
    "auc": {"en": "AUC", "zh": "AUC"},
    "bytes": {"en": "bytes", "zh": "字节数"},
    "columns": {"en": "columns", "zh": "列数"},
    "commitments": {"en": "commitment", "zh": "承诺值"},
    "custody": {"en": "machine of", "zh": "机器归属"},
    "custom_code": {"en": "developer's own code", "zh": "开发方自有代码"},
    "declared": {"en": "declared", "zh": "申报"},
    "digests": {"en": "digest", "zh": "摘要"},
    "evidence_kind": {"en": "platform evidence", "zh": "平台证据"},
    "evidence_kind_demanded": {"en": "platform evidence demanded", "zh": "要求的平台证据"},
    "failed_above": {"en": "fails above", "zh": "高于此值不通过"},
    "gap": {"en": "difference", "zh": "差距"},
    "granted": {"en": "granted", "zh": "授权"},
    "loss": {"en": "loss", "zh": "损失"},
    "max_bytes": {"en": "at most bytes", "zh": "字节上限"},
    "media_type": {"en": "kind", "zh": "类型"},
    "minimum": {"en": "fewest needed", "zh": "至少需要"},
    "model": {"en": "model", "zh": "模型"},
    "numbers": {"en": "numbers in the model", "zh": "模型中的数值个数"},
    "observed": {"en": "observed", "zh": "实际"},
    "other_data": {"en": "outputs from other data", "zh": "来自其他数据的产出数"},
    "output": {"en": "output", "zh": "产出"},
    "patients": {"en": "patients", "zh": "患者数"},
    "policy": {"en": "your policy", "zh": "您的规则"},
    "r2": {"en": "R²", "zh": "R²"},
    "record_bytes": {"en": "bytes of one record", "zh": "单条记录字节数"},
    "records_that_fit": {"en": "records that would fit", "zh": "可容纳的记录数"},
    "rows": {"en": "rows", "zh": "行数"},
    "same_data": {"en": "from the same data", "zh": "来自相同数据"},
    "sandbox_tier": {"en": "sandbox", "zh": "沙箱等级"},
    "sandbox_tier_demanded": {"en": "sandbox demanded", "zh": "要求的沙箱等级"},
    "tensor_count": {"en": "number of tensors", "zh": "张量个数"},
    "tensors": {"en": "tensors", "zh": "张量"},
    "title": {"en": "title", "zh": "标题"},
    "training": {"en": "training patients", "zh": "训练患者"},
    "warned_above": {"en": "to be looked at above", "zh": "高于此值请留意"},
    "withheld": {"en": "patients never seen", "zh": "未参与训练的患者"},
    "withheld_patients": {"en": "patients kept from training", "zh": "未参与训练的患者数"},
}


def say(key: str, **details: str | int) -> dict[Language, str]:
    """The sentence ``key`` in both languages, with its details filled in."""
    template = SENTENCES[key]
    return {"en": template["en"].format(**details), "zh": template["zh"].format(**details)}
