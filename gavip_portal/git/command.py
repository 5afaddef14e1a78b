"""Runs Git without blocking the loop and without trusting the repository.

Invariants: the program is called by argv, never by a shell; no configuration of the system, the user or a work tree is
read; hooks, file-system monitors, transports and prompts are off; time and output are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from gavip_api.errors import GavipError, TooLarge

DEFAULT_TIMEOUT = 60.0
"""Seconds one Git command may take."""

DEFAULT_LIMIT = 16 * 1024 * 1024
"""Most bytes that are kept of a command's output."""

_CHUNK = 64 * 1024

# Each option closes a road from repository content or configuration to code: facts.md, "Containers", Git.
_OPTIONS = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.symlinks=false",
    "-c",
    "core.pager=cat",
    "-c",
    "gc.auto=0",
    "-c",
    "protocol.allow=never",
    "-c",
    "tar.umask=0022",
)


class GitFailed(GavipError):
    """A Git command ended badly or took too long."""

    code = "git-failed"
    status = 500
    title = "The repository could not be read"


def hardened_environment(git_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment of a Git process; nothing is inherited but the program search path.

    Parameters
    ----------
    git_dir : Path
        The bare repository. Naming it keeps Git from searching upwards for another one.
    extra : mapping, optional
        More variables, for example a temporary ``GIT_INDEX_FILE``.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_DIR": str(git_dir),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        **(extra or {}),
    }


async def run_git(
    git_dir: Path,
    args: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    limit: int = DEFAULT_LIMIT,
) -> bytes:
    """Run one Git command and return its output.

    Parameters
    ----------
    git_dir : Path
        The bare repository.
    args : sequence of str
        Sub-command and arguments; the caller puts ``--`` before anything that came from outside.
    stdin : bytes, optional
        Input of the command.
    env : mapping, optional
        More environment variables.
    timeout : float, optional
        Seconds until the command is killed.
    limit : int, optional
        Bytes of output after which the command is killed.

    Raises
    ------
    GitFailed
        If it exits with an error or times out.
    TooLarge
        If it writes more than `limit`.
    """
    process = await asyncio.create_subprocess_exec(
        "git",
        *_OPTIONS,
        *args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=hardened_environment(git_dir, env),
        cwd="/",
    )
    try:
        _, out, err = await asyncio.wait_for(
            asyncio.gather(
                _feed(process, stdin),
                _drain(process.stdout, limit),
                _drain(process.stderr, 64 * 1024, keep_reading=True),
            ),
            timeout,
        )
        code = await asyncio.wait_for(process.wait(), timeout)
    except asyncio.TimeoutError:
        raise GitFailed(
            f"Git did not finish `{args[0]}` within {timeout:.0f} s.",
            hint="Try again; if it happens again, tell the operators.",
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code != 0:
        reason = err.decode(errors="replace").strip().splitlines()
        raise GitFailed(
            f"Git could not do `{args[0]}`: {(reason or ['no reason given'])[-1][:300]}",
            hint="Check that the commit or file exists.",
        )
    return out


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    writer = process.stdin
    if writer is None:
        return
    # git may exit before it has read all of its input; its exit code then tells why
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _drain(
    reader: asyncio.StreamReader | None, limit: int, *, keep_reading: bool = False
) -> bytes:
    kept = bytearray()
    while reader and (chunk := await reader.read(_CHUNK)):
        if len(kept) + len(chunk) <= limit:
            kept += chunk
        elif not keep_reading:
            raise TooLarge(f"Git wrote more than {limit // 1024} KiB.")
    return bytes(kept)
