"""Fake programs that need not import anything: a launcher asks a process that has everything loaded to be it.

The launcher is a real process with a number of its own, started as any program is; it gives its arguments, environment,
directory and standard streams to a child of the server, waits for that, and ends with its exit code. A child whose
launcher is gone ends at once. Where no server listens the launcher is the program itself. Nothing but the standard
library is imported, and by launchers hardly anything of that, since they are started hundreds of times.
"""

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_LAUNCHER = """#!{python} -IS
import sys

sys.path.append({folder!r})
import ready_programs

ready_programs.launch({module!r}, {address!r})
"""
_MODULES = ("fake_multica_cli", "fake_openclaw_program")
_LENGTH = 4
"""Bytes that say how long a request is."""


def write(program: "Path", module: str, *, alone: bool = False) -> None:
    """Makes `program` an executable that does what `main` of this module says; `alone` asks no server."""
    folder = str(program.__class__(__file__).parent)
    address = "" if alone else _server()
    text = _LAUNCHER.format(python=sys.executable, folder=folder, module=module, address=address)
    program.write_text(text, "utf-8")
    program.chmod(0o755)


def launch(module: str, address: str) -> None:
    """What a launcher does: ends with the exit code of the program."""
    if address:
        import _socket

        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
        else:
            sys.exit(_asked(connection, module))
    sys.exit(__import__(module).main())


def _asked(connection: "Any", module: str) -> int:
    import _socket
    import posix

    request = marshal.dumps((module, sys.argv, posix.environ, posix.getcwd()))
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
    size = len(request).to_bytes(_LENGTH, "big")
    connection.sendmsg([size], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    connection.sendall(request)
    answer = connection.recv(1)
    return answer[0] if answer else 1


_running: "dict[int, str]" = {}
"""The address of the server of this process."""


def _server() -> str:
    """Where the server of this process listens; it is started when it is first needed and ends with the process."""
    import os

    if os.getpid() not in _running:
        _running[os.getpid()] = _start()
    return _running[os.getpid()]


def _start() -> str:
    import atexit
    import subprocess
    import tempfile
    from pathlib import Path

    told = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import ready_programs; ready_programs.serve()"
    command = [sys.executable, "-IS", "-c", told, tempfile.gettempdir()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
    assert process.stdin is not None
    assert process.stdout is not None

    def stop() -> None:
        with process:
            process.stdin.close()  # type: ignore[union-attr]

    atexit.register(stop)
    return process.stdout.readline().decode().rstrip("\n")


def serve() -> None:
    """The server: tells its address (none where there can be none), and ends when its standard input does."""
    import fcntl  # noqa: F401 - for its children
    import os
    import select
    import shutil
    import socket
    import tempfile

    for name in _MODULES:
        __import__(name)
    folder = tempfile.mkdtemp(prefix="programs-", dir=sys.argv[1])
    address = os.path.join(folder, "socket")  # noqa: PTH118 - a server of programs that know no pathlib
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError:
        address = ""
    print(address, flush=True)
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    waiting.register(listener, select.POLLIN)
    children = 0
    while address and all(number != 0 for number, _ in waiting.poll()):
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _be(connection)
        connection.close()
        children += 1
        while children and os.waitpid(-1, os.WNOHANG)[0]:
            children -= 1
    listener.close()
    shutil.rmtree(folder)


def _be(connection: "Any") -> None:
    """Is the program that was asked for. Never returns."""
    import fcntl
    import os
    import socket

    size, streams, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    missing = int.from_bytes(size, "big")
    request = b""
    while len(request) < missing:
        request += connection.recv(missing - len(request))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # From here on the end of the launcher is ours.
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETFL, os.O_ASYNC)
    module, argv, environment, directory = marshal.loads(request)  # noqa: S302 - from our own launcher
    os.environb.clear()
    os.environb.update(environment)
    os.chdir(directory)
    sys.argv = argv
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    try:
        code = __import__(module).main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - whatever it is, it must not get into the server's loop
        sys.excepthook(*sys.exc_info())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120  # as Python itself ends where nobody listens
    os.close(1)
    os.close(2)
    connection.send(bytes([code or 0]))
    os._exit(0)
