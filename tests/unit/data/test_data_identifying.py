"""Signs of identity: found by name and by value, quiet on clinical columns, never quoting a value."""

from __future__ import annotations

import random
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.data.columns import plain_table
from trustspace.data.identifying import looks_identifying
from trustspace.data.name_signs import name_signs, names_patients
from trustspace.data.signs import Sign
from trustspace.data.value_signs import is_id_card, text_signs

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def id_card(region: str = "110105", born: str = "19491231", sequence: str = "002") -> str:
    """A well-formed card number (the check character worked out here, apart from the code under test)."""
    digits = region + born + sequence
    remainder = sum(int(digit) * weight for digit, weight in zip(digits, WEIGHTS, strict=True)) % 11
    return digits + "10X98765432"[remainder]


def signs(values: list, name: str = "column") -> tuple[Sign, ...]:
    return looks_identifying(name, plain_table(pa.table({name: values})).column(name))


# --- names


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("姓名", Sign.PERSON_NAME), ("患者姓名", Sign.PERSON_NAME), ("name", Sign.PERSON_NAME),
        ("Patient Name", Sign.PERSON_NAME), ("patientName", Sign.PERSON_NAME),
        ("LAST_NAME", Sign.PERSON_NAME),
        ("身份证", Sign.ID_NUMBER), ("身份证号码", Sign.ID_NUMBER), ("id number", Sign.ID_NUMBER),
        ("ID_No.", Sign.ID_NUMBER), ("ssn", Sign.ID_NUMBER), ("医保卡号", Sign.ID_NUMBER),
        ("phone", Sign.PHONE), ("Tel", Sign.PHONE), ("电话", Sign.PHONE), ("手机号", Sign.PHONE),
        ("contactPhone", Sign.PHONE), ("出生日期", Sign.BIRTH_DATE), ("DOB", Sign.BIRTH_DATE),
        ("date-of-birth", Sign.BIRTH_DATE), ("birthDate", Sign.BIRTH_DATE), ("address", Sign.ADDRESS),
        ("家庭住址", Sign.ADDRESS), ("zip", Sign.ADDRESS), ("e-mail", Sign.EMAIL), ("邮箱", Sign.EMAIL),
        ("MRN", Sign.RECORD_NUMBER), ("住院号", Sign.RECORD_NUMBER), ("StudyInstanceUID", Sign.RECORD_NUMBER),
        ("ｐｈｏｎｅ", Sign.PHONE), ("姓 名", Sign.PERSON_NAME),
    ],
)  # fmt: skip
def test_names_that_give_away(name, sign):
    assert sign in name_signs(name)


@pytest.mark.parametrize(
    "name",
    [
        "age", "sex", "cp", "trestbps", "chol", "thal", "num", "ca", "mean concave points", "worst radius",
        "诊断", "年龄", "性别", "肌酐", "血压", "drug_name", "hospital name", "telomere length", "hotel",
        "view", "follow_up", "phonation", "zipper", "label", "image", "tumour size", "检查结果",
        "birth weight",
    ],
)  # fmt: skip
def test_clinical_names_are_left_alone(name):
    assert not name_signs(name)


@pytest.mark.parametrize(
    "name", ["patient_id", "PatientID", "patient", "subject no", "患者编号", "病人ID", "pid"]
)
def test_names_of_patient_columns(name):
    assert names_patients(name)


@pytest.mark.parametrize(
    "name", ["inpatient", "patients per ward", "outpatient_visits", "年龄", "pid_controller"]
)
def test_other_names_are_not_patient_columns(name):
    assert not names_patients(name)


def test_a_card_number_as_a_column_name_is_found():
    assert signs([1, 2], name=id_card()) == (Sign.ID_NUMBER,)


# --- values


def test_one_card_among_many_texts_is_enough():
    note = f"Admitted with card {id_card()}, discharged."
    assert Sign.ID_NUMBER in signs(["nothing here"] * 500 + [note])
    assert Sign.ID_NUMBER not in signs(["nothing here"] * 501)


def test_the_checksum_decides():
    """Positive control: the same digits with another check character are left alone."""
    card = id_card()
    wrong = card[:-1] + ("0" if card[-1] != "0" else "1")
    assert is_id_card(card)
    assert not is_id_card(wrong)
    assert Sign.ID_NUMBER in signs([card, "a"])
    assert Sign.ID_NUMBER not in signs([wrong, "a"])


def test_a_known_card_from_the_standard():
    """The example of GB 11643-1999."""
    assert is_id_card("11010519491231002X")
    assert is_id_card("11010519491231002x")
    assert is_id_card("440524188001010014")


@given(st.dates(date(1800, 1, 1), date(2099, 12, 31)), st.integers(0, 999))
def test_every_well_formed_card_is_found(born, sequence):
    assert is_id_card(id_card(born=f"{born:%Y%m%d}", sequence=f"{sequence:03d}"))


@given(st.integers(0, 16), st.integers(1, 9))
def test_any_changed_digit_breaks_the_checksum(position, step):
    card = id_card()
    digit = str((int(card[position]) + step) % 10)
    assert not is_id_card(card[:position] + digit + card[position + 1 :])


def test_random_long_numbers_are_rarely_cards():
    draw = random.Random(5)
    numbers = (str(draw.randrange(10**17, 10**18)) for _ in range(20_000))
    assert sum(map(is_id_card, numbers)) < 10


@pytest.mark.parametrize(
    ("value", "sign"),
    [
        ("13812345678", Sign.PHONE), ("call 138 1234 5678", Sign.PHONE), ("+86-138-1234-5678", Sign.PHONE),
        ("010-62345678", Sign.PHONE), ("(0571) 87654321", Sign.PHONE), ("+49 170 123 4567", Sign.PHONE),
        ("电话：１３８１２３４５６７８", Sign.PHONE), ("wang.wei@hospital.example.cn", Sign.EMAIL),
        ("seen from 192.168.1.96", Sign.NETWORK_ADDRESS),
        ("CR.1.2.840.113564.192168196.2020032009520943077", Sign.RECORD_NUMBER),
    ],
)  # fmt: skip
def test_texts_that_give_away(value, sign):
    assert sign in text_signs(value)
    assert sign in signs(["plain"] * 200 + [value])


@pytest.mark.parametrize(
    "value",
    ["120/80", "3.14159265358979", "A01.1", "12345678901234", "2024-01-05", "9.81 m/s", "1.2.3", "T1N0M0",
     "肺炎", "130-140", "0.13812345678", "CT+PET", "12812345678"],
)  # fmt: skip
def test_clinical_texts_are_left_alone(value):
    assert not text_signs(value)


def test_identifiers_kept_as_numbers_are_found():
    phones = [13_800_000_000 + i for i in range(50)]
    assert signs(phones) == (Sign.PHONE,)
    assert signs([float(phone) for phone in phones] + [None]) == (Sign.PHONE,)
    assert signs([int(id_card(sequence="001")), 5]) == (Sign.ID_NUMBER,)
    births = [19_300_101 + 10_000 * (i % 60) for i in range(60)]
    assert signs(births) == (Sign.BIRTH_DATE,)


def test_numbers_of_the_clinic_are_left_alone():
    draw = random.Random(1)
    assert signs([draw.gauss(100, 20) for _ in range(1000)]) == ()
    assert signs([draw.randrange(200_000, 500_000) for _ in range(1000)]) == ()
    assert signs([draw.randrange(10**9, 10**10) for _ in range(1000)]) == ()  # cell counts


def test_dates_over_a_lifetime_are_births():
    assert signs([date(1930 + i, 1, 1) for i in range(60)]) == (Sign.BIRTH_DATE,)
    assert signs([date(2015 + i % 9, 1, 1) for i in range(60)]) == ()
    written = [f"{1 + i % 28}/{1 + i % 12}/{1930 + i % 70}" for i in range(200)]
    assert Sign.BIRTH_DATE in signs(written)


def test_columns_of_people_s_names():
    given_names = ["伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋"]
    people = [surname + name for surname in "王李张刘陈杨赵黄" for name in given_names]
    assert Sign.PERSON_NAME in signs(people * 5)
    assert Sign.PERSON_NAME in signs(["阿卜杜拉·买买提" + "江" * (i % 12) for i in range(60)])
    latin = [
        f"{a} {b}" for a in ("Anna", "Jorge", "Mary-Ann", "Li") for b in ("Smith", "Garcia", "Müller", "Wang")
    ]
    assert Sign.PERSON_NAME in signs(latin)


def test_columns_of_diagnoses_are_not_names():
    assert Sign.PERSON_NAME not in signs(["肺炎", "正常", "结节", "肿瘤", "骨折"] * 30)
    assert Sign.PERSON_NAME not in signs(["Heart Failure", "Lung Cancer", "No Finding"] * 30)


def test_addresses():
    assert Sign.ADDRESS in signs([f"北京市朝阳区建国路{i}号" for i in range(30)])
    assert Sign.ADDRESS in signs([f"{i} Baker Street" for i in range(30)])


def test_a_text_that_differs_in_nearly_every_row_is_flagged():
    assert Sign.UNIQUE_TEXT in signs([f"scan {i}" for i in range(99)] + ["scan 1"])
    assert Sign.UNIQUE_TEXT not in signs([f"scan {i % 20}" for i in range(100)])


def test_signs_come_once_and_in_order():
    found = signs([f"{id_card()} 13812345678"] * 20, name="姓名电话")
    assert found == (Sign.PERSON_NAME, Sign.ID_NUMBER, Sign.PHONE)
