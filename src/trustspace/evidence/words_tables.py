"""The sentences of the checks of numbers about groups, in English and Chinese."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

_EXCUSED: dict[Language, str] = {
    "en": "Could not be done, and your policy says that it need not be here.",
    "zh": "未能检验；按您的规则，此处可以免除。",
}

TITLES: dict[str, dict[Language, str]] = {
    "differencing": {"en": "Nothing follows from it and earlier outputs", "zh": "与以往产出合并不泄露小群体"},
    "dominance": {"en": "No number is that of one or two patients", "zh": "没有由一两名患者决定的数值"},
}

SENTENCES: dict[str, dict[Language, str]] = {
    "differencing.first": {
        "en": "This enclave has no record of anything that was computed from any of these patients' data for this buyer or "
        "developer before.",
        "zh": "本盲盒没有此前为该使用单位或该开发方计算过涉及这些患者的产出的记录。",
    },
    "differencing.passed": {
        "en": "Outputs that this buyer or developer asked for before, of some of the same patients: {count}. Whether they "
        "were approved or not, together with this one they single out no group of fewer than {block} patients.",
        "zh": "该使用单位或该开发方此前要求过 {count} 项涉及部分相同患者的产出。无论是否批准，"
        "与本次产出合并后都不能单独分出少于 {block} 名患者的群体。",
    },
    "differencing.group": {
        "en": "Together with the output of {which}, which this buyer or developer asked for, one could work out a group "
        "of {size} patients. Further such groups: {more}.",
        "zh": "与该使用单位或该开发方要求过的 {which} 的产出合并，可以推算出一个只有 {size} 名患者的群体"
        "（此类群体另有 {more} 个）。",
    },
    "differencing.set": {
        "en": "It is of nearly the same patients as the output of {which}, which this buyer or developer asked for: "
        "{size} are in one of the two only. What changed between the two is about them. Further such pairs: {more}.",
        "zh": "其患者与该使用单位或该开发方要求过的 {which} 的产出几乎相同：只有 {size} 名患者仅在其中之一。"
        "两者的变化反映的就是他们（此类情况另有 {more} 项）。",
    },
    "differencing.unit": {
        "en": "The same counts, over other source units, were in the output of {which}. One less the other is what "
        "{size} source units counted. Further such pairs: {more}.",
        "zh": "{which} 的产出含有相同的计数，但参与的数据源单位不同。两者相减即为 {size} 家单位的计数"
        "（此类情况另有 {more} 项）。",
    },
    "differencing.unlike": {
        "en": "This buyer or developer asked for other outputs of some of the same patients that cannot be subtracted from "
        "this one, such as a model and a table: {count}, among them that of {which}. What they say together, no check "
        "can tell.",
        "zh": "该使用单位或该开发方还要求过 {count} 项涉及部分相同患者、但无法与本次相减比较的产出（如模型与表格），"
        "例如 {which} 的产出。它们合并能说明什么，任何检验都无法判断。",
    },
    "differencing.too_many": {
        "en": "There are too many counts in this output and the {count} earlier ones to compare all of them.",
        "zh": "本次产出与以往 {count} 项产出中的计数过多，无法全部比较。",
    },
    "differencing.could_not_run": {
        "en": "What was computed from your data before is not known where this report was made.",
        "zh": "生成本报告之处不知道此前用您的数据计算过什么。",
    },
    "differencing.not_applicable": _EXCUSED,
    "dominance.passed": {
        "en": "Sums and means shown: {count}. In none of them do one or two of your patients make up nearly everything.",
        "zh": "公开的总和与均值共 {count} 个，没有哪一个几乎全由您的一两名患者构成。",
    },
    "dominance.none": {
        "en": "No sum and no mean is shown.",
        "zh": "没有公开总和或均值。",
    },
    "dominance.failed": {
        "en": "The mean of {columns} is nearly that of one or two of your patients: they make up {percent} % of the sum or "
        "more, or one of them could work out the other's value to within {p} %.",
        "zh": "{columns} 的均值几乎就是您的一两名患者的数值：他们占总和的 {percent}% 或以上，"
        "或其中一人可将另一人的数值推算到 {p}% 以内。",
    },
    "dominance.thin": {
        "en": "The variance of {columns} rests on too few rows: fewer than {minimum} more than it takes.",
        "zh": "{columns} 的方差所依据的记录过少：自由度少于 {minimum}。",
    },
    "dominance.doubtful": {
        "en": "In the sum of {columns} over all source units one of your patients is so large that, with one of another "
        "unit's, the two could make up nearly everything. Only both units together could tell.",
        "zh": "在各单位 {columns} 的总和中，您的一名患者占比很大；若与另一单位的一名患者合计，可能几乎构成全部。"
        "只有两家单位一起才能判断。",
    },
    "dominance.fitted": {
        "en": "The model has {parameters} fitted numbers and was fitted to {patients} of your patients: enough, so that it "
        "does not just repeat them.",
        "zh": "模型有 {parameters} 个拟合参数，依据您的 {patients} 名患者拟合：数量足够，不会只是复述这些患者。",
    },
    "dominance.fitted_together": {
        "en": "The model has {parameters} fitted numbers and {patients} of your patients: for them alone too many, by the "
        "rule of {minimum} patients more than numbers. Other source units' patients hold it up too.",
        "zh": "模型有 {parameters} 个拟合参数，您的患者为 {patients} 名：按患者须比参数多 {minimum} 的规则，"
        "仅凭您的患者并不足够，但其他单位的患者也支撑该模型。",
    },
    "dominance.overfitted": {
        "en": "The model has {parameters} fitted numbers and only {patients} patients to fit them to: fewer than {minimum} "
        "patients more than numbers. It can repeat them.",
        "zh": "模型有 {parameters} 个拟合参数，而拟合所用的患者只有 {patients} 名：患者数未比参数多出 {minimum}，"
        "模型可能复述患者的数据。",
    },
    "dominance.other": {
        "en": "This job shows no sums of amounts, and it fits no regression.",
        "zh": "此任务不公开数额之和，也不拟合回归模型。",
    },
    "dominance.could_not_run": {
        "en": "The largest parts in the sums are not known where this report was made.",
        "zh": "生成本报告之处不知道总和中的最大份额。",
    },
    "dominance.not_applicable": _EXCUSED,
}

FACTS: dict[str, dict[Language, str]] = {
    "below_zero": {"en": "columns with values below 0, not judged", "zh": "含负值、未作判断的列"},
    "degrees_of_freedom": {"en": "degrees of freedom", "zh": "自由度"},
    "dominance_percent": {"en": "share of the two largest that is too much, %", "zh": "前两名占比上限（%）"},
    "dominated": {"en": "means of one or two patients", "zh": "由一两名患者决定的均值"},
    "earlier_outputs": {"en": "earlier outputs of the same patients", "zh": "涉及相同患者的以往产出数"},
    "few_degrees": {"en": "variances of too few rows", "zh": "依据记录过少的方差"},
    "made": {"en": "made", "zh": "日期"},
    "minimum_block": {"en": "fewest patients that may be singled out", "zh": "可单独分出的最少患者数"},
    "minimum_degrees_of_freedom": {"en": "fewest degrees of freedom", "zh": "最少自由度"},
    "not_compared": {"en": "could not be compared with", "zh": "无法比较的产出"},
    "outputs": {"en": "with the output", "zh": "合并的产出"},
    "p_percent": {"en": "how closely a patient may not be known, %", "zh": "不得推算到的精度（%）"},
    "parameters": {"en": "fitted numbers", "zh": "拟合参数个数"},
    "perhaps_dominated": {"en": "means of perhaps two patients", "zh": "可能由两名患者决定的均值"},
    "same_patients": {"en": "of exactly the same patients", "zh": "患者完全相同的产出"},
    "sums_shown": {"en": "sums and means shown", "zh": "公开的总和与均值数"},
    "told_by_groups": {"en": "groups that follow from counts", "zh": "由计数推出的群体"},
    "told_by_sets": {"en": "patients in one of two outputs only", "zh": "仅在两项产出之一中的患者"},
    "told_by_units": {"en": "source units in one of two outputs only", "zh": "仅在两项产出之一中的单位"},
    "units": {"en": "source units", "zh": "数据源单位数"},
}
