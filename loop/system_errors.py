"""What the operating system refuses (a full disk, a folder that may not be written) in words a person can act on."""

from __future__ import annotations

import errno
import os
import re

_WAYS_OUT = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "lift the limit on the size of files (ulimit -f)",
    errno.EROFS: "choose a folder that can be written (--outputs)",
    errno.EACCES: "mend its permissions, or choose another folder (--outputs)",
    errno.EPERM: "mend its permissions, or choose another folder (--outputs)",
    errno.ENAMETOOLONG: "choose a shorter name (--run)",
    errno.ENOTDIR: "choose a folder (--outputs) that is not inside a file",
    errno.EEXIST: "choose a folder (--outputs, --run) whose name no file has",
    errno.EIO: "see to the disk",
    errno.ENOMEM: "free some memory",
    errno.EMFILE: "lift the limit on open files (ulimit -n)",
}


def told_plainly(error: BaseException) -> str | None:
    """Where, what was refused and what to do, for a refusal that a person can mend; None for any other error."""
    found: BaseException | None = error
    while found is not None:
        number, path = _number(found), getattr(found, "filename", None)
        if number in _WAYS_OUT:
            where = f"{path}: " if path else ""
            return (
                f"{where}the system refused it ({os.strerror(number)}); expected to be able to write. Finished rows "
                f"are safe: {_WAYS_OUT[number]}, then run the same command again, and it goes on from there."
            )
        found = found.__cause__ or found.__context__
    return None


def _number(error: BaseException) -> int:
    """The system's number for an error; libraries written in Rust only spell it in their message."""
    if isinstance(error, OSError):
        return error.errno or 0
    spelled = re.search(r"\(os error (\d+)\)", str(error))
    return int(spelled.group(1)) if spelled else 0
