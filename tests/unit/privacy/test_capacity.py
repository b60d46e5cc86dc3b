"""What a file can carry: everything, and what can be set at will."""

from __future__ import annotations

import pytest

from trustspace.privacy.capacity import Room, of_numbers, of_picture, of_text


def test_of_a_weight_its_mantissa_can_be_set_at_will():
    assert of_numbers({"BF16": 1000}, 2400) == Room(19_200, 7_000)
    assert of_numbers({"F32": 1000}, 4400) == Room(35_200, 23_000)
    assert of_numbers({"F32": 10, "BF16": 100, "I64": 1, "U8": 2}, 400).easy == 230 + 700 + 64 + 16
    assert of_numbers({"F64": 3, "I32": 5}, 400).easy == 3 * 52 + 5 * 32


def test_rounding_takes_more_than_two_thirds_of_what_can_be_set_at_will():
    before, after = of_numbers({"F32": 79_000}, 316_000), of_numbers({"BF16": 79_000}, 158_000)
    assert before.most == 2 * after.most
    assert after.easy * 3 < before.easy


def test_of_text_all_of_it_and_of_a_picture_half():
    assert of_text(900) == Room(7200, 7200)
    assert of_picture(10_000, 10_100) == Room(80_800, 40_000)


def test_a_type_that_no_file_may_have_is_no_number_of_bits():
    with pytest.raises(KeyError):
        of_numbers({"F8_E4M3": 3}, 10)


def test_records_are_counted_whole_and_never_more_than_there_are():
    room = Room(8 * 1000, 8 * 250)
    assert room.records(100, 1000) == (10, 2)
    assert room.records(101, 1000) == (9, 2)
    assert room.records(100, 7) == (7, 2)
    assert room.records(100, 1) == (1, 1)
    assert (room + Room(800, 800)).records(100, 1000) == (11, 3)
