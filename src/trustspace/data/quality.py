"""Warnings about a table, for its officer only: what would make a model learn the wrong thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trustspace.data.name_signs import names_patients
from trustspace.data.profile import ColumnProfile, Profile


class ProblemKind(StrEnum):
    """What may be wrong with a column, or (without a column) with the table."""

    EMPTY = "empty"
    CONSTANT = "constant"
    MOSTLY_MISSING = "mostly-missing"
    ZEROS_AS_MISSING = "zeros-as-missing"
    FEW_NEGATIVES = "few-negatives"
    MIXED_TYPES = "mixed-types"
    REPEATED_ROWS = "repeated-rows"
    REPEATED_IMAGES = "repeated-images"
    IMAGE_TEXT = "image-text"
    FEW_PATIENTS = "few-patients"
    EXACT_DATES = "exact-dates"
    PATIENT_COLUMN = "patient-column"


_TEXTS: dict[ProblemKind, dict[str, str]] = {
    ProblemKind.EMPTY: {
        "en": "{column}: no value in any row.",
        "zh": "{column}：所有行均无值。",
    },
    ProblemKind.CONSTANT: {
        "en": "{column}: the same value wherever there is one; nothing can be learned from it or about it.",
        "zh": "{column}：凡有值处取值均相同，无法用于学习或预测。",
    },
    ProblemKind.MOSTLY_MISSING: {
        "en": "{column}: {count} of {rows} rows have no value.",
        "zh": "{column}：{rows} 行中有 {count} 行缺失。",
    },
    ProblemKind.ZEROS_AS_MISSING: {
        "en": "{column}: {count} of {rows} rows hold 0, all others are far above it; does 0 mean missing?",
        "zh": "{column}：{rows} 行中有 {count} 行为 0，其余远大于 0；0 是否代表缺失？",
    },
    ProblemKind.FEW_NEGATIVES: {
        "en": "{column}: {count} of {rows} rows are negative; can this be measured below 0?",
        "zh": "{column}：{rows} 行中有 {count} 行为负值；该指标可以小于 0 吗？",
    },
    ProblemKind.MIXED_TYPES: {
        "en": "{column}: read as text, though {count} of {rows} rows are numbers.",
        "zh": "{column}：{rows} 行中有 {count} 行为数字，但整列只能作为文本读取。",
    },
    ProblemKind.REPEATED_ROWS: {
        "en": "{count} of {rows} rows repeat an earlier row exactly.",
        "zh": "{rows} 行中有 {count} 行与之前的行完全相同。",
    },
    ProblemKind.REPEATED_IMAGES: {
        "en": "{column}: {count} of {rows} images repeat an earlier one exactly.",
        "zh": "{column}：{rows} 幅图像中有 {count} 幅与之前的图像完全相同。",
    },
    ProblemKind.IMAGE_TEXT: {
        "en": "{column}: {count} of {rows} image files carry text or camera metadata; look at what it says.",
        "zh": "{column}：{rows} 个图像文件中有 {count} 个带有文字或拍摄元数据，请核查其内容。",
    },
    ProblemKind.EXACT_DATES: {
        "en": "{column}: exact dates help to recognise people; days since admission or the year say less.",
        "zh": "{column}：精确日期有助于识别个人；改用入院后天数或仅保留年份更安全。",
    },
    ProblemKind.PATIENT_COLUMN: {
        "en": "{column} seems to tell patients apart; name it as the patient column, or rows of one patient "
        "count as different people and land on both sides of the split.",
        "zh": "{column} 似乎用于区分患者；请指定为患者列，否则同一患者的多行会算作不同的人，并落入划分两侧。",
    },
    ProblemKind.FEW_PATIENTS: {
        "en": "Only {count} patients: hardly anything can be described, or measured on a withheld part.",
        "zh": "仅有 {count} 名患者：几乎无法形成公开描述，也无法在留出部分上评估。",
    },
}
FEW_PATIENTS = 50


@dataclass(frozen=True)
class Problem:
    """One warning; ``count`` is of rows (or of patients where the kind says so), ``column`` may be empty."""

    kind: ProblemKind
    column: str
    count: int
    rows: int

    def text(self, lang: str = "en") -> str:
        """The warning in English ("en") or Chinese ("zh")."""
        texts = _TEXTS[self.kind]
        return texts.get(lang, texts["en"]).format(column=self.column, count=self.count, rows=self.rows)


def problems(profile: Profile) -> list[Problem]:
    """Every warning about a profiled table, by column, the table's own last."""
    found = [
        Problem(kind, column.name, count, column.rows)
        for column in profile.columns
        for kind, count in _column_problems(column)
        if column.name != profile.patient_column
    ]
    if profile.patient_column is None:
        found += [
            Problem(ProblemKind.PATIENT_COLUMN, column.name, column.distinct, column.rows)
            for column in profile.columns
            if names_patients(column.name) and column.distinct < column.rows
        ]
    if profile.repeated_rows:
        found.append(Problem(ProblemKind.REPEATED_ROWS, "", profile.repeated_rows, profile.rows))
    if profile.patients < FEW_PATIENTS:
        found.append(Problem(ProblemKind.FEW_PATIENTS, "", profile.patients, profile.rows))
    return found


def _column_problems(column: ColumnProfile) -> list[tuple[ProblemKind, int]]:
    found: list[tuple[ProblemKind, int]] = []
    present = column.rows - column.missing
    if not present:
        return [(ProblemKind.EMPTY, column.rows)]
    if column.distinct == 1 and present > 1:
        found.append((ProblemKind.CONSTANT, present))
    if 2 * column.missing > column.rows:
        found.append((ProblemKind.MOSTLY_MISSING, column.missing))
    if column.zeros_stand_apart:
        found.append((ProblemKind.ZEROS_AS_MISSING, column.zeros))
    if 0 < 10 * column.negatives < present:
        found.append((ProblemKind.FEW_NEGATIVES, column.negatives))
    if present < 2 * column.number_like < 2 * present:
        found.append((ProblemKind.MIXED_TYPES, column.number_like))
    if column.kind in ("date", "datetime"):
        found.append((ProblemKind.EXACT_DATES, present))
    if column.images and column.images.repeated:
        found.append((ProblemKind.REPEATED_IMAGES, column.images.repeated))
    if column.images and column.images.with_text:
        found.append((ProblemKind.IMAGE_TEXT, column.images.with_text))
    return found
