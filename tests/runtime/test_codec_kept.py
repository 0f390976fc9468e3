"""Machine code is made once for all copies of a source, and anew for another one."""

from importlib.util import module_from_spec, spec_from_file_location

import pytest

pytestmark = pytest.mark.engine_env

SOURCE = """
from runtime.codec.kept import kept

@kept
def product(number):
    return FACTOR * number
"""


@pytest.fixture
def product(tmp_path, monkeypatch):
    """That function, from a copy of its source in a folder of that name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")

    def copied(folder, factor):
        path = tmp_path / folder / "copied.py"
        path.parent.mkdir()
        path.write_text(SOURCE.replace("FACTOR", str(factor)))
        spec = spec_from_file_location("copied", path)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.product

    return copied


def hits(function) -> int:
    return sum(function.stats.cache_hits.values())


def test_copies_share_it_and_another_source_does_not(product):
    first = product("one", 2)
    assert (first(3), hits(first)) == (6, 0)
    copy = product("two", 2)
    assert (copy(3), hits(copy)) == (6, 1)
    other = product("three", 5)
    assert (other(3), hits(other)) == (15, 0)


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(product, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    assert product("one", 2)(3) == 6


def test_numbas_own_variable_comes_first(product, tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "elsewhere"))
    assert product("one", 2)(3) == 6
    assert list((tmp_path / "elsewhere").iterdir())
    assert not (tmp_path / "cache").exists()
