"""The model's files: where they are already, else downloaded by the host or sent from here, once for all instances."""

import shlex
from collections.abc import Iterator
from functools import partial

from provisioners.hosts.commands import Command, Run, Send
from provisioners.hosts.digests import digest_lines
from provisioners.hosts.facts import Facts
from provisioners.hosts.wanted import Download, HostSpec, Upload
from provisioners.hosts.watching import Watch

PROGRESS = "run/weights.progress"
TIMEOUT_S = 6 * 3600.0
"""What ends it sooner is how long nothing moves, and the limit over the whole."""


def model_commands(facts: Facts, wanted: HostSpec) -> Iterator[Command]:
    """What is needed until the link leads to all files of the model."""
    model = wanted.model
    if not model.wanted:
        return
    if not (facts.weights or model.is_at_path(facts)):
        match model.source:
            case Download() as download:
                yield _download(facts, wanted, download)
            case Upload() as upload:
                yield from _upload(facts, wanted, upload)
    folder = wanted.model_folder(facts)
    if facts.model_link != folder:
        yield Run(f"ln -sfn {shlex.quote(folder)} {model.link}", 10.0, f"let {model.link} lead to {folder}")


def _download(facts: Facts, wanted: HostSpec, source: Download) -> Run:
    """By our own code, which reads on its standard input what to fetch, and goes on where an earlier try ended."""
    arguments = shlex.join((wanted.python(facts), "-P", "-m", "runtime.weights", wanted.made_model, PROGRESS))
    size = f" ({wanted.model.disk_gb:.1f} GB)" if wanted.model.disk_gb else ""
    note = f", {source.note}" if source.note else ""
    return Run(
        f'umask 022; mkdir -p run; PYTHONPATH="$PWD/payload" exec {arguments}',
        TIMEOUT_S,
        f"download the model{size}{note}",
        stdin=source.job,
        watch=Watch(PROGRESS, (f"{wanted.made_model}.new",)),
    )


def _upload(facts: Facts, wanted: HostSpec, source: Upload) -> Iterator[Command]:
    """A file that bears its name has arrived whole; contents are compared before the folder gets its own."""
    sizes = {name: path.stat().st_size for name, path in source.files.items()}
    for name, path in source.files.items():
        if facts.uploaded.get(name) != sizes[name]:
            yield Send(path, f"{wanted.uploads}/{name}", sum(sizes.values()))
    yield Run(
        _verified(wanted),
        TIMEOUT_S,
        "compare the model that was sent",
        stdin=partial(digest_lines, source.files),
        watch=Watch(PROGRESS),
    )


def _verified(wanted: HostSpec) -> str:
    """Where another instance of the host was first, its copy stays. Each file that is right is a line of progress."""
    uploads, made, models = (shlex.quote(path) for path in (wanted.uploads, wanted.made_model, wanted.models))
    return (
        f"mkdir -p run; (cd {uploads} && stdbuf -oL sha256sum --strict -c -) >{PROGRESS} "
        f"|| {{ grep FAILED {PROGRESS} >&2; rm -rf {uploads} {PROGRESS}; exit 1; }}; "
        f"umask 022; mkdir -p {models} && {{ [ -d {made} ] || mv -T {uploads} {made}; }} && rm -rf {uploads} {PROGRESS}"
    )
