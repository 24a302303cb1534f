"""Colours and styles of terminals (ECMA-48 8.3.117, SGR; ITU-T T.416 for colours), as far as the viewer shows them.

A reader who starts in the middle of an output needs to know what is in force there: `after` folds what was printed before into
the parameters of one sequence.
"""

from __future__ import annotations

import re

_SGR = re.compile(rb"\x1b\[([0-9;:]{0,100})m")
#: Numbers that switch a style on → where it stands in the result, and what switches it off.
_STYLES = {1: "1", 2: "2", 3: "3", 4: "4", 7: "7", 8: "8", 9: "9"}
_OFF = {22: ("1", "2"), 23: ("3",), 24: ("4",), 27: ("7",), 28: ("8",), 29: ("9",)}
_COLOURS = {38: "fg", 48: "bg"}


def after(colours: str, data: bytes) -> str:
    """What is in force after `data`, if `colours` are before it. Both are parameters of SGR; "" is nothing."""
    if b"\x1b[" not in data:
        return colours
    state = _parse(colours)
    for found in _SGR.finditer(data, max(0, data.rfind(b"\x1b[0m"), data.rfind(b"\x1b[m"))):
        _apply(state, found[1].decode())
    return ";".join(state[key] for key in sorted(state))


def _parse(colours: str) -> dict[str, str]:
    state: dict[str, str] = {}
    _apply(state, colours or "0")
    return state


def _apply(state: dict[str, str], parameters: str) -> None:
    numbers = _numbers(parameters)
    while numbers:
        number = numbers.pop(0)
        if number == 0:
            state.clear()
        elif number in _STYLES:
            state[_STYLES[number]] = _STYLES[number]
        elif number in _OFF:
            for style in _OFF[number]:
                state.pop(style, None)
        elif 30 <= number <= 37 or 90 <= number <= 97:
            state["fg"] = str(number)
        elif 40 <= number <= 47 or 100 <= number <= 107:
            state["bg"] = str(number)
        elif number in (39, 49):
            state.pop("fg" if number == 39 else "bg", None)
        elif number in _COLOURS:
            _extended(state, number, numbers)


def _numbers(parameters: str) -> list[int]:
    """38:2::r:g:b, whose colour space may be left out or not, reads as 38;2;r;g;b; 4:3 (a curly line) as 4."""
    found: list[int] = []
    for part in parameters.split(";"):
        sub = part.split(":")
        if len(sub) > 1 and sub[0] in ("38", "48"):
            values = sub[-3:] if sub[1:2] == ["2"] else sub[2:3]
            found += [int(each or 0) for each in (*sub[:2], *values)]
        elif len(sub) > 1:
            found.append(24 if sub[:2] == ["4", "0"] else int(sub[0] or 0))
        else:
            found.append(int(part or 0))
    return found


def _extended(state: dict[str, str], number: int, rest: list[int]) -> None:
    kind = rest.pop(0) if rest else 0
    wanted = {5: 1, 2: 3}.get(kind, 0)
    values = rest[:wanted]
    del rest[:wanted]
    if wanted and len(values) == wanted and all(value <= 255 for value in values):
        state[_COLOURS[number]] = ";".join(map(str, (number, kind, *values)))
