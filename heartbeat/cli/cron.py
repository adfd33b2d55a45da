"""`heartbeat cron install|show|diff|remove`: beats on a schedule of crontab, systemd or OpenClaw, and off it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, complain
from heartbeat.cli.targets import Kind
from heartbeat.errors import Exit, UsageError

if TYPE_CHECKING:
    from heartbeat.cli.schedules import Step
    from heartbeat.cli.targets import Schedules
    from heartbeat.install.base import Order, Style
    from heartbeat.install.install import Installed

app = typer.Typer(
    help="Put beats on a schedule (crontab, systemd, OpenClaw), show it, compare it, take it off.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


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
AsUserOption = Annotated[
    str | None, typer.Option("--as-user", metavar="NAME", help="The machine's systemd: who the beats run as.")
]
NoStartOption = Annotated[bool, typer.Option("--no-start", help="systemd: write the files and run nothing.")]
BesideOption = Annotated[
    bool,
    typer.Option("--beside", help="Also where another schedule or a daemon has these beats, or could not be asked."),
]


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
    as_user: AsUserOption = None,
    beside: BesideOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print what would change.")] = False,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Make the schedule what is asked for. What is not said stays as it is; the first time that is everybody, with a
    watchdog. Doing it twice changes nothing the second time."""
    from heartbeat.cli.schedules import Step
    from heartbeat.cli.targets import complain_of_unknown, remarks_on_others, schedules
    from heartbeat.install.account import refuse_as_user, user_in
    from heartbeat.install.install import OPENCLAW, SYSTEMD_SYSTEM, asked_changes, too_quick
    from heartbeat.install.launching import rehearse, try_start

    session = Session(context, roster)
    names = _named(session, agents, all_agents)
    known = schedules(session, start=not no_start, user=as_user)
    style = _style(due=due, each=each, daemon=daemon, turn=turn)
    found = known.meant(target, system, style)
    scheduler, launch = found.target, known.launch
    if as_user is not None:
        refuse_as_user(as_user, system=scheduler.name == SYSTEMD_SYSTEM)
    order = _order(known, found, names, style, everybody=all_agents, beats=not watchdog_only, watchdog=watchdog)
    seen = known.every if order.beats else (found,)
    rivals = () if beside else _refuse_double(known, order, found)
    steps = asked_changes(scheduler, order, found.pieces)
    notes = [*rivals, *too_quick(order, scheduler.name), *remarks_on_others(known, seen)]
    complain_of_unknown(seen)
    if not dry_run and scheduler.name == OPENCLAW:
        try_start(
            launch, {"PATH": launch.path}
        )  # the rest of its environment is the Gateway's, which nobody knows here
    elif not dry_run:
        user = user_in(each.after for each in steps)
        notes += rehearse(launch, session.roster, session.environment, user)
    step = Step(scheduler.name, steps, () if dry_run else scheduler.apply(steps))
    if order.beats:
        notes += _left_out(known, found, step)
    _tell(known, "install", [step], notes, dry_run=dry_run, json_output=json_output)


@app.command()
def show(
    context: typer.Context,
    target: TargetOption = None,
    system: SystemOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What is on schedule for this roster, wherever it is, and when each agent is due next. Changes nothing. Works by
    the roster's path where the roster is gone or broken."""
    from heartbeat.cli import schedules
    from heartbeat.cli.targets import by_path, remarks_on_others
    from heartbeat.install.install import differs_now

    session = Session(context, roster, lenient=True)
    known = by_path(session)
    looked = known.of(target, system)
    readable = known.problem is None
    seen = [(each, readable and differs_now(each, known.roster, known.launch)) for each in looked]
    others = [*remarks_on_others(known, looked)]
    if json_output:
        from heartbeat.cli import documents

        _end_where_nothing_is_known(known, looked)
        notes = [*_unreadable(known), *(remark for each in looked for remark in each.remarks), *others]
        documents.write(schedules.document("show", known, seen=seen, notes=notes))
    else:
        _print(str(known.launch.roster))
        for each, differs in seen:
            _print(schedules.standing_line(each, differs=differs))
            for remark in each.remarks:
                _print(f"{'':<15} {remark}")
        if known.daemon is not None:
            _print(f"{'heartbeat run':<15} {known.daemon.holder} beats on this state")
        if readable and any(each.pieces and each.target.name == "crontab" for each in looked):
            _print(f"{'logs':<15} {known.launch.log}, {known.launch.watchdog_log}")
        for line in schedules.agent_lines(known, looked):
            _print(line)
        for note in (*_unreadable(known), *others):
            complain(note)
    _end_where_nothing_is_known(known, looked)


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
    """What `install` with the same words would change, as a unified diff. Exit 1 where there is anything, 3 where a
    scheduler could not be asked."""
    from heartbeat.cli.schedules import Step
    from heartbeat.cli.targets import complain_of_unknown, schedules
    from heartbeat.install.install import asked_changes

    session = Session(context, roster)
    names = _named(session, agents, all_agents)
    known = schedules(session)
    style = _style(due=due, each=each, daemon=daemon, turn=turn)
    as_it_is = not (
        names or all_agents or style or target or watchdog_only or watchdog is not None or system is not None
    )
    unknown = as_it_is and complain_of_unknown(known.every)
    chosen = [each for each in known.every if each.pieces] if as_it_is else []
    steps: list[Step] = []
    notes: list[str] = []
    beats = False if watchdog_only else True if style else None
    for found in chosen or [known.meant(target, system, style)]:
        order = _order(known, found, names, style, everybody=all_agents, beats=beats, watchdog=watchdog)
        steps.append(Step(found.target.name, asked_changes(found.target, order, found.pieces)))
        notes += found.remarks
    if as_it_is:
        notes += _left_out(known)
    _tell(known, "diff", steps, notes, dry_run=True, json_output=json_output)
    if any(step.differs for step in steps):
        raise typer.Exit(Exit.FOUND)
    if unknown:
        raise typer.Exit(Exit.INCOMPLETE)


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
    """Take beats off: those of the named agents, or all that is on schedule for this roster, watchdog included; that
    also by the roster's path alone, where the roster is gone or broken."""
    from heartbeat.cli.schedules import Step
    from heartbeat.cli.targets import by_path, complain_of_unknown
    from heartbeat.install.install import removing_changes

    session = Session(context, roster, lenient=True)
    known = by_path(session, start=not no_start)
    unknown = False
    if target is None and system is None:
        seen: Sequence[Installed] = known.every
        unknown = complain_of_unknown(seen)
        chosen = [each for each in seen if each.pieces]
    else:
        chosen = [known.meant(target, system, None)]
        seen = chosen
    names = _taken_off(known, chosen, agents, all_agents)
    if not unknown:
        _end_where_nothing_is_known(known, seen)
    steps = []
    for found in chosen:
        order = _order(known, found, names, None, everybody=not names)
        changes = removing_changes(found.target, order, found.pieces)
        steps.append(Step(found.target.name, changes, () if dry_run else found.target.apply(changes)))
    if not steps and not json_output:
        _print("nothing is on schedule" if not unknown else "nothing was removed")
    _tell(known, "remove", steps, [*_unreadable(known)], dry_run=dry_run, json_output=json_output)
    if unknown:
        complain(
            "what could not be asked may still have beats of this roster on schedule; run it again when it answers"
        )
        raise typer.Exit(Exit.INCOMPLETE)


def _order(
    known: Schedules,
    found: Installed,
    names: Sequence[str],
    style: Style | None,
    *,
    everybody: bool,
    beats: bool | None = None,
    watchdog: bool | None = None,
) -> Order:
    """What is asked of one target, completed by what stands there. Without beats it is the watchdog alone."""
    from heartbeat.install.install import completed

    watchdog = True if beats is False else watchdog
    return completed(
        found.standing,
        known.roster,
        known.launch,
        found.target.styles[0],
        agents=names,
        everybody=everybody,
        style=style,
        beats=beats,
        watchdog=watchdog,
        watched=watchdog is None and found.standing.is_empty and known.is_watched,
    )


def _refuse_double(known: Schedules, order: Order, found: Installed) -> Sequence[str]:
    """Raises UsageError where somebody else has these beats, and UnaskedError where that is not known; a sentence about
    each that is no reason to leave what stands as it is."""
    from heartbeat.cli.targets import refuse_beside_daemon
    from heartbeat.install.base import Style
    from heartbeat.install.install import added, refuse_second, refuse_unasked, who_beats

    if not order.beats:
        return ()
    others = who_beats(known.every, found.target.name)
    rivals = refuse_second(order, others, known.environment, found.standing)
    refuse_unasked(order, found.standing, others)
    if added(order, found.standing) and order.style is not Style.DAEMON:
        refuse_beside_daemon(known)
    return rivals


def _left_out(known: Schedules, found: Installed | None = None, step: Step | None = None) -> Sequence[str]:
    """A sentence about agents whom nothing beats, with a step by which one target has changed."""
    from heartbeat.install.install import look_again

    after = None if found is None or step is None else look_again(found, step.changes)
    names = known.left_out(after)
    if not names:
        return ()
    return (
        f"on no schedule: {', '.join(names)}; `heartbeat cron install --all` puts everybody on it, and `enabled: "
        "false` in the roster takes somebody out of the team",
    )


def _unreadable(known: Schedules) -> Sequence[str]:
    """Why only the roster's path is known, if so."""
    if known.problem is None:
        return ()
    reason = (str(known.problem).splitlines() or ["it cannot be read"])[0]
    return (f"this is by the roster's path alone: {reason}",)


def _end_where_nothing_is_known(known: Schedules, seen: Sequence[Installed]) -> None:
    """A path without a roster, for which nothing is on schedule either, is a slip of the pen. Raises UsageError."""
    if known.problem is not None and not any(each.pieces for each in seen):
        raise known.problem


def _taken_off(
    known: Schedules, chosen: Sequence[Installed], agents: list[str] | None, everybody: bool
) -> tuple[str, ...]:
    """The named agents, those among them who have left the roster and are on schedule still."""
    if everybody and agents:
        raise UsageError("--all and agent names do not go together", advice="use one of them")
    if agents and known.problem is not None:
        raise known.problem
    there = {agent for each in chosen for agent in (*each.standing.agents, *(piece.agent for piece in each.pieces))}
    names = tuple(dict.fromkeys(agents or []))
    known.roster.chosen([name for name in names if name not in there])
    return names


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


def _tell(
    known: Schedules,
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

        documents.write(schedules.document(command, known, steps=steps, notes=notes))
    else:
        for line in schedules.diff_lines(steps) if dry_run else schedules.done_lines(steps):
            _print(line)
    for note in dict.fromkeys((*notes, *schedules.hints(steps))):
        complain(note)
    if schedules.failed(steps):
        raise typer.Exit(Exit.CANNOT_WRITE)


def _print(line: str) -> None:
    """Tables and automations hold foreign text; what a line of a diff begins with stays."""
    from heartbeat.cli.terminal import plain

    text = line.lstrip(" +-@")
    typer.echo(line[: len(line) - len(text)] + plain(text))
