"""What the desk says, in English and Chinese. The sentences of a report itself are evidence/words.py's."""

from __future__ import annotations

from typing import Final

from trustspace.evidence.words import Language
from trustspace.web.words_review import REVIEW
from trustspace.web.words_unit import UNIT

LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")

_FRAME: Final[dict[str, dict[Language, str]]] = {
    # the frame of every page
    "desk": {"en": "Review desk", "zh": "审查台"},
    "skip": {"en": "Skip to content", "zh": "跳到正文"},
    "nav": {"en": "Pages", "zh": "页面"},
    "queue": {"en": "Outputs", "zh": "待审产出"},
    "grants": {"en": "Requests", "zh": "授权申请"},
    "overview": {"en": "Overview", "zh": "概况"},
    "signed_in": {"en": "{reviewer}, {unit}", "zh": "{reviewer}，{unit}"},
    "close": {"en": "Close the desk", "zh": "关闭审查台"},
    "language": {"en": "中文", "zh": "English"},
    "language_label": {"en": "Switch to Chinese", "zh": "切换到英文"},
    "keys": {
        "en": "Keys: j and k move through a list, Enter opens, g then q, r or o changes pages, a, c or x go to a "
        "decision, ? shows this.",
        "zh": "快捷键：j、k 在列表中移动，Enter 打开，先按 g 再按 q、r、o 切换页面，a、c、x 跳到决定，? 显示本说"
        "明。",
    },
    "keys_title": {"en": "Keys", "zh": "快捷键"},
    "local": {
        "en": "This page is served by your own machine to itself. Your keys do not leave it.",
        "zh": "本页由您自己的电脑提供，仅供本机访问；您的密钥不会离开本机。",
    },
    "cancel": {"en": "Do not sign", "zh": "不签名，返回"},
    "you": {"en": "{name} (you)", "zh": "{name}（您）"},
    "unpinned": {"en": "not in your trust file ({digits} …)", "zh": "不在您的信任文件中（{digits} …）"},
    "closed_title": {"en": "The desk is closed", "zh": "审查台已关闭"},
    "closed_text": {
        "en": "Nothing serves this page any more. Start it again with: trustspace review web",
        "zh": "本页已停止服务。如需再次打开，请运行：trustspace review web",
    },
    # what goes wrong
    "error_title": {"en": "This did not work", "zh": "操作未成功"},
    "error_nothing": {"en": "Nothing was signed.", "zh": "没有签署任何内容。"},
    "error_back": {"en": "Go back to the form in your browser.", "zh": "请用浏览器的“后退”返回表单。"},
    "error_internal": {
        "en": "Something went wrong inside the desk. Nothing that you see here was changed by it.",
        "zh": "审查台内部出错，所示内容未因此改变。",
    },
    "error_missing": {"en": "There is no such page.", "zh": "没有此页面。"},
    "error_method": {"en": "This page cannot be used that way.", "zh": "此页面不支持该操作方式。"},
    "error_session": {
        "en": "Open the desk with the address that `trustspace review web` printed. It works once, in one "
        "browser.",
        "zh": "请使用 `trustspace review web` 打印的地址打开审查台。该地址只能在一个浏览器中使用一次。",
    },
    "error_origin": {
        "en": "The request did not come from the desk's own page.",
        "zh": "该请求并非来自审查台页面。",
    },
    "error_form": {
        "en": "The form is out of date. Go back and load the page again.",
        "zh": "表单已过期，请返回并重新加载页面。",
    },
    "error_size": {"en": "That is more than a form of this desk holds.", "zh": "提交的内容过大。"},
    "error_host": {"en": "This desk is not reached under that name.", "zh": "不能以该名称访问审查台。"},
    "error_choice": {"en": "Choose what you decide.", "zh": "请选择您的决定。"},
    "error_files": {"en": "Choose at least one file to approve.", "zh": "请至少选择一个要批准的文件。"},
    "error_reviewers": {"en": "Choose at least one reviewer.", "zh": "请至少选择一位审查员。"},
    "error_reasons": {"en": "Choose at least one reason.", "zh": "请至少选择一项原因。"},
    "error_number": {"en": "A number is missing or out of range.", "zh": "数字缺失或超出范围。"},
    "error_comment": {
        "en": "The comment is longer than {count} characters.",
        "zh": "意见超过 {count} 个字符。",
    },
    "error_note": {
        "en": "The note is too long: {count} Chinese characters fit, or three times as many Latin ones.",
        "zh": "附言过长：最多约 {count} 个汉字。",
    },
    "error_reason": {
        "en": "Red evidence needs a written reason and the box ticked.",
        "zh": "红色证据须勾选确认并写明理由。",
    },
    "error_changed": {
        "en": "What you confirmed is not what stands there now. Look at it again.",
        "zh": "内容在您核对之后已有变化，请重新查看。",
    },
    # pictures
    "figure_value": {"en": "value", "zh": "数值"},
    "figure_chance": {"en": "guessing", "zh": "随机猜测"},
    "figure_histogram": {
        "en": "Histogram over {bins} intervals from {low} to {high}: {series}.",
        "zh": "直方图，{low} 至 {high} 共 {bins} 个区间：{series}。",
    },
    "figure_series": {
        "en": "{name}, {count} in all, most around {peak}",
        "zh": "{name}共 {count}，最多处约 {peak}",
    },
    "figure_curve": {
        "en": "Curve of {count} points from ({x0}, {y0}) to ({x1}, {y1}).",
        "zh": "曲线，共 {count} 点，由（{x0}，{y0}）至（{x1}，{y1}）。",
    },
    "figure_exposure": {
        "en": "{count} records, the most exposed first; the first is at {value}.",
        "zh": "{count} 条记录，按暴露程度排列；最高为 {value}。",
    },
    "figure_marked": {"en": "marked by the check", "zh": "检验标出"},
    "figure_key": {"en": "Record", "zh": "记录"},
    "figure_numbers": {"en": "The numbers of this picture", "zh": "图中数据"},
}  # fmt: skip

WORDS: Final[dict[str, dict[Language, str]]] = {**_FRAME, **REVIEW, **UNIT}

# States, kinds and other words of the protocol.
TERMS: Final[dict[str, dict[str, dict[Language, str]]]] = {
    "state": {
        "submitted": {"en": "waiting for grants", "zh": "等待授权"},
        "granted": {"en": "granted", "zh": "已授权"},
        "refused": {"en": "refused", "zh": "已拒绝"},
        "cancelled": {"en": "cancelled", "zh": "已取消"},
        "expired": {"en": "expired", "zh": "已过期"},
        "running": {"en": "running", "zh": "运行中"},
        "failed": {"en": "failed", "zh": "失败"},
        "in-review": {"en": "in review", "zh": "审查中"},
        "approved": {"en": "approved", "zh": "已批准"},
        "released": {"en": "released", "zh": "已交付"},
        "rejected": {"en": "rejected", "zh": "已驳回"},
        "changes-requested": {"en": "changes requested", "zh": "已要求修改"},
        "revoked": {"en": "revoked", "zh": "已撤销"},
        "withdrawn": {"en": "withdrawn", "zh": "已撤回"},
        "sealed": {"en": "sealed", "zh": "已密封"},
    },
    "kind": {
        "train": {"en": "train a model", "zh": "训练模型"},
        "statistics": {"en": "compute statistics", "zh": "统计计算"},
        "compute": {"en": "compute with the developer's own code", "zh": "用模型开发方自有的代码计算"},
        "score": {"en": "score with an encrypted model", "zh": "用加密模型打分"},
    },
    "reason": {
        "small-groups": {
            "en": "Groups of few patients stand out: ask for coarser groups or fewer of them.",
            "zh": "人数很少的分组会显现出来：请把分组定得更粗，或减少分组。",
        },
        "overfitted": {
            "en": "The model remembers whom it was trained on: train it less, or regularise it.",
            "zh": "模型记住了训练所用的人：请减少训练，或加以正则化。",
        },
        "too-large": {
            "en": "A file is larger than its purpose needs: make it smaller or coarser.",
            "zh": "某个文件超出其用途所需的大小：请缩小或降低其精细程度。",
        },
        "differencing": {
            "en": "Beside something delivered before, it would tell about single patients.",
            "zh": "与先前交付的内容对照，会透露个别患者的信息。",
        },
        "own-code": {
            "en": "The developer's own code could not be judged: simplify it, or use the platform's own.",
            "zh": "模型开发方自己的代码无法判断：请简化，或改用平台自带的程序。",
        },
        "needs-privacy": {"en": "It needs differential privacy.", "zh": "需要差分隐私。"},
        "not-measurable": {
            "en": "What it tells about patients could not be measured.",
            "zh": "无法测定它透露了多少患者信息。",
        },
        "unclear-purpose": {
            "en": "It is not clear what it is needed for: say so in the purpose.",
            "zh": "用途不明：请在用途说明中写清楚。",
        },
        "other": {"en": "Another reason.", "zh": "其他原因。"},
    },
    "evidence": {
        "software": {
            "en": "software: that machine's administrator can see both sides",
            "zh": "软件自述：该机器的管理员可看到双方内容",
        },
    },
}  # fmt: skip


def words(key: str, language: Language, /, **details: str | int) -> str:
    """A text of the desk. Details are put in as they are: they are made harmless where the whole is shown."""
    text = WORDS[key][language]
    return text.format(**details) if details else text


def term(group: str, key: str, language: Language) -> str:
    """What people read for a word of the protocol; the word itself where there is nothing better."""
    return TERMS[group].get(key, {}).get(language, key)
