"""A disk of a node's own, which can be filled; and syncs and a wall clock that go wrong for one process alone."""

import mmap
import os
import struct
import subprocess

from .paths import CACHE, E2E

FAIL, SLOW_US, CLOCK_NS = range(3)


def shim():
    """The library that stands before the C library, compiled when its source is newer."""
    source, built = E2E / "tools" / "faults.c", CACHE / "faults.so"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        fresh = built.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", fresh, source, "-ldl"], check=True)
        os.replace(fresh, built)
    return built


class Faults:
    """What goes wrong for one process, now: changes hold from the next call on, in a process that runs too."""

    def __init__(self, path):
        self.path, size = path, 3 * 8
        path.write_bytes(bytes(size))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), size)

    def environment(self):
        return {"LD_PRELOAD": str(shim()), "CHRONIK_FAULTS": str(self.path)}

    def set(self, which, value):
        struct.pack_into("=q", self.map, which * 8, value)

    def fail_syncs(self, fail=True):
        self.set(FAIL, int(fail))

    def slow_syncs(self, seconds):
        self.set(SLOW_US, round(seconds * 1_000_000))

    def shift_clock(self, seconds):
        self.set(CLOCK_NS, round(seconds * 1_000_000_000))

    def clear(self):
        for which in (FAIL, SLOW_US, CLOCK_NS):
            self.set(which, 0)


class Disk:
    """A file system in an image of its own, mounted at a directory. Making one takes root."""

    def __init__(self, directory, mib):
        self.image, self.root = directory / "disk.img", directory / "disk"
        self.ballast = self.root / "ballast"
        self.unmount()
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb") as f:
            f.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.root], check=True)

    def free(self):
        stat = os.statvfs(self.root)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave=0):
        """Takes all space but `leave` bytes. The file system may take some more for what it notes of it."""
        with open(self.ballast, "ab") as f:
            while (room := self.free() - leave) > 0:
                size = os.fstat(f.fileno()).st_size
                try:
                    os.posix_fallocate(f.fileno(), size, room)
                except OSError:
                    if room < 1 << 16:
                        return
                    leave += 1 << 14

    def relieve(self):
        self.ballast.unlink(missing_ok=True)

    def unmount(self):
        if os.path.ismount(self.root):
            subprocess.run(["umount", "--lazy", self.root], check=True)
        self.image.unlink(missing_ok=True)
