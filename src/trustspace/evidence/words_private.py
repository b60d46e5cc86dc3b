"""The sentences of the check of differential privacy, in English and Chinese."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

TITLES: dict[str, dict[Language, str]] = {
    "differential_privacy": {"en": "What noise promises every patient", "zh": "噪声对每位患者的保证"},
}

SENTENCES: dict[str, dict[Language, str]] = {
    "differential_privacy.passed": {
        "en": "The model was trained with noise so that, whatever one patient's data are, the chance of any result changes "
        "by at most a factor {factor} (epsilon {epsilon}). What was seen of the training comes to {accounted}, by a second "
        "method to {check}, and the attacks tried here show no more than {audited}.",
        "zh": "训练时加入了噪声：无论某一位患者的数据如何，任何结果出现的概率至多相差 {factor} 倍（epsilon {epsilon}）。"
        "按实际训练过程核算为 {accounted}，用第二种方法核算为 {check}，在此进行的攻击只显示出不超过 {audited}。",
    },
    "differential_privacy.weak": {
        "en": "The promise holds but is weak: whatever one patient's data are, the chance of any result changes by at most a "
        "factor {factor} (epsilon {epsilon}, and {limit} is what passes here). Rely on what the attacks measured.",
        "zh": "保证成立但较弱：无论某一位患者的数据如何，任何结果出现的概率至多相差 {factor} 倍"
        "（epsilon {epsilon}，此处通过的上限为 {limit}）。请以攻击检验的实测结果为准。",
    },
    "differential_privacy.own_code": {
        "en": "The training claims that, whatever one patient's data are, the chance of any result changes by at most a factor "
        "{factor} (epsilon {epsilon}), and its account agrees ({accounted}; {check}). But the developer's own model code ran "
        "in the same process and could have gone around the noise: the claim rests on that code.",
        "zh": "训练声称：无论某一位患者的数据如何，任何结果出现的概率至多相差 {factor} 倍（epsilon {epsilon}），"
        "核算相符（{accounted}；{check}）。但开发方自己的模型代码在同一进程中运行，可能绕过噪声：该保证取决于这些代码。",
    },
    "differential_privacy.exceeded": {
        "en": "The promise is broken: epsilon {epsilon} was claimed, and what was seen of the training comes to {accounted}.",
        "zh": "保证未兑现：声称 epsilon 为 {epsilon}，按实际训练过程核算为 {accounted}。",
    },
    "differential_privacy.audit": {
        "en": "The promise is broken: epsilon {epsilon} was claimed, and an attack tried here shows that it is at least "
        "{audited}. Either the training did not do what it says, or there is a fault in it. Do not rely on the claim.",
        "zh": "保证未兑现：声称 epsilon 为 {epsilon}，而在此进行的攻击表明它至少为 {audited}。"
        "训练过程要么与其声称不符，要么存在缺陷，请勿采信该保证。",
    },
    "differential_privacy.disagree": {
        "en": "Two independent accounts of the same training do not agree ({accounted} and {check}): one of them is wrong, and "
        "nobody knows which.",
        "zh": "对同一训练的两种独立核算不一致（{accounted} 与 {check}）：其中之一有误，无从得知是哪一个。",
    },
    "differential_privacy.generator": {
        "en": "The noise did not come from a cryptographic generator: whoever can predict it can take it away again.",
        "zh": "噪声并非出自密码学随机数发生器：能预测噪声的人可以将其去除。",
    },
    "differential_privacy.delta": {
        "en": "With {patients} patients, the claim allows that one of them is given away whole: its delta is not below 1 "
        "divided by their number.",
        "zh": "共 {patients} 名患者，而该声称允许其中一人被完全泄露：其 delta 不小于患者人数的倒数。",
    },
    "differential_privacy.patients": {
        "en": "The training counted another number of patients than the {patients} that it was given.",
        "zh": "训练统计的患者人数与实际提供的 {patients} 名不符。",
    },
    "differential_privacy.no_claim": {
        "en": "The job claims no differential privacy. Your policy does not say that such jobs are acceptable.",
        "zh": "该任务未声称差分隐私；您的规则也未说明此类任务可以接受。",
    },
    "differential_privacy.not_seen": {
        "en": "The job claims differential privacy, and what noise your part got was not seen: your own enclave was not there "
        "at the end, and no other one can say it.",
        "zh": "该任务声称差分隐私，但未能看到贵单位的部分加入了多少噪声：结束时贵单位自己的盲盒不在场，其他盲盒无从得知。",
    },
    "differential_privacy.not_applicable": {
        "en": "The job claims no differential privacy, and your policy does not demand any.",
        "zh": "该任务未声称差分隐私，您的规则也不作要求。",
    },
}

FACTS: dict[str, dict[Language, str]] = {
    "delta": {"en": "delta", "zh": "δ"},
    "epsilon_accounted": {"en": "epsilon, of what was seen", "zh": "ε（按实际过程核算）"},
    "epsilon_claimed": {"en": "epsilon that was promised", "zh": "ε（声称值）"},
    "epsilon_second_accountant": {"en": "epsilon, by a second method", "zh": "ε（第二种方法）"},
    "generator": {"en": "where the noise came from", "zh": "噪声来源"},
    "noise_multiplier": {
        "en": "noise, in largest steps by one patient",
        "zh": "噪声（以单名患者最大影响为单位）",
    },
    "passed_up_to": {"en": "passes up to epsilon", "zh": "ε 通过上限"},
    "sample_rate": {"en": "chance of a patient to be in a step", "zh": "患者进入每一步的概率"},
    "steps": {"en": "steps", "zh": "步数"},
    "unit": {"en": "who is protected", "zh": "保护单位"},
}

VALUES: dict[str, dict[str, dict[Language, str]]] = {
    "generator": {
        "shake-256": {"en": "a cryptographic generator (SHAKE-256)", "zh": "密码学随机数发生器（SHAKE-256）"},
        "not cryptographic": {"en": "no cryptographic generator", "zh": "非密码学随机数发生器"},
    },
    "unit": {"patient": {"en": "every patient, with all their rows", "zh": "每名患者及其全部记录"}},
}
