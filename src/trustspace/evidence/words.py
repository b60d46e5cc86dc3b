"""The report's sentences, in English and Chinese, for someone who is no engineer."""

from __future__ import annotations

from typing import Literal

from trustspace.evidence import words_capacity, words_membership, words_private, words_tables

Language = Literal["en", "zh"]

TITLES: dict[str, dict[Language, str]] = {
    "digests": {"en": "What ran is what was granted", "zh": "运行内容与授权一致"},
    "declared_vs_observed": {"en": "Nothing undeclared came out", "zh": "产出与申报一致"},
    "withheld_metrics": {"en": "Tested on patients it never saw", "zh": "用未参与训练的患者检验"},
    "platform": {"en": "Where it ran", "zh": "运行环境"},
    "custom_code": {"en": "Whose code met the data", "zh": "接触数据的代码"},
    "buyer_history": {"en": "What this buyer already has", "zh": "该使用单位已获得的产出"},
    "sums": {"en": "Only sums of several were opened", "zh": "只打开多家之和"},
    "small_cells": {"en": "No small groups of people", "zh": "不暴露小群体"},
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
        "en": "Nothing failed, but these checks need your judgement: {titles}.",
        "zh": "没有未通过的检验，但以下检验需要您判断：{titles}。",
    },
    "red": {
        "en": "Do not release this as it is. These checks failed or could not be made: {titles}.",
        "zh": "目前不宜交付。未通过或无法进行的检验：{titles}。",
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
        "en": "Exactly what was declared came out, in its declared form. Files: {count}.",
        "zh": "产出与申报完全一致，格式也一致。文件数：{count}。",
    },
    "declared_vs_observed.warned": {
        "en": "Exactly the {count} declared files came out. But the job left open what stands in some of them: "
        "{names}. They may hold free text or anything else of their type: open them and look.",
        "zh": "产出恰为申报的 {count} 个文件，但任务没有限定其中一些文件的内容：{names}。"
        "其中可能有任意文字或其他内容，请打开查看。",
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
    "withheld_metrics.own_code": {
        "en": "On {patients} patients that training never saw, the model does about as well as on those it was trained "
        "on (difference {gap}). But the developer's own code ran where this was measured, and could have bent it.",
        "zh": "对 {patients} 名未参与训练的患者，模型的表现与训练患者相当（差距 {gap}）。"
        "但测量时运行了开发方自己的代码，结果可能受其影响。",
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
    "platform.passed": {
        "en": "It ran in a sandbox of tier {tier}, as demanded. Hardware evidence ({kind}) says "
        "what ran there.",
        "zh": "在要求的沙箱等级 {tier} 中运行，运行内容有硬件证据（{kind}）。",
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
    "custom_code.blind": {
        "en": "The developer's own code met the data, and it is blind: sealed, so that nobody among you can read it. "
        "Such code can hide records in a file in ways that no check finds. Look all the harder at what came out.",
        "zh": "开发方自己的代码接触过数据，而且是盲代码：代码已密封，你们中无人能审阅。"
        "这类代码可能以检验无法发现的方式夹带记录，请更加严格地查看产出。",
    },
    "custom_code.blind_refused": {
        "en": "Blind code of the developer's met the data, which your policy refuses.",
        "zh": "开发方的盲代码接触过数据，而您的规则不允许。",
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
    "buyer_history.could_not_run": {
        "en": "Another source unit's enclave made this report, and does not know what this buyer has received from "
        "your data before.",
        "zh": "本报告由其他数据源单位的盲盒生成，它不知道该使用单位此前获得过哪些由您的数据得出的产出。",
    },
    "sums.alone": {
        "en": "Only your data was used. Nothing was added up with other source units.",
        "zh": "只使用了您的数据，没有与其他数据源单位求和。",
    },
    "sums.passed": {
        "en": "Sums opened: {rounds}, each over all {units} source units (agreed: at least {minimum}). Your data "
        "is in all of them. No one saw what a single source unit put in.",
        "zh": "共打开 {rounds} 次求和结果，每次都包含全部 {units} 家数据源单位（约定至少 {minimum} 家）。"
        "您的数据在每次求和之中。没有人看到过单独一家的部分。",
    },
    "sums.pair": {
        "en": "Sums opened: {rounds}, each over both source units (agreed: at least {minimum}). Your data is in all of "
        "them. Each of the two can work out the other's part: your grant accepts that.",
        "zh": "共打开 {rounds} 次求和结果，每次都包含两家数据源单位（约定至少 {minimum} 家）。"
        "您的数据在每次求和之中。两家各自都能算出对方的部分：您的授权接受了这一点。",
    },
    "sums.dropped": {
        "en": "Sums opened: {rounds}. Your data is in all of them, but not everybody's: the smallest is over "
        "{smallest} of {units} source units (agreed: at least {minimum}). From two neighbouring sums, with and without "
        "a source unit, the space and one member's host together can estimate what that unit put in.",
        "zh": "共打开 {rounds} 次求和结果。您的数据在每次求和之中，但并非每次各家都在："
        "最少的一次只含 {units} 家中的 {smallest} 家（约定至少 {minimum} 家）。"
        "由相邻两次求和（一次含某家、一次不含），空间与某一成员的主机合谋可以估计该家提交的内容。",
    },
    "sums.recoverable": {
        "en": "Sums opened: {rounds}. Your data is in all of them; the smallest is over {smallest} of {units} source "
        "units (agreed: at least {minimum}). Any {needed} of the {units} source units together could open every single "
        "update: your grant accepts that.",
        "zh": "共打开 {rounds} 次求和结果。您的数据在每次求和之中；"
        "最少的一次含 {units} 家中的 {smallest} 家（约定至少 {minimum} 家）。"
        "任意 {needed} 家（共 {units} 家）联合起来可以打开每一份更新：您的授权接受了这一点。",
    },
    "sums.own_some": {
        "en": "Sums opened: {rounds}, the smallest over {smallest} of {units} source units (agreed: at least "
        "{minimum}). Your data is in some of them only: from two neighbouring sums, with and without it, the space and "
        "one member's host together can estimate what your enclave put in.",
        "zh": "共打开 {rounds} 次求和结果，最少的一次含 {units} 家中的 {smallest} 家（约定至少 {minimum} 家）。"
        "您的数据只在其中一部分之中：由相邻两次求和（一次含您的数据、一次不含），空间与某一成员的主机合谋可以估计您的盲盒提交的内容。",
    },
    "sums.own_none": {
        "en": "Sums opened: {rounds}, the smallest over {smallest} of {units} source units (agreed: at least "
        "{minimum}). Your data is in none of them: your enclave dropped out.",
        "zh": "共打开 {rounds} 次求和结果，最少的一次含 {units} 家中的 {smallest} 家（约定至少 {minimum} 家）。"
        "您的数据不在其中：您的盲盒中途退出。",
    },
    "sums.failed": {
        "en": "A sum was opened over too few source units: {smallest}, where at least {minimum} were agreed and "
        "two are always needed.",
        "zh": "有一次求和包含的数据源单位过少：只有 {smallest} 家，而约定至少 {minimum} 家，且任何时候不得少于两家。",
    },
    "sums.could_not_run": {
        "en": "It is not known over how many source units the sums were made.",
        "zh": "不清楚求和包含了多少家数据源单位。",
    },
    "small_cells.none": {
        "en": "The statistics show {counts} counts. Each is of at least {minimum} rows, or of none.",
        "zh": "统计结果共有 {counts} 个计数，每个至少涉及 {minimum} 条记录，或为零。",
    },
    "small_cells.hidden": {
        "en": "{hidden} of the {counts} counts are hidden, so that no group of fewer than {minimum} rows shows. "
        "No hidden one follows from those that are shown.",
        "zh": "{counts} 个计数中有 {hidden} 个已隐藏，使少于 {minimum} 条记录的群体不会显现。"
        "隐藏的计数无法由公开的计数推出。",
    },
    "small_cells.repeated": {
        "en": "Groups of fewer than {minimum} rows do not show. But rows are not people: your {rows} rows are of "
        "{patients} patients, so a count that is shown may be of a few people only.",
        "zh": "少于 {minimum} 条记录的群体不会显现。但记录数不等于人数：您的 {rows} 条记录来自 {patients} 名患者，"
        "公开的计数可能只涉及少数几人。",
    },
    "small_cells.alike": {
        "en": "Small counts are hidden ({hidden}). But in {count} groups everybody has the same value: whoever knows "
        "that someone is in such a group knows this of them too.",
        "zh": "小计数已隐藏（{hidden} 个）。但有 {count} 个群体中所有人的取值相同：知道某人属于该群体，就知道其取值。",
    },
    "small_cells.too_low": {
        "en": "Groups of {minimum} rows and more are shown, and your policy demands at least {demanded}.",
        "zh": "公开了 {minimum} 条记录及以上群体的计数，而您的规则要求至少 {demanded} 条。",
    },
    "small_cells.derived": {
        "en": "Small groups can be worked out from the counts that are shown: {count}.",
        "zh": "由公开的计数可以推出 {count} 个小群体。",
    },
    "small_cells.encrypted": {
        "en": "{count} sums of scores, encrypted for the developer: you cannot look into them. Each is of at least "
        "{smallest} rows and can carry {bits} bits, whatever the hidden weights are. Such sums of this data that the "
        "developer has got, with these: {spent} of {limit}.",
        "zh": "共 {count} 个得分之和，已为开发方加密，您无法查看其内容。无论隐藏的权重为何，"
        "每个和至少涉及 {smallest} 条记录，最多承载 {bits} 比特。"
        "连同本次，该开发方已获得这些数据的此类和 {spent} 个，上限 {limit} 个。",
    },
    "small_cells.blinded": {
        "en": "{count} encrypted scores, each under a uniform mask. Whoever decrypts them sees noise; only your source "
        "unit, which holds the masks, can open them with what is handed back.",
        "zh": "共 {count} 个加密得分，每个都加有均匀随机掩码。解密者只看到噪声；"
        "只有持有掩码的本单位，才能用交还的结果打开它们。",
    },
    "small_cells.overspent": {
        "en": "With these the developer would have {spent} sums of scores of this data, and your policy allows "
        "{limit}.",
        "zh": "加上这些得分之和，该开发方将获得这些数据的 {spent} 个和，而您的规则只允许 {limit} 个。",
    },
    "small_cells.model": {
        "en": "No table of counts was released: a model, and measures of all patients together.",
        "zh": "没有交付计数表：只有模型和全部患者的总体指标。",
    },
    "small_cells.code": {
        "en": "The developer's own code wrote these files, and no check can tell which of their numbers count "
        "people. Look for small groups in them yourself.",
        "zh": "这些文件由开发方自己的代码写出，任何检验都无法判断其中哪些数字是人数，请自行查看是否涉及小群体。",
    },
    "small_cells.small": {
        "en": "The developer's own code wrote counts of fewer than {demanded} people: {count}. They are marked below.",
        "zh": "开发方自己的代码写出了不足 {demanded} 人的计数，共 {count} 个，已在下方标出。",
    },
    "small_cells.perhaps": {
        "en": "The developer's own code wrote a table that may count people: {count} of its numbers are below "
        "{demanded}, and marked. Look at what they are.",
        "zh": "开发方自己的代码写出了可能是人数的表格：其中 {count} 个数字小于 {demanded}，已标出。请查看其含义。",
    },
    "small_cells.could_not_run": {
        "en": "There are no statistics here to look at.",
        "zh": "此处没有可供检验的统计结果。",
    },
    "buyer_history.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
    "sums.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
    "small_cells.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
}


# What stands under a check: the name of a fact in the report, and how a person reads it.
FACTS: dict[str, dict[Language, str]] = {
    "accuracy": {"en": "accuracy", "zh": "准确率"},
    "alike": {"en": "groups that share one value", "zh": "取值全部相同的群体数"},
    "auc": {"en": "AUC", "zh": "AUC"},
    "blind": {"en": "blind code", "zh": "盲代码"},
    "bytes": {"en": "bytes", "zh": "字节数"},
    "bytes_carried": {"en": "bytes carried under encryption", "zh": "加密承载的字节数"},
    "columns": {"en": "columns", "zh": "列数"},
    "commitments": {"en": "commitment", "zh": "承诺值"},
    "counts": {"en": "counts", "zh": "计数个数"},
    "custody": {"en": "machine of", "zh": "机器归属"},
    "custom_code": {"en": "developer's own code", "zh": "开发方自有代码"},
    "declared": {"en": "declared", "zh": "申报"},
    "derived": {"en": "small groups that follow from others", "zh": "可推出的小群体数"},
    "digests": {"en": "digest", "zh": "摘要"},
    "encrypted_sums": {"en": "encrypted sums", "zh": "加密的和"},
    "evidence_kind": {"en": "platform evidence", "zh": "平台证据"},
    "evidence_kind_demanded": {"en": "platform evidence demanded", "zh": "要求的平台证据"},
    "failed_above": {"en": "fails above", "zh": "高于此值不通过"},
    "fewest_demanded": {"en": "fewest rows you demand", "zh": "您要求的最少记录数"},
    "fewest_shown": {"en": "fewest rows shown", "zh": "公开的最少记录数"},
    "free_form": {"en": "content left open", "zh": "内容未限定"},
    "gap": {"en": "difference", "zh": "差距"},
    "granted": {"en": "granted", "zh": "授权"},
    "height": {"en": "pixels high", "zh": "高（像素）"},
    "hidden": {"en": "hidden", "zh": "已隐藏"},
    "key": {"en": "encrypted for key", "zh": "加密所用公钥"},
    "key_bits": {"en": "bits of that key", "zh": "公钥位数"},
    "loss": {"en": "loss", "zh": "损失"},
    "max_bytes": {"en": "at most bytes", "zh": "字节上限"},
    "measurement": {"en": "digest of the platform that ran", "zh": "运行平台的摘要"},
    "media_type": {"en": "kind", "zh": "类型"},
    "minimum": {"en": "fewest needed", "zh": "至少需要"},
    "model": {"en": "model", "zh": "模型"},
    "narrowest": {"en": "values that a hidden count may have, at least", "zh": "隐藏的计数至少有几种可能"},
    "numbers": {"en": "numbers in the model", "zh": "模型中的数值个数"},
    "observed": {"en": "observed", "zh": "实际"},
    "opened_by": {"en": "source units that can open a sum", "zh": "可打开汇总的单位数"},
    "other_data": {"en": "outputs from other data", "zh": "来自其他数据的产出数"},
    "output": {"en": "output", "zh": "产出"},
    "own_part": {"en": "sums with your data", "zh": "包含您的数据的求和"},
    "patients": {"en": "patients", "zh": "患者数"},
    "policy": {"en": "your policy", "zh": "您的规则"},
    "r2": {"en": "R²", "zh": "R²"},
    "record_bytes": {"en": "bytes of one record", "zh": "单条记录字节数"},
    "records_that_fit": {"en": "records that would fit", "zh": "可容纳的记录数"},
    "rounds": {"en": "sums opened", "zh": "打开的求和次数"},
    "rows": {"en": "rows", "zh": "行数"},
    "same_data": {"en": "from the same data", "zh": "来自相同数据"},
    "sandbox_tier": {"en": "sandbox", "zh": "沙箱等级"},
    "sandbox_tier_demanded": {"en": "sandbox demanded", "zh": "要求的沙箱等级"},
    "scheme": {"en": "protected by", "zh": "保护方式"},
    "small": {"en": "small counts", "zh": "小计数个数"},
    "smallest": {"en": "source units in the smallest sum", "zh": "最少一次求和的单位数"},
    "smallest_group": {"en": "rows of the smallest group", "zh": "最小一组的记录数"},
    "source_units": {"en": "source units of the job", "zh": "任务的数据源单位数"},
    "sum_bits": {"en": "bits that a sum can carry", "zh": "每个和最多承载的比特数"},
    "sums_limit": {"en": "sums that one developer may get", "zh": "一个开发方可获得的和的上限"},
    "sums_spent": {"en": "sums that it has got, with these", "zh": "连同本次已获得的和"},
    "tensor_count": {"en": "number of tensors", "zh": "张量个数"},
    "tensors": {"en": "tensors", "zh": "张量"},
    "title": {"en": "title", "zh": "标题"},
    "training": {"en": "training patients", "zh": "训练患者"},
    "warned_above": {"en": "to be looked at above", "zh": "高于此值请留意"},
    "weight_bits": {"en": "bits of a hidden weight, proven", "zh": "隐藏权重的位数（已证明）"},
    "width": {"en": "pixels wide", "zh": "宽（像素）"},
    "withheld": {"en": "patients never seen", "zh": "未参与训练的患者"},
    "withheld_patients": {"en": "patients kept from training", "zh": "未参与训练的患者数"},
}

# Beneath these facts stand names: of files, and of what a run was given. A file may be called as a fact is.
NAMED = frozenset({"commitments", "declared", "digests", "observed"})
GIVEN: dict[str, dict[Language, str]] = {
    "code": {"en": "code", "zh": "代码"},
    "parameters": {"en": "parameters", "zh": "参数"},
}

_YES_NO: dict[str, dict[Language, str]] = {"yes": {"en": "yes", "zh": "是"}, "no": {"en": "no", "zh": "否"}}
_SOFTWARE: dict[str, dict[Language, str]] = {"software": {"en": "software", "zh": "软件自述"}}
# What such a fact may be, where that is one of a few words.
VALUES: dict[str, dict[str, dict[Language, str]]] = {
    "blind": _YES_NO,
    "custody": {
        "own": {"en": "the source unit", "zh": "数据源单位"},
        "operator-hosted": {"en": "the operator", "zh": "运营方"},
    },
    "custom_code": _YES_NO,
    "evidence_kind": _SOFTWARE,
    "evidence_kind_demanded": _SOFTWARE,
    "sandbox_tier_demanded": {"any": {"en": "any", "zh": "任意"}},
}


for _family in (words_membership, words_private, words_capacity, words_tables):
    TITLES |= _family.TITLES
    SENTENCES |= _family.SENTENCES
    FACTS |= _family.FACTS
VALUES |= words_capacity.VALUES
VALUES |= words_private.VALUES


def say(key: str, **details: str | int) -> dict[Language, str]:
    """The sentence ``key`` in both languages, with its details filled in."""
    template = SENTENCES[key]
    return {"en": template["en"].format(**details), "zh": template["zh"].format(**details)}
