"""A source unit's policy in words: each field of :class:`trustspace.domain.bodies.Policy`, in English and Chinese.

One table for everybody who shows a policy: the template of a policy file, ``dataset show``, a reviewer's desk.
POLICY holds short titles, MEANINGS what a field does and where its default comes from, in the order of SECTIONS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from trustspace.domain.bodies import Policy
from trustspace.evidence.words import TITLES, Language

POLICY: Final[dict[str, dict[Language, str]]] = {
    "custom_code": {"en": "Developers' own code", "zh": "开发方自有代码"},
    "blind_code": {"en": "Blind code", "zh": "盲代码"},
    "quiet_millibits_per_developer": {"en": "Told before release", "zh": "交付前可透露"},
    "score_sums_per_developer": {"en": "Sums of encrypted scores", "zh": "加密评分求和次数"},
    "reviewers": {"en": "People who must approve", "zh": "须批准的人数"},
    "not_applicable": {"en": "Checks that may be left out", "zh": "可省略的检验"},
    "minimum_withheld_patients": {"en": "Patients withheld for evidence", "zh": "为取证留出的患者"},
    "reference_trainings": {"en": "Reference trainings", "zh": "参照训练次数"},
    "reference_trainings_on_amber": {"en": "Reference trainings where in doubt", "zh": "存疑时的参照训练次数"},
    "reexecution": {"en": "The same run once more", "zh": "重新执行核对"},
    "auc_warned_permille": {"en": "Guessing who was in: look closely from", "zh": "成员猜测：达到即提请留意"},
    "auc_failed_permille": {"en": "Guessing who was in: fails from", "zh": "成员猜测：达到即不通过"},
    "tail_warned_permille": {"en": "People certainly told apart: look closely from", "zh": "可确定排除者：达到即提请留意"},
    "tail_failed_permille": {"en": "People certainly told apart: fails from", "zh": "可确定排除者：达到即不通过"},
    "audit_warned_millis": {"en": "Audited epsilon: look closely from", "zh": "审计所得 ε：达到即提请留意"},
    "audit_failed_millis": {"en": "Audited epsilon: fails from", "zh": "审计所得 ε：达到即不通过"},
    "capacity_warned_percent": {"en": "Room in the files: look closely above", "zh": "文件容量：超过即提请留意"},
    "privacy_millis": {"en": "Differential privacy for all jobs", "zh": "差分隐私总预算"},
    "minimum_cell_count": {"en": "Rows behind a shown count", "zh": "所示计数的最少行数"},
    "minimum_block": {"en": "Patients by which two outputs may differ", "zh": "两次产出之间的最小患者差"},
    "dominance_percent": {"en": "Share of the two largest in a sum", "zh": "总和中最大两者的占比"},
    "p_percent": {"en": "How near one may guess the largest", "zh": "推算最大者的最小误差"},
    "minimum_degrees_of_freedom": {"en": "Degrees of freedom of a fit", "zh": "拟合的剩余自由度"},
}  # fmt: skip

SECTIONS: Final[tuple[tuple[dict[Language, str], tuple[str, ...]], ...]] = (
    (
        {"en": "Before a run", "zh": "运行之前"},
        ("custom_code", "blind_code", "quiet_millibits_per_developer", "score_sums_per_developer"),
    ),
    ({"en": "Review", "zh": "审查"}, ("reviewers", "not_applicable")),
    (
        {"en": "Models", "zh": "模型"},
        (
            "minimum_withheld_patients", "reference_trainings", "reference_trainings_on_amber", "reexecution",
            "auc_warned_permille", "auc_failed_permille", "tail_warned_permille", "tail_failed_permille",
            "audit_warned_millis", "audit_failed_millis", "capacity_warned_percent", "privacy_millis",
        ),
    ),
    (
        {"en": "Tables", "zh": "统计表"},
        ("minimum_cell_count", "minimum_block", "dominance_percent", "p_percent", "minimum_degrees_of_freedom"),
    ),
)  # fmt: skip

MEANINGS: Final[dict[str, dict[Language, str]]] = {
    "custom_code": {
        "en": '"accept": a developer\'s own code may meet the dataset, and the reviewer is told. "refuse": only the '
        "programs of the platform may. Own code can hide things in what it produces; nobody can show that it did not.",
        "zh": "“accept”：允许开发方自有代码接触本数据集，并提示审查员。“refuse”：只允许平台自带程序。"
        "自有代码可能在产出中夹带信息，谁也无法证明它没有。",
    },
    "blind_code": {
        "en": '"accept": code that its developer has sealed, and that none of you can read, may meet the dataset. It needs '
        'custom_code = "accept" as well.',
        "zh": "“accept”：允许开发方已加密、贵方无人能读的代码接触本数据集；同时要求 custom_code 为 “accept”。",
    },
    "quiet_millibits_per_developer": {
        "en": "How much all jobs of one developer together may tell about the dataset before release, by when and how runs "
        "end, in thousandths of a bit. 100000 is 100 bits, some thirty ordinary jobs; 0 allows no job at all. Counted as "
        "docs/quiet-channels.md says.",
        "zh": "同一开发方的全部任务在交付之前，通过运行何时、如何结束，总共可透露多少数据集信息，单位为千分之一比特。"
        "100000 即 100 比特，约三十个普通任务；0 表示不允许任何任务。计算方法见 docs/quiet-channels.zh-CN.md。",
    },
    "score_sums_per_developer": {
        "en": "How many sums of scores under weights that nobody here can read one developer's jobs may get of the dataset "
        "(docs/encrypted-scoring.md); 0 allows none.",
        "zh": "同一开发方的任务最多可对本数据集取得多少次“权重不可见”的评分之和（见 docs/encrypted-scoring.zh-CN.md）；0 表示不允许。",
    },
    "reviewers": {
        "en": "The fewest people who must approve an output, 1 or 2; a grant may demand more. With two, each holds half of "
        "your key share: with one home for each they are a fact, not a rule (docs/review.md).",
        "zh": "批准一份产出至少需要几人，1 或 2；授权时可要求更多。为 2 时，贵方的密钥份额由两人各持一半："
        "各用各的主目录时，双人审查便是事实而不只是规定（见 docs/review.zh-CN.md）。",
    },
    "not_applicable": {
        "en": "Their names, or name:kind for one kind of job (train, statistics, compute, "
        "score). A check that could not run blocks a release unless it stands here. Whoever takes "
        "differential_privacy or canaries off the list demands them of every job.",
        "zh": "写检验名称，或“名称:类别”只针对一类任务（train、statistics、compute、score）。"
        "未列于此而无法进行的检验会阻止交付。从中删去 differential_privacy 或 canaries，即要求每个任务都使用差分隐私或更改部分患者的标签。",
    },
    "minimum_withheld_patients": {
        "en": "With fewer patients withheld from training than this, the evidence on a model counts as not measured: the "
        "intervals would be too wide to tell anything.",
        "zh": "未参与训练的留出患者少于此数时，模型的证据按“未能测量”处理：区间太宽，说明不了问题。",
    },
    "reference_trainings": {
        "en": "How many times a model is trained anew, each on a random half of the patients, to measure how well somebody "
        "who did the same could tell who was in (RMIA, Zarifzadeh et al. 2024; LiRA, Carlini et al. 2022). Each costs "
        "about half a training. 0: none, and the report says that you asked for none.",
        "zh": "为衡量“同样做法的人能多准地判断谁在训练数据中”，用随机一半患者重新训练几次"
        "（RMIA，Zarifzadeh 等 2024；LiRA，Carlini 等 2022）。每次约为半次训练的开销。0 表示不做，报告会写明贵方未要求。",
    },
    "reference_trainings_on_amber": {
        "en": "Where the measures leave a doubt, so many are made, and these count. No more than above: no second look.",
        "zh": "各项测量仍存疑时，做这么多次，并以此为准。不多于上一项则不再复查。",
    },
    "reexecution": {
        "en": '"demand": a deterministic job is run once more in the enclave and must give the same bytes. "skip": not. It '
        "shows what a model came from, not that its code is honest.",
        "zh": "“demand”：确定性任务在盲盒内再执行一次，产出须逐字节相同。“skip”：不执行。它说明模型从何而来，不说明代码是否诚实。",
    },
    "auc_warned_permille": {
        "en": "How often somebody who guesses which of two people was in the data may be right, in thousandths; chance is 500. "
        "From this on the reviewer is asked to look closely.",
        "zh": "让人猜两人中哪一位在训练数据里，猜对的次数（千分比）；全凭运气为 500。达到此值即提请审查员留意。",
    },
    "auc_failed_permille": {
        "en": "From this on the check fails, where chance can be ruled out. SACRO-ML takes 0.65 as grounds for rejection.",
        "zh": "达到此值、且可排除巧合时不通过。SACRO-ML 以 0.65 作为拒绝的依据。",
    },
    "tail_warned_permille": {
        "en": "Of people who were not in the data, how many can be ruled out at the price of one wrong in a hundred who were, "
        "in thousandths; chance is 10. It shows what averages hide. From this on, look closely.",
        "zh": "以误排百分之一训练者为代价，未参与训练的人中有多少可被确定排除（千分比）；全凭运气为 10。它能揭示平均值掩盖的问题。达到此值即提请留意。",
    },
    "tail_failed_permille": {
        "en": "From this on the check fails. Our choice, from what was measured on overfitted and on regular models.",
        "zh": "达到此值即不通过。由我们依据过拟合模型与正常模型的实测结果选定。",
    },
    "audit_warned_millis": {
        "en": "The epsilon that the model demonstrably exceeds, at 95 % confidence, in thousandths (one-run audit, Steinke, Nasr "
        "and Jagielski 2023). 0 is not a proof of privacy. From this on, look closely.",
        "zh": "以 95 % 置信度可证明模型已超过的 ε，单位为千分之一（单次运行审计，Steinke、Nasr、Jagielski 2023）。"
        "为 0 并不证明隐私无虞。达到此值即提请留意。",
    },
    "audit_failed_millis": {
        "en": "From this on the check fails. Our choice; epsilon 1 is what is commonly called strong protection.",
        "zh": "达到此值即不通过。由我们选定；通常称 ε 不超过 1 为强保护。",
    },
    "capacity_warned_percent": {
        "en": "How many of the dataset's rows the released files have room for, in percent of all. Above this, look closely.",
        "zh": "交付文件的容量可容纳全部行的百分之几。超过此值即提请留意。",
    },
    "privacy_millis": {
        "en": "How much differential privacy all jobs together may spend on the dataset, as epsilon in thousandths: 10000 is "
        "epsilon 10, the end of what is commonly called reasonable (Ponomareva et al. 2023). A grant may allow a job less.",
        "zh": "全部任务对本数据集合计可消耗的差分隐私，以 ε 的千分之一计：10000 即 ε = 10，通常认为合理的上限"
        "（Ponomareva 等 2023）。单次授权可以限得更低。",
    },
    "minimum_cell_count": {
        "en": "No count of fewer rows than this is shown in a table. 10 is what ACRO uses; OpenSAFELY leaves out up to 7.",
        "zh": "统计表不显示少于此行数的计数。ACRO 用 10；OpenSAFELY 隐去 7 及以下。",
    },
    "minimum_block": {
        "en": "What two outputs are about may differ by nobody, or by at least so many patients: else the difference of the two "
        "tells about the few. Outputs that were rejected count as well.",
        "zh": "两份产出所涉患者要么相同，要么至少相差这么多人：否则两者相减即可得知少数人的情况。已被拒绝的产出也计算在内。",
    },
    "dominance_percent": {
        "en": "A sum fails where its two largest make up more than this share, in percent (dominance; ACRO uses 90).",
        "zh": "总和中最大两者合计超过此百分比时不通过（支配规则；ACRO 用 90）。",
    },
    "p_percent": {
        "en": "A sum fails where the second largest, who knows its own part, can tell the largest to within so many percent "
        "(p % rule; ACRO uses 10).",
        "zh": "第二大者凭自己的数值即可把最大者推算到此百分比以内时不通过（p % 规则；ACRO 用 10）。",
    },
    "minimum_degrees_of_freedom": {
        "en": "A regression needs at least so many patients more than it has parameters, and a variance so many values more "
        "than one (ACRO uses 10).",
        "zh": "回归模型的患者数须至少比参数多这么多；方差所依据的数值个数减一也不得少于此数（ACRO 用 10）。",
    },
}

_CHOICES: Final[dict[tuple[str, str], dict[Language, str]]] = {
    ("custom_code", "accept"): {"en": "accepted, and flagged to the reviewer", "zh": "接受，但会提示审查员"},
    ("custom_code", "refuse"): {"en": "refused", "zh": "不接受"},
    ("blind_code", "accept"): {"en": "accepted, and flagged to the reviewer", "zh": "接受，但会提示审查员"},
    ("blind_code", "refuse"): {"en": "refused", "zh": "不接受"},
    ("reexecution", "demand"): {"en": "demanded", "zh": "要求"},
    ("reexecution", "skip"): {"en": "not done", "zh": "不做"},
}
_AT_LEAST: Final[dict[Language, str]] = {"en": "at least {value}", "zh": "至少 {value}"}
_BITS: Final[dict[Language, str]] = {
    "en": "at most {value} bits by all jobs of one developer",
    "zh": "同一开发方的全部任务合计不超过 {value} 比特",
}
_SUMS: Final[dict[Language, str]] = {
    "en": "at most {value} by all jobs of one developer",
    "zh": "同一开发方的全部任务合计不超过 {value} 次",
}
_NO_JOB: Final[dict[Language, str]] = {"en": "nothing: no job may run", "zh": "不得透露：任何任务都不能运行"}
_NONE: Final[dict[Language, str]] = {"en": "none", "zh": "无"}
_RIGHT: Final[dict[Language, str]] = {"en": "{value} times of 100", "zh": "100 次中 {value} 次"}
_SPENT: Final[dict[Language, str]] = {
    "en": "at most epsilon {value} by all jobs together",
    "zh": "全部任务合计不超过 ε = {value}",
}
_PERCENT: Final[dict[Language, str]] = {"en": "{value} %", "zh": "{value} %"}
_EPSILON: Final[dict[Language, str]] = {"en": "epsilon {value}", "zh": "ε = {value}"}
_KINDS: Final[dict[str, dict[Language, str]]] = {
    "train": {"en": "training", "zh": "训练"},
    "statistics": {"en": "statistics", "zh": "统计"},
    "compute": {"en": "own computation", "zh": "自定义计算"},
    "score": {"en": "encrypted scoring", "zh": "加密评分"},
}
# How a field's number is shown: the sentence around it, and what it is divided by.
_FORMS: Final[dict[str, tuple[dict[Language, str], int]]] = {
    "quiet_millibits_per_developer": (_BITS, 1000),
    "score_sums_per_developer": (_SUMS, 1),
    "reviewers": (_AT_LEAST, 1),
    "minimum_withheld_patients": (_AT_LEAST, 1),
    "auc_warned_permille": (_RIGHT, 10),
    "auc_failed_permille": (_RIGHT, 10),
    "tail_warned_permille": (_PERCENT, 10),
    "tail_failed_permille": (_PERCENT, 10),
    "audit_warned_millis": (_EPSILON, 1000),
    "audit_failed_millis": (_EPSILON, 1000),
    "capacity_warned_percent": (_PERCENT, 1),
    "privacy_millis": (_SPENT, 1000),
    "minimum_cell_count": (_AT_LEAST, 1),
    "minimum_block": (_AT_LEAST, 1),
    "dominance_percent": (_PERCENT, 1),
    "p_percent": (_PERCENT, 1),
    "minimum_degrees_of_freedom": (_AT_LEAST, 1),
}


@dataclass(frozen=True)
class PolicyRow:
    """One field of a policy as people read it; ``default`` is in words too, and empty where the field has it."""

    field: str
    title: str
    value: str
    default: str


def policy_rows(policy: Policy, default: Policy, language: Language) -> tuple[PolicyRow, ...]:
    """Every field of a policy in words, in the order of SECTIONS, and what it would be by default where it is not."""
    return tuple(
        PolicyRow(
            field,
            POLICY[field][language],
            in_words(policy, field, language),
            _other(in_words(default, field, language), in_words(policy, field, language)),
        )
        for _, fields in SECTIONS
        for field in fields
    )


def _other(words: str, than: str) -> str:
    return "" if words == than else words


def in_words(policy: Policy, field: str, language: Language) -> str:
    """A field's value as people read it."""
    value: Any = getattr(policy, field)
    if field == "not_applicable":
        join = "; " if language == "en" else "；"
        return join.join(excused(name, language) for name in value) or _NONE[language]
    if field == "blind_code" and policy.custom_code == "refuse":
        value = "refuse"  # blind code is code of a developer's own
    if isinstance(value, str):
        return _CHOICES[field, value][language]
    if not value and field == "quiet_millibits_per_developer":
        return _NO_JOB[language]
    if not value and field == "score_sums_per_developer":
        return _NONE[language]
    if field not in _FORMS:
        return str(value)
    sentence, divisor = _FORMS[field]
    return sentence[language].format(value=_decimal(value, divisor))


def excused(name: str, language: Language) -> str:
    """A check that a policy lets be left out, by its title; ``name:kind`` is for one kind of job."""
    check, _, kind = name.partition(":")
    title = TITLES.get(check, {}).get(language, check)
    if not kind:
        return title
    said = _KINDS.get(kind, {}).get(language, kind)
    return f"{title} ({said})" if language == "en" else f"{title}（{said}）"


def _decimal(value: int, divisor: int) -> str:
    """An exact decimal of a whole number of thousandths or tenths, without zeros that say nothing."""
    whole, rest = divmod(value, divisor)
    return f"{whole}.{rest:0{len(str(divisor)) - 1}d}".rstrip("0") if rest else str(whole)
