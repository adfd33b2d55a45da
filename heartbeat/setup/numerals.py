"""Numbers as people write them in Chinese, put in digits where a unit follows: 十五分钟, 一个半小时, 三刻钟. Pure."""

from __future__ import annotations

import re

_DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_TENS = {"十": 10, "百": 100, "千": 1000}
_NUMERAL = f"[{''.join((*_DIGITS, *_TENS))}万]"
_NUMBER = r"(?<![\d.])\d+(?:\.\d+)?"
_WHOLE = r"(?<![\d.])\d+"
_HOURS = r"小时|钟头|h(?:ours?)?(?![A-Za-z])"

_ROUND_NUMBER = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<times>[万千百k])(?=\s*(?:个|轮|分钟|秒|{_HOURS}|天))")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,]|\.\d)")
_PERCENT = re.compile(rf"百分之\s*(?P<number>{_NUMERAL}+|\d+)")
_COUNTED = re.compile(
    rf"(?<!{_NUMERAL})(?<![\d.])(?<!\d\s)(?P<numeral>{_NUMERAL}+)(?=\s*个?\s*半?\s*(?:分钟|秒|刻钟|小时|钟头|天|对话轮|轮)|\s*个半)"
)
_NO_NUMBER = re.compile(r"[几数好成上]\Z")
"""What makes a vague numeral of the one behind it: 几十分钟."""
_ABOUT = re.compile(r"(?P<head>.*[十百千万]|)(?P<low>[一二两三四五六七八九])(?P<high>[一二两三四五六七八九])")
"""两三 is a range, and so is 十五六."""
_NO_ONE = re.compile(r"[每下上这那同某首整新本另任逐各]\Z")
"""What makes a word of the 一 behind it: 每一轮, 下一轮."""
_EACH = re.compile(
    r"每(?:一\s*(?=个?\s*(?:小时|钟头|分钟|秒|刻钟)|个半)|\s*(?=个?(?:小时|钟头)|分钟|刻钟)|一?(?=天\s*(?:[一1]次)?\W*\Z))"
)
"""每小时 and 每一小时 are 1 hour; 每天 is a rhythm only where nothing else follows. 每个半小时 has two meanings."""
_QUARTERS = re.compile(rf"(?P<number>{_NUMBER})\s*刻钟")
_AND_A_HALF = re.compile(rf"(?P<number>{_WHOLE})\s*个?半\s*个?\s*(?P<unit>{_HOURS}|天|分钟)", re.IGNORECASE)
_HALF = re.compile(rf"(?<!\d)(?<!\d\s)半\s*个?\s*(?P<unit>{_HOURS}|分钟)", re.IGNORECASE)
_HALF_BEHIND = re.compile(rf"(?P<number>{_WHOLE})\s*个?\s*(?P<unit>{_HOURS}|天|分钟?)\s*半(?!径)", re.IGNORECASE)


def in_digits(text: str) -> str:
    """The text, in NFKC, with every counted numeral as digits. Words that only hold one (三源检查, 一次) stay."""
    text = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), text)
    text = _PERCENT.sub(lambda found: f"{_number(found['number'])}%", text)
    text = _EACH.sub("每1", text)
    text = _COUNTED.sub(_counted, text)
    text = _ROUND_NUMBER.sub(lambda found: _shown(float(found["number"][:12]) * _times(found["times"])), text)
    text = _QUARTERS.sub(lambda found: f"{_shown(15 * float(found['number'][:12]))}分钟", text)
    for half in (_AND_A_HALF, _HALF_BEHIND):
        text = half.sub(lambda found: f"{_shown(float(found['number'][:12]) + 0.5)}{found['unit']}", text)
    return _HALF.sub(lambda found: f"0.5{found['unit']}", text)


def _counted(found: re.Match[str]) -> str:
    before, numeral = found.string[: found.start()], found["numeral"]
    is_word = _NO_NUMBER.search(before) or (numeral == "一" and _NO_ONE.search(before))
    if is_word:
        return numeral
    about = _ABOUT.fullmatch(numeral)
    if about is None:
        return str(_number(numeral))
    return f"{_number(about['head'] + about['low'])}-{_number(about['head'] + about['high'])}"


def _number(numeral: str) -> int:
    """十五 is 15, 一百二十 is 120, 两万 is 20000, 一五 is 15."""
    if numeral.isdecimal():
        return int(numeral[:12])
    whole = section = digit = 0
    for character in numeral[:20]:
        if character == "万":
            whole, section, digit = (whole + section + digit or 1) * 10_000, 0, 0
        elif character in _TENS:
            section, digit = section + (digit or 1) * _TENS[character], 0
        else:
            digit = digit * 10 + _DIGITS[character]
    return whole + section + digit


def _times(word: str) -> int:
    return {"万": 10_000, "千": 1000, "k": 1000, "百": 100}[word]


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:f}".rstrip("0")
