"""What is said of each cheat: what was tried, and under ``.why`` why it cannot work. English, then Chinese."""

from __future__ import annotations

CHEATS: dict[str, tuple[str, str]] = {
    "cheat": ("Cheat", "作弊"),
    "cheat.control": ("Control: ", "对照："),
    "cheat.refused": ("refused", "已拒绝"),
    "cheat.succeeded": ("SUCCEEDED", "得逞"),
    "cheat.repeated": (
        "And {count} times the same at the other hospitals, with the same end.",
        "在其他医院同样尝试 {count} 次，结果相同。",
    ),
    "cheat.false-buyer": ("the operator enrols a false buyer", "运营方让假冒的使用单位入驻"),
    "cheat.false-enclave": ("the operator makes a false enclave", "运营方制造假冒的盲盒"),
    "cheat.job-changed-after-grant": ("the job is changed after the grant", "授权后篡改任务"),
    "cheat.buyer-before-approval": (
        "the buyer wants the model before the approval",
        "使用单位在批准前索取模型",
    ),
    "cheat.release-without-approval": ("the operator calls it released", "运营方擅自宣布交付"),
    "cheat.byte-changed-in-output": ("one bit of a stored output is changed", "篡改所存产出的一个比特"),
    "cheat.operator-opens-what-it-stores": ("the operator opens what it stores", "运营方打开所存内容"),
    "cheat.ledger-rewritten": ("the operator rewrites the ledger", "运营方改写账本"),
    "cheat.certificate-for-another-model": ("a certificate is shown for another model", "用凭证冒充另一模型"),
    # false buyer
    "cheat.contribution-altered": (
        "the space meddles with a hospital's contribution",
        "操作空间干预某医院的贡献",
    ),
    "cheat.approval-left-out": ("one hospital's approval is left out", "绕过一家医院的批准"),
    # a sum that is altered
    "sum.altered": (
        (
            "The enclaves' code and keys add up once more, in this process and through a space of the operator's own "
            "making: how many patients each has, how many malignant. It flips one bit of what {name} sent."
        ),
        "以各盲盒的代码和密钥在本进程中再做一次求和（各院患者数与恶性数），这次经过运营方自制的操作空间：它翻转{name}所发内容的一个比特。",
    ),
    "sum.altered.why": (
        "Each member signs the digest of what it sent, and a member picked by the set's digest adds it all up again.",
        "每个成员都对所发内容的摘要签名，再由成员集合摘要选出的一个成员重新相加核对。",
    ),
    "sum.replaced": (
        "It puts zeros in the place of what {name} sent, to see the sum of the others.",
        "它把{name}所发内容换成零，想看到其余各家之和。",
    ),
    "sum.replaced.why": (
        "The same. Nobody hands on anything that opens such a sum.",
        "同上。对这样的和，没有人会交出任何能打开它的东西。",
    ),
    "sum.control": (
        "left alone, the same enclaves open the sum: {patients} patients, {malignant} malignant.",
        "不加干预时，同样的盲盒打开总和：{patients} 名患者，{malignant} 名恶性。",
    ),
    "sum.again": (
        "It says that {name} dropped out, and asks the others for the sum without it, to subtract one from the other.",
        "它声称{name}已退出，请其余各家再求一次不含它的和，以便相减。",
    ),
    "sum.again.why": (
        "Who has helped to open a sum in a round is in no other sum of that round. It is on its disk before it helps.",
        "在某一轮参与打开过总和的成员，不会再进入该轮的另一次求和；这一点在参与之前就已写入其磁盘。",
    ),
    "sum.read": (
        "It reads the {words} words that {name} sent, and the sum that it added up itself.",
        "它读取{name}所发的 {words} 个字，以及它自己算出的和。",
    ),
    "sum.read.why": (
        "Both are encrypted: under a key that {name} drew for this sum alone, and under the sum of such keys.",
        "两者都已加密：前者用{name}仅为这次求和生成的密钥，后者用这些密钥之和。",
    ),
    "sum.read-control": (
        "what {name} put in before it was encrypted is read like that at once.",
        "{name}加密之前的内容则可立即读出。",
    ),
    # one approval missing
    "veto.ledger": (
        "{given} of the hospitals have approved, {missing} has not yet. The operator notes the release all the same.",
        "{given} 家医院已批准，{missing}尚未。运营方仍然记下交付。",
    ),
    "veto.ledger.why": (
        "Every hospital whose data key was opened has a veto, also one that dropped out of a run.",
        "凡数据密钥被打开过的医院都有否决权，中途退出运行的也不例外。",
    ),
    "veto.client": ("The buyer runs `release fetch`.", "使用单位执行 release fetch。"),
    "veto.client.why": ("What is proven so far is no release.", "目前能证明的内容中没有交付。"),
    "veto.shares": (
        "It puts a key together from the {given} shares that it has, and tries it on the leaked ciphertext.",
        "它用手中的 {given} 份份额合成密钥，尝试打开泄露的密文。",
    ),
    "veto.shares.why": (
        "With one share missing every key is equally likely; these give none that fits.",
        "缺少一份时，任何密钥都同样可能；手中的份额合不出对的那一把。",
    ),
    "veto.control": (
        "with the last approval all {given} shares together open it.",
        "最后一家批准后，全部 {given} 份份额一起即可打开。",
    ),
    "false-buyer.developer": (
        (
            "The operator enrols its own “{name}”, with an invitation of its own making; the developer's job "
            "names that one ({false}…)."
        ),
        "运营方用自己签发的邀请函，让一个同名的“{name}”入驻；开发方的任务指向它（{false}…）。",
    ),
    "false-buyer.developer.why": (
        "A name in a trust file stands for one fingerprint, and nobody compared this one.",
        "信任文件中的名字只对应一个指纹，而这个指纹从未有人核对过。",
    ),
    "false-buyer.hospital": (
        (
            "The developer plays along, pins the false “{name}” and submits; the false buyer countersigns. The "
            "hospital is asked to grant."
        ),
        "开发方与之串通，登记了假冒的“{name}”并提交任务，假冒者会签，随后请医院授权。",
    ),
    "false-buyer.hospital.why": (
        "The hospital's client replays the job against its own pinned roots, and there it ends.",
        "医院的客户端按自己登记的根密钥重放该任务，到此为止。",
    ),
    "false-buyer.control": (
        "the same request with the real “{name}” in it is shown to the officer as usual.",
        "同样的请求若指向真正的“{name}”，则照常呈现给专员。",
    ),
    # buyer before approval
    "early.ask": ("The buyer asks the space for the sealed model.", "使用单位向操作空间索取密封的模型。"),
    "early.ask.why": (
        "Nothing of an output is handed out before its release; whether it exists is not said either.",
        "交付之前不给出产出的任何部分，也不透露其是否存在。",
    ),
    "early.client": ("It runs `release fetch` all the same.", "它仍然执行 release fetch。"),
    "early.client.why": ("What is proven so far is no release.", "目前能证明的内容中没有交付。"),
    "early.locks": (
        "The operator leaks ciphertext and statements. The buyer tries its {keys} keys on all {locks} sealed keys.",
        "运营方泄露了密文和全部声明。使用单位用自己的 {keys} 把密钥逐一尝试全部 {locks} 个密封密钥。",
    ),
    "early.locks.why": (
        "The shares are sealed to the reviewers. Approving is what seals them to the buyer.",
        "份额密封给审查员；只有批准才会将其重新密封给使用单位。",
    ),
    "early.ciphertext": (
        "It takes every 32 bytes in any statement for the key of the leaked {size} bytes.",
        "它把声明中出现的每个 32 字节值都当作密钥，尝试打开泄露的 {size} 字节。",
    ),
    "early.ciphertext.why": (
        "The artifact's key stands nowhere; the seal commits to it and tells at once.",
        "文件的密钥不在任何地方；密封带有密钥承诺，立即识破。",
    ),
    "early.control": (
        "the same attempt with the reviewer's key of {name} opens one.",
        "同样的尝试，用{name}审查员的密钥即可打开。",
    ),
    # release without approval
    "release.decision": (
        "The operator certifies a connection in the name of {name} and signs an approval with its own key.",
        "运营方以{name}的名义签发连接证书，并用自己的密钥签署“批准”。",
    ),
    "release.decision.why": (
        "A certificate of the operator's is a connection, not a single key of the hospital's.",
        "运营方的证书只是一个连接，换不来医院的任何一把密钥。",
    ),
    "release.ledger": ("It notes the release without a decision.", "它在没有裁决的情况下记下交付。"),
    "release.ledger.why": (
        "The rules of the ledger want the quorum of decisions that the release names.",
        "账本规则要求交付所依据的裁决达到法定数。",
    ),
    "release.buyer": (
        "It shows the buyer a ledger with that release in it, proofs and checkpoint signed with the real ledger key.",
        "它向使用单位展示一个含有该交付的账本，证明与检查点均用真正的账本密钥签名。",
    ),
    "release.buyer.why": (
        "The buyer's client replays the statements under the same rules. And no share is sealed to it anyway.",
        "使用单位的客户端按同样的规则重放声明；何况没有任何份额密封给它。",
    ),
    "release.control": (
        "the same client, shown the same way what really stands, follows it.",
        "同一客户端，以同样方式看到真实账本时，正常接受。",
    ),
    # false enclave
    "false-enclave.connection": (
        "the operator's certificate for “an enclave of {name}” is accepted: it connects.",
        "运营方为“{name}的盲盒”签发的证书被接受：连接成功。",
    ),
    "false-enclave.offer": (
        "The false enclave answers the broker's real challenge with a run offer of its own.",
        "假盲盒用自己的运行申请回应密钥代理的真实挑战。",
    ),
    "false-enclave.offer.why": (
        "The rules take a run offer from an enclave that the hospital's root key vouches for, and from no other.",
        "规则只接受由医院根密钥担保的盲盒提出的运行申请。",
    ),
    "false-enclave.described": (
        "The operator writes {name} a new description that vouches for the false enclave.",
        "运营方替{name}写了一份为假盲盒担保的新说明。",
    ),
    "false-enclave.described.why": (
        "A description is signed by the root key, which never left the hospital.",
        "说明须由根密钥签名，而根密钥从未离开医院。",
    ),
    "false-enclave.broker": (
        "The operator switches its rules off and shows the offer to the broker, in a ledger that it signed itself.",
        "运营方关闭自己的规则，把该申请放进自己签名的账本，展示给密钥代理。",
    ),
    "false-enclave.broker.why": (
        "The broker believes no ledger's content, it replays it: the signature is not of the granted enclave.",
        "密钥代理不轻信账本内容，而是自行重放：签名并非来自获授权的盲盒。",
    ),
    "false-enclave.both": (
        "The same with the false description in front of it.",
        "同上，并在前面加上那份伪造的说明。",
    ),
    "false-enclave.both.why": (
        "The description's signature has to hold under the pinned root.",
        "说明的签名必须能由已登记的根密钥验证。",
    ),
    "false-enclave.control": (
        "the same lie with the offer signed by the hospital's own enclave, and the broker releases the key.",
        "同样的账本，若申请由医院自己的盲盒签名，密钥代理便释放密钥。",
    ),
    # job changed after the grant
    "changed-job.database": (
        "The operator rewrites the job in its database: a hundred times the rounds, hardly any patients withheld.",
        "运营方在数据库中改写任务：轮次增至百倍，几乎不留出患者。",
    ),
    "changed-job.database.why": (
        "A statement's name is its digest, and its digest is the ledger's leaf.",
        "声明以其摘要为名，而摘要就是账本的叶子。",
    ),
    "changed-job.database-control": (
        "put right again, the job reads as before.",
        "恢复原样后，任务照常可读。",
    ),
    "changed-job.grant": (
        "The developer signs the changed job as well; the operator puts its digest into the old grant.",
        "开发方也签署了改动后的任务；运营方把其摘要写入旧的授权。",
    ),
    "changed-job.grant.why": ("The hospital signed the other digest.", "医院签的是另一个摘要。"),
    "changed-job.offer": (
        "The hospital's own enclave is made to offer a run of the changed job without a grant.",
        "迫使医院自己的盲盒在没有授权的情况下为改动后的任务提出运行申请。",
    ),
    "changed-job.offer.why": (
        "No grant of the hospital's names this enclave for this job.",
        "医院没有为该任务授权任何盲盒。",
    ),
    "changed-job.parameters": (
        "The real broker has released the real data key to this run. It is opened for the changed parameters.",
        "真实的密钥代理已向这次运行释放真实的数据密钥。尝试为改动后的参数打开它。",
    ),
    "changed-job.parameters.why": (
        "What the key was sealed for is part of the seal: there is no check to forget.",
        "密钥的用途是密封本身的一部分，没有可以被遗漏的检查。",
    ),
    "changed-job.code": ("It is opened for another code.", "尝试为另一份代码打开它。"),
    "changed-job.code.why": ("The same.", "同上。"),
    "changed-job.buyer": ("It is opened for the false buyer's key.", "尝试为假冒使用单位的密钥打开它。"),
    "changed-job.buyer.why": ("The same.", "同上。"),
    "changed-job.control": (
        "for the job as granted it opens, and the sealed dataset on the enclave's disk accepts the key.",
        "按授权的任务则可打开，盲盒磁盘上的密封数据也接受这把密钥。",
    ),
    # one bit changed
    "byte.buyer": (
        "One bit of the sealed model is flipped on the space's disk; the buyer fetches.",
        "在操作空间的磁盘上翻转密封模型的一个比特；使用单位取件。",
    ),
    "byte.buyer.why": ("The output statement names the ciphertext's digest.", "产出声明中写有密文的摘要。"),
    "byte.seal": (
        "The digest is not even looked at, and the right key is tried.",
        "不看摘要，直接用正确的密钥尝试。",
    ),
    "byte.seal.why": (
        "The cipher authenticates every byte of every chunk.",
        "加密对每一块的每个字节都有认证。",
    ),
    "byte.reviewer": (
        "One bit of the evidence is flipped; {reviewer} opens the case.",
        "翻转证据报告的一个比特；{reviewer}打开案卷。",
    ),
    "byte.reviewer.why": (
        "As above: nobody decides on bytes that are not in the output.",
        "同上：裁决只针对产出中的字节。",
    ),
    "byte.reviewer-control": (
        "flipped back, {reviewer} sees the evidence.",
        "翻转回来后，{reviewer}可看到证据。",
    ),
    "byte.control": (
        "flipped back, the buyer opens the same model again.",
        "翻转回来后，使用单位再次打开同一模型。",
    ),
    # operator opens
    "stored.rows": (
        (
            "{values} values of the hospitals' patients are looked for in {size} bytes: every file, blob, database row "
            "and message ({places} places)."
        ),
        "在 {size} 字节中查找各医院患者的 {values} 个数值：每个文件、密文、数据库记录和消息（{places} 处）。",
    ),
    "stored.rows.why": (
        "The data never was here, not even as ciphertext: it went from each hospital to its own enclave.",
        "数据从未到过这里，连密文也没有：它只从每家医院进入各自的盲盒。",
    ),
    "stored.weights": (
        "{values} pieces of the released model's weights are looked for in the same.",
        "在同样的内容中查找已交付模型权重的 {values} 个片段。",
    ),
    "stored.weights.why": ("The model passed through sealed.", "模型经过时一直是密封的。"),
    "stored.read": (
        "Each of the {files} sealed files is read as a table, a model and a text.",
        "把 {files} 个密封文件逐一当作表格、模型和文本来读取。",
    ),
    "stored.read.why": (
        "Ciphertext looks like nothing, and is padded to a size class.",
        "密文看不出任何内容，且已按档填充大小。",
    ),
    "stored.locks": (
        "Its own keys and every 32 bytes in any statement, {keys} in all, are tried on all {locks} sealed keys.",
        "用自己的密钥以及声明中的每个 32 字节值（共 {keys} 个）尝试全部 {locks} 个密封密钥。",
    ),
    "stored.locks.why": (
        "They are sealed to a run, to reviewers and to the buyer; the operator is none of these.",
        "它们密封给运行、审查员和使用单位，运营方不在其中。",
    ),
    "stored.keys": (
        "The same {keys} are tried as keys of the {files} files themselves.",
        "同样的 {keys} 个值直接作为 {files} 个文件的密钥尝试。",
    ),
    "stored.keys.why": (
        "The files' keys were never here in one piece.",
        "这些文件的密钥从未完整地出现在这里。",
    ),
    "stored.rows-control": (
        "the same search finds all {values} values in the hospitals' own files.",
        "同样的查找在各医院自己的文件中找到全部 {values} 个数值。",
    ),
    "stored.weights-control": (
        "and all {values} pieces in the model that the buyer opened.",
        "并在使用单位打开的模型中找到全部 {values} 个片段。",
    ),
    "stored.read-control": ("the opened model is read as one.", "打开后的模型可正常读取。"),
    "stored.locks-control": (
        "a hospital's keys open one of the sealed keys at once.",
        "某医院的密钥立即打开其中一个。",
    ),
    # ledger rewritten
    "rewritten.witness": (
        (
            "An early statement is replaced, all hashes are made again and signed with the real ledger key; the "
            "witness is asked to cosign."
        ),
        "替换早先的一份声明，重新计算全部哈希并用真正的账本密钥签名；请见证方联署。",
    ),
    "rewritten.witness.why": (
        "A witness signs only what continues the ledger that it signed before.",
        "见证方只联署其先前所签账本的延续。",
    ),
    "rewritten.client": ("The buyer's client is shown the same.", "向使用单位的客户端展示同样的账本。"),
    "rewritten.client.why": (
        "Every client remembers the last checkpoint that it verified.",
        "每个客户端都记得自己核验过的最后一个检查点。",
    ),
    "rewritten.control": (
        "the true ledger, shown and signed in the same way, is accepted.",
        "以同样方式展示和签名的真实账本则被接受。",
    ),
    # certificate
    "certificate.other-model": (
        "One bit of one weight is changed, and the certificate is shown for that model.",
        "改动一个权重的一个比特，再用凭证为该模型作证。",
    ),
    "certificate.other-model.why": (
        "The certificate opens the commitment to the reviewed bytes, and to no others.",
        "凭证只能打开对所审查字节的承诺。",
    ),
    "certificate.other-story": (
        "The job's purpose is rewritten in the certificate.",
        "在凭证中改写任务用途。",
    ),
    "certificate.other-story.why": (
        "Signature and inclusion proof are over the statement's exact bytes.",
        "签名与包含证明针对声明的确切字节。",
    ),
    "certificate.control": (
        "the certificate as it is, with the model as it was opened, verifies.",
        "原样的凭证与打开时的模型核验通过。",
    ),
}
