"""What the story says, in English and in Chinese."""

from __future__ import annotations

from typing import Literal

from trustspace.demo.cheat_words import CHEATS
from trustspace.demo.closing_words import CLOSING

Language = Literal["en", "zh"]

STORY: dict[str, tuple[str, str]] = {
    "title": ("trustspace: the story once", "trustspace：完整的一次"),
    "intro": (
        (
            "Four hospitals train a model for a clinic together. The developer never sees their data, the operator "
            "sees neither data nor model, no hospital sees what another one put in, and the clinic gets the model only "
            "once the reviewers of all four have approved it. Everything below really happens, in separate processes "
            "over mutual TLS, with the measurements of 569 real patients. Lines that begin with $ are what a person "
            "would type."
        ),
        (
            "四家医院共同为一家门诊部训练模型。开发方始终看不到数据，运营方既看不到数据也看不到模型，"
            "任何一家医院都看不到别家的部分，门诊部只有在四家医院的审查员全部批准之后才能得到模型。"
            "以下每一步都真实发生：各方进程相互独立，经双向 TLS 通信，数据为 569 名真实患者的检测值。"
            "以 $ 开头的行是人工操作时输入的命令。"
        ),
    ),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "verb.does": ("does", "所做"),
    "verb.sees": ("sees", "所见"),
    "who.operator": ("operator", "运营方"),
    "who.hospital": ("hospital", "医院"),
    "who.broker": ("broker", "密钥代理"),
    "who.enclave": ("enclave", "盲盒"),
    "who.developer": ("developer", "开发方"),
    "who.buyer": ("buyer", "使用单位"),
    "who.reviewer": ("reviewer", "审查员"),
    "who.auditor": ("auditor", "审计方"),
    "name.space": ("Regional Trusted Space", "区域可信操作空间"),
    "name.university": ("Riverside University Hospital", "河畔大学医院"),
    "name.general": ("Hillside General", "山麓综合医院"),
    "name.screening": ("Lakeside Screening Clinic", "湖滨筛查门诊"),
    "name.cancer-centre": ("Harbour Cancer Centre", "海港肿瘤中心"),
    "mix.university": ("findings of every kind", "各类病例"),
    "mix.general": ("rather small findings", "偏小的病灶"),
    "mix.screening": ("small, early findings", "早期小病灶"),
    "mix.cancer-centre": ("large, late findings", "晚期大病灶"),
    "reviewer.university": ("Dr Li", "李医生"),
    "reviewer.general": ("Dr Wang", "王医生"),
    "reviewer.screening": ("Dr Chen", "陈医生"),
    "reviewer.cancer-centre": ("Dr Zhao", "赵医生"),
    "name.enclave": ("Machine room of {name}", "{name}机房"),
    "name.developer": ("Northlight Models", "北辰模型"),
    "name.buyer": ("City Clinic", "市立门诊部"),
    "name.auditor": ("Audit Office", "审计事务所"),
    "problem": ("The story cannot go on", "故事无法继续"),
    "interrupted": ("Interrupted; every process is ended and removed.", "已中断；全部进程均已结束并清理。"),
    "kept": (
        (
            "Everything is kept in {folder}: homes with their keys, the hospitals' files, logs. Delete it when you are "
            "done."
        ),
        "全部内容保留在 {folder}：各方的目录和密钥、各医院的文件、日志。查看后请删除。",
    ),
    # 1
    "scene.cast": ("Everybody moves in", "各方入驻"),
    "space.made": (
        (
            "Makes the space: a ledger key, a certificate authority for connections, a store for ciphertext. None of "
            "its keys opens anything."
        ),
        "建立操作空间：一把存证账本密钥、一个仅用于连接的证书机构、一处密文存储。其中没有一把密钥能打开任何内容。",
    ),
    "parties.made": (
        (
            "As all others: makes its keys on its own machine, redeems a one-time invitation, and pins the "
            "fingerprints that people compared out of band. From here on a party is its fingerprint, whatever "
            "certificates the operator issues."
        ),
        (
            "与其他各方一样：在自己的机器上生成密钥，凭一次性邀请函入驻，并登记事先经其他渠道核对过的指纹。"
            "此后，一方的身份即其指纹，与运营方签发什么证书无关。"
        ),
    ),
    "enclave.made": (
        (
            "Each is vouched for by its hospital's root key, and shows what its host can isolate: {tier}. It dials out "
            "to the space; its own door opens to its hospital alone. Now running, everything on 127.0.0.1:"
        ),
        (
            "每个盲盒由本医院的根密钥担保，并说明其主机的隔离能力：{tier}。它主动连接操作空间，自己的门只对本医院开放。"
            "目前运行的进程（均在 127.0.0.1）："
        ),
    ),
    "process.space": ("blind: routes, stores ciphertext, keeps the ledger", "盲：只转发、存密文、记账本"),
    "process.enclave": ("where data and code meet", "数据与代码相遇之处"),
    "process.broker": ("releases data keys to granted runs", "向已授权的运行释放数据密钥"),
    "process.witness": ("cosigns a ledger that only grows", "只为不断增长的账本联署"),
    "col.party": ("party", "参与方"),
    "col.role": ("role", "角色"),
    "col.fingerprint": ("fingerprint", "指纹"),
    "col.process": ("process", "进程"),
    "col.address": ("listens on", "监听地址"),
    # 2
    "scene.data": ("The hospitals seal their data", "各医院密封数据"),
    "data.title": ("Breast cytology, fine-needle aspirates", "乳腺细针穿刺细胞学"),
    "data.profile": (
        (
            "The officer of {name} profiles {file} on the hospital's own machine: {columns} columns; {warnings}. Left "
            "what only the officer sees, right what the public will see once confirmed:"
        ),
        (
            "{name}的数据专员在本院机器上分析 {file}：共 {columns} 列；{warnings}。"
            "左侧仅专员可见，右侧为确认后对外公开的内容："
        ),
    ),
    "data.no-warnings": ("nothing looks wrong or identifying", "未发现质量问题或可识别身份的列"),
    "data.rows": ("(rows)", "（行数）"),
    "data.at-least": ("{rows} or more", "{rows} 以上"),
    "data.each-different": ("{count} different", "{count} 个不同值"),
    "data.no-values": ("(no values)", "（不公开取值）"),
    "data.sealed": (
        (
            "Each hospital draws a key that stays in its key store, seals its table with it and streams the ciphertext "
            "to its own enclave. The space gets the confirmed description and a mock sample drawn from that alone. The "
            "four differ in size and in whom they see:"
        ),
        (
            "每家医院生成一把只留在本院密钥库中的密钥，用它密封数据表，并将密文传入自己的盲盒。"
            "操作空间只得到已确认的描述，以及仅由该描述生成的模拟样本。四家医院规模不同，所见病例也不同："
        ),
    ),
    "col.mix": ("case mix", "病例构成"),
    "col.patients": ("patients", "患者"),
    "col.malignant": ("malignant", "恶性"),
    "col.public-rows": ("public", "公开"),
    "col.column": ("column", "列"),
    "col.officer": ("the officer alone", "仅专员可见"),
    "col.public": ("the public", "对外公开"),
    # 3
    "scene.ask": ("The developer asks", "开发方提出任务"),
    "ask.mock": (
        (
            "Only descriptions (“{title}”, {unit}, {rows} rows, {columns} columns; {others} others like it) and {mock} "
            "made-up rows of each to try code on. No row of a hospital's was ever near these:"
        ),
        (
            "只有描述（“{title}”，{unit}，行数 {rows}，{columns} 列；另有 {others} 份类似的）"
            "和每份 {mock} 行用于调试代码的模拟数据，与医院的任何一行都无关："
        ),
    ),
    "ask.submitted": (
        (
            "Writes a job file (logistic regression over {hospitals} hospitals, {columns} columns, target “{target}”, "
            "{rounds} rounds of {epochs} passes in each hospital, {withheld} % of the patients withheld) and signs it: "
            "job {job}."
        ),
        (
            "编写任务文件（{hospitals} 家医院联合的逻辑回归，{columns} 列，目标“{target}”，共 {rounds} 个轮次、"
            "每轮在各医院训练 {epochs} 遍，留出 {withheld} % 的患者）并签名：任务 {job}。"
        ),
    ),
    "ask.countersigned": (
        "{name} agrees to the job and to the key that its result would be sealed to.",
        "{name}同意该任务，并确认产出将密封给自己的哪把密钥。",
    ),
    "job.title": ("Malignancy from cell measurements", "由细胞测量值判断恶性"),
    "job.purpose": (
        "A second opinion for the cytology desk. The model is used inside the clinic only.",
        "为细胞学诊断提供第二意见。模型仅在门诊部内部使用。",
    ),
    # 4
    "scene.grant": ("The hospitals look, and grant", "各医院审阅并授权"),
    "grant.request": (
        (
            "The officer of {name} sees exactly what is asked, every name in it checked against the pinned "
            "fingerprints and every statement proven to be in the ledger:"
        ),
        "{name}的数据专员看到请求的全部内容：每个名字都与登记的指纹核对过，每份声明都已证明在存证账本中：",
    ),
    "request": ("job {job}", "任务 {job}"),
    "request.title": ("title", "标题"),
    "request.purpose": ("purpose", "用途"),
    "request.developer": ("developer", "开发方"),
    "request.buyer": ("buyer", "使用单位"),
    "request.countersigned": ("countersigned", "已会签"),
    "request.dataset": ("dataset, version", "数据资源与版本"),
    "request.columns": ("columns", "列"),
    "request.columns-of": ("{count}: {first} … {last}", "共 {count} 列：{first} … {last}"),
    "request.model": ("model", "模型"),
    "request.model-of": (
        "{model} of {target} = {positive}; {optimiser}",
        "{model}：{target} = {positive}；{optimiser}",
    ),
    "request.rounds": ("rounds", "轮次"),
    "request.rounds-of": (
        "{rounds} of {strategy}, {epochs} passes each; an update's norm is at most {clip}",
        "{strategy} 共 {rounds} 轮，每轮 {epochs} 遍；单次更新的范数不超过 {clip}",
    ),
    "request.units": ("together with", "共同参与"),
    "request.minimum": ("smallest sum", "求和下限"),
    "request.minimum-of": ("of {minimum} hospitals", "{minimum} 家医院"),
    "request.code": ("code", "代码"),
    "request.no-code": (
        "the platform's own training loop, none of the developer's",
        "平台自有训练程序，无开发方代码",
    ),
    "request.own-code": ("the developer's own", "开发方自有代码"),
    "request.withheld": ("withheld", "留出患者"),
    "request.outputs": ("would come out", "产出文件"),
    "request.platform": ("platform", "运行环境"),
    "request.platform-of": ("{kind} evidence, sandbox tier: {tier}", "{kind} 证据，沙箱等级：{tier}"),
    "request.pinned": ("{name} ({fingerprint}…, pinned)", "{name}（{fingerprint}…，已登记）"),
    "grant.granted": (
        (
            "All four sign a grant: one run, each in its own enclave, each with its own reviewer. This is the human "
            "act; without it a hospital's broker seals no key to anybody, and without all four nothing runs."
        ),
        (
            "四家医院各签署一份授权：仅一次运行，各在自己的盲盒中，由本院审查员审查。这是人的决定；"
            "没有它，该医院的密钥代理不会向任何人释放密钥；缺少任何一家，任务都不会运行。"
        ),
    ),
    # 5
    "scene.run": ("The enclaves train together", "各盲盒联合训练"),
    "run.released": (
        (
            "Each gives every enclave a fresh challenge, checks the one-time key that its own enclave offers, counts "
            "the run, and seals the data key to it, bound to dataset, job, code, parameters, evidence and buyer."
        ),
        (
            "各自向每个盲盒发出新的挑战，核对本院盲盒提出的一次性密钥，先将运行次数记账，再把数据密钥密封给它，"
            "并绑定数据资源、任务、代码、参数、平台证据与使用单位。"
        ),
    ),
    "run.ran": (
        (
            "Opens its hospital's data in memory, and keeps one sandbox for the whole training. In each of {rounds} "
            "rounds all four sign the same set of members, encrypt their updates under fresh keys that nobody else "
            "has, let the space add the ciphertexts, open the sum together, and take the same step; one of them adds "
            "up again before anything is opened. In the end a fresh sandbox judges the model on patients that training "
            "never had. From grant to sealed output: "
            "{seconds} s."
        ),
        (
            "在内存中打开本院数据，整个训练只用一个沙箱。在 {rounds} 个轮次的每一轮中，四家签署同一份成员名单，"
            "各自用他人没有的新密钥加密更新，由操作空间把密文相加，再共同打开总和、各自走同样的一步；"
            "打开之前由其中一家重新相加核对。"
            "最后用一个全新的沙箱，在训练从未见过的患者上检验模型。从授权到密封产出：{seconds} 秒。"
        ),
    ),
    "run.tier": ("sandbox", "沙箱等级"),
    "run.user": ("runs as", "运行身份"),
    "run.user-dedicated": ("a user of its own, without a network", "专用用户，无网络"),
    "run.user-same": ("the same user, without a network", "同一用户，无网络"),
    "run.memory": ("memory held by", "内存限制"),
    "run.host": ("host", "主机"),
    "run.first-row": ("first row after", "首行数据"),
    "run.sealed": (
        (
            "All {signers} hold the same model, seal each artifact under a key of its own, split that key among those "
            "who will decide, and come to the same bytes; each signs them. The space stores what it cannot open:"
        ),
        (
            "{signers} 个盲盒得到同一模型，各文件各用一把密钥密封，把密钥拆分给有权裁决的人，"
            "得到逐字节相同的结果并各自签名。"
            "操作空间保存的是它打不开的内容："
        ),
    ),
    "run.opens-all": ("if all four hospitals approve", "须四家医院全部批准"),
    "run.opens-own": ("for one hospital's own reviewers only", "仅供该医院审查员"),
    "run.coarse": (
        "One word: “{state}”. No log, no metric, no finer clock.",
        "只有一个词：“{state}”。没有日志、指标或更细的时间。",
    ),
    "coarse.waiting": ("waiting", "等待中"),
    "coarse.running": ("running", "运行中"),
    "coarse.in review": ("in review", "审查中"),
    "coarse.released": ("released", "已交付"),
    "coarse.not released": ("not released", "未交付"),
    "col.artifact": ("artifact", "产出文件"),
    "col.sealed": ("sealed bytes", "密文字节"),
    "col.opens": ("opens", "开启条件"),
    # Now and then, after 5
    "again.note": (
        "Submit it again as it is: chance withheld patients on whom it cannot be judged.",
        "请原样重新提交：本次随机留出的患者不足以评判模型。",
    ),
    "again.changes": (
        (
            "{reviewer} of {name} finds the evidence red ({checks}). Who is withheld is drawn by lot, and with so few "
            "patients the lot can fall badly. One person alone may not approve what is red: asks for changes, which "
            "closes this output for everybody."
        ),
        (
            "{name}的{reviewer}看到证据为红色（{checks}）。留出哪些患者由随机抽取决定，患者很少时可能抽得不巧。"
            "红色结果不得由一人单独批准：要求修改，该产出对所有人就此关闭。"
        ),
    ),
    "again.submitted": (
        "Answers with the same job, {job}, for which other patients are drawn. The buyer agrees again.",
        "以同一任务作答（{job}），这次会另行抽取留出患者。使用单位再次会签。",
    ),
    # 6
    "scene.waiting": ("A sealed output, and nobody's yet", "密封的产出，尚不属于任何人"),
    "held": (
        (
            "{name} asks for the same job once more and the hospitals grant it. Their enclaves are held still for a "
            "moment, so that this second run can be attacked from close up, with a run's own one-time key in hand:"
        ),
        "{name}再次提出同一任务，各医院授权。此时让盲盒暂停片刻，以便手握一次运行的一次性密钥，近距离攻击这第二次运行：",
    ),
    # 7
    "scene.review": ("The reviewers decide", "审查员裁决"),
    "review.evidence": (
        "{reviewer} opens the evidence with a reviewer's key, checked to speak of the very bytes in the output:",
        "{reviewer}用审查密钥打开证据报告，并已核对报告所说正是产出中的这些字节：",
    ),
    "review.report": ("evidence", "证据报告"),
    "review.all": (
        "Every hospital has a report of its own, on its own patients, which only its reviewer can open:",
        "每家医院都有一份关于本院患者的报告，只有本院审查员能打开：",
    ),
    "review.comment": ("Fit for its purpose.", "符合用途。"),
    "review.comment.withheld_metrics": (
        "Some difference is to be expected on so few withheld patients.",
        "留出患者较少，有一定差距在预料之中。",
    ),
    "review.comment.sizes": (
        "There is room because we are small; the platform's own code wrote the weights of 30 columns.",
        "有余量是因为本院患者少；文件由平台自有代码写出，内容是 30 列的权重。",
    ),
    "review.comment.membership": (
        "On so few withheld patients, doubt remains; the model has 31 numbers.",
        "留出患者很少，难免存疑；模型只有 31 个数值。",
    ),
    "review.comment.references": (
        "Beside models trained anew it hardly stands out; we accept the rest of doubt.",
        "与重新训练的模型相比并不突出；我们接受其余的不确定性。",
    ),
    "review.comment.canaries": (
        "Such patients would stand out more than ours do.",
        "这类患者本就比本院患者更易被认出。",
    ),
    "review.comment.reexecution": ("We know why.", "原因我们已知悉。"),
    "review.comment.differential_privacy": ("The noise is enough for us.", "噪声对我们已足够。"),
    "review.comment.stored_rows": ("We know what these numbers are.", "这些数值的含义我们已知悉。"),
    "review.comment.differencing": (
        "We have compared it with what they asked for before.",
        "已与对方先前所要的内容比较。",
    ),
    "review.comment.dominance": ("Enough patients stand behind it.", "其背后的患者数足够。"),
    "review.comment.digests": ("We know what ran.", "运行内容我们已知悉。"),
    "review.comment.declared_vs_observed": ("We know the files.", "文件我们已知悉。"),
    "review.comment.platform": ("We know that machine.", "该主机我们了解。"),
    "review.comment.sums": ("Who dropped out is known to us.", "退出的成员我们已知悉。"),
    "review.comment.buyer_history": ("We know what they have.", "对方已有的内容我们已知悉。"),
    "review.comment.custom_code": ("We have read the code.", "代码已审阅。"),
    "review.comment.small_cells": ("The groups are large enough.", "分组足够大。"),
    "col.comment": ("reason", "理由"),
    "review.approved": (
        "Approve. That is no flag: each opens a share of each artifact's key and seals it to {buyer}.",
        "批准。批准不是一个标记：每人打开每个文件密钥的一份份额，并密封给{buyer}。",
    ),
    # 8
    "scene.release": ("The buyer opens", "使用单位开启交付物"),
    "release.opened": (
        (
            "{name} opens the shares of all four, puts the key together, checks the content against the commitment "
            "that was reviewed, signs a receipt, and waits for the witness to cosign the ledger that proves it:"
        ),
        "{name}打开四家的份额、合成密钥，按审查时的承诺核对内容，签署回执，并等待见证方对证明这一切的账本联署：",
    ),
    "col.file": ("file", "文件"),
    "col.bytes": ("bytes", "字节"),
    "audit.verified": (
        (
            "Hashes all {size} leaves of the ledger again, replays every statement under the same rules as the space, "
            "and comes to the same root {root}…."
        ),
        "重新计算账本全部 {size} 个叶子的哈希，按与操作空间相同的规则重放每份声明，得到相同的根 {root}…。",
    ),
}
WORDS = {**STORY, **CLOSING, **CHEATS}


def say(key: str, language: Language, **details: str | int) -> str:
    """The sentence ``key``, with its details filled in."""
    english, chinese = WORDS[key]
    return (chinese if language == "zh" else english).format(**details)
