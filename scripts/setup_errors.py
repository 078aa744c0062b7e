"""What a failed set-up says: the step, the failing program's own words, and what to do about it."""

AGAIN = "Then type the same make command again; it goes on where this one stopped."

UNREACHED = (
    "name resolution",
    "NewConnectionError",
    "Connection refused",
    "ConnectTimeout",
    "ProxyError",
    "Read timed out",
    "ReadTimeoutError",
    "Network is unreachable",
    "dns error",
    "error sending request",
)
# What a failed install prints, and what to do about it. The first that fits is shown.
DIAGNOSES = (
    (
        ("No space left on device", "Disk quota exceeded"),
        "The disk is full. Free 5 GB (20 GB for the GPU stack) where the "
        "project and the folder for temporary files lie, or name another one in TMPDIR.",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "SSLError"),
        "The registry's certificate is not trusted here. Name your authority's file "
        "with `pip config set global.cert FILE`.",
    ),
    (
        (*UNREACHED, "(from versions: none)"),
        "No package registry was reached. Check the network and the proxy, or tell pip where your registry is: "
        "`pip config set global.index-url URL`.",
    ),
    (
        ("No matching distribution found",),
        "The registry has no such release for this Python and machine. "
        "Expected: Linux on x86-64, Python 3.11, 3.12 or (CPU) 3.13.",
    ),
    (("Permission denied",), "A file could not be written. Check who owns .venv, or remove it with `make distclean`."),
)


class SetupError(Exception):
    """A step that failed, and the way out."""


def was_unreached(output):
    """Whether a package registry could not be talked to."""
    return any(mark in output for mark in UNREACHED)


def failure(what, output, log):
    """The error of a failed step.

    Args:
        what: the step, as the subject of "failed".
        output: all that the step's program printed.
        log: path of the file that holds it.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "×", "cause:", "caused by"))] or lines
    advice = next(
        (advice for marks, advice in DIAGNOSES if any(mark in output for mark in marks)), "The log says more."
    )
    quoted = [f"  {line[:300]}" for line in errors[-4:]]
    return SetupError("\n".join([f"{what} failed:", *quoted, advice, f"Log: {log}", AGAIN]))
