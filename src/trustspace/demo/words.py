"""What the story says, in English and in Chinese."""

from __future__ import annotations

from typing import Literal

from trustspace.demo.cheat_words import CHEATS

Language = Literal["en", "zh"]

STORY: dict[str, tuple[str, str]] = {
    "title": ("trustspace: the story once", "trustspace：完整的一次"),
    "intro": (
        (
            "A hospital's data trains a model for a clinic. The developer never sees the data, the operator sees "
            "neither data nor model, and the clinic gets the model only once the hospital's reviewer has approved it. "
            "Everything below really happens, in separate processes over mutual TLS, with the measurements of 569 real "
            "patients. Lines that begin with $ are what a person would type."
        ),
        (
            "一家医院的数据，为一家门诊部训练模型。开发方始终看不到数据，运营方既看不到数据也看不到模型，"
            "门诊部只有在医院审查员批准之后才能得到模型。以下每一步都真实发生：各方进程相互独立，经双向 TLS 通信，"
            "数据为 569 名真实患者的检测值。以 $ 开头的行是人工操作时输入的命令。"
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
    "name.hospital": ("Riverside Hospital", "河畔医院"),
    "name.reviewer": ("Dr Li", "李医生"),
    "name.enclave": ("Riverside machine room", "河畔医院机房"),
    "name.developer": ("Northlight Models", "北辰模型"),
    "name.buyer": ("City Clinic", "市立门诊部"),
    "name.auditor": ("Audit Office", "审计事务所"),
    "problem": ("The story cannot go on", "故事无法继续"),
    "interrupted": ("Interrupted; every process is ended and removed.", "已中断；全部进程均已结束并清理。"),
    "kept": (
        (
            "Everything is kept in {folder}: homes with their keys, the hospital's file, logs. Delete it when you are "
            "done."
        ),
        "全部内容保留在 {folder}：各方的目录和密钥、医院的文件、日志。查看后请删除。",
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
            "Is vouched for by its hospital's root key, and shows what its host can isolate: {tier}. It dials out to "
            "the space; its own door opens to the hospital alone. Now running, everything on 127.0.0.1:"
        ),
        (
            "由医院的根密钥担保，并说明其主机的隔离能力：{tier}。它主动连接操作空间，自己的门只对本医院开放。"
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
    "scene.data": ("The hospital seals its data", "医院密封数据"),
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
            "Draws a key that stays in its key store, seals the table with it and streams the ciphertext to its own "
            "enclave ({size} bytes). The space gets the confirmed description and a mock sample drawn from that alone. "
            "Dataset {digest}."
        ),
        (
            "生成一把只留在本院密钥库中的密钥，用它密封数据表，并将密文传入自己的盲盒（{size} 字节）。"
            "操作空间只得到已确认的描述，以及仅由该描述生成的模拟样本。数据资源 {digest}。"
        ),
    ),
    "col.column": ("column", "列"),
    "col.officer": ("the officer alone", "仅专员可见"),
    "col.public": ("the public", "对外公开"),
    # 3
    "scene.ask": ("The developer asks", "开发方提出任务"),
    "ask.mock": (
        (
            "Only a description (“{title}”, {unit}, {rows} rows, {columns} columns) and {mock} made-up rows to try "
            "code on. No row of the hospital's was ever near this:"
        ),
        (
            "只有一份描述（“{title}”，{unit}，{rows}行，{columns} 列）和 {mock} 行用于调试代码的模拟数据，"
            "与医院的任何一行都无关："
        ),
    ),
    "ask.submitted": (
        (
            "Writes a job file (logistic regression, {columns} columns, target “{target}”, {epochs} epochs, a fifth of "
            "the patients withheld) and signs it: job {job}."
        ),
        (
            "编写任务文件（逻辑回归，{columns} 列，目标“{target}”，训练 {epochs} 轮，留出五分之一患者）"
            "并签名：任务 {job}。"
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
    "scene.grant": ("The hospital looks, and grants", "医院审阅并授权"),
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
        "{model} of {target} = {positive}; {epochs} epochs, {optimiser}",
        "{model}：{target} = {positive}；{epochs} 轮，{optimiser}",
    ),
    "request.code": ("code", "代码"),
    "request.no-code": (
        "the platform's own training loop, none of the developer's",
        "平台自有训练程序，无开发方代码",
    ),
    "request.own-code": ("the developer's own", "开发方自有代码"),
    "request.withheld": ("withheld", "留出患者"),
    "request.outputs": ("would come out", "产出文件"),
    "request.platform": ("platform", "运行环境"),
    "request.platform-of": ("{kind} evidence, sandbox tier: {tier}", "{kind} 证明，沙箱等级：{tier}"),
    "request.pinned": ("{name} ({fingerprint}…, pinned)", "{name}（{fingerprint}…，已登记）"),
    "grant.granted": (
        (
            "{name} signs the grant: one run, in its own enclave, reviewed by {reviewer}. This is the human act; "
            "without it its broker seals no key to anybody."
        ),
        "{name}签署授权：仅一次运行，在自己的盲盒中，由{reviewer}审查。这是人的决定；没有它，密钥代理不会向任何人释放密钥。",
    ),
    # 5
    "scene.run": ("The enclave runs the job", "盲盒运行任务"),
    "run.released": (
        (
            "Gives the enclave a fresh challenge, checks the one-time key that it offers, counts the run, and seals "
            "the data key to it, bound to dataset, job, code, parameters, evidence and buyer."
        ),
        (
            "向盲盒发出新的挑战，核对其一次性密钥，先将运行次数记账，再把数据密钥密封给它，"
            "并绑定数据资源、任务、代码、参数、证明与使用单位。"
        ),
    ),
    "run.ran": (
        (
            "Opens the data in memory, trains in one sandbox and judges the exported model in a fresh one, on patients "
            "that training never had. From grant to sealed output: {seconds} s."
        ),
        (
            "在内存中打开数据，在一个沙箱中训练，再在另一个全新的沙箱中用训练从未见过的患者检验导出的模型。"
            "从授权到密封产出：{seconds} 秒。"
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
            "Seals each artifact under a key of its own, pads it, and splits that key among those who will decide. The "
            "space stores what it cannot open:"
        ),
        "每个文件各用一把密钥密封并填充，再把密钥拆分给有权裁决的人。操作空间保存的是它打不开的内容：",
    ),
    "run.opens-all": ("if every hospital concerned approves", "须所有相关医院批准"),
    "run.opens-own": ("for the hospital's own reviewers only", "仅供本医院审查员"),
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
    # 6
    "scene.waiting": ("A sealed output, and nobody's yet", "密封的产出，尚不属于任何人"),
    "held": (
        (
            "{name} asks for the same job once more and the hospital grants it. Its enclave is held still for a "
            "moment, so that this second run can be attacked from close up, with the run's own one-time key in hand:"
        ),
        "{name}再次提出同一任务，医院授权。此时让盲盒暂停片刻，以便手握这次运行的一次性密钥，近距离攻击这第二次运行：",
    ),
    # 7
    "scene.review": ("The reviewer decides", "审查员裁决"),
    "review.evidence": (
        "{reviewer} opens the evidence with a reviewer's key, checked to speak of the very bytes in the output:",
        "{reviewer}用审查密钥打开证据报告，并已核对报告所说正是产出中的这些字节：",
    ),
    "review.report": ("evidence", "证据报告"),
    "review.comment": ("Fit for its purpose.", "符合用途。"),
    "review.approved": (
        "{reviewer} approves. That is no flag: it opens a share of each artifact's key and seals it to {buyer}.",
        "{reviewer}批准。批准不是一个标记：而是打开每个文件密钥的一份份额，并密封给{buyer}。",
    ),
    # 8
    "scene.release": ("The buyer opens", "使用单位开启交付物"),
    "release.opened": (
        (
            "{name} opens the shares, puts the key together, checks the content against the commitment that was "
            "reviewed, signs a receipt, and waits for the witness to cosign the ledger that proves it:"
        ),
        "{name}打开份额、合成密钥，按审查时的承诺核对内容，签署回执，并等待见证方对证明这一切的账本联署：",
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
    # 9
    "scene.offline": ("Everything is switched off", "全部关机"),
    "offline.stopped": (
        "Space, enclave, broker and witness are stopped. What follows needs no server.",
        "操作空间、盲盒、密钥代理与见证方均已停止。以下不需要任何服务器。",
    ),
    "certificate": ("certificate", "交易凭证"),
    "certificate.verified": (
        (
            "Verifies the certificate with its own trust file: signatures up to pinned roots, inclusion in the "
            "cosigned ledger, the whole story replayed under the rules, the files against what was reviewed."
        ),
        (
            "用自己的信任文件核验凭证：签名可追溯到已登记的根密钥，声明均在已联署的账本中，"
            "整个过程按规则重放，文件与审查内容一致。"
        ),
    ),
    "certificate.units": ("data of", "数据源单位"),
    "certificate.reviewers": ("approved by", "批准人"),
    "certificate.developer": ("asked by", "开发方"),
    "certificate.buyer": ("released to", "交付给"),
    "certificate.artifacts": ("artifacts", "产出文件"),
    "certificate.platform": ("ran in; evidence", "运行环境；证明"),
    "certificate.ledger": ("ledger", "存证账本"),
    "certificate.size": (
        "{statements} statements of {size}, cosigned by {quorum} witness",
        "{size} 份声明中的 {statements} 份，{quorum} 个见证方联署",
    ),
    "certificate.holds": ("the certificate verifies offline", "凭证离线核验通过"),
    "certificate.broken": ("THE CERTIFICATE DOES NOT VERIFY", "凭证核验未通过"),
    "use.model": (
        (
            "Uses the model on its own {patients} patients, whom no hospital has seen: it agrees with the pathologist "
            "on {agreed} of them. The first few:"
        ),
        "在自己的 {patients} 名患者（医院从未见过）上使用模型：与病理诊断一致的有 {agreed} 名。前几名：",
    ),
    "col.score": ("score", "评分"),
    "col.finding": ("pathologist", "病理诊断"),
    # 10
    "scene.result": ("What came of it", "结果"),
    "auc.title": ("Measured on the buyer's {patients} patients", "在使用单位的 {patients} 名患者上测得"),
    "auc.local": ("local: scikit-learn on one hospital's rows", "本地：scikit-learn，单家医院数据"),
    "auc.federated": ("federated: the released model", "联合：已交付的模型"),
    "auc.pooled": ("pooled: scikit-learn on all hospitals' rows", "集中：scikit-learn，全部医院数据"),
    "auc.one": (
        (
            "With one hospital, local and pooled are the same rows, and federated is its model: trained in the "
            "sandbox, on the four fifths of these rows that were not withheld."
        ),
        "只有一家医院时，“本地”与“集中”是同样的数据，“联合”即它的模型：在沙箱中用未留出的五分之四数据训练。",
    ),
    "col.model": ("model", "模型"),
    "col.bar": ("0.5 (chance) … 1", "0.5（随机）… 1"),
    "col.attempts": ("attempts", "尝试"),
    "col.controls": ("controls", "对照"),
    "cheats.title": ("Cheats, each really tried", "作弊尝试（均真实执行）"),
    "summary": (
        "{refused} of {cheats} cheats refused; {certificate}; {seconds} seconds.",
        "{cheats} 种作弊中 {refused} 种被拒绝；{certificate}；用时 {seconds} 秒。",
    ),
}
WORDS = {**STORY, **CHEATS}


def say(key: str, language: Language, **details: str | int) -> str:
    """The sentence ``key``, with its details filled in."""
    english, chinese = WORDS[key]
    return (chinese if language == "zh" else english).format(**details)
