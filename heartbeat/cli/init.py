"""`heartbeat init`: agents.yaml out of the agents that there are, or out of hand-written HEARTBEAT.md files."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli.session import DebugOption, JsonOption, Session, complain, progress
from heartbeat.errors import BrokenOffError, UsageError
from heartbeat.plural import counted

if TYPE_CHECKING:
    from heartbeat.setup.begin import Prospect
    from heartbeat.setup.discover import Found
    from heartbeat.setup.document import Plan
    from heartbeat.setup.interview import Replies
    from heartbeat.setup.old_files import Gathered

FILE_NAME = "agents.yaml"
_SUFFIXES = (".yaml", ".yml")
_GO_ON = "run `heartbeat init` again; --yes takes the safe answer to each question, --dry-run shows the roster"
NEXT = (
    "roster check",
    "doctor",
    "notify test {channel}",
    "render --all --diff",
    "render --all",
    "tick --all",
    "cron install",
    "doctor --cron",
    "verify --all",
)
"""What to run once there is a roster, in this order: README and docs/setup.md have the same."""


def init(
    context: typer.Context,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="FILE", help="The roster to write; else --roster, or ./agents.yaml."),
    ] = None,
    written: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR", help="Take over hand-written HEARTBEAT.md files: a directory, or one file."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing; what is in doubt is left out, with a comment.")
    ] = False,
    empty: Annotated[bool, typer.Option("--empty", help="Look for nobody: a roster to fill in by hand.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the roster and write nothing.")] = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write agents.yaml: find the agents of OpenClaw and Multica, who is who, and a class for each."""
    from heartbeat.setup.begin import finished
    from heartbeat.setup.new_file import create, refuse_existing
    from heartbeat.systems.registry import plug_in_names

    session = Session(context)
    path = _target(into or Path(session.roster_path or FILE_NAME))
    if empty and written is not None:
        raise UsageError("--empty and --from do not go together", advice="use one of them")
    asks = not (yes or json_output or empty)
    if asks and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask questions at", advice="--yes takes the safe answer to each")
    if not dry_run:
        refuse_existing(path)
    with _nothing_written():
        made = _make(session, path, written, empty=empty, asks=asks, tells=not json_output)
        text, _ = finished(made.plan, path, session.environment, plug_in_names)
        wanted = not asks or dry_run or typer.confirm(f"Write {path}?", default=True, err=True)
    if not wanted:
        complain("nothing was written")
        return
    if not dry_run:
        create(path, text.encode())
    if json_output:
        from heartbeat.cli import documents

        documents.write(made.document(text, is_written=not dry_run))
    elif dry_run:
        typer.echo(text, nl=False)
    else:
        _say_next(path, made)


@contextmanager
def _nothing_written() -> Iterator[None]:
    """Around all that comes before the first byte is written: whoever breaks it off is told so, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, EOFError, typer.Abort) as error:
        print(file=sys.stderr)  # the cursor stands behind a question
        cause = error.__context__ if isinstance(error, typer.Abort) else error
        if isinstance(cause, EOFError):
            told = "the answers ended before the last question; nothing was written"
            raise BrokenOffError(told, advice=_GO_ON) from None
        raise BrokenOffError("broken off; nothing was written", advice=_GO_ON) from None


@dataclass(frozen=True, slots=True)
class _Made:
    """What came of looking, reading and asking."""

    path: Path
    found: Found
    gathered: Gathered | None
    plan: Plan
    is_found: bool
    """Whether every command finds this roster without being told."""

    @property
    def next(self) -> list[str]:
        """The commands to go on with."""
        named = "" if self.is_found else f" --roster {shlex.quote(str(self.path))}"
        from heartbeat.setup.document import channel_name

        channel = channel_name(draft.id for draft in self.plan.team.drafts)
        return [f"heartbeat{named} {words.format(channel=channel)}" for words in NEXT]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the files, and of the places where none were looked for."""
        return (*(self.gathered.notes if self.gathered else ()), *self.plan.team.notes)

    def document(self, text: str, *, is_written: bool) -> dict[str, Any]:
        """`heartbeat.init/1`."""
        from heartbeat.cli.setups import agent, left_out, system

        gathered = self.gathered
        return {
            "schema": "heartbeat.init/1",
            "path": str(self.path),
            "written": is_written,
            "systems": [system(look) for look in self.found.looks if look.tried],
            "files": None
            if gathered is None
            else {
                "read": len(gathered.files),
                "passed_over": gathered.others,
                "refused": [{"path": each.path, "line": each.line, "why": each.why} for each in gathered.refused],
            },
            "agents": [agent(draft) for draft in self.plan.team.drafts],
            "left_out": [left_out(each) for each in self.plan.team.left_out],
            "notes": list(self.notes),
            "text": text,
            "next": self.next,
        }


def _target(named: Path) -> Path:
    """The file to write; in a directory it is agents.yaml. What is not there yet is a file where its name ends like a
    roster's, and else one that nobody can tell from a directory."""
    path = Path.cwd() / named
    if path.is_dir():
        return path / FILE_NAME
    if not os.path.lexists(path) and path.suffix.casefold() not in _SUFFIXES:
        raise UsageError(
            f"{path} is not there, and may be meant as a directory or as a file",
            advice=f"name the file: `--into {shlex.quote(str(named / FILE_NAME))}` makes its directory, too",
        )
    return path


def _make(session: Session, path: Path, written: Path | None, *, empty: bool, asks: bool, tells: bool) -> _Made:
    """Looks, reads, tells what it found, and asks. Raises UsageError where there is nobody."""
    from heartbeat.roster.locate import VARIABLE
    from heartbeat.setup import begin, machine
    from heartbeat.setup.discover import discover, nobody_asked
    from heartbeat.setup.document import Plan
    from heartbeat.setup.old_files import gather

    environment = session.environment
    gathered = None if written is None else gather(written)
    files = gathered.files if gathered else ()
    found = nobody_asked() if empty else discover({}, environment, progress)
    prospect = begin.prospect(found, files)
    if not prospect.candidates and not empty:
        raise begin.nothing_found(found)
    for line in _found_lines(found, gathered) if tells else ():
        _note(line)
    zone, _ = machine.time_zone(environment)
    replies = _replies(prospect, machine.operator_name(environment), zone, asks=asks)
    team = begin.example() if empty else begin.team_of(prospect, replies.answers, found, operator=replies.operator)
    plan = Plan(
        team,
        replies.timezone,
        replies.operator,
        str(machine.state_directory(path)),
        environment.get("HOME", ""),
        begin.origins(found, files, str(written)),
        "" if found.openclaw.read or found.openclaw.remote else machine.usual_workspaces(environment),
    )
    is_found = path == Path.cwd() / FILE_NAME and not environment.get(VARIABLE)
    made = _Made(path, found, gathered, plan, is_found)
    for line in made.notes if tells else ():
        _note(line)
    return made


def _found_lines(found: Found, gathered: Gathered | None) -> Iterator[str]:
    """What was found, for stderr: a dry run's output is the roster alone."""
    from heartbeat.setup.begin import tried

    for look in found.looks:
        for line in tried(look) if look.tried else ():
            yield f"{look.system}: {line}"
    if gathered is not None:
        others = f", {counted(gathered.others, 'other Markdown file')} passed over" if gathered.others else ""
        were = "was" if len(gathered.files) == 1 else "were"
        yield f"{counted(len(gathered.files), 'hand-written file')} {were} read{others}"
        for refused in gathered.refused:
            yield f"{refused.path}:{refused.line}: not taken over: {refused.why}"


def _replies(prospect: Prospect, operator: str, zone: str, *, asks: bool) -> Replies:
    from heartbeat.cli.terminal import plain
    from heartbeat.setup.begin import Answers
    from heartbeat.setup.interview import Replies, interview

    if not asks:
        return Replies(operator, zone, Answers())

    def ask(question: str, usual: str) -> str:
        return str(typer.prompt(plain(question), default=usual, err=True))

    return interview(prospect, operator, zone, ask, _note)


def _say_next(path: Path, made: _Made) -> None:
    from heartbeat.cli.terminal import plain

    team = made.plan.team
    classes = sorted({draft.class_id for draft in team.drafts})
    left = f", {len(team.left_out)} left out (in comments)" if team.left_out else ""
    typer.echo(plain(f"{path}: written, {counted(len(team.drafts), 'agent')}, {', '.join(classes)}{left}"))
    typer.echo("Read it, mend what is wrong, and go on with:")
    for command in made.next:
        typer.echo(f"  {plain(command)}")


def _note(line: str) -> None:
    from heartbeat.cli.terminal import plain

    print(plain(line), file=sys.stderr)
