"""Command lines of a config file and settings that change it."""

import argparse
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
