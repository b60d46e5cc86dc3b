"""Signs of identity in the shape of values: patterns, a checksum, and how much they vary."""

from __future__ import annotations

import re
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from trustspace.data.signs import Sign

# Below this many values a share of them says nothing.
_ENOUGH_VALUES = 10
_MOST = 0.8
_SOME = 0.2
_LIFETIME_YEARS = 40

_PROVINCE = r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])"
_CARD = _PROVINCE + r"\d{4}(?:18|19|20)\d{2}[01]\d[0-3]\d\d{3}[0-9Xx]"
_ID_CARD = rf"(?:^|[^0-9A-Za-z])({_CARD})(?:$|[^0-9A-Za-z])"
_OLD_ID_CARD = rf"^{_PROVINCE}\d{{6}}[01]\d[0-3]\d\d{{3}}$"
_MOBILE = r"(?:^|[^0-9.A-Za-z])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?:$|[^0-9A-Za-z])"
_LANDLINE = r"(?:^|[^0-9.A-Za-z-])(?:\+?86[- ]?)?\(?0\d{2,3}\)?[- ]\d{7,8}(?:$|[^0-9])"
_INTERNATIONAL = (
    r"(?:^|[^0-9A-Za-z])\+[1-9]\d{0,2}[- ()]{0,2}\d{2,4}[- ()]{0,2}\d{3,4}[- ]?\d{3,5}(?:$|[^0-9])"
)
_EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
_IP_ADDRESS = r"(?:^|[^0-9.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:$|[^0-9.])"
_DICOM_UID = r"(?:^|[^0-9])1\.[23]\.\d+(?:\.\d+){3,}"
_ANY_VALUE: tuple[tuple[Sign, str], ...] = (
    (Sign.PHONE, _MOBILE),
    (Sign.PHONE, _LANDLINE),
    (Sign.PHONE, _INTERNATIONAL),
    (Sign.EMAIL, _EMAIL),
    (Sign.NETWORK_ADDRESS, _IP_ADDRESS),
    (Sign.RECORD_NUMBER, _DICOM_UID),
)
# The hundred or so commonest surnames cover about 85 % of people in China.
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚"
    "沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤欧"
)
_CHINESE_NAME = (
    rf"^(?:(?:[{_SURNAMES}]|欧阳|司马|上官|诸葛|慕容|令狐)\p{{Han}}{{1,2}}|\p{{Han}}+[·•]\p{{Han}}+)$"
)
_LATIN_NAME = r"^\p{Lu}\p{Ll}+(?:[ -]\p{Lu}\p{Ll}*\.?)*,? \p{Lu}\p{Ll}+$|^\p{Lu}+\^\p{Lu}+"
_ADDRESS = (
    r"\p{Han}(?:省|市|自治区|县|区|镇|乡).*(?:路|街|巷|弄|村|号|小区|栋|室)"
    r"|\d+ [\p{L} ]+ (?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive)\b"
)


def text_signs(*texts: str) -> frozenset[Sign]:
    """What any of the texts gives away by itself: an ID card, phone, e-mail or network address."""
    return frozenset(_strong_signs(pa.chunked_array([list(texts)], pa.string())))


def column_signs(column: pa.ChunkedArray) -> set[Sign]:
    if pa.types.is_string(column.type):
        values = pc.drop_null(column)
        return _strong_signs(values) | _weak_signs(values)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return {Sign.BIRTH_DATE} if _spans_lifetime(pc.year(column)) else set()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _number_signs(column)
    return set()


def _strong_signs(values: pa.ChunkedArray) -> set[Sign]:
    """One cell is enough."""
    texts = pc.utf8_normalize(values, form="NFKC")
    found = {sign for sign, pattern in _ANY_VALUE if pc.any(pc.match_substring_regex(texts, pattern)).as_py()}
    if _has_id_card(texts):
        found.add(Sign.ID_NUMBER)
    return found


def _weak_signs(values: pa.ChunkedArray) -> set[Sign]:
    """Shapes that also occur innocently: a share of the cells decides, and so does variety."""
    count = len(values)
    if count < _ENOUGH_VALUES:
        return set()
    distinct = pc.count_distinct(values).as_py()
    found = set()
    # Two capitalised words are often a diagnosis, and those repeat; a common surname rarely is anything else.
    if distinct > _ENOUGH_VALUES and _share(values, _CHINESE_NAME) > _MOST:
        found.add(Sign.PERSON_NAME)
    if distinct > max(_ENOUGH_VALUES, 0.5 * count) and _share(values, _LATIN_NAME) > _MOST:
        found.add(Sign.PERSON_NAME)
    if _share(values, _ADDRESS) > _SOME:
        found.add(Sign.ADDRESS)
    if distinct >= 0.9 * count:
        found.add(Sign.UNIQUE_TEXT)
    years = pc.extract_regex(values, r"(?:^|\D)(?P<year>(?:19|20)\d{2})(?:$|\D)")
    dated = pc.match_substring_regex(values, r"^\d{1,4}[-/. ](?:\d{1,2}|[A-Za-z]{3})[-/. ]\d{1,4}")
    if pc.mean(dated.cast(pa.float64())).as_py() > _MOST and _spans_lifetime(
        pc.struct_field(years, [0]).cast(pa.int64())
    ):
        found.add(Sign.BIRTH_DATE)
    return found


def _number_signs(column: pa.ChunkedArray) -> set[Sign]:
    """Identifiers that were stored as numbers: ID cards, mobiles, dates of birth as 19640229."""
    values = pc.drop_null(column)
    if not len(values):
        return set()
    if pa.types.is_floating(values.type):
        whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), float(2**63 - 1024)))
        if not pc.all(whole).as_py():
            return set()
        values = values.cast(pa.int64(), safe=False)
    if pc.max(values).as_py() < 10_000_000:
        return set()
    texts = values.cast(pa.string())
    found = set()
    if _share(texts, r"^(?:86)?1[3-9]\d{9}$") > _SOME:
        found.add(Sign.PHONE)
    if _has_id_card(texts):
        found.add(Sign.ID_NUMBER)
    if _share(texts, r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$") > _MOST and _spans_lifetime(
        pc.divide(values, 10_000)
    ):
        found.add(Sign.BIRTH_DATE)
    return found


def _share(values: pa.ChunkedArray, pattern: str) -> float:
    matches = pc.sum(pc.match_substring_regex(values, pattern)).as_py() or 0
    return float(matches) / max(1, len(values))


def _spans_lifetime(years: pa.ChunkedArray) -> bool:
    """Dates spread over more than 40 years are more likely births than visits."""
    bounds = pc.min_max(years).as_py()
    if bounds["min"] is None:
        return False
    return bool(bounds["max"] - bounds["min"] > _LIFETIME_YEARS)


def _has_id_card(texts: pa.ChunkedArray) -> bool:
    candidates = texts.filter(pc.match_substring_regex(texts, _ID_CARD))
    if any(
        is_id_card(number) for text in candidates.to_pylist() for number in re.findall(_ID_CARD, str(text))
    ):
        return True
    old = texts.filter(pc.match_substring_regex(texts, _OLD_ID_CARD)).to_pylist()
    # Without a checksum a 15-digit card is only a date: one may be chance, most of the column is not.
    return len(old) > _SOME * max(1, len(texts)) and all(
        _is_date(f"19{text[6:12]}") for text in old[:_ENOUGH_VALUES]
    )


def is_id_card(number: str) -> bool:
    """An 18-character Chinese resident identity number: a province, a real date, the check character.

    Source: GB 11643-1999, with ISO 7064 MOD 11-2.
    """
    if not re.fullmatch(_CARD, number) or not _is_date(number[6:14]):
        return False
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(weight * int(digit) for weight, digit in zip(weights, number[:17], strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _is_date(text: str) -> bool:
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return False
    return True
