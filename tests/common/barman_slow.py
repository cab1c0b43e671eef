"""barman-cloud-backup on storage that is slow and knows only pages of 4 KiB.

The same program; only what it reads of a data file comes in pieces of 4 KiB, with a pause
in the middle of each block of PostgreSQL, so that the server can write the block meanwhile:
POSIX promises no more, and a busy disk or network volume does just that.

PAUSE_US: the pause, in files of at least PAUSE_FROM bytes, in their first 400 blocks.
COPIED: a file that is made when the last one (the control file) has been copied.
EVERYTHING: leaves nothing out that this version of the tool would, as older ones copy it.
"""
import os
import sys
import time

from barman import cloud
from barman.clients import cloud_backup

pause = int(os.environ["PAUSE_US"]) / 1e6
pause_from = int(os.environ["PAUSE_FROM"])
copy = cloud.copyfileobj_pad_truncate
cloud.BUFSIZE = 4096
if os.environ.get("EVERYTHING"):
    cloud.EXCLUDE_LIST[:] = ["postmaster.*", "standby.signal", "recovery.conf"]


class Halting:
    def __init__(self, raw):
        self.raw = raw
        self.halves = 0

    def read(self, length):
        self.halves += 1
        if self.halves % 2 == 0 and self.halves <= 800:
            time.sleep(pause)
        return self.raw.read(length)


def copy_slowly(src, dst, length=None):
    name = str(getattr(src, "name", ""))
    if length is not None and length >= pause_from and "pg_xact" not in name:
        src = Halting(open(name, "rb", buffering=0))
    copy(src, dst, length)
    if name.endswith("global/pg_control"):
        open(os.environ["COPIED"], "w").close()


cloud.copyfileobj_pad_truncate = copy_slowly
cloud_backup.main(sys.argv[1:])
