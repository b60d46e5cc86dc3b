"""The sentences of the checks of a trained model, in English and Chinese."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

TITLES: dict[str, dict[Language, str]] = {
    "membership": {"en": "Can someone tell who was in the data", "zh": "能否判断谁在数据之中"},
    "references": {"en": "The same, beside models trained anew", "zh": "与重新训练的模型比较"},
    "canaries": {"en": "The worst case: patients with a changed label", "zh": "最坏情形：标签被更改的患者"},
    "reexecution": {"en": "The same work gives the same bytes", "zh": "重新运行得到相同字节"},
}

SENTENCES: dict[str, dict[Language, str]] = {
    "headline.guess": {
        "en": "Someone guessing who was in your data would be right {right} times of 100; chance is 50. ",
        "zh": "若有人猜测谁在您的数据之中，100 次约猜对 {right} 次；随机猜测为 50 次。",
    },
    "headline.no_guess": {
        "en": "How well someone could guess who was in your data was not measured. ",
        "zh": "未能测出他人猜测谁在您的数据之中的能力。",
    },
    "membership.passed": {
        "en": "Shown one patient who was in the data and one who was not, someone who looks at how well the model fits "
        "each would pick the right one {right} times of 100 (95 %: {low} to {high}). Chance is 50. Nobody stands out.",
        "zh": "给出一名在数据中的患者和一名不在其中的患者，只看模型对两人的拟合程度，100 次约能选对 {right} 次"
        "（95% 区间：{low} 至 {high}），随机为 50 次。没有患者特别突出。",
    },
    "membership.own_code": {
        "en": "Shown one patient who was in the data and one who was not, someone who looks at how well the model fits "
        "each would pick the right one {right} times of 100 (95 %: {low} to {high}). Chance is 50. But the developer's "
        "own code ran where this was measured, and could have bent it.",
        "zh": "给出一名在数据中的患者和一名不在其中的患者，只看模型对两人的拟合程度，100 次约能选对 {right} 次"
        "（95% 区间：{low} 至 {high}），随机为 50 次。但测量时运行了开发方自己的代码，结果可能受其影响。",
    },
    "membership.warned": {
        "en": "Shown one patient who was in the data and one who was not, someone who looks at how well the model fits "
        "each would pick the right one {right} times of 100 (95 %: {low} to {high}). Chance is 50. That is more than it "
        "should be, or too few patients were withheld to rule it out.",
        "zh": "给出一名在数据中的患者和一名不在其中的患者，只看模型对两人的拟合程度，100 次约能选对 {right} 次"
        "（95% 区间：{low} 至 {high}），随机为 50 次。这高于应有水平，或因留出患者过少而无法排除。",
    },
    "membership.failed": {
        "en": "The model remembers people: shown one patient who was in the data and one who was not, its fit alone gives "
        "the right one away {right} times of 100 (95 %: {low} to {high}), or betrays single patients almost surely. "
        "Chance is 50.",
        "zh": "模型记住了个人：给出一名在数据中的患者和一名不在其中的患者，仅凭拟合程度 100 次就能选对 {right} 次"
        "（95% 区间：{low} 至 {high}），或几乎必然暴露个别患者。随机为 50 次。",
    },
    "membership.could_not_run": {
        "en": "Too few patients were withheld for a result that says anything: {low} to {high} of 100 is all that can be "
        "said.",
        "zh": "留出的患者太少，测量结果没有意义：只能说 100 次中猜对 {low} 至 {high} 次。",
    },
    "membership.no_model": {
        "en": "No model was trained, so there is nothing to test in this way.",
        "zh": "没有训练模型，因此无需进行此项检验。",
    },
    "membership.too_few": {
        "en": "Not measurable: {patients} patients were withheld, and at least {minimum} are needed.",
        "zh": "无法测量：只留出了 {patients} 名患者，至少需要 {minimum} 名。",
    },
    "membership.did_not_run": {
        "en": "The model could not be tested on patients it never saw.",
        "zh": "未能用模型从未见过的患者进行检验。",
    },
    "membership.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
    "references.passed": {
        "en": "Compared with {trainings} models trained anew on random halves of your patients, someone would pick the "
        "right one of two {right} times of 100 (95 %: {low} to {high}). Chance is 50.",
        "zh": "与在您的随机一半患者上重新训练的 {trainings} 个模型比较，两人中选对的次数约为 100 次中 {right} 次"
        "（95% 区间：{low} 至 {high}），随机为 50 次。",
    },
    "references.own_code": {
        "en": "Compared with {trainings} models trained anew on random halves of your patients, someone would pick the "
        "right one of two {right} times of 100 (95 %: {low} to {high}). Chance is 50. But the developer's own code ran "
        "where this was measured, and could have bent it.",
        "zh": "与在您的随机一半患者上重新训练的 {trainings} 个模型比较，两人中选对的次数约为 100 次中 {right} 次"
        "（95% 区间：{low} 至 {high}），随机为 50 次。但测量时运行了开发方自己的代码，结果可能受其影响。",
    },
    "references.warned": {
        "en": "Compared with {trainings} models trained anew on random halves of your patients, someone would pick the "
        "right one of two {right} times of 100 (95 %: {low} to {high}). Chance is 50. That is more than it should be, or "
        "too few patients were withheld to rule it out.",
        "zh": "与在您的随机一半患者上重新训练的 {trainings} 个模型比较，两人中选对的次数约为 100 次中 {right} 次"
        "（95% 区间：{low} 至 {high}），随机为 50 次。这高于应有水平，或因留出患者过少而无法排除。",
    },
    "references.failed": {
        "en": "Compared with {trainings} models trained anew on random halves of your patients, this one gives away who "
        "was in the data: {right} times of 100 (95 %: {low} to {high}), or {hits} of {guesses} single guesses were right. "
        "Chance is 50 of 100.",
        "zh": "与在您的随机一半患者上重新训练的 {trainings} 个模型比较，该模型暴露了谁在数据之中：100 次选对 {right} 次"
        "（95% 区间：{low} 至 {high}），或逐一猜测 {guesses} 次中猜对 {hits} 次。随机为 100 次中 50 次。",
    },
    "references.group": {
        "en": "On average nobody stands out beside {trainings} models trained anew, but in one group people do: of those "
        "with {group}, someone would pick the right one of two {right} times of 100 (95 % for all groups together: {low} "
        "to {high}). Chance is 50.",
        "zh": "与重新训练的 {trainings} 个模型比较，总体上无人突出，但有一个群体例外：在 {group} 的患者中，"
        "两人选对的次数约为 100 次中 {right} 次（全部群体合并 95% 区间：{low} 至 {high}），随机为 50 次。",
    },
    "references.could_not_run": {
        "en": "Too few patients were withheld for a result that says anything: {low} to {high} of 100 is all that can be "
        "said.",
        "zh": "留出的患者太少，测量结果没有意义：只能说 100 次中猜对 {low} 至 {high} 次。",
    },
    "references.not_asked": {
        "en": "Your policy asks for no models trained anew to compare with.",
        "zh": "您的规则不要求重新训练模型进行比较。",
    },
    "references.did_not_run": {
        "en": "No models could be trained anew to compare with, within the time that the job allows.",
        "zh": "在任务允许的时间内，未能重新训练模型进行比较。",
    },
    "references.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
    "canaries.passed": {
        "en": "The label of {patients} patients was changed on purpose: who learns people by heart shows it there first. "
        "Shown one of them who was in the data and one who was not, someone would pick the right one {right} times of 100 "
        "(95 %: {low} to {high}). Chance is 50.",
        "zh": "有意更改了 {patients} 名患者的标签：模型若记住个人，首先会在他们身上显露。给出其中一名在数据中的患者和"
        "一名不在其中的患者，100 次约能选对 {right} 次（95% 区间：{low} 至 {high}），随机为 50 次。",
    },
    "canaries.warned": {
        "en": "On {patients} patients whose label was changed on purpose, someone guessing which of two was in the data would "
        "be right {right} times of 100 (95 %: {low} to {high}). Chance is 50. These are the worst case, not the typical "
        "patient; but the model seems to know some of them by heart, and patients who are unlike all others may fare as they do.",
        "zh": "在有意更改标签的 {patients} 名患者中，若有人猜测两人中谁在数据之中，100 次约猜对 {right} 次"
        "（95% 区间：{low} 至 {high}），随机为 50 次。他们是最坏情形，而非一般患者；但模型似乎记住了其中一些人，"
        "与众不同的患者可能处于同样的境地。",
    },
    "canaries.failed": {
        "en": "The model remembers people: on {patients} patients whose label was changed on purpose, someone guessing which "
        "of two was in the data would be right {right} times of 100 (95 %: {low} to {high}), and of {guesses} single guesses "
        "{hits} were right. Chance is 50 of 100. No promise of an epsilon below {epsilon} could hold.",
        "zh": "模型记住了个人：在有意更改标签的 {patients} 名患者中，若有人猜测两人中谁在数据之中，100 次约猜对 {right} 次"
        "（95% 区间：{low} 至 {high}），逐一猜测 {guesses} 次中猜对 {hits} 次。随机为 100 次中 50 次。"
        "低于 {epsilon} 的 ε 保证不可能成立。",
    },
    "canaries.claim": {
        "en": "The promise is broken: epsilon {claimed} was claimed, and on {patients} patients whose label was changed on "
        "purpose, {hits} of {guesses} single guesses at who was in the data were right, which takes at least {epsilon}.",
        "zh": "保证未兑现：声称 epsilon 为 {claimed}，而对有意更改标签的 {patients} 名患者逐一猜测谁在数据之中，"
        "{guesses} 次猜对 {hits} 次，这要求 epsilon 至少为 {epsilon}。",
    },
    "canaries.too_few": {
        "en": "The label of {patients} patients was changed on purpose, too few for a result that says anything: at least "
        "{needed} are needed. Ask for more canaries, or withhold more patients.",
        "zh": "有意更改了 {patients} 名患者的标签，人数太少，结果没有意义：至少需要 {needed} 名。请增加金丝雀或留出更多患者。",
    },
    "canaries.did_not_run": {
        "en": "The job agreed to patients with a changed label, but what the model gives away of them could not be measured: "
        "at least {needed} are needed, some of them in the data and some not.",
        "zh": "任务同意更改部分患者的标签，但未能测出模型暴露他们的程度：至少需要 {needed} 名，其中一部分在数据中，一部分不在。",
    },
    "canaries.not_agreed": {
        "en": "The job agreed to no patients with a changed label. Your policy does not say that such jobs are acceptable.",
        "zh": "该任务未同意更改任何患者的标签；您的规则也未说明此类任务可以接受。",
    },
    "canaries.not_applicable": {
        "en": "The job agreed to no patients with a changed label, and your policy does not demand any.",
        "zh": "该任务未同意更改任何患者的标签，您的规则也不作要求。",
    },
    "reexecution.passed": {
        "en": "The same code on the same data gave the same bytes a second time, here in your enclave.",
        "zh": "在您的盲盒中，用相同代码和相同数据再次运行，得到了完全相同的字节。",
    },
    "reexecution.round": {
        "en": "One round, of which nobody knew beforehand, was computed twice in your enclave, and gave the same bytes.",
        "zh": "在您的盲盒中，随机选取的一个轮次被计算两次，得到了完全相同的字节。",
    },
    "reexecution.skipped": {
        "en": "Your policy does not ask that the work be done twice.",
        "zh": "您的规则不要求重复运行。",
    },
    "reexecution.own_code": {
        "en": "The developer's own code gave other bytes a second time: chance is in it, or something that should not be.",
        "zh": "开发方自己的代码再次运行得到了不同的字节：其中含有随机因素，或有不该有的内容。",
    },
    "reexecution.failed": {
        "en": "The same code on the same data gave other bytes a second time, which the platform's own code does not.",
        "zh": "相同代码和相同数据再次运行得到了不同的字节，平台自身的代码不会如此。",
    },
    "reexecution.random": {
        "en": "Encryption is random, so that the same work gives other bytes each time.",
        "zh": "加密含有随机性，因此每次运行得到的字节都不同。",
    },
    "reexecution.did_not_run": {
        "en": "The work could not be done a second time, within the time that the job allows.",
        "zh": "在任务允许的时间内，未能再次运行。",
    },
    "reexecution.not_applicable": {
        "en": "Could not be done, and your policy says that it need not be here.",
        "zh": "未能检验；按您的规则，此处可以免除。",
    },
    "figure.fit": {"en": "How well the model fits each patient", "zh": "模型对每名患者的拟合程度"},
    "figure.loss": {"en": "loss (left: fits well)", "zh": "损失（左侧为拟合良好）"},
    "figure.inside": {"en": "in the data", "zh": "在数据中"},
    "figure.outside": {"en": "never seen", "zh": "从未见过"},
    "figure.roc": {
        "en": "Telling patients apart, where few are accused wrongly",
        "zh": "极少误判时的辨认能力",
    },
    "figure.false": {"en": "accused wrongly", "zh": "误判比例"},
    "figure.true": {"en": "found", "zh": "辨认出的比例"},
    "figure.exposed": {
        "en": "Patients who stand out most (for you alone; somebody always does)",
        "zh": "最突出的患者（仅供您查看；总会有人排在最前）",
    },
}

FACTS: dict[str, dict[Language, str]] = {
    "area": {"en": "area under the curve, and its 95 % range", "zh": "曲线下面积及 95% 区间"},
    "canaries_needed": {"en": "patients with a changed label that are needed", "zh": "所需的更改标签患者数"},
    "canaries_percent": {
        "en": "of the audited patients, those with a changed label (%)",
        "zh": "受审计患者中更改标签者（%）",
    },
    "epsilon": {"en": "epsilon, in thousandths", "zh": "ε（千分之一）"},
    "epsilon_at_least": {"en": "epsilon is at least (95 %)", "zh": "ε 至少为（95% 置信）"},
    "group": {"en": "group", "zh": "群体"},
    "groups": {"en": "groups", "zh": "各群体"},
    "guesses": {"en": "single guesses", "zh": "逐一猜测次数"},
    "limits": {"en": "look closely above, fails above", "zh": "高于前者请留意，高于后者不通过"},
    "method": {"en": "way of comparing", "zh": "比较方法"},
    "patients_in": {"en": "patients who were in the data", "zh": "在数据中的患者数"},
    "patients_out": {"en": "patients who were not", "zh": "不在数据中的患者数"},
    "right": {"en": "of which right", "zh": "其中猜对"},
    "right_of_100": {"en": "right of 100", "zh": "100 次猜对次数"},
    "tail": {
        "en": "cleared for certain (chance: 0.01), and its 95 % range",
        "zh": "可确定排除的比例（随机为 0.01）及 95% 区间",
    },
    "trainings": {"en": "models trained anew", "zh": "重新训练的模型数"},
    "true_positives": {"en": "found, where 1 of 100 is accused wrongly", "zh": "误判率 1% 时辨认出的比例"},
}
