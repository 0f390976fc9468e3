"""What is asked of a host about its logs: one script for all that are wanted there, and what it answers. Pure.

Agents move a log aside when it has grown (its name with .1, and the file goes on from nothing), other programs put
another file in its place. Either is seen by the inode, or by a file that has become shorter: then the rest of what was
moved aside comes first.
"""

import shlex
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from planner.errors import HostError

LOOK_BYTES = 512 << 10
"""Of all logs in one answer, which goes as base64 and may have twice as many (`OUTPUT_LIMIT` of transports)."""

SCRIPT = """\
set -- {paths}
n=0
for f do [ -f "$f" ] && n=$((n + 1)); done
[ $n -gt 0 ] || exit 0
limit=$(({bytes} / n))
part() {{ tail -c "+$(($2 + 1))" "$1" | head -c "$limit"; }}
tell() {{ printf '%s %s %s ' "$1" "$inode" "$2"; base64 -w 0; printf ' %s\\n' "$f"; }}
for f do
  [ -f "$f" ] || continue
  read -r inode size <<END
$(stat -c '%i %s' "$f")
END
  was= from=0
  case $f in
{cursors}
  esac
  if [ -z "$was" ] && [ {ends} -gt 0 ]; then
    from=$((size > limit ? size - limit : 0))
    part "$f" $from | tail -n {ends} | tell end "$size"
  elif [ -n "$was" ] && {{ [ "$was" != "$inode" ] || [ "$size" -lt "$from" ]; }}; then
    aside=0
    [ ! -f "$f.1" ] || aside=$(stat -c %s "$f.1")
    if [ $((aside - from)) -gt "$limit" ]; then
      inode=$was
      part "$f.1" "$from" | tell more "$from"
    else
      {{ [ "$aside" -eq 0 ] || part "$f.1" "$from"; }} | tell moved 0
    fi
  elif [ "$size" -gt "$from" ]; then
    part "$f" "$from" | tell more "$from"
  fi
done
"""
"""Paths are looked at in turn; `ends` lines of one that was never looked at are its end, with 0 it is read from its
beginning. Each answers with a line: kind, inode, offset, base64, path."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a log was read: its inode, and the offset of the byte that comes next."""

    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What came of one log, and how far it is read now. It is `whole` where nothing more was there."""

    path: str
    data: bytes
    cursor: Cursor
    whole: bool

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """One line of the answer. Raises ValueError."""
        kind, inode, offset, encoded, path = line.decode().split(" ", 4)
        data = b64decode(encoded, validate=True)
        after = {"end": int(offset), "moved": 0, "more": int(offset) + len(data)}[kind]
        return cls(path, data, Cursor(int(inode), after), whole=kind == "end")


def look_script(paths: Iterable[str], cursors: Mapping[str, Cursor], *, ends: int) -> str:
    """Asks for what was added to the logs at `paths` (a pattern, or a name as it is) since the cursors."""
    known = [f"  {shlex.quote(path)}) was={cursor.inode} from={cursor.offset} ;;" for path, cursor in cursors.items()]
    return SCRIPT.format(paths=" ".join(paths), bytes=LOOK_BYTES, cursors="\n".join(known), ends=ends)


def pieces(answer: bytes) -> tuple[Piece, ...]:
    """The answer to a script. Raises HostError."""
    try:
        return tuple(Piece.parse(line) for line in answer.splitlines())
    except (ValueError, KeyError) as error:
        raise HostError(f"The host's answer about its logs can't be understood: {error}.") from error
