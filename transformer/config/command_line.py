"""Command lines: of a config file and settings that change it, and numbers that options take."""

import argparse
import math
import re
from typing import NoReturn


class SettingsParser(argparse.ArgumentParser):
    """A parser for commands whose settings are written `key=value`."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2; a setting that was written as an option is named as it should be."""
        written = re.findall(r" --([a-z][\w.]*=\S*)", message) if message.startswith("unrecognized arguments") else []
        settings = [each for each in written if f"--{each.split('=')[0].replace('_', '-')}" not in self._option_string_actions]
        if settings:
            message += f"; settings have no dashes: {' '.join(settings)}"
        super().error(message)


def positive_integer(text: str) -> int:
    """A type of argparse's arguments: a whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def positive_number(text: str) -> float:
    """A type of argparse's arguments: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
