"""What the desk says of outputs: the list, one of them, the decision and its receipt."""

from __future__ import annotations

from typing import Final

from trustspace.evidence.words import Language

REVIEW: Final[dict[str, dict[Language, str]]] = {
    # queue
    "queue_title": {"en": "Outputs that wait for you", "zh": "等待您审查的产出"},
    "queue_count": {"en": "{count} waiting", "zh": "共 {count} 项"},
    "queue_empty": {"en": "Nothing waits for your review.", "zh": "目前没有等待您审查的产出。"},
    "queue_range": {"en": "{first} to {last} of {count}", "zh": "第 {first}–{last} 项，共 {count} 项"},
    "queue_listed": {
        "en": "Titles are listed as the space tells them; opening an output proves them. A verdict appears once "
        "its evidence has been opened on this machine.",
        "zh": "列表内容为空间所述，打开产出时逐项核验。结论须在本机打开证据后才会显示。",
    },
    "read_page": {"en": "Open the evidence of these", "zh": "打开本页的证据"},
    "read_some": {
        "en": "Opened the evidence of {count}; the rest was left for time.",
        "zh": "已打开 {count} 项证据；其余因时间未打开。",
    },
    "unreadable": {"en": "does not open", "zh": "无法打开"},
    "not_opened": {"en": "not opened", "zh": "未打开"},
    "verdict": {"en": "Verdict", "zh": "结论"},
    "output": {"en": "Output", "zh": "产出"},
    "parties": {"en": "Developer / buyer", "zh": "模型开发方 / 购买使用单位"},
    "waiting": {"en": "Waiting", "zh": "已等待"},
    "missing": {"en": "Missing", "zh": "尚缺"},
    "order_oldest": {"en": "Longest waiting first", "zh": "等待最久在前"},
    "order_newest": {"en": "Newest first", "zh": "最新在前"},
    "order": {"en": "Order", "zh": "排序"},
    "page_next": {"en": "Next page", "zh": "下一页"},
    "page_previous": {"en": "Previous page", "zh": "上一页"},
    "pages": {"en": "Pages of the list", "zh": "列表分页"},
    "missing_yours": {"en": "your decision", "zh": "您的决定"},
    "missing_blind": {"en": "your decision; {required} must approve", "zh": "您的决定；须 {required} 人批准"},
    "missing_known": {
        "en": "your decision; {approved} of {required} approvals are in",
        "zh": "您的决定；{required} 份批准中已有 {approved} 份",
    },
    "age_now": {"en": "under an hour", "zh": "不到 1 小时"},
    "age_hours": {"en": "{count} h", "zh": "{count} 小时"},
    "age_days": {"en": "{count} d", "zh": "{count} 天"},
    # one output
    "verdict_green": {"en": "Green", "zh": "绿色"},
    "verdict_amber": {"en": "Amber", "zh": "黄色"},
    "verdict_red": {"en": "Red", "zh": "红色"},
    "checks": {"en": "What was checked", "zh": "检验项目"},
    "checks_from": {
        "en": "Computed in your enclave, from the exact bytes that would leave.",
        "zh": "由您的盲盒依据将要交付的确切字节计算。",
    },
    "checks_from_another": {
        "en": "Computed in another source unit's enclave, from the exact bytes that would leave: yours dropped out.",
        "zh": "由另一家数据源单位的盲盒依据将要交付的确切字节计算：您的盲盒中途退出。",
    },
    "checks_attention": {"en": "Look at these", "zh": "请留意以下事项"},
    "checks_calm": {"en": "The other checks", "zh": "其余检验"},
    "facts": {"en": "Numbers", "zh": "数据"},
    "limits": {"en": "What this cannot show", "zh": "本报告的局限"},
    "policy": {"en": "Your own rules for {name}", "zh": "您为 {name} 制定的规则"},
    "policy_default": {"en": "by default: {value}", "zh": "默认：{value}"},
    "policy_signed": {
        "en": "Signed with version {version} of the dataset. Its digest is part of every decision.",
        "zh": "随数据集第 {version} 版签名；其摘要写入每一份决定。",
    },
    "files": {"en": "Files", "zh": "文件"},
    "file": {"en": "File", "zh": "文件"},
    "file_type": {"en": "Type", "zh": "类型"},
    "file_size": {"en": "Sealed size", "zh": "密封大小"},
    "file_holders": {"en": "Opens with", "zh": "由谁共同打开"},
    "file_released": {"en": "If approved", "zh": "批准之后"},
    "released_yes": {"en": "goes to the buyer", "zh": "交给购买使用单位"},
    "released_log": {"en": "only if you choose it", "zh": "仅当您选中"},
    "released_own": {"en": "never: it is yours", "zh": "绝不交付：属于您"},
    "files_others": {
        "en": "Other source units have {count} more file(s) of their own, closed to you.",
        "zh": "其他数据源单位另有 {count} 个自己的文件，对您不开放。",
    },
    "contents": {"en": "What stands in the files", "zh": "查看文件内容"},
    "contents_words": {
        "en": "As they would leave, shown as text. Whatever wrote them chose these words.",
        "zh": "即将交付的原文，仅按文本显示；内容由写出该文件的程序决定。",
    },
    "contents_large": {"en": "It is too large to be shown here.", "zh": "文件过大，此处不显示。"},
    "log": {"en": "What the run printed", "zh": "运行输出"},
    "log_words": {
        "en": "The developer chose these words. They are shown as text, and leave only if you choose that file.",
        "zh": "以下文字由模型开发方选定，仅按文本显示；只有您选中该文件，它才会交付。",
    },
    "log_shared": {
        "en": "It opens only with the other reviewers' shares: no single person can read it.",
        "zh": "须有其他审查员的份额才能打开：任何一人都无法单独阅读。",
    },
    "log_cut": {"en": "The first {count} lines are shown.", "zh": "仅显示前 {count} 行。"},
    "log_none": {"en": "Nothing was kept.", "zh": "没有保留任何输出。"},
    "code": {"en": "The developer's code", "zh": "开发方代码"},
    "code_none": {
        "en": "None: only the platform's own code met the data.",
        "zh": "没有：只有平台自带程序接触了数据。",
    },
    "code_blind": {
        "en": "It is blind: its developer sealed it, and nobody can show it here.",
        "zh": "盲代码：已由开发方加密，此处无法显示。",
    },
    "code_digest": {"en": "Digest {digest}", "zh": "摘要 {digest}"},
    "code_same": {
        "en": "The same, byte for byte, as in “{title}”, which was approved.",
        "zh": "与已批准的“{title}”逐字节相同。",
    },
    "code_since": {
        "en": "Changes since “{title}”, the last approved code of this developer here: {added} lines added, "
        "{removed} taken away.",
        "zh": "与该开发方在本单位上次获批的代码“{title}”相比：新增 {added} 行，删除 {removed} 行。",
    },
    "code_first": {
        "en": "No code of this developer was approved here before. This is all of it.",
        "zh": "该开发方此前没有代码在本单位获批。以下为全部代码。",
    },
    "code_unsearched": {
        "en": "Among this developer's newest {count} approved jobs there is none with code. This is all of it.",
        "zh": "该开发方最近获批的 {count} 个任务均不含代码。以下为全部代码。",
    },
    "code_new_file": {"en": "new file", "zh": "新文件"},
    "code_gone_file": {"en": "no longer there", "zh": "已删除"},
    "code_whole": {"en": "Whole text", "zh": "全文"},
    "code_cut": {
        "en": "Only {count} lines are shown here. Read all of it: trustspace job show --code {job}",
        "zh": "此处仅显示 {count} 行。阅读全部代码：trustspace job show --code {job}",
    },
    "line_added": {"en": "added", "zh": "新增"},
    "line_removed": {"en": "removed", "zh": "删除"},
    "data": {"en": "Data and parameters", "zh": "数据与参数"},
    "data_version": {"en": "{name}, version {version}, of {unit}", "zh": "{unit}的 {name} 第 {version} 版"},
    "data_digest": {"en": "Digest", "zh": "摘要"},
    "parameters": {"en": "Parameters", "zh": "参数"},
    "history": {"en": "What this buyer already has from you", "zh": "该购买使用单位已从您处获得"},
    "history_none": {"en": "Nothing yet.", "zh": "尚无。"},
    "history_listed": {
        "en": "As the space lists it. The check “{title}” above counts from proven statements.",
        "zh": "按空间所列。上方检验“{title}”依据已核验的声明计算。",
    },
    "request": {"en": "What was asked", "zh": "任务内容"},
    "purpose": {"en": "Purpose, in the developer's words", "zh": "用途（模型开发方的原话）"},
    "kind": {"en": "Kind", "zh": "类别"},
    "developer": {"en": "Developer", "zh": "模型开发方"},
    "buyer": {"en": "Buyer", "zh": "购买使用单位"},
    "source_units": {"en": "Source units", "zh": "数据源单位"},
    "submitted": {"en": "Submitted", "zh": "提交时间"},
    "lapses": {"en": "Lapses", "zh": "失效时间"},
    "state": {"en": "State", "zh": "状态"},
    "supersedes": {"en": "Answers a request for changes", "zh": "回应修改要求"},
    # four eyes and the decision
    "eyes": {"en": "Who decides", "zh": "由谁决定"},
    "eyes_needed": {"en": "{approved} of {required} approvals", "zh": "{required} 份批准中已有 {approved} 份"},
    "eyes_blind": {
        "en": "What the others decided is hidden until you have decided yourself.",
        "zh": "在您作出决定之前，不显示他人的决定。",
    },
    "eyes_threshold": {
        "en": "{required} of {count} reviewers must approve.",
        "zh": "{count} 位审查员中须有 {required} 位批准。",
    },
    "decided_approve": {"en": "approved", "zh": "已批准"},
    "decided_reject": {"en": "rejected", "zh": "已驳回"},
    "decided_changes": {"en": "asked for changes", "zh": "要求修改"},
    "decided_hidden": {"en": "hidden until you decide", "zh": "在您决定前不显示"},
    "decided_lapsed": {"en": "approved, but that has lapsed", "zh": "已批准，但已失效"},
    "decided_until": {"en": "until {time}", "zh": "有效至 {time}"},
    "decided_": {"en": "not decided yet", "zh": "尚未决定"},
    "other_units": {"en": "Every source unit must approve", "zh": "每个数据源单位都必须批准"},
    "unit_closed": {"en": "closed it", "zh": "已否决"},
    "unit_count": {"en": "{approved} of {required}", "zh": "{approved}/{required}"},
    "unit_hidden": {"en": "hidden until you decide", "zh": "在您决定前不显示"},
    "decide": {"en": "Your decision", "zh": "您的决定"},
    "decide_approve": {"en": "Approve", "zh": "批准"},
    "decide_approve_help": {
        "en": "Your share of the key goes to the buyer for the files chosen below.",
        "zh": "您对所选文件的密钥份额将交给购买使用单位。",
    },
    "decide_changes": {"en": "Request changes", "zh": "要求修改"},
    "decide_changes_help": {
        "en": "Nothing leaves, for good. Developer and buyer read the reasons chosen below; the note goes to the "
        "developer alone.",
        "zh": "本次产出永久不予交付。开发方和购买使用单位会看到下方选定的原因；附言只有开发方能看到。",
    },
    "decide_reject": {"en": "Reject", "zh": "驳回"},
    "decide_reject_help": {"en": "It stays closed for good.", "zh": "产出永久封存。"},
    "decide_revoke": {"en": "Revoke the output", "zh": "撤销该产出"},
    "decide_revoke_help": {
        "en": "Stops it for everybody. Before the buyer's receipt nothing more is handed out; after it, it is a "
        "notice.",
        "zh": "对所有人停止。在购买使用单位出具回执之前不再交付；之后则为撤销通知。",
    },
    "valid_days": {"en": "Days that the approval counts", "zh": "批准有效天数"},
    "note": {"en": "Note to the developer", "zh": "给开发方的附言"},
    "note_help": {
        "en": "Sealed to the developer alone. Name no patient, and no number from the data.",
        "zh": "仅开发方可解密阅读。请勿提及任何患者或数据中的数值。",
    },
    "choose_files": {"en": "Files to approve", "zh": "批准的文件"},
    "choose_reasons": {"en": "Reasons for changes", "zh": "修改原因"},
    "comment": {"en": "Comment", "zh": "意见"},
    "comment_help": {
        "en": "Stays with you; the ledger holds a commitment to it.",
        "zh": "原文只保存在您处，存证账本仅记录其承诺值。",
    },
    "accept_red": {"en": "Approve although the evidence is red", "zh": "证据为红色，仍予批准"},
    "accept_red_help": {
        "en": "Needs a written reason, and a second person who approves as well.",
        "zh": "须写明理由，并由第二人同时批准。",
    },
    "accept_red_alone": {
        "en": "Red evidence can be accepted only where two people must approve. Here one is enough, so that it "
        "cannot be.",
        "zh": "只有须两人批准的任务才能接受红色证据；本任务一人即可批准，因此不能接受。",
    },
    "continue": {"en": "Continue to the confirmation", "zh": "继续，核对后签名"},
    "not_yet": {"en": "Nothing is signed on this page.", "zh": "本页不会签名。"},
    "already": {"en": "You have decided: {decision}.", "zh": "您已作出决定：{decision}。"},
    "over": {"en": "Nothing is left to decide: this job is {state}.", "zh": "无需决定：该任务{state}。"},
    "digests": {"en": "Exact bytes", "zh": "确切字节"},
    "viewed_first": {
        "en": "First shown to you on {time}; your home keeps a note of it.",
        "zh": "首次向您显示：{time}；主目录中留有记录。",
    },
    "digest_job": {"en": "Job", "zh": "任务"},
    "digest_output": {"en": "Output", "zh": "产出"},
    "digest_evidence": {"en": "Evidence (commitment)", "zh": "证据（承诺值）"},
    "digest_policy": {"en": "Policy", "zh": "规则"},
    "digest_code": {"en": "Code", "zh": "代码"},
    "unopened_title": {"en": "This evidence does not open", "zh": "证据无法打开"},
    "unopened_text": {
        "en": "What cannot be read cannot be approved. You can reject the output, and tell the operator.",
        "zh": "无法阅读的证据不能批准。您可以驳回该产出，并告知运营方。",
    },
    "unopened_over": {
        "en": "What cannot be read cannot be approved. This job is {state}. Tell the operator.",
        "zh": "无法阅读的证据不能批准。该任务{state}。请告知运营方。",
    },
    # confirmation
    "confirm_title": {"en": "You are about to sign", "zh": "即将签名"},
    "confirm_approve": {
        "en": "I, {reviewer}, approve {files} of “{title}”. My share of their keys goes to {buyer}, and cannot "
        "be called back once they are opened.",
        "zh": "本人 {reviewer} 批准“{title}”的 {files}。其密钥中由我持有的份额将交给 {buyer}；一经打开即不可收回"
        "。",
    },
    "confirm_approve_red": {
        "en": "I approve it although the evidence is red, for the reason written below.",
        "zh": "证据为红色，本人基于下述理由仍予批准。",
    },
    "confirm_reject": {
        "en": "I, {reviewer}, reject “{title}”. It stays closed for good, for everybody.",
        "zh": "本人 {reviewer} 驳回“{title}”。该产出对任何人永久封存。",
    },
    "confirm_changes": {
        "en": "I, {reviewer}, ask for changes to “{title}”. This output stays closed for good; its developer and "
        "buyer are told: {reasons}",
        "zh": "本人 {reviewer} 要求修改“{title}”。本次产出永久封存；告知开发方和购买使用单位：{reasons}",
    },
    "confirm_revoke": {
        "en": "I, {reviewer}, revoke “{title}” for everybody. Nothing more of it is handed out; what its buyer "
        "has opened already cannot be called back.",
        "zh": "本人 {reviewer} 撤销“{title}”，对所有人生效。不再交付任何内容；购买使用单位已打开的无法收回。",
    },
    "confirm_days": {"en": "The approval counts for {count} days.", "zh": "批准有效期为 {count} 天。"},
    "confirm_note": {"en": "Your note to the developer", "zh": "您给开发方的附言"},
    "confirm_verdict": {"en": "The evidence says", "zh": "证据结论"},
    "confirm_bytes": {"en": "It counts for exactly these bytes", "zh": "仅对以下确切字节有效"},
    "confirm_comment": {"en": "Your comment", "zh": "您的意见"},
    "confirm_comment_none": {"en": "You wrote none.", "zh": "未填写。"},
    "confirm_ledger": {
        "en": "The signed statement goes into the ledger, where every source unit of the job sees it.",
        "zh": "签名后的声明记入存证账本，该任务的各数据源单位均可看到。",
    },
    "sign_approve": {"en": "Sign the approval", "zh": "签名批准"},
    "sign_reject": {"en": "Sign the rejection", "zh": "签名驳回"},
    "sign_changes": {"en": "Sign the request for changes", "zh": "签名并要求修改"},
    "sign_revoke": {"en": "Sign the revocation", "zh": "签名撤销"},
    "sign_grant": {"en": "Sign the grant", "zh": "签名授权"},
    "sign_refuse": {"en": "Sign the refusal", "zh": "签名拒绝"},
    # receipt
    "receipt_title": {"en": "Signed", "zh": "已签名"},
    "receipt_approve": {"en": "You approved {files} of “{title}”.", "zh": "您已批准“{title}”的 {files}。"},
    "receipt_reject": {
        "en": "You rejected “{title}”. Nobody can open it.",
        "zh": "您已驳回“{title}”，任何人都无法打开。",
    },
    "receipt_changes": {"en": "You asked for changes to “{title}”.", "zh": "您已对“{title}”提出修改要求。"},
    "receipt_revoke": {"en": "You revoked “{title}”.", "zh": "您已撤销“{title}”。"},
    "receipt_grant": {
        "en": "You granted “{title}”. Your broker releases the key as soon as a run asks for it.",
        "zh": "您已授权“{title}”。密钥代理将在运行请求时交出密钥。",
    },
    "receipt_refuse": {
        "en": "You refused “{title}”. No data key of yours goes to it.",
        "zh": "您已拒绝“{title}”，不会交出任何数据密钥。",
    },
    "receipt_statement": {"en": "Statement", "zh": "声明"},
    "receipt_state": {"en": "The job is now: {state}", "zh": "任务目前：{state}"},
    "receipt_ledger": {
        "en": "It stands in the ledger, proven up to checkpoint {size}.",
        "zh": "已记入存证账本，并核验至检查点 {size}。",
    },
    "receipt_next": {"en": "Next output", "zh": "下一项产出"},
    "receipt_queue": {"en": "Back to the list", "zh": "返回列表"},
}  # fmt: skip
