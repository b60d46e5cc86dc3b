"""Signs of identity in the name of a column, in English and Chinese."""

from __future__ import annotations

import re
import unicodedata

from trustspace.data.signs import Sign

# Words of a column's name, lower case; an entry of several words needs them next to each other.
_NAME_WORDS: dict[Sign, tuple[str, ...]] = {
    Sign.PERSON_NAME: (
        "full name", "first name", "last name", "given name", "family name", "middle name", "patient name",
        "person name", "doctor name", "physician name", "nurse name", "mother name", "father name",
        "contact name", "pat name", "pt name", "name of patient", "surname", "forename", "fullname",
        "firstname", "lastname", "patientname", "patients name", "xingming",
    ),
    Sign.ID_NUMBER: (
        "id number", "id no", "id card", "idcard", "idnumber", "national id", "identity number",
        "identity card", "identity no", "citizen id", "ssn", "social security", "passport", "nhs number",
        "driver license", "driving licence", "insurance number", "insurance no", "shenfenzheng", "sfzh",
    ),
    Sign.RECORD_NUMBER: (
        "mrn", "medical record", "record number", "chart number", "chart no", "admission number",
        "admission no", "accession number", "accession no", "hospital number", "visit number", "case number",
        "case no", "instance uid", "study uid", "series uid", "sop uid",
    ),
    Sign.PHONE: ("phone", "telephone", "tel", "mobile", "cellphone", "cell phone", "fax", "wechat", "weixin"),
    Sign.EMAIL: ("email", "e mail", "mail address", "mailbox"),
    Sign.ADDRESS: (
        "address", "addr", "street", "postcode", "postal code", "zip", "zipcode", "zip code", "residence",
        "village", "house number", "latitude", "longitude",
    ),
    Sign.BIRTH_DATE: (
        "dob", "birth date", "birthdate", "birthday", "date of birth", "date birth", "born", "birth day",
    ),
    Sign.NETWORK_ADDRESS: (
        "ip address", "ip addr", "ipaddr", "mac address", "device serial", "serial number",
    ),
}  # fmt: skip
_NAME_PARTS: dict[Sign, tuple[str, ...]] = {
    Sign.PERSON_NAME: ("姓名", "名字", "联系人", "监护人", "医生签名", "医师签名", "曾用名"),
    Sign.ID_NUMBER: (
        "身份证",
        "证件号",
        "证件编号",
        "护照",
        "社保号",
        "医保号",
        "医保卡",
        "社会保障",
        "军官证",
    ),
    Sign.RECORD_NUMBER: (
        "病历号",
        "病案号",
        "住院号",
        "门诊号",
        "就诊号",
        "就诊卡",
        "登记号",
        "检查号",
        "影像号",
    ),
    Sign.PHONE: ("电话", "手机", "联系方式", "微信", "传真", "qq号"),
    Sign.EMAIL: ("邮箱", "电子邮件"),
    Sign.ADDRESS: ("地址", "住址", "户籍", "籍贯", "邮编", "邮政编码", "居住地", "门牌"),
    Sign.BIRTH_DATE: ("出生日期", "生日", "出生年月", "出生时间"),
    Sign.NETWORK_ADDRESS: ("设备序列号", "ip地址", "mac地址"),
}

_PATIENT_WORDS = re.compile(
    r"(patient|subject|participant|person|pat)s?( ?(id|no|number|nr|code|key|uid))?|pid"
)
_PATIENT_PARTS = re.compile(r"(患者|病人|受试者|病例)(id|编号|号|序号|标识|代码)?")


def name_signs(name: str) -> frozenset[Sign]:
    """What a column's name says, in English or Chinese: 姓名, patientName, date_of_birth, 身份证号…"""
    spaced, tight = _words(name)
    found = {
        sign for sign, entries in _NAME_WORDS.items() if any(f" {entry} " in spaced for entry in entries)
    }
    found |= {sign for sign, parts in _NAME_PARTS.items() if any(part in tight for part in parts)}
    if spaced in {" name ", " names "}:
        found.add(Sign.PERSON_NAME)
    return frozenset(found)


def names_patients(name: str) -> bool:
    """Whether a column is called as if it told patients apart: patient_id, SubjectNo, 患者编号…"""
    spaced, tight = _words(name)
    return bool(_PATIENT_WORDS.fullmatch(spaced.strip()) or _PATIENT_PARTS.fullmatch(tight))


def _words(name: str) -> tuple[str, str]:
    """The name as lower-case words between single spaces, and without any space."""
    folded = unicodedata.normalize("NFKC", name)
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", folded)
    return " " + " ".join(re.findall(r"[^\W_]+", parted.lower())) + " ", folded.lower().replace(" ", "")
