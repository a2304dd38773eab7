"""What VIDEOS gave and could not give: folders that cannot be listed, links, files that are still growing."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from receipt_rows import end

from ndvr.operators.library.library import Library
from ndvr.operators.library.shards import Write
from ndvr.operators.rows import table
from ndvr.pipeline.cli import main
from ndvr.pipeline.extraction._receipts import Receipts
from ndvr.pipeline.extraction.extract import configure
from ndvr.pipeline.runs.record import Summary, summary_text
from ndvr.pipeline.runs.status import Status
from ndvr.pipeline.settings import choose


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder():
    """A folder that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextlib.contextmanager
def without_rights(closed: Path):
    """A user who may not look into a folder; root may look everywhere."""
    user = os.geteuid()
    closed.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        closed.chmod(0o755)


def settle(library: Path, videos: Path, *names: str) -> None:
    """Make a library that has these files under thumbprint, so that an extraction has nothing to compute."""
    (config,) = configure(choose(("thumbprint",), None, None), "auto").values()
    opened = Library.create(library)
    opened.add_config(config)
    rows = []
    for name in names:
        status = (videos / name).stat()
        row = {"video_id": name, "method": "thumbprint", "config": config.name, "run": "r1", "attempt": 1}
        row |= {"kind": "end", "piece": 0, "windows_count": 0, "status": "done", "uri": str((videos / name).resolve())}
        rows.append(row | {"sha256": name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns})
    Write(library, {})(table(rows))
    for path in [library, *library.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)


def test_a_folder_that_cannot_be_listed_is_named_counted_and_costs_exit_code_1(folder):
    videos = folder / "v"
    for name in ("open/a.mp4", "closed/b.mp4"):
        (videos / name).parent.mkdir(parents=True)
        (videos / name).write_bytes(b"x" * 50)
    settle(folder / "lib", videos, "open/a.mp4", "closed/b.mp4")
    with without_rights(videos / "closed"):
        as_json = run("extract", videos, folder / "lib", "--json", "--quiet")
        as_text = run("extract", videos, folder / "lib", "--quiet")
        plan = run("plan", videos, folder / "lib", "--json", "--quiet")
    assert (as_json.exit_code, as_text.exit_code) == (1, 1), as_json.output
    found = json.loads(as_json.stdout)
    assert found["unlisted"] == {str(videos / "closed"): "Permission denied"} and found["videos"] == 1
    assert f"cannot look into {videos / 'closed'}: Permission denied" in as_text.stderr
    assert "1 folders or files could not be looked at" in as_text.stdout
    assert plan.exit_code == 1 and json.loads(plan.stdout)["unlisted"] == found["unlisted"]
    assert f"cannot look into {videos / 'closed'}" in plan.stderr
    assert set(Library(folder / "lib").entries(*Library(folder / "lib").configs)) == {"closed/b.mp4", "open/a.mp4"}


def test_further_names_of_the_same_file_are_counted_and_are_no_videos(tmp_path):
    videos = tmp_path / "v"
    videos.mkdir()
    (videos / "a.mp4").write_bytes(b"x" * 50)
    (videos / "link.mp4").symlink_to("a.mp4")
    os.link(videos / "a.mp4", videos / "hard.mp4")
    settle(tmp_path / "lib", videos, "a.mp4")
    done = run("extract", videos, tmp_path / "lib", "--quiet")
    assert done.exit_code == 0, done.output
    assert "1 videos: 0 done, 1 skipped (already done)" in done.stdout
    assert "2 further names (links) of the same files" in done.stdout
    found = json.loads(run("extract", videos, tmp_path / "lib", "--json", "--quiet").stdout)
    assert found["other_names"] == {"a.mp4": ["hard.mp4", "link.mp4"]}


def test_a_file_that_had_another_size_when_it_was_read_is_told():
    todo = [
        {"video_id": video_id, "methods": ["thumbprint"], "contents": [None], "bytes": 1000}
        for video_id in ("grew", "same", "unread")
    ]
    with Status(3, show=False) as status:
        receipts = Receipts(todo, status)
        rows = [end("grew", bytes=1200), end("same"), end("unread", bytes=None, status="failed", error_class="io")]
        receipts.take(pa.Table.from_pylist(rows))
    summary = Summary(library="lib", methods=["thumbprint"], untrained=[], videos=3)
    receipts.add_to(summary)
    assert summary.growing == ["grew"]
    assert "1 files changed in size between planning and reading (such as 'grew')" in summary_text(summary)


class TestGone:
    """A folder gave three videos, and no longer has all of them."""

    @pytest.fixture
    def videos(self, tmp_path):
        made = tmp_path / "v"
        for name in ("a.mp4", "sub/b.mp4", "sub/c.mp4"):
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(b"x" * 50)
        settle(tmp_path / "lib", made, "a.mp4", "sub/b.mp4", "sub/c.mp4")
        return made

    @pytest.fixture
    def library(self, videos, tmp_path):
        return tmp_path / "lib"

    def extract(self, videos, library, *options):
        done = run("extract", videos, library, "--quiet", *options)
        assert done.exit_code == 0, done.output
        return done.stdout

    def statuses(self, library) -> dict[str, str]:
        opened = Library(library)
        (config,) = opened.configs
        return {video_id: entry.status for video_id, entry in opened.entries(config).items()}

    def test_it_is_told_and_stays_in_pairs_unless_it_is_marked(self, videos, library):
        assert "no longer there" not in self.extract(videos, library)
        (videos / "sub" / "b.mp4").unlink()
        text = self.extract(videos, library)
        assert f"1 videos of the library that came from {videos} are no longer there, such as 'sub/b.mp4'" in text
        assert "0 are marked" in text and f"ndvr remove {library} --all-gone" in text
        assert set(self.statuses(library).values()) == {"done"}
        assert "1 are marked" in self.extract(videos, library, "--gone", "mark")
        assert self.statuses(library) == {"a.mp4": "done", "sub/b.mp4": "skipped", "sub/c.mp4": "done"}
        assert "1 gone from the folder that gave them, 1 of them marked" in run("show", library).stdout
        assert f"no longer in {videos}, kept out of new pairs" in run("explain", library, "sub/b.mp4").stdout
        assert "1 are marked" in self.extract(videos, library), "what is marked stays marked"

    def test_it_comes_back_with_its_file(self, videos, library):
        (videos / "sub").rename(videos.parent / "away")
        self.extract(videos, library, "--gone", "mark")
        assert self.statuses(library) == {"a.mp4": "done", "sub/b.mp4": "skipped", "sub/c.mp4": "skipped"}
        (videos.parent / "away").rename(videos / "sub")
        assert "3 skipped (already done)" in self.extract(videos, library)
        assert set(self.statuses(library).values()) == {"done"}
        assert "gone" not in run("show", library).stdout

    def test_nothing_is_written_twice(self, videos, library):
        (videos / "a.mp4").unlink()
        self.extract(videos, library, "--gone", "mark")
        before = sorted(library.rglob("*.parquet"))
        self.extract(videos, library, "--gone", "mark")
        self.extract(videos, library)
        assert sorted(library.rglob("*.parquet")) == before

    def test_one_command_removes_all_that_are_gone(self, videos, library):
        (videos / "sub" / "b.mp4").unlink()
        (videos / "sub" / "c.mp4").unlink()
        self.extract(videos, library)
        assert run("remove", library, "--all-gone").stdout.startswith("2 videos removed")
        assert run("remove", library, "--all-gone").stdout.startswith("0 videos removed")
        assert self.statuses(library) == {"a.mp4": "done", "sub/b.mp4": "skipped", "sub/c.mp4": "skipped"}

    def test_only_what_this_folder_gave_and_shows_now_is_judged(self, videos, library, tmp_path):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "d.mp4").write_bytes(b"y" * 60)
        settle(library, tmp_path / "other", "d.mp4")
        assert "no longer there" not in self.extract(tmp_path / "other", library)
        (tmp_path / "list.txt").write_text(f"d.mp4 {tmp_path / 'other' / 'd.mp4'}\n")
        (videos / "sub" / "c.mp4").unlink()
        assert "no longer there" not in self.extract(tmp_path / "list.txt", library)
        (videos / "sub" / "b.mp4").rename(videos / "sub" / "b.txt")
        (videos / "sub" / "b.mp4").symlink_to("b.txt")
        assert "1 videos of the library" in self.extract(videos, library)

    def test_what_lies_in_a_folder_that_cannot_be_listed_is_not_gone(self, folder):
        (folder / "v" / "closed").mkdir(parents=True)
        for name in ("v/a.mp4", "v/closed/b.mp4"):
            (folder / name).write_bytes(b"x" * 50)
        settle(folder / "lib", folder / "v", "a.mp4", "closed/b.mp4")
        with without_rights(folder / "v" / "closed"):
            done = run("extract", folder / "v", folder / "lib", "--quiet", "--gone", "mark")
        assert done.exit_code == 1 and "no longer there" not in done.stdout
        assert set(self.statuses(folder / "lib").values()) == {"done"}
