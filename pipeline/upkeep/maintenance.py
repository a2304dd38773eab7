"""Look after a library: check it, clear it up, take videos out, tell the history of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.library.audit import Audit, audit
from ndvr.operators.library.cleanup import Tidied, tidy
from ndvr.operators.library.fencing import damaged_seals
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import DESCRIPTION, Library
from ndvr.operators.library.receipt_files import commit, fold, remedy, time_for_receipts
from ndvr.operators.library.repair import TRASH, Trash, ledger_damage, mend, orphan_damage, restore_description
from ndvr.operators.library.runs import new_run
from ndvr.operators.library.shards import SHARDS
from ndvr.operators.rows import EVERY_CONFIG, EVERY_VIDEO, LEDGER, REMOVED_CONTENT, table
from ndvr.operators.storage.store import Store
from ndvr.operators.storage.text_files import ids_among, read_id_lines, split_pair, visible
from ndvr.pipeline.progress import Progress, size_words
from ndvr.pipeline.runs.record import recover_runs


def fsck(library: str | Path, *, repair: bool = False, progress: bool = True) -> Audit:
    """Read every shard and compare it with the ledger; see ndvr.operators.library.audit.

    repair: mend what was found (ndvr.operators.library.repair) and check once more. Locked while somebody writes.
    """
    if not repair:
        return _audit(library, progress)
    restored = restore_description(Store(library))
    store = Library(library).store
    done = [f"{DESCRIPTION} was written again"] if restored else []
    for name in damaged_seals(store):  # before anybody can write: the lease makes new ones
        Trash(store).put(name)
        done.append(f"{name} was set aside; what counts of a writer that was taken over was listed anew")
    with Lease(store, "ndvr fsck --repair"):
        for _ in range(_ROUNDS):
            report = _audit(store, progress)
            if not report.damage:
                break
            done += mend(Library(store), report.damage)
        report = _audit(store, progress)
    report.repaired = done
    return report


_ROUNDS = 4  # of mending: shards can be checked when the ledger is whole, lost commits be seen when shards are checked


def _audit(library: str | Path | Store, progress: bool) -> Audit:
    with Progress("fsck", 1, "shard", show=progress) as bar:
        return audit(Library(library), lambda done, total: bar.follow(done, total, ""))


def audit_text(report: Audit) -> str:
    """Say for a person what was checked, what is wrong, and what to do."""
    lines = [f"repaired: {what}" for what in report.repaired]
    lines += [f"PROBLEM: {problem}" for problem in report.problems]
    lines += [f"left over: {leftover}" for leftover in report.leftovers]
    verdict = "sound" if report.sound else f"{len(report.problems)} problems"
    lines.append(
        f"{report.library}: {verdict}; {report.videos:,} videos, {report.rows:,} rows in {report.shards:,} shards, "
        f"{size_words(report.bytes)} of features, all as they were written"
        if report.sound
        else f"{report.library}: {verdict}; `ndvr fsck {report.library} --repair` mends what can be mended"
    )
    if report.repaired:
        lines.append(
            "run the extraction or import that made the library again: it makes what was given up; files that were "
            f"set aside lie in {report.library}/{TRASH}"
        )
    if report.leftovers:
        lines.append(f"left-overs do no harm; ndvr gc {report.library} removes them")
    return "\n".join(lines)


KEPT_DAYS = 7  # of what was cleared away
_MOST_SHARE, _FEW = 0.1, 5  # of the bytes in shards, and files: more go with `force` only


def gc(
    library: str | Path,
    *,
    old_versions: bool = False,
    dry: bool = False,
    force: bool = False,
    empty_trash: bool = False,
) -> Tidied:
    """Move to trash/ what no snapshot references: orphans of killed runs, dead rows, removed videos; fold the ledger.

    old_versions  also features of files that have changed since
    force         also more than a tenth of the library, and shards whose receipts are lost
    empty_trash   remove it all for good, and not only what was moved there a week ago
    Locked while somebody writes; ValueError, and nothing is removed, while the library has lost files of its ledger.
    """
    opened = Library(library)
    with Lease(opened.store, "ndvr gc"):
        if damage := ledger_damage(opened.store):
            raise ValueError(f"{library}: {damage[0].text}; nothing was removed; {remedy(opened.store)}")
        if not dry:
            recover_runs(opened, patient=True)
        planned = tidy(opened, old_versions=old_versions, dry=True)
        if dry:
            return planned
        if not force:
            _refuse_too_much(Library(opened.store), planned)
        trash = Trash(opened.store)
        trash.expire(days=KEPT_DAYS)
        done = tidy(opened, old_versions=old_versions, trash=trash)
        if empty_trash:
            trash.expire(days=0)
        elif opened.store.walk(trash.folder):
            done.trash = f"{opened}/{trash.folder}"
        fold(opened.store, fewest=1)
        fold(opened.store, fewest=1)
        return done


def _refuse_too_much(library: Library, planned: Tidied) -> None:
    """Raise ValueError when so much would go that a loss is more likely than a mess,
    or shards whose receipts are lost.
    """
    if lost := orphan_damage(library, planned.orphans):
        raise ValueError(
            f"{library}: {lost[0].text}; nothing was removed; {remedy(library.store)}, and --force removes them anyway"
        )
    files = [name for name in (*planned.orphans, *planned.dropped) if name.startswith(f"{SHARDS}/")]
    total = sum(sum(library.store.sizes(f"{SHARDS}/{config}").values()) for config in library.configs)
    if len(files) > _FEW and planned.bytes > _MOST_SHARE * total:
        raise ValueError(
            f"{library}: {len(files):,} shards with {size_words(planned.bytes)} of {size_words(total)} would go, more "
            f"than a tenth; nothing was removed: look with --dry-run, and give --force if that is right"
        )


def tidied_text(done: Tidied, *, dry: bool) -> str:
    """List for a person what was removed, or would be."""
    would = "would remove" if dry else "removed"
    names = [*done.orphans, *done.dropped, *(f"{name} (rewritten)" for name in done.rewritten)]
    lines = [f"  {name}" for name in names]
    files = len(done.orphans) + len(done.dropped)
    lines.append(f"{would} {files:,} files and {done.rows:,} rows that nothing needs, {size_words(done.bytes)}")
    if done.trash:
        lines.append(f"they lie in {done.trash} for {KEPT_DAYS} days; --empty-trash removes them for good now")
    return "\n".join(lines)


def remove(
    library: str | Path, ids: Iterable[str], *, reason: str = "", content: bool = False, undo: bool = False
) -> list[str]:
    """Take videos out under all configurations, or back in; returns the ids of all that this changed.

    They are invisible at once and stay out when their files turn up again; `gc` then removes their rows for good.
    content  what they hold (SHA-256) stays out too, under whatever name it is or comes
    ValueError for a video that is not there.
    """
    opened, wanted = Library(library), sorted(set(ids))
    with Lease(opened.store, "ndvr remove"):
        lookup = opened.lookup(opened.configs, wanted)
        entries = {video_id: entry for of_config in lookup.entries.values() for video_id, entry in of_config.items()}
        if missing := [video_id for video_id in wanted if video_id not in entries]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"{library} has no video {missing[0]!r}{more}; `ndvr show {library} --list` lists them")
        changed = [video_id for video_id in wanted if entries[video_id].removed == undo]
        contents = _contents(lookup.receipts, set(wanted)) if content or undo else set()
        contents = contents & lookup.removed_contents if undo else contents - lookup.removed_contents
        rows = [{"video_id": video_id, "message": "removed"} for video_id in changed]
        rows += [{"video_id": EVERY_VIDEO, "sha256": each, "message": REMOVED_CONTENT} for each in sorted(contents)]
        others = _ids_with(opened, contents, removed=undo)
        _commit_removal(opened, rows, reason, undo=undo)
        return sorted({*changed, *others})


def _commit_removal(library: Library, rows: list[dict[str, Any]], reason: str, *, undo: bool) -> None:
    run = new_run()
    common = {"config": EVERY_CONFIG, "run": run, "attempt": 0, "piece": 0}
    if undo:
        rows = [row | {"kind": "restored", "message": None} for row in rows]
    else:
        why = f": {reason}" if reason else ""
        rows = [row | {"kind": "removed", "status": "skipped", "message": row["message"] + why} for row in rows]
    if rows:
        common["finished"] = time_for_receipts(library.store)
        commit(library.store, f"{run}-removed", table([common | row for row in rows], LEDGER))


def _contents(receipts: pa.Table, ids: set[str]) -> set[str]:
    """Find the SHA-256 that the file of each video had when it was last read, under every configuration."""
    rows = receipts.select(["video_id", "config", "kind", "sha256", "finished"]).sort_by("finished").to_pylist()
    read = [row for row in rows if row["video_id"] in ids and row["kind"] in ("end", "seen") and row["sha256"]]
    return set({(row["video_id"], row["config"]): row["sha256"] for row in read}.values())


def _ids_with(library: Library, contents: set[str], *, removed: bool) -> set[str]:
    """Find the videos that have one of these contents now, of which `removed` tells what they were before."""
    if not contents:
        return set()
    by_config = [library.entries(config) for config in library.configs]
    every = {video_id: entry for entries in by_config for video_id, entry in entries.items()}
    return {
        video_id for video_id, entry in every.items() if entry.end["sha256"] in contents and entry.removed == removed
    }


def gone_ids(library: str | Path) -> list[str]:
    """List the ids of the videos that the folder which gave them has no more, as extractions found."""
    opened = Library(library)
    by_config = [opened.entries(config) for config in opened.configs]
    return sorted({video_id for entries in by_config for video_id, entry in entries.items() if entry.gone})


def listed_ids(library: str | Path, place: str | Path) -> list[str]:
    """Read the ids that a list names; "-" is standard input, "id path" names the id."""
    lines, opened = read_id_lines(place), Library(library)
    by_config = opened.lookup(opened.configs, sorted({*lines, *(split_pair(line)[0] for line in lines)})).entries
    return ids_among(lines, {video_id for entries in by_config.values() for video_id in entries})


@dataclass(frozen=True, kw_only=True)
class History:
    """All that the ledger says of one video, in order of time."""

    library: str
    video_id: str
    rows: list[Mapping[str, Any]] = field(repr=False)
    stands: dict[str, str]  # by configuration, what holds now
    versions: dict[str, int]  # windows that are kept, by configuration and content

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [f"{self.video_id} in {self.library}"]
        lines += [f"  {config}: {what}" for config, what in self.stands.items()]
        lines += [f"  kept: {windows:,} windows of {what}" for what, windows in self.versions.items()]
        run = None
        for row in self.rows:
            if row["run"] != run:
                run = row["run"]
                where = f" on {row['host']}" if row["host"] else ""
                lines.append(f"run {run}{where}")
            lines.append(f"  {_moment(row['finished'])}  {_row_text(row)}")
        return visible("\n".join(lines))


def explain(library: str | Path, video_id: str) -> History:
    """Tell the history of one video: attempts, decoders, timings, shards. ValueError when the ledger has none."""
    opened = Library(library)
    lookup = opened.lookup(opened.configs, [video_id])
    order = [(column, "ascending") for column in ("finished", "attempt", "piece")]
    rows = lookup.receipts.sort_by(order).to_pylist()
    contents = {row["sha256"] for row in rows if row["video_id"] == video_id}
    rows = [row for row in rows if row["video_id"] == video_id or row["sha256"] in contents]  # else of other contents
    if not any(row["video_id"] == video_id for row in rows):
        raise ValueError(f"{library} knows nothing of {video_id!r}; `ndvr show {library} --list` lists its videos")
    stands = {}
    versions = {}
    for config, entries in lookup.entries.items():
        if entry := entries.get(video_id):
            end = entry.end
            why = ": ".join(str(part) for part in (end["error_class"], end["message"]) if part)
            state = (
                f"{entry.status}, {entry.windows:,} windows" if entry.status == "done" else f"{entry.status} ({why})"
            )
            stands[config] = f"{state}{', quarantined' if end['quarantined'] else ''}"
        for (_, content), version in lookup.versions(config).items():
            versions[f"{config}, content {(content or 'unknown')[:12]}"] = version.windows
    return History(library=str(opened), video_id=video_id, rows=rows, stands=stands, versions=versions)


def _moment(when: datetime | None) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else "?"


def _row_text(row: Mapping[str, Any]) -> str:
    """Put one row of the ledger into words."""
    kind = row["kind"]
    if kind == "piece":
        if row["status"] == "failed":
            return f"{row['method']}: piece {row['piece']} failed ({row['error_class']}): {row['message']}"
        times = f"embedded in {row['embed_s'] or 0:.2f} s, written in {row['write_s'] or 0:.2f} s"
        where = f"rows {row['shard_row']:,} to {row['shard_row'] + row['windows_count'] - 1:,} of {row['shard']}"
        return f"{row['method']}: piece {row['piece']}, {row['windows_count']} windows, {where}; {times}"
    if kind in ("end", "attempt"):
        what = row["status"] if kind == "end" else "tried again"
        why = ": ".join(part for part in (row["error_class"], row["message"]) if part)
        facts = [f"attempt {row['attempt']}", row["decoder"] or "no decoder"]
        facts += [f"{row['frames']:,} frames"] if row["frames"] is not None else []
        facts += [f"{row['decode_s']:.2f} s of CPU"] if row["decode_s"] is not None else []
        facts += [f"{row['deaths']} decoders died"] if row["deaths"] else []
        return f"{row['method']}: {what}{f' ({why})' if why else ''}; {', '.join(facts)}; {row['uri']}"
    if kind == "seen":
        return f"{row['method']}: the same bytes found at {row['uri']}"
    if kind in ("gone", "back"):
        return f"{row['message']}{', kept out of new pairs' if row['status'] == 'skipped' else ''}"
    return {"removed": row["message"], "restored": "restored"}.get(kind, row["message"] or kind)
