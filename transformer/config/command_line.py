"""Command lines of a config file and settings that change it."""

import argparse
import re
from typing import NoReturn


class SettingsParser(argparse.ArgumentParser):
    """A parser for commands whose settings are written `key=value`."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2; a setting that was written as an option is named as it should be."""
        if message.startswith("unrecognized arguments") and (settings := re.findall(r" --([a-z][\w.]*=\S*)", message)):
            message += f"; settings have no dashes: {' '.join(settings)}"
        super().error(message)
