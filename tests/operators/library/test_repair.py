"""Damage, what fsck says of it, what fsck itself advises, and the library as if nothing had happened."""

import json
import shutil
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from published_features import features, hdf5, imported

from ndvr.operators.library.fencing import lease_of, revoke
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cli import main

FILES = {
    "first": {"a": features(7, 1), "b": features(30, 2), "nothing": np.zeros((0, 9, 512), np.float32)},
    "second": {"c": features(1, 3), "d": features(5, 4)},
    "third": {"e": features(3, 5), "f": features(2, 6)},
}


def run(*arguments, code=None) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert code is None or done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three files of features, and a library of them: folded twice, and a commit that is not."""
    place = tmp_path_factory.mktemp("made")
    for name, arrays in FILES.items():
        imported(hdf5(place / f"{name}.hdf5", arrays), place / "lib")
        if name != "third":
            run("gc", place / "lib", code=0)
    return place, run("fsck", place / "lib", "--digest", "--quiet", code=0)


@pytest.fixture
def place(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "made")
    return tmp_path / "made"


def one(place, pattern, number=-1):
    """A file of the library that counts: a commit that is not folded, a ledger file that is not retired."""
    snapshots = sorted((place / "lib" / "snapshots").iterdir())
    state = json.loads(snapshots[-1].read_text())
    past = {*state["folded"], *(name.rpartition("/")[2] for name in state["retired"])}
    return [path for path in sorted((place / "lib").glob(pattern)) if path.name not in past][number]


def remove(pattern, number=-1):
    return lambda place: one(place, pattern, number).unlink()


def remove_all(pattern):
    return lambda place: [path.unlink() for path in (place / "lib").glob(pattern)]


def flip(pattern, share, number=-1):
    def damage(place):
        path = one(place, pattern, number)
        data = bytearray(path.read_bytes())
        data[int(share * (len(data) - 1))] ^= 0x04
        path.write_bytes(data)

    return damage


def cut(pattern, share):
    def damage(place):
        path = one(place, pattern)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return damage


def swap_shards(place):
    first, second = one(place, "shards/*/*", 0), one(place, "shards/*/*", 1)
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)


def rewrite(pattern, column, change):
    """Another program writes the file anew, with other values in one column."""

    def damage(place):
        path = one(place, pattern)
        table = pq.read_table(path)
        at = table.column_names.index(column)
        values = pa.array(change(table[column].to_pylist()), table.schema.field(at).type)
        pq.write_table(table.set_column(at, table.schema.field(at), values), path)

    return damage


DAMAGE = {
    "a shard is lost": remove("shards/*/*"),
    "all shards are lost": remove_all("shards/*/*"),
    "a shard is cut short": cut("shards/*/*", 0.7),
    "a shard is empty": cut("shards/*/*", 0),
    "shards are swapped": swap_shards,
    "times are others": rewrite("shards/*/*", "start_s", lambda values: [value + 1000 for value in values]),
    "ids in a shard are others": rewrite("shards/*/*", "video_id", lambda values: ["x"] * len(values)),
    "the last snapshot is lost": remove("snapshots/*"),
    "all snapshots are lost": remove_all("snapshots/*"),
    "a snapshot is empty": cut("snapshots/*", 0),
    "a ledger file is lost": remove("ledger/*"),
    "all ledger files are lost": remove_all("ledger/*"),
    "a ledger file is cut short": cut("ledger/*", 0.5),
    "a commit is lost": remove("commits/*"),
    "a commit is cut short": cut("commits/*", 0.5),
    "a commit is another": rewrite("commits/*", "video_id", lambda values: ["gone", *values[1:]]),
    "a configuration is lost": remove("configs/*.json"),
    "a configuration is empty": cut("configs/*.json", 0),
    "the description is lost": remove("library.json"),
    "the description is empty": cut("library.json", 0),
    "the description says nothing": lambda place: one(place, "library.json").write_text("{}"),
}
for pattern in ("shards/*/*", "snapshots/*", "ledger/*", "commits/*", "configs/*.json"):
    DAMAGE |= {f"a bit of {pattern} at {share:.0%}": flip(pattern, share) for share in (0.03, 0.4, 0.8, 0.99)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_mended_as_fsck_advises_and_leaves_no_trace(made, place, kind):
    library, undisturbed = place / "lib", made[1]
    DAMAGE[kind](place)
    found = CliRunner().invoke(main, ["fsck", str(library), "--quiet"])
    if found.exit_code == 0:  # nothing that counts has changed
        assert run("fsck", library, "--digest", "--quiet", code=0) == undisturbed
        return
    assert found.exit_code in (1, 2) and f"ndvr fsck {library} --repair" in found.output, found.output
    repaired = run("fsck", library, "--repair", "--quiet", code=0)
    assert "repaired: " in repaired and ": sound; " in repaired
    for name in FILES:
        imported(place / f"{name}.hdf5", library)
    assert run("fsck", library, "--digest", "--quiet", code=0) == undisturbed
    assert not any("no receipt" in line for line in json.loads(run("fsck", library, "--json", "--quiet"))["leftovers"])


@pytest.mark.slow
def test_nearly_every_kind_of_damage_is_found(made, tmp_path):
    silent = []
    for number, (kind, damage) in enumerate(DAMAGE.items()):
        shutil.copytree(made[0], tmp_path / str(number))
        damage(tmp_path / str(number))
        if CliRunner().invoke(main, ["fsck", str(tmp_path / str(number) / "lib"), "--quiet"]).exit_code == 0:
            silent.append(kind)
    # What the one before says, and the commits since, is the same.
    assert set(silent) <= {"the last snapshot is lost", "a bit of shards/*/* at 99%"}


# --- what is cleared away, and what is not ------------------------------------------------------------------------


def shards(place) -> list[str]:
    return sorted(path.name for path in (place / "lib" / "shards").rglob("*.parquet"))


@pytest.mark.parametrize("kind", ["all snapshots are lost", "a ledger file is lost", "a commit is lost"])
def test_gc_removes_nothing_of_a_library_that_has_lost_its_receipts(place, kind):
    DAMAGE[kind](place)
    before = shards(place)
    found = CliRunner().invoke(main, ["gc", str(place / "lib")])
    assert found.exit_code == 2 and "nothing was removed" in found.output
    assert f"ndvr fsck {place / 'lib'} --repair" in found.output
    assert shards(place) == before


def test_a_damaged_list_of_what_counts_of_a_writer_that_was_taken_over_is_told_and_made_again(made, place):
    library = place / "lib"
    lease = lease_of(one(place, "commits/*.parquet").name)
    revoke(Store(library), lease, by="'ndvr gc' on far (process 9)", because="had not been heard of for 130 s")
    run("gc", library, code=0)
    (listed,) = (library / "locks" / "revoked").glob(f"{lease}.*.json")
    for damaged in (listed.read_text().replace("commits/", "commits~"), "{}", ""):
        listed.write_text(damaged)
        told = run("fsck", library, "--quiet", code=1)
        assert f"{listed.name}, which says what counts of a writer that was taken over, is damaged" in told
        run("gc", library, code=2)
        run("fsck", library, "--repair", "--quiet", code=0)
        assert run("fsck", library, "--digest", "--quiet", code=0) == made[1]
        (listed,) = (library / "locks" / "revoked").glob(f"{lease}.*.json")


def test_a_shard_that_nobody_needs_is_no_lost_commit_because_its_video_was_removed(place):
    library = place / "lib"
    shard = next((library / "shards").glob("*/*.parquet"))
    shutil.copy(shard, shard.with_name("r0-of-a-killed-run.parquet"))
    run("remove", library, *FILES["first"], *FILES["second"], *FILES["third"], code=0)
    assert "a commit is lost" not in run("fsck", library, "--quiet", code=0)
    run("gc", library, "--force", code=0)


def test_gc_keeps_what_it_clears_away_for_a_week(made, place):
    library = place / "lib"
    run("remove", library, "e", "f", code=0)
    (gone,) = set(shards(place)) - set(shards_after(place, code=0))
    assert [path.name for path in (library / "trash").rglob("*.parquet")] == [gone]
    (folder,) = (library / "trash").iterdir()
    run("gc", library, code=0)
    assert folder.exists()
    folder.rename(folder.with_name("20200101T000000"))
    run("gc", library, code=0)
    assert not list((library / "trash").rglob("*.parquet"))


@pytest.mark.parametrize(("puts", "clears"), [(0, 30), (-30, 0)])
def test_the_week_of_what_was_cleared_away_is_one_week_on_all_hosts(place, monkeypatch, puts, clears):
    """Hosts whose clocks are days apart move something there, and clear up after it."""
    library = place / "lib"
    run("remove", library, "e", "f", code=0)
    for days in (puts, clears):

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None, days=days):
                return datetime.now(tz) + timedelta(days=days)

        monkeypatch.setattr("ndvr.operators.library.repair.datetime", Clock)
        run("gc", library, code=0)
        assert len(list((library / "trash").rglob("*.parquet"))) == 1


def shards_after(place, *options, code) -> list[str]:
    run("gc", place / "lib", *options, code=code)
    return shards(place)


def test_gc_empties_the_trash_when_asked(place):
    run("remove", place / "lib", "e", "f", code=0)
    shards_after(place, "--empty-trash", code=0)
    assert not list((place / "lib" / "trash").rglob("*.parquet"))


@pytest.mark.slow
def test_gc_removes_a_large_share_only_when_forced(tmp_path):
    for number in range(7):
        imported(hdf5(tmp_path / f"{number}.hdf5", {f"v{number}": features(2, number)}), tmp_path / "lib")
    run("remove", tmp_path / "lib", *(f"v{number}" for number in range(6)), code=0)
    before = shards(tmp_path)
    found = CliRunner().invoke(main, ["gc", str(tmp_path / "lib")])
    assert found.exit_code == 2 and "more than a tenth; nothing was removed" in found.output
    assert shards(tmp_path) == before
    assert len(shards_after(tmp_path, "--force", code=0)) == 1


def test_import_makes_videos_of_lost_shards_again_by_itself(made, place):
    remove("shards/*/*")(place)
    done = [imported(place / f"{name}.hdf5", place / "lib").done for name in FILES]
    assert sum(done) in (1, 2), "those of one shard"
    assert run("fsck", place / "lib", "--digest", "--quiet", code=0) == made[1]
