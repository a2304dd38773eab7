"""The folder of downloads lies in everybody's /tmp: what others have put there under its name is left alone."""

import os
import stat

import pytest

from ndvr.operators.storage.fetch import _OwnFolder


@pytest.fixture
def tmp(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def shared(tmp):
    return tmp / f"ndvr-videos-{os.getuid()}"


def private(path) -> bool:
    found = os.lstat(path)
    return found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700


def test_processes_of_one_user_share_a_private_folder_and_clear_what_is_abandoned(tmp):
    first = _OwnFolder()
    (shared(tmp) / "left" / "deep").mkdir(parents=True)
    second = _OwnFolder()
    assert first.path.parent == second.path.parent == shared(tmp)
    assert private(shared(tmp)) and private(first.path)
    assert first.path.exists() and not (shared(tmp) / "left").exists()


def lock_that_is_a_link(tmp):
    shared(tmp).mkdir(mode=0o777)
    shared(tmp).chmod(0o777)
    (shared(tmp) / "lock").symlink_to(tmp / "thesis")


def another_folder_behind_a_link(tmp):
    (tmp / "papers" / "old").mkdir(parents=True, mode=0o700)
    (tmp / "papers").chmod(0o700)
    shared(tmp).symlink_to(tmp / "papers")


def a_folder_of_another_user(tmp):
    shared(tmp).mkdir(mode=0o700)
    (shared(tmp) / "lock").symlink_to(tmp / "thesis")
    if os.getuid() == 0:
        os.chown(shared(tmp), 65534, 65534)
    else:
        shared(tmp).chmod(0o770)


def a_file(tmp):
    shared(tmp).write_text("x")


@pytest.mark.parametrize(
    "prepare", [lock_that_is_a_link, another_folder_behind_a_link, a_folder_of_another_user, a_file]
)
def test_what_is_not_ours_is_neither_used_nor_changed(tmp, prepare):
    (tmp / "thesis").write_text("important")
    prepare(tmp)
    before = sorted(os.walk(tmp))
    folder = _OwnFolder()
    assert private(folder.path) and folder.path.parent == tmp
    assert (tmp / "thesis").read_text() == "important"
    for name in os.listdir(folder.path):
        (folder.path / name).unlink()
    folder.path.rmdir()
    assert sorted(os.walk(tmp)) == before


def test_a_link_in_place_of_the_lock_in_our_own_folder_is_not_followed(tmp):
    (tmp / "thesis").write_text("important")
    shared(tmp).mkdir(mode=0o700)
    (shared(tmp) / "lock").symlink_to(tmp / "thesis")
    with pytest.raises(OSError, match="symbolic links"):
        _OwnFolder()
    assert (tmp / "thesis").read_text() == "important"


def test_a_folder_that_was_cleared_away_is_noticed(tmp):
    folder = _OwnFolder()
    assert folder.stands
    for name in os.listdir(folder.path):
        (folder.path / name).unlink()
    folder.path.rmdir()
    assert not folder.stands
