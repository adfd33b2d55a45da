"""`heartbeat cron install|show|diff|remove`: beats on a schedule of crontab, systemd or OpenClaw, and off it again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain
from heartbeat.errors import Exit, UsageError

if TYPE_CHECKING:
    from heartbeat.cli.schedules import Step
    from heartbeat.install.base import Style
    from heartbeat.install.install import Elsewhere, Installed, Scheduler
    from heartbeat.schedule.launch import Launch

app = typer.Typer(
    help="Put beats on a schedule (crontab, systemd, OpenClaw), show it, compare it, take it off.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Kind(StrEnum):
    """What `--target` takes."""

    CRONTAB = "crontab"
    SYSTEMD = "systemd"
    OPENCLAW = "openclaw"


AgentsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[AGENT]...", help="These only; what is there for others stays.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Everybody that the roster has, also later.")]
TargetOption = Annotated[
    Kind | None, typer.Option("--target", help="Whose schedule. Else the one that has the beats, or crontab.")
]
SystemOption = Annotated[
    bool | None, typer.Option("--system/--user", help="The machine's systemd (for root the default), or the user's.")
]
DueOption = Annotated[bool, typer.Option("--due", help="One job a minute: whoever is due beats (first choice).")]
EachOption = Annotated[bool, typer.Option("--each", help="A job an agent, at its own slots.")]
DaemonOption = Annotated[bool, typer.Option("--daemon", help="systemd: a process that stays, `heartbeat run`.")]
TurnOption = Annotated[bool, typer.Option("--turn", help="OpenClaw: each beat is a turn of the agent, a model call.")]
WatchdogOption = Annotated[
    bool | None, typer.Option("--watchdog/--no-watchdog", help="A job that tells when the beats stop coming.")
]
WatchdogOnlyOption = Annotated[bool, typer.Option("--watchdog-only", help="The watchdog and no beats.")]
NoStartOption = Annotated[bool, typer.Option("--no-start", help="systemd: write the files and run nothing.")]


@app.command()
def install(
    context: typer.Context,
    agents: AgentsArgument = None,
    all_agents: AllOption = False,
    target: TargetOption = None,
    system: SystemOption = None,
    due: DueOption = False,
    each: EachOption = False,
    daemon: DaemonOption = False,
    turn: TurnOption = False,
    watchdog: WatchdogOption = None,
    watchdog_only: WatchdogOnlyOption = False,
    no_start: NoStartOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print what would change.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Make the schedule what is asked for. What is not said stays as it is; the first time that is everybody, with a
    watchdog. Doing it twice changes nothing the second time."""
    from heartbeat.cli.schedules import Step
    from heartbeat.install.install import OPENCLAW, asked_changes, completed, refuse_second, too_quick
    from heartbeat.install.launching import rehearse, try_start

    session = Session(context, roster)
    names = _named(session, agents, all_agents)
    launch = _launch(session)
    style = _style(due=due, each=each, daemon=daemon, turn=turn)
    scheduler = _scheduler(session, launch, target, system, style, start=not no_start)
    pieces = scheduler.installed(launch)
    order = completed(
        scheduler.standing(pieces),
        session.roster,
        launch,
        scheduler.styles[0],
        agents=names,
        everybody=all_agents,
        style=style,
        beats=not watchdog_only,
        watchdog=watchdog_only or watchdog,
    )
    refuse_second(order, _others(session, launch, scheduler) if order.beats else ())
    steps = asked_changes(scheduler, order, pieces)
    notes = [*too_quick(order, scheduler.name)]
    if not dry_run and scheduler.name == OPENCLAW:
        try_start(
            launch, {"PATH": launch.path}
        )  # the rest of its environment is the Gateway's, which nobody knows here
    elif not dry_run:
        notes += rehearse(launch, session.roster, session.environment)
    step = Step(scheduler.name, steps, () if dry_run else scheduler.apply(steps))
    _tell(session, launch, "install", [step], notes, dry_run=dry_run, json_output=json_output)


@app.command()
def show(
    context: typer.Context,
    target: TargetOption = None,
    system: SystemOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What is on schedule for this roster, wherever it is, and when each agent is due next. Changes nothing."""
    from heartbeat.cli import schedules
    from heartbeat.install.install import differs_now, look

    session = Session(context, roster)
    launch = _launch(session)
    looked = [look(scheduler, launch) for scheduler in _schedulers(session, launch, target, system)]
    seen = [(each, differs_now(each, session.roster, launch)) for each in looked]
    now = session.now()
    if json_output:
        from heartbeat.cli import documents

        documents.write(schedules.document("show", session.roster, launch, now, seen=seen))
        return
    _print(str(session.roster.path))
    for each, differs in seen:
        _print(schedules.standing_line(each, differs=differs))
        for remark in each.remarks:
            _print(f"{'':<15} {remark}")
    if any(each.pieces and each.target.name == "crontab" for each in looked):
        _print(f"{'logs':<15} {launch.log}, {launch.watchdog_log}")
    _print("")
    for line in schedules.agent_lines(session.roster, now):
        _print(line)


@app.command()
def diff(
    context: typer.Context,
    agents: AgentsArgument = None,
    all_agents: AllOption = False,
    target: TargetOption = None,
    system: SystemOption = None,
    due: DueOption = False,
    each: EachOption = False,
    daemon: DaemonOption = False,
    turn: TurnOption = False,
    watchdog: WatchdogOption = None,
    watchdog_only: WatchdogOnlyOption = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What `install` with the same words would change, as a unified diff. Exit 1 where there is anything."""
    from heartbeat.cli.schedules import Step
    from heartbeat.install.install import asked_changes, completed

    session = Session(context, roster)
    names = _named(session, agents, all_agents)
    launch = _launch(session)
    style = _style(due=due, each=each, daemon=daemon, turn=turn)
    as_it_is = not (
        names or all_agents or style or target or watchdog_only or watchdog is not None or system is not None
    )
    chosen = [each.target for each in _seen(session, launch) if each.pieces] if as_it_is else []
    steps: list[Step] = []
    notes: list[str] = []
    for scheduler in chosen or [_scheduler(session, launch, target, system, style)]:
        pieces = scheduler.installed(launch)
        order = completed(
            scheduler.standing(pieces),
            session.roster,
            launch,
            scheduler.styles[0],
            agents=names,
            everybody=all_agents,
            style=style,
            beats=False if watchdog_only else True if style else None,
            watchdog=watchdog_only or watchdog,
        )
        steps.append(Step(scheduler.name, asked_changes(scheduler, order, pieces)))
        notes += scheduler.remarks(pieces)
    _tell(session, launch, "diff", steps, notes, dry_run=True, json_output=json_output)
    if any(step.differs for step in steps):
        raise typer.Exit(Exit.FOUND)


@app.command()
def remove(
    context: typer.Context,
    agents: AgentsArgument = None,
    all_agents: AllOption = False,
    target: TargetOption = None,
    system: SystemOption = None,
    no_start: NoStartOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print what would change.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Take beats off: those of the named agents, or all that is on schedule for this roster, watchdog included."""
    from heartbeat.cli.schedules import Step
    from heartbeat.install.install import completed, removing_changes

    session = Session(context, roster)
    names = _named(session, agents, all_agents)
    launch = _launch(session)
    unknown = False
    if target is None and system is None:
        seen = _seen(session, launch, start=not no_start)
        unknown = any(each.problem and not each.absent for each in seen)
        chosen = [each.target for each in seen if each.pieces]
    else:
        chosen = [_scheduler(session, launch, target, system, None, start=not no_start)]
    steps = []
    for scheduler in chosen:
        pieces = scheduler.installed(launch)
        order = completed(
            scheduler.standing(pieces), session.roster, launch, scheduler.styles[0], agents=names, everybody=not names
        )
        changes = removing_changes(scheduler, order, pieces)
        steps.append(Step(scheduler.name, changes, () if dry_run else scheduler.apply(changes)))
    if not steps and not json_output:
        _print("nothing is on schedule" if not unknown else "nothing was removed")
    _tell(session, launch, "remove", steps, [], dry_run=dry_run, json_output=json_output)
    if unknown:
        complain(
            "what could not be asked may still have beats of this roster on schedule; run it again when it answers"
        )
        raise typer.Exit(Exit.INCOMPLETE)


def _launch(session: Session) -> Launch:
    """How a scheduler has to start heartbeat; what is doubtful about it is said at once."""
    prepared = session.preparation()
    for warning in prepared.warnings:
        complain(warning)
    return prepared.launch


def _named(session: Session, agents: list[str] | None, everybody: bool) -> tuple[str, ...]:
    if everybody and agents:
        raise UsageError("--all and agent names do not go together", advice="use one of them")
    return tuple(agent.id for agent in session.roster.chosen(list(dict.fromkeys(agents or []))))


def _style(*, due: bool, each: bool, daemon: bool, turn: bool) -> Style | None:
    from heartbeat.install.base import Style

    flags = {Style.DUE: due, Style.EACH: each, Style.DAEMON: daemon, Style.TURN: turn}
    chosen = [style for style, given in flags.items() if given]
    if len(chosen) > 1:
        words = " and ".join(f"--{style.value}" for style in chosen)
        raise UsageError(f"{words} do not go together", advice="use one of them")
    return chosen[0] if chosen else None


def _scheduler(
    session: Session,
    launch: Launch,
    target: Kind | None,
    system: bool | None,
    style: Style | None,
    *,
    start: bool = True,
) -> Scheduler:
    """The target that is meant: the one that is named, that alone can do the style, that has the beats, or crontab."""
    from heartbeat.install.install import option_of, target_called

    kind = target or (Kind.SYSTEMD if system is not None else _only_for(style))
    if kind is None:
        beating = [each.target for each in _seen(session, launch, start=start) if each.standing.style is not None]
        if len(beating) > 1:
            options = " or ".join(f"--target {option_of(each.name)}" for each in beating)
            raise UsageError("beats of this roster are on schedule at several places", advice=f"say which: {options}")
        if beating:
            return beating[0]
    names = _names(session, launch, kind or Kind.CRONTAB, system)
    return target_called(names[0], session.roster, launch, session.environment, start=start)


def _only_for(style: Style | None) -> Kind | None:
    return {"daemon": Kind.SYSTEMD, "turn": Kind.OPENCLAW}.get(style or "")


def _names(session: Session, launch: Launch, kind: Kind, system: bool | None) -> list[str]:
    """Names of the targets of a kind; of the two of systemd the one that has something first, else the usual one."""
    from heartbeat.install.install import SYSTEMD_SYSTEM, SYSTEMD_USER, look, target_called

    if kind is not Kind.SYSTEMD:
        return [kind.value]
    if system is not None:
        return [SYSTEMD_SYSTEM if system else SYSTEMD_USER]
    names = [SYSTEMD_SYSTEM, SYSTEMD_USER] if os.getuid() == 0 else [SYSTEMD_USER, SYSTEMD_SYSTEM]
    targets = {name: target_called(name, session.roster, launch, session.environment) for name in names}
    return sorted(names, key=lambda name: not look(targets[name], launch).pieces)


def _schedulers(session: Session, launch: Launch, target: Kind | None, system: bool | None) -> list[Scheduler]:
    """The targets that `show` tells of."""
    from heartbeat.install.install import target_called, targets

    kind = target or (Kind.SYSTEMD if system is not None else None)
    if kind is None:
        return list(targets(session.roster, launch, session.environment))
    names = _names(session, launch, kind, system)
    return [target_called(name, session.roster, launch, session.environment) for name in names]


def _seen(session: Session, launch: Launch, *, start: bool = True) -> list[Installed]:
    """What every target keeps; one that cannot be asked is named on stderr."""
    from heartbeat.install.install import NAMES, look, target_called

    found = []
    for name in NAMES:
        seen = look(target_called(name, session.roster, launch, session.environment, start=start), launch)
        if seen.problem and not seen.absent:
            complain(f"what {name} has on schedule is not known: {seen.problem}")
        found.append(seen)
    return found


def _others(session: Session, launch: Launch, scheduler: Scheduler) -> Sequence[Elsewhere]:
    """The other targets that have beats of this roster; one that cannot be asked is named on stderr."""
    from heartbeat.install.install import elsewhere, targets

    every = targets(session.roster, launch, session.environment)
    found = elsewhere(launch, [each for each in every if each.name != scheduler.name])
    for each in found:
        if each.standing is None:
            complain(f"what {each.target} has on schedule is not known: {each.problem}")
    return found


def _tell(
    session: Session,
    launch: Launch,
    command: str,
    steps: Sequence[Step],
    notes: Sequence[str],
    *,
    dry_run: bool,
    json_output: bool,
) -> None:
    """Print what was done or would be; exit 73 where something was not carried out."""
    from heartbeat.cli import schedules

    if json_output:
        from heartbeat.cli import documents

        now = session.now()
        documents.write(schedules.document(command, session.roster, launch, now, steps=steps, notes=notes))
    else:
        for line in schedules.diff_lines(steps) if dry_run else schedules.done_lines(steps):
            _print(line)
    for note in notes:
        complain(note)
    for hint in schedules.hints(steps):
        complain(hint)
    if schedules.failed(steps):
        raise typer.Exit(Exit.CANNOT_WRITE)


def _print(line: str) -> None:
    """Tables and automations hold foreign text; what a line of a diff begins with stays."""
    from heartbeat.cli.terminal import plain

    text = line.lstrip(" +-@")
    typer.echo(line[: len(line) - len(text)] + plain(text))
