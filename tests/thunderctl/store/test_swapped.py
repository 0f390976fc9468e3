"""A store's file that is replaced while somebody has it open."""

import shutil

import pytest

from thunderctl.store.address import read_address
from thunderctl.store.store import Store
from thunderctl.store.swapped import OpenedFile


def test_the_file_that_was_opened_is_no_other_however_much_is_written_to_it(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        for _ in range(3):
            store.record("d", "x", "written")
            assert not store.is_swapped()


def test_another_file_in_its_place_counts_once_it_is_whole(tmp_path):
    path = tmp_path / "store.db"
    with Store(f"sqlite:///{path}") as store:
        path.unlink()
        path.write_bytes(b"half of")
        assert not store.is_swapped()
        with path.open("ab") as growing:
            growing.write(b" a copy")
        assert not store.is_swapped()
        assert store.is_swapped()


def test_where_none_lies_there_any_more_what_is_open_is_gone_on_with(tmp_path):
    path = tmp_path / "store.db"
    with Store(f"sqlite:///{path}") as store:
        path.rename(tmp_path / "aside.db")
        assert not store.is_swapped()
        assert not store.is_swapped()
        shutil.copy(tmp_path / "aside.db", path)
        assert [store.is_swapped(), store.is_swapped()] == [False, True]


@pytest.mark.parametrize("url", ["sqlite://", "postgresql://somebody@somewhere/d"])
def test_a_store_that_is_no_file_of_this_host_is_never_replaced_by_one(url):
    opened = OpenedFile.of(read_address(url))
    assert [opened.is_swapped(), opened.is_swapped()] == [False, False]
