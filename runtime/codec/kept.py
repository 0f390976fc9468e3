"""Machine code that numba made, kept for all who have the same source: by its content, not by where it lies.

Every instance has its own copy of our code, so that numba by itself would compile it for each: 6 s of CPU time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import caching, config

Function = TypeVar("Function", bound=Callable[..., Any])


class ByContent(caching.UserWideCacheLocator):  # type: ignore[misc]
    """In a folder of the user's cache that is named after the digest of the source."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        source = Path(py_file)
        return f"{source.stem}_{sha256(source.read_bytes()).hexdigest()[:40]}"

    def get_source_stamp(self) -> str:
        return Path(self.get_cache_path()).name


def compiled(function: Function) -> Function:
    return cast("Function", njit(nogil=True, error_model="numpy")(function))


def kept(function: Function) -> Function:
    """Compiled, and the machine code kept as above, or where NUMBA_CACHE_DIR says; not if numba may write nowhere."""
    try:
        with _by_content():
            return cast("Function", njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:
        return compiled(function)


@contextmanager
def _by_content() -> Iterator[None]:
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = before or ("" if config.CACHE_DIR else f"{__name__}.{ByContent.__name__}")
    try:
        yield
    finally:
        config.CACHE_LOCATOR_CLASSES = before
