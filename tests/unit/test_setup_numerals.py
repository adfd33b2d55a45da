"""Numbers as people write them in Chinese, as digits; words that only hold a numeral stay as they are."""

from __future__ import annotations

import pytest

from heartbeat.setup.numerals import in_digits
from heartbeat.setup.phrases import duration


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("十五分钟", "15分钟"),
        ("一百二十轮", "120轮"),
        ("一百零五 秒", "105 秒"),
        ("三千二百天", "3200天"),
        ("两万轮", "20000轮"),
        ("两个小时", "2个小时"),
        ("半小时", "0.5小时"),
        ("半个小时", "0.5小时"),
        ("半个钟头", "0.5钟头"),
        ("一个半小时", "1.5小时"),
        ("1 个半小时", "1.5小时"),
        ("两小时半", "2.5小时"),
        ("1 小时半", "1.5小时"),
        ("三刻钟", "45分钟"),
        ("1 刻钟", "15分钟"),
        ("百分之八十", "80%"),
        ("百分之 75", "75%"),
        ("1,000 轮", "1000 轮"),
        ("12,345,678 轮", "12345678 轮"),
        ("1万轮", "10000轮"),
        ("1.5万 轮", "15000 轮"),
        ("2k 轮", "2000 轮"),
        ("两三天", "2-3天"),
        ("十五六分钟", "15-16分钟"),
        ("每一小时", "每1小时"),
        ("每一个小时一次", "每1个小时一次"),
        ("每一个半小时", "每1.5小时"),
        ("每一刻钟", "每15分钟"),
        ("每刻钟", "每15分钟"),
        ("每个小时", "每1个小时"),
        ("每小时", "每1小时"),
        ("每一分钟", "每1分钟"),
        ("每天一次", "每1天一次"),
        ("每一天", "每1天"),
    ],
)
def test_a_counted_numeral_becomes_digits(text: str, digits: str) -> None:
    assert in_digits(text) == digits


@pytest.mark.parametrize(
    "text",
    [
        "三源检查", "每一轮都看", "每天最多 20 轮", "每一天都看", "每一个", "每时每刻",
        "下一轮心跳", "同一天", "一次", "统一", "十分重要", "几十分钟", "好几天", "万一",
        "缺一不可", "1,00 轮", "3, 100 轮", "1.000,5", "半径 3", "千万不要",
    ],
)  # fmt: skip
def test_a_word_that_holds_a_numeral_and_a_number_of_another_form_stay(text: str) -> None:
    assert in_digits(text) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1小时30分", 5400), ("1 天 2 小时", 93600), ("2.5h", 9000), ("900 ms", 0.9), ("1 个小时 5 秒", 3605)],
)
def test_times_of_several_parts_are_added_up(text: str, seconds: float) -> None:
    assert duration(text).total_seconds() == seconds
