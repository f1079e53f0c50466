"""Train a text encoder from a config file: config in, run directory out."""

import shlex
import sys
from pathlib import Path

from transformer.config.command_line import SettingsParser
from transformer.config.errors import run_command
from transformer.config.load import dump_config, load_config
from transformer.host import make_allocation_cheap


def main() -> None:
    """Parse the command line, then train, or only show what would be trained."""
    parser = SettingsParser(description=__doc__)
    parser.add_argument("config", metavar="CONFIG.yaml", help="the experiment; configs/ has many")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings to change, such as model.layers=4")
    parser.add_argument("--run-dir", type=Path, help="where the run is kept; runs/NAME by default")
    parser.add_argument("--resume", choices=["auto", "require", "never"], default="auto", help="go on with a run that was stopped")
    parser.add_argument("--dry-run", action="store_true", help="load data and model and tell what training will take, then stop")
    whole = "print the config with every default, and with what model.initialize_from decides, then stop"
    parser.add_argument("--print-config", action="store_true", help=whole)
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config, arguments.overrides)
    if arguments.print_config:
        if config.model.start_weights is not None:
            from transformer.training.initialization import complete_config

            config = complete_config(config, lambda line: print(line, file=sys.stderr))
        print(dump_config(config), end="")
        return
    # JAX is imported only now, so that a mistake in the config is told at once.
    from transformer.training.devices import set_up_jax
    from transformer.training.dry_run import dry_run
    from transformer.training.loop import train
    from transformer.training.summary import show_summary

    set_up_jax()
    if arguments.dry_run:
        dry_run(config)
        return
    directory = arguments.run_dir or Path("runs") / config.name
    summary = train(config, directory, resume=arguments.resume)
    if summary is None:
        print(f"stopped; a checkpoint is saved. To go on: {shlex.join(['python', *sys.argv])}")
    else:
        show_summary(summary, directory)


if __name__ == "__main__":
    make_allocation_cheap()
    run_command(main)
