"""What the desk says of requests for a source unit's data, and of the unit as a whole."""

from __future__ import annotations

from typing import Final

from trustspace.evidence.words import Language

UNIT: Final[dict[str, dict[Language, str]]] = {
    # requests for grants
    "grants_title": {"en": "Requests that wait for your answer", "zh": "等待答复的授权申请"},
    "grants_empty": {"en": "No request waits for your source unit.", "zh": "目前没有等待贵方答复的申请。"},
    "grants_keyless": {
        "en": "This home has no key that signs grants: you can read the requests here, and whoever keeps your "
        "source unit's home answers them.",
        "zh": "此主目录没有授权签名密钥：您可以在此阅读申请，由保管本单位主目录的人员答复。",
    },
    "grants_answered": {"en": "Answered already", "zh": "已答复"},
    "grants_over": {"en": "Nothing is left to answer", "zh": "无需答复"},
    "grant_sees": {"en": "Data it would see", "zh": "将接触的数据"},
    "grant_model": {"en": "Whose code meets the data", "zh": "接触数据的代码"},
    "grant_platform": {"en": "Only the platform's own code ({kind}).", "zh": "仅平台自带程序（{kind}）。"},
    "grant_own_code": {
        "en": "The developer's own code, in full below. It is bounded, not made safe: have somebody read it.",
        "zh": "开发方自有代码，全文见下。它受到约束，但不保证无害：请安排人员阅读。",
    },
    "grant_canaries": {
        "en": "Of the patients who are in or out by a coin, {percent} % get another label than their own, on purpose. "
        "Your enclave draws them, and tells nobody who they are. Those of them who are in are trained on with it: that "
        "shows whether the model learns people by heart, and costs a little of its quality. They do not count among "
        "the patients on whom it is judged.",
        "zh": "在由抛硬币决定是否留出的患者中，有 {percent}% 会被有意更改标签。他们由您的盲盒抽取，不向任何人透露是谁。"
        "其中参与训练的以更改后的标签训练：由此可见模型是否记住个人，模型质量会因此略有下降。他们不计入用于评估模型的患者。",
    },
    "grant_budget": {"en": "What it would spend", "zh": "将消耗的预算"},
    "grant_quiet": {
        "en": "Before anything is released its developer can learn at most {bits} bits, by when and how its runs "
        "end.",
        "zh": "在交付之前，开发方最多可从运行何时、如何结束得知 {bits} 比特。",
    },
    "grant_quiet_spent": {
        "en": "{name}: {spent} of {limit} bits are spent by this developer's jobs.",
        "zh": "{name}：该开发方的任务已用 {spent} 比特，上限 {limit} 比特。",
    },
    "grant_sums": {
        "en": "It gets at most {count} sums of encrypted scores.",
        "zh": "最多获得 {count} 个加密得分之和。",
    },
    "grant_sums_spent": {
        "en": "{name}: {spent} of {limit} sums are spent by this developer's jobs.",
        "zh": "{name}：该开发方的任务已用 {spent} 个和，上限 {limit} 个。",
    },
    "grant_private": {
        "en": "It claims differential privacy of epsilon {epsilon} for each run.",
        "zh": "每次运行申报差分隐私 ε = {epsilon}。",
    },
    "grant_private_joint": {
        "en": "Your own enclave adds the noise for your patients: the promise also holds against all other source "
        "units together.",
        "zh": "噪声由贵单位自己的盲盒为贵单位的患者加入：即使其他数据源单位全部合谋，该保证仍然成立。",
    },
    "grant_private_spent": {
        "en": "{name}: epsilon {spent} of {limit} is spent by all developers' jobs together.",
        "zh": "{name}：全部开发方的任务合计已用 ε = {spent}，上限 {limit}。",
    },
    "grant_several": {
        "en": "Other source units are asked as well. All must grant.",
        "zh": "同时向其他数据源单位提出申请，须全部授权。",
    },
    "grant_minimum": {
        "en": "Sums are opened over at least {minimum} of {count} source units.",
        "zh": "每次求和至少包含 {count} 家中的 {minimum} 家。",
    },
    "grant_countersigned": {"en": "The buyer has countersigned.", "zh": "购买使用单位已会签。"},
    "grant_not_countersigned": {"en": "The buyer has not countersigned yet.", "zh": "购买使用单位尚未会签。"},
    "grant_reviewers": {"en": "Who reviews the output", "zh": "由谁审查产出"},
    "grant_threshold": {"en": "How many of them must approve", "zh": "其中须批准的人数"},
    "grant_runs": {"en": "Runs that may open the data", "zh": "可打开数据的运行次数"},
    "grant_days": {"en": "For how many days", "zh": "有效天数"},
    "grant_tier": {"en": "Weakest sandbox that will do", "zh": "可接受的最弱沙箱"},
    "grant_tier_any": {"en": "any", "zh": "任意"},
    "grant_privacy": {"en": "Differential privacy it may spend, as epsilon", "zh": "可消耗的差分隐私（ε）"},
    "grant_privacy_help": {"en": "Leave empty for what the job claims.", "zh": "留空即按任务所申报。"},
    "grant_small_sums": {
        "en": "I accept, in these words: “{words}” (a sum may be of two source units).",
        "zh": "本人接受：“两家数据源单位可以算出彼此的部分”（{words}）。",
    },
    "grant_recovery": {"en": "I accept, in these words: “{words}”.", "zh": "本人接受：{words}。"},
    "grant_decide_grant": {"en": "Grant", "zh": "授权"},
    "grant_decide_refuse": {"en": "Refuse", "zh": "拒绝"},
    "grant_decide_refuse_help": {
        "en": "It binds your broker and your enclave at once. A run that is on stops.",
        "zh": "立即约束贵方的密钥代理和盲盒；进行中的运行将停止。",
    },
    "grant_permits": {
        "en": "What your grant permits, and nothing else",
        "zh": "您的授权所允许的事项，仅此而已",
    },
    "permits_key": {
        "en": "Your broker gives the key of {datasets} to at most {runs} run(s) of this job, until {time}.",
        "zh": "贵方密钥代理最多向该任务的 {runs} 次运行交出 {datasets} 的密钥，有效至 {time}。",
    },
    "permits_enclave": {
        "en": "Only your enclave {key} may open it, in a sandbox: {tier}. Platform evidence: {evidence}.",
        "zh": "只有贵方盲盒 {key} 可以在沙箱（{tier}）中打开。平台证据：{evidence}。",
    },
    "tier_any": {"en": "any tier, also one without namespaces", "zh": "任意等级，没有命名空间的亦可"},
    "tier_least": {"en": "{tier} or stronger", "zh": "{tier} 或更强"},
    "permits_change": {
        "en": "Any change to the job, its code or its parameters makes the grant worthless.",
        "zh": "任务、代码或参数若有任何改动，授权即告失效。",
    },
    "permits_review": {
        "en": "Whatever comes out stays sealed until {threshold} of these reviewers approve it: {reviewers}.",
        "zh": "所有产出保持密封，直到以下审查员中有 {threshold} 人批准：{reviewers}。",
    },
    "permits_buyer": {
        "en": "What they approve can be opened by {buyer} alone.",
        "zh": "他们批准的内容只有 {buyer} 能够打开。",
    },
    "permits_one": {
        "en": "One person alone can approve. Four eyes need a threshold of two.",
        "zh": "一人即可批准。如需双人审查，请将人数设为 2。",
    },
    "permits_here": {
        "en": "The keys of {names} lie in this home: whoever holds it decides in their names. That several must agree "
        "is then a rule of this machine only.",
        "zh": "{names} 的密钥存放在本主目录中：持有该目录的人可以替他们作决定。“须多人同意”此时只是这台机器上的"
        "规定。",
    },
    "permits_words": {"en": "You accept in these words: {words}.", "zh": "您接受以下文字：{words}。"},
    "permits_privacy": {
        "en": "It may spend differential privacy up to epsilon {epsilon}.",
        "zh": "可消耗的差分隐私以 ε = {epsilon} 为限。",
    },
    "permits_refuse": {
        "en": "I refuse “{title}”. No data key of ours goes to it; a run that is on stops.",
        "zh": "拒绝“{title}”。不交出任何数据密钥；进行中的运行将停止。",
    },
    # overview
    "overview_title": {"en": "Your source unit", "zh": "本单位概况"},
    "datasets": {"en": "Datasets", "zh": "数据集"},
    "dataset": {"en": "Dataset", "zh": "数据集"},
    "version": {"en": "Version", "zh": "版本"},
    "title": {"en": "Title", "zh": "名称"},
    "rows": {"en": "Rows", "zh": "行数"},
    "rows_few": {"en": "fewer than 20", "zh": "少于 20"},
    "rows_least": {"en": "at least {count}", "zh": "至少 {count}"},
    "datasets_none": {"en": "No dataset of yours is in this space.", "zh": "本空间中没有贵方的数据集。"},
    "spending": {"en": "Budgets", "zh": "预算"},
    "spending_none": {"en": "Nothing is spent of {name} yet.", "zh": "{name} 尚未消耗预算。"},
    "spending_elsewhere": {
        "en": "Your source unit's own home keeps the count of budgets; this reviewer's home does not.",
        "zh": "预算由本单位主目录计数；此审查员主目录不保存计数。",
    },
    "spending_bits": {"en": "Told before release (bits)", "zh": "交付前已透露（比特）"},
    "spending_sums": {"en": "Sums of encrypted scores", "zh": "加密得分之和"},
    "spending_privacy": {"en": "Differential privacy (epsilon)", "zh": "差分隐私（ε）"},
    "spending_of": {"en": "{spent} of {limit}", "zh": "{spent} / {limit}"},
    "used": {"en": "Who used your data for what", "zh": "谁将数据用于何处"},
    "used_none": {"en": "No job has asked for your data yet.", "zh": "尚无任务申请使用贵方数据。"},
    "used_newest": {
        "en": "The newest {count} of {total} jobs.",
        "zh": "共 {total} 个任务，显示最近 {count} 个。",
    },
    "job": {"en": "Job", "zh": "任务"},
    "asked": {"en": "Asked", "zh": "申请时间"},
    "ledger": {"en": "Ledger", "zh": "存证账本"},
    "ledger_size": {
        "en": "{size} entries, in one line with everything seen before",
        "zh": "共 {size} 条，与此前所见完全衔接",
    },
    "ledger_root": {"en": "Root", "zh": "根"},
    "ledger_witnesses": {
        "en": "{count} of {known} witnesses have cosigned this checkpoint.",
        "zh": "{known} 位见证方中有 {count} 位会签了该检查点。",
    },
    "ledger_no_witness": {
        "en": "You rely on no witness: nobody but the space vouches that others see the same ledger.",
        "zh": "您未信赖任何见证方：除空间外无人担保他方所见为同一账本。",
    },
    "ledger_whole": {"en": "Check the whole ledger now", "zh": "立即核验整个账本"},
    "ledger_whole_help": {
        "en": "Hashes every entry and compares the tree with the checkpoint.",
        "zh": "对每一条重新计算哈希，并与检查点比对。",
    },
    "ledger_verified": {
        "en": "Verified at {time}: {size} entries hash to this root; {seen} statements that you may see are "
        "among them.",
        "zh": "{time} 核验通过：{size} 条的哈希与根一致，其中包含您有权查看的 {seen} 份声明。",
    },
    "ledger_not_verified": {
        "en": "The whole of it has not been checked since the desk was opened.",
        "zh": "审查台打开后尚未核验整个账本。",
    },
    "ledger_unreachable": {
        "en": "The space cannot be reached: nothing new is verified.",
        "zh": "无法连接空间：未核验新内容。",
    },
    "decisions": {"en": "Last outcomes", "zh": "最近结果"},
    "decisions_none": {"en": "None yet.", "zh": "尚无。"},
}  # fmt: skip
