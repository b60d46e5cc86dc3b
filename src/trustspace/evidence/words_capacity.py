"""The sentences of the checks of a file as a channel, in English and Chinese."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

TITLES: dict[str, dict[Language, str]] = {
    "stored_rows": {"en": "No records stand in the files", "zh": "文件中没有存放原始记录"},
    "sizes": {"en": "How much the files could hide", "zh": "文件可能夹带的数据量"},
}

SENTENCES: dict[str, dict[Language, str]] = {
    "sizes.passed": {
        "en": "All files together are {bytes} bytes. They could hold at most {records} of the {rows} records, {easily} of "
        "them without anybody noticing.",
        "zh": "全部文件共 {bytes} 字节，最多可容纳 {rows} 条记录中的 {records} 条，其中 {easily} 条可不被察觉地夹带。",
    },
    "sizes.warned": {
        "en": "All files together are {bytes} bytes. They could hold {records} of the {rows} records, {easily} of them "
        "without anybody noticing: that is room enough to hide many.",
        "zh": "全部文件共 {bytes} 字节，可容纳 {rows} 条记录中的 {records} 条，其中 {easily} 条可不被察觉地夹带，"
        "足以夹带较多记录。",
    },
    "sizes.failed": {
        "en": "All files together are {bytes} bytes. They could hold {records} of the {rows} records, and the code "
        "that wrote them is blind: nobody can read what it put there.",
        "zh": "全部文件共 {bytes} 字节，可容纳 {rows} 条记录中的 {records} 条；"
        "而写出它们的是盲代码，无人能审阅它写入了什么。",
    },
    "sizes.carried": {
        "en": "To whoever has its key, what is encrypted carries at most {bytes} bytes: {records} of the {rows} "
        "records.",
        "zh": "加密内容最多向密钥持有者承载 {bytes} 字节，可容纳 {rows} 条记录中的 {records} 条。",
    },
    "sizes.bf16": {
        "en": "The platform rounded the model's weights, so nothing can hide in the digits it took away.",
        "zh": "平台已对模型权重取整，被舍去的数位无法夹带数据。",
    },
    "sizes.float32": {
        "en": "The job asked for weights that are not rounded: their last digits change nothing and could hold records.",
        "zh": "该任务要求权重不取整：其末尾数位不影响效果，却可以夹带记录。",
    },
    "sizes.effect": {
        "en": "On patients it never saw: {measure} {as_exported} as it leaves, {before_rounding} before rounding.",
        "zh": "对未参与训练的患者：{measure} 交付时为 {as_exported}，取整前为 {before_rounding}。",
    },
    "sizes.could_not_run": {
        "en": "The size of a record is not known, so nobody can say how many would fit.",
        "zh": "单条记录的大小未知，无法判断文件可容纳多少条记录。",
    },
    "sizes.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
    "stored_rows.passed": {
        "en": "None of the {rows} records stands in the files as it is. Records that were hidden in another form could "
        "not be seen here.",
        "zh": "{rows} 条记录均未原样出现在文件中。以其他形式隐藏的记录在此无法发现。",
    },
    "stored_rows.own_training": {
        "en": "The platform's own training made the model: it keeps weights, and no records.",
        "zh": "模型由平台自己的训练程序产生：只含权重，不存放记录。",
    },
    "stored_rows.not_needed": {
        "en": "The platform's own counting made these files: they keep no records.",
        "zh": "这些文件由平台自己的统计程序产生，不存放记录。",
    },
    "stored_rows.found": {
        "en": "Records of yours stand in the files: {count} of {rows} were found in {name}. Whoever has the file has them.",
        "zh": "文件中存有您的原始记录：在 {name} 中找到 {rows} 条中的 {count} 条。得到文件者即得到这些记录。",
    },
    "stored_rows.leaf": {
        "en": "A decision tree in {name} has a leaf of {count} records; you demand at least {minimum}. Such a leaf tells "
        "what was true of those few.",
        "zh": "{name} 中的决策树有一个仅含 {count} 条记录的叶节点，而您要求至少 {minimum} 条。这样的叶节点会暴露这几个人的情况。",
    },
    "stored_rows.named": {
        "en": "This is a kind of model that keeps the records it learnt from, by its own names: {names}.",
        "zh": "从名称看，这类模型会保存训练所用的记录：{names}。",
    },
    "stored_rows.shaped": {
        "en": "No record was found as it is, but these have exactly as many entries as there are records or patients: "
        "{names}. A model that keeps something for every patient looks like that.",
        "zh": "未发现原样存放的记录，但以下内容的条目数恰好等于记录数或患者数：{names}。逐个患者保存信息的模型正是如此。",
    },
    "stored_rows.pictures": {
        "en": "Whether pictures of yours stand in these files was not compared. Look at them, and at the code that wrote "
        "them.",
        "zh": "未比对文件中是否存有您的图像。请查看这些文件以及写出它们的代码。",
    },
    "stored_rows.narrow": {
        "en": "The data are too coarse, or have too few columns of numbers, to tell a record from chance: whether some "
        "stand in these files cannot be seen.",
        "zh": "数据过于粗略或数值列太少，无法把原始记录与巧合区分开：无从判断文件中是否存有记录。",
    },
    "stored_rows.too_large": {
        "en": "The files and the data are too large to be compared row by row.",
        "zh": "文件和数据过大，无法逐行比对。",
    },
    "stored_rows.did_not_run": {
        "en": "The files were not compared with your records.",
        "zh": "未将文件与您的记录比对。",
    },
    "stored_rows.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
}

FACTS: dict[str, dict[Language, str]] = {
    "as_exported": {"en": "as it leaves", "zh": "交付时"},
    "as_many_as_rows": {"en": "with one entry for each record", "zh": "每条记录一个条目"},
    "before_rounding": {"en": "before rounding", "zh": "取整前"},
    "bytes_allowed": {"en": "bytes allowed", "zh": "允许的字节数"},
    "compared": {"en": "compared with the records", "zh": "是否与记录比对"},
    "count": {"en": "records", "zh": "记录数"},
    "keeps_rows_by_name": {"en": "keeps records, by its name", "zh": "从名称看保存记录"},
    "measure": {"en": "measure", "zh": "指标"},
    "precision": {"en": "precision of the weights", "zh": "权重精度"},
    "records_that_fit_unnoticed": {"en": "of them unnoticed", "zh": "其中可不被察觉的"},
    "rows_found": {"en": "records found", "zh": "找到的记录"},
    "smallest_leaf": {"en": "smallest leaf of a tree", "zh": "决策树最小叶节点"},
    "warned_above_percent": {
        "en": "to be looked at above, in percent of the records",
        "zh": "占记录的百分比高于此值请留意",
    },
    "where": {"en": "in", "zh": "位于"},
}

VALUES: dict[str, dict[str, dict[Language, str]]] = {
    "compared": {
        "yes": {"en": "yes", "zh": "是"},
        "narrow": {"en": "too few columns or values", "zh": "列或取值太少"},
        "pictures": {"en": "not pictures", "zh": "未比对图像"},
        "too_large": {"en": "too large", "zh": "过大"},
        "not_needed": {"en": "not needed: the platform's own training", "zh": "不需要：平台自己的训练"},
    },
    "precision": {
        "bf16": {"en": "rounded (bfloat16)", "zh": "已取整（bfloat16）"},
        "float32": {"en": "not rounded (float32)", "zh": "未取整（float32）"},
    },
}
