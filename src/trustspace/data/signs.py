"""What a column may reveal about who somebody is."""

from __future__ import annotations

from enum import StrEnum


class Sign(StrEnum):
    """What a column may reveal."""

    PERSON_NAME = "person-name"
    ID_NUMBER = "id-number"
    RECORD_NUMBER = "record-number"
    PHONE = "phone"
    EMAIL = "email"
    ADDRESS = "address"
    BIRTH_DATE = "birth-date"
    NETWORK_ADDRESS = "network-address"
    UNIQUE_TEXT = "unique-text"
