"""Disks of one's own: files as loop devices, mounted. For root on Linux."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile


class NotHere(Exception):
    """This machine cannot do it, and why."""


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Disks:
    """A folder with mounted disks in it; all is undone at the end."""

    def __init__(self):
        if os.geteuid() != 0:
            raise NotHere("only root can mount disks")
        self.folder = tempfile.mkdtemp(prefix="disks-")
        self.mounted = []

    def __enter__(self):
        # Ended from outside, it undoes everything, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
        return self

    def __exit__(self, *_):
        for place in reversed(list(self.mounted)):
            self.unmount(place)
        shutil.rmtree(self.folder, ignore_errors=True)

    def image(self, path, size, *make):
        """A file of this size with a file system made by the command."""
        with open(path, "wb") as file:
            file.truncate(size)
        if not shutil.which(make[0]):
            raise NotHere(f"{make[0]} is missing")
        run(*make, path)
        return path

    def mount(self, image, name, options="loop"):
        place = os.path.join(self.folder, name)
        os.makedirs(place, exist_ok=True)
        try:
            run("mount", "-o", options, image, place)
        except RuntimeError as error:
            raise NotHere(str(error)) from error
        self.mounted.append(place)
        return place

    def unmount(self, place):
        try:
            run("umount", place)
        except RuntimeError:
            run("umount", "-l", place)
        self.mounted.remove(place)

    def cloning(self, size):
        """A mounted file system that can clone files, which is how an image is taken in no time."""
        reasons = []
        for make in (["mkfs.xfs", "-q", "-m", "reflink=1"], ["mkfs.btrfs", "-q"]):
            try:
                image = self.image(os.path.join(self.folder, "cloning.img"), size, *make)
                return self.mount(image, "cloning")
            except (NotHere, RuntimeError) as error:
                reasons.append(str(error))
        raise NotHere("; ".join(reasons))
