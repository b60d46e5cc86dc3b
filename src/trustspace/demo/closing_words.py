"""What the story says at its end: the certificate without a server, and what came of it. English, then Chinese."""

from __future__ import annotations

CLOSING: dict[str, tuple[str, str]] = {
    # 9
    "scene.offline": ("Everything is switched off", "全部关机"),
    "offline.stopped": (
        "Space, enclaves, brokers and witness are stopped. What follows needs no server.",
        "操作空间、各盲盒、各密钥代理与见证方均已停止。以下不需要任何服务器。",
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
    "certificate.platform": ("ran in; evidence", "运行环境；证据"),
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
    "auc.own": ("{name} alone", "{name}单独"),
    "auc.local": ("local: the mean of these four", "本地：以上四家的平均"),
    "auc.federated": ("federated: the released model", "联合：已交付的模型"),
    "auc.pooled": ("pooled: all rows in one place", "集中：全部数据放在一处"),
    "auc.told": (
        (
            "Alone and pooled are scikit-learn's logistic regression in the clear, on all rows there are. The released "
            "model never saw the withheld patients, and nobody ever saw these rows in one place."
        ),
        (
            "“单独”与“集中”为 scikit-learn 的逻辑回归，在明文上使用全部数据。已交付的模型从未见过留出患者，"
            "也没有任何人在一处看到过这些数据。"
        ),
    ),
    "loss.title": (
        "Mean training loss of {hospitals} hospitals in each of {rounds} rounds, known only as a sum:",
        "{hospitals} 家医院在 {rounds} 个轮次中的平均训练损失，只以总和的形式为人所知：",
    ),
    "col.model": ("model", "模型"),
    "col.bar": ("{low} … 1", "{low} … 1 区间"),
    "col.attempts": ("attempts", "尝试"),
    "col.controls": ("controls", "对照"),
    "cheats.title": ("Cheats, each really tried", "作弊尝试（均真实执行）"),
    "summary": (
        "{refused} of {cheats} cheats refused; {certificate}; {seconds} seconds.",
        "{cheats} 种作弊中 {refused} 种被拒绝；{certificate}；用时 {seconds} 秒。",
    ),
}
