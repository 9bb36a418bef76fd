"""The command ``napari-ld``: one file per command, and nothing heavy imported before a command needs it.

Exit codes: 0 done, 1 the work could not be done (one line on standard error says why, ``--debug`` adds the traceback),
2 the command was not understood, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from napari_ld.errors import Cancelled, NapariLDError

# click's UsageError, whichever click this version of typer carries
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def build_app() -> typer.Typer:
    """Put the commands together."""
    from napari_ld.cli.demo import demo
    from napari_ld.cli.embed import embed
    from napari_ld.cli.encoders import encoders
    from napari_ld.cli.locate import locate
    from napari_ld.cli.propose import propose
    from napari_ld.cli.refine import refine
    from napari_ld.cli.segment import segment
    from napari_ld.cli.session import replay
    from napari_ld.cli.suggest import suggest
    from napari_ld.cli.train import train

    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,  # importing rich would take longer than everything else in --help
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_napari_ld)
    for command in (demo, suggest, locate, propose, segment, refine, embed, encoders):
        app.command()(command)
    session = typer.Typer(add_completion=False, rich_markup_mode=None, help="Saved sessions of the panel.")
    session.callback()(lambda: None)  # with it, a single command keeps its name
    session.command()(replay)
    app.add_typer(session, name="session")
    # --help too belongs to the trainer
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(add_help_option=False, context_settings=passed_on)(train)
    return app


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    args : sequence of str, optional
        The words after ``napari-ld``; those of the process when None.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    try:
        command = typer.main.get_command(build_app())
        # --debug is understood anywhere in the line, though it belongs to the whole command
        ordered = ["--debug", *(word for word in words if word != "--debug")] if debug else words
        return int(command.main(ordered, prog_name="napari-ld", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort, Cancelled):
        print("napari-ld: interrupted", file=sys.stderr)
        return 130
    except _UsageError as error:
        print(f"napari-ld: {_usage(error)}", file=sys.stderr)
        return 2
    except (NapariLDError, OSError, MemoryError) as error:
        if debug:
            import traceback

            traceback.print_exc()
        print(f"napari-ld: {_one_line(error)}", file=sys.stderr)
        return 1


def _napari_ld(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Show the version and stop."),
) -> None:
    """Click a landmark once; Local Discrimination encoders find it on every image of a stack."""
    if version:
        from importlib.metadata import version as installed

        print(f"napari-ld {installed('napari-ld')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def _usage(error: Exception) -> str:
    """Say in one line what was not understood and where the help is."""
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "napari-ld"
    message = " ".join(getattr(error, "format_message", error.__str__)().split())
    # typer words a choice like an exception
    message = message.replace("Value error, ", "").rstrip(".")
    return f"{message}. See '{command} --help'."


def _one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split()) or "out of memory: close other programs or use smaller images"
