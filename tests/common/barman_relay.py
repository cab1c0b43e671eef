"""Runs barman-cloud-wal-archive for archive_command: same program, loaded once.

The server's user need not be able to read Barman's virtual environment, and a segment
costs a fork instead of a Python start. Each connection carries one path; a child runs the
tool's own main() with the arguments of the command line; the answer is its exit status.
"""
import os
import socket
import sys

from barman.clients import cloud_walarchive

path, arguments = sys.argv[1], sys.argv[2:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path + ".new")
os.chmod(path + ".new", 0o666)
listener.listen(16)
os.rename(path + ".new", path)
while True:
    connection, _ = listener.accept()
    wal = connection.makefile("rb").readline().rstrip(b"\n").decode()
    child = os.fork()
    if child == 0:
        status = 4
        try:
            cloud_walarchive.main(arguments + [wal])
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(b"%d\n" % (status if status >= 0 else 128 - status))
    connection.close()
