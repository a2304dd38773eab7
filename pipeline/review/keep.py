"""Which video of a group to keep, by rules and by what people decided, and which may go: a plan, never a deletion.

    groups = groups_of(found)
    plan = keep_plan(group, facts, ("longest", "largest"), decisions)

A video may only go if the one that is kept shows all of it: of an excerpt of a film the excerpt may, the film may not.
And if that one is there: a file that is gone, or another than was read, is not kept in place of one that is there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ndvr.operators.connected import families
from ndvr.operators.index.kinds import COVERED
from ndvr.operators.library.decisions import Decisions, pair_of
from ndvr.operators.storage.manifest import stat_files
from ndvr.operators.storage.object_store import Unreachable, is_object, stat_objects
from ndvr.operators.video.headers import Header, read_headers
from ndvr.pipeline.review.pairs import Found, Pair, Video

_NOT_THERE = "its file, or that of the one that is kept, is gone or another than was read: extract again first"
ALIKE = ("identical", "decided", "copy", "part", "contains", "alike")  # kinds that make a group
Action = Literal["keep", "may go", "look"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What rules ask of a video's file; None where it is not known."""

    duration_s: float | None = None
    pixels: int | None = None  # of a picture
    size: str = ""  # 1920x1080
    bytes: int | None = None
    rate_mbit: float | None = None  # bits a second, in millions
    mtime_ns: int | None = None
    codec: str = ""


# name -> (what is compared, highest first; how the reason reads)
RULES: dict[str, tuple[Callable[[Facts], float | None], str]] = {
    "longest": (lambda facts: None if facts.duration_s is None else round(facts.duration_s, 1), "the longest"),
    "largest": (lambda facts: facts.pixels, "the largest picture"),
    "oldest": (lambda facts: None if facts.mtime_ns is None else -facts.mtime_ns, "the oldest file"),
    "rate": (lambda facts: facts.rate_mbit, "the best rate"),
}
DEFAULT = ("longest", "largest", "rate", "oldest")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Videos that a chain of pairs connects; sorted by id."""

    videos: list[Video]
    pairs: list[Pair]


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a plan says of one video."""

    group: int  # from 1
    video_id: str
    action: Action
    kept: str  # the id of the video that is kept
    reason: str
    uri: str
    bytes: int | None


def groups_of(found: Found) -> list[Group]:
    """Group pairs, the largest group first, equals by their first id."""
    edges = [pair for pair in found.pairs if pair.kind in ALIKE]
    videos: dict[tuple[str, str], Video] = {}
    for pair in edges:
        videos |= {_name(pair.a): pair.a, _name(pair.b): pair.b}
    members = families([(_name(pair.a), _name(pair.b)) for pair in edges])
    groups = [Group(videos=[videos[name] for name in names], pairs=[]) for names in members]
    group_of = {name: group for names, group in zip(members, groups) for name in names}
    for pair in edges:
        group_of[_name(pair.a)].pairs.append(pair)
    return groups


def _name(video: Video) -> tuple[str, str]:
    """Tell apart videos of one id: those of different contents, as queries and videos may have."""
    return video.video_id, video.content


def facts_of(videos: Iterable[Video], headers: Mapping[str, Header] | None = None) -> dict[str, Facts]:
    """Collect what is known of the files, by content, as `headers` are; without these, what the library knows."""
    facts = {}
    for video in videos:
        header = (headers or {}).get(video.content)
        known = header is not None and header.codec is not None
        duration_s = video.duration_s or (header.duration_s if header and known else None)
        facts[video.content] = Facts(
            duration_s=duration_s,
            pixels=header.pixels if header and known else None,
            size=f"{header.width}x{header.height}" if header and known else "",
            bytes=video.bytes,
            rate_mbit=round(video.bytes * 8e-6 / duration_s, 3) if video.bytes and duration_s else None,
            mtime_ns=video.mtime_ns,
            codec=(header.codec or "") if header else "",
        )
    return facts


def absent(videos: Iterable[Video]) -> set[str]:
    """Find the places of videos where the file that was read is not, or may not be: gone, changed, out of reach."""
    known = {video.uri: (video.bytes, video.mtime_ns) for video in videos if video.uri and video.bytes is not None}
    objects = [uri for uri in known if is_object(uri)]
    now = stat_files({uri: uri for uri in known if not is_object(uri)})
    try:
        now |= dict(zip(objects, stat_objects(objects)))
    except Unreachable:
        now |= dict.fromkeys(objects)
    return {uri for uri, stat in known.items() if now[uri] != stat}


def check_rules(rules: Iterable[str]) -> None:
    """Raise ValueError for a rule that there is none of."""
    if unknown := [rule for rule in rules if rule not in RULES]:
        raise ValueError(f"unknown rule {unknown[0]!r}; choose among {', '.join(RULES)}")


def choose(
    group: Group,
    facts: Mapping[str, Facts],
    rules: Sequence[str],
    decisions: Decisions,
    *,
    absent: Collection[str] = (),
) -> tuple[Video, str]:
    """Choose the video to keep and say why:
    one that people said to keep, else by the rules, one after the other; last by id.

    One whose place is `absent` is only kept where all are.
    """
    check_rules(rules)
    left = [video for video in group.videos if video.uri not in absent] or list(group.videos)
    kept = decisions.kept()
    losers = {({*pair} - {winner}).pop() for pair, winner in kept.items()}
    winners = {winner for winner in kept.values() if winner not in losers}
    if chosen := [video for video in left if video.content in winners]:
        return chosen[0], "people decided to keep it"
    reasons = []
    for rule in rules:
        value, words = RULES[rule]
        known = [(each, of) for video in left if (each := value(facts[video.content])) is not None for of in [video]]
        if len(known) < len(left) or len(left) == 1:
            continue
        best = max(each for each, _ in known)
        if len(first := [video for each, video in known if each == best]) < len(left):
            reasons.append(words)
            left = first
    return left[0], ", then ".join(reasons) or "all are alike; the first by id"


def keep_plan(
    number: int,
    group: Group,
    facts: Mapping[str, Facts],
    rules: Sequence[str],
    decisions: Decisions,
    *,
    absent: Collection[str] = (),
) -> list[Line]:
    """Plan what to do with each video of a group: the kept one first."""
    kept, why = choose(group, facts, rules, decisions, absent=absent)
    known = {pair_of(pair.a.content, pair.b.content): pair for pair in group.pairs}
    lines = [_line(number, kept, "keep", kept, why)]
    for video in group.videos:
        if {video.uri, kept.uri} & {*absent}:
            lines += [_line(number, video, "look", kept, _NOT_THERE)] if video is not kept else []
        elif video is not kept:
            pair = known.get(pair_of(kept.content, video.content))
            lines.append(_line(number, video, *_verdict(pair, video, kept, decisions)))
    return lines


def _verdict(pair: Pair | None, video: Video, kept: Video, decisions: Decisions) -> tuple[Action, Video, str]:
    if decisions.kept().get(pair_of(kept.content, video.content)) == kept.content:
        return "may go", kept, "people decided to keep the other"
    if video.content == kept.content:
        return "may go", kept, "the same file, byte by byte"
    if pair is None:
        return "look", kept, "alike only by way of others of the group"
    if pair.kind == "identical":
        return "may go", kept, "the same file, byte by byte"
    is_a = pair.a is video or pair.a.content == video.content
    if pair.verdict and not _keeps_sound(pair.verdict.sound, is_a):
        return "look", kept, pair.verdict.words
    shown = pair.a_covered if is_a else pair.b_covered
    if shown is None:
        return "look", kept, f"alike with score {pair.score:.2f}; how much of it the other shows is not known"
    if shown >= COVERED:
        return "may go", kept, f"the other shows {shown:.0%} of it"
    return "look", kept, f"the other shows only {shown:.0%} of it"


def _keeps_sound(sound: str, is_a: bool) -> bool:
    """Say whether the sound of a video is lost with it, by what was heard of its pair."""
    return sound in ("same", "silent") or sound == ("muted" if is_a else "added")


def _line(number: int, video: Video, action: Action, kept: Video, reason: str) -> Line:
    return Line(
        group=number,
        video_id=video.video_id,
        action=action,
        kept=kept.video_id,
        reason=reason,
        uri=video.uri,
        bytes=video.bytes,
    )


def plan(found: Found, rules: Sequence[str], decisions: Decisions) -> list[Line]:
    """Plan for all groups. Headers are read only where a rule needs them."""
    groups = groups_of(found)
    every = [video for group in groups for video in group.videos]
    there = [video for video in every if video.uri] if "largest" in rules else []
    headers = read_headers([video.uri for video in there]) if there else ()
    facts = facts_of(every, dict(zip((video.content for video in there), headers)))
    away = absent(every)
    plans = (keep_plan(number, group, facts, rules, decisions, absent=away) for number, group in enumerate(groups, 1))
    return [line for lines in plans for line in lines]


def plan_csv(lines: Iterable[Line]) -> str:
    """Write the plan as a table."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Line)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    return text.getvalue()


def plan_text(lines: Sequence[Line]) -> str:
    """Sum a plan up in a sentence."""
    counts = {action: [line for line in lines if line.action == action] for action in ("keep", "may go", "look")}
    freed = sum(line.bytes or 0 for line in counts["may go"])
    return (
        f"{len({line.group for line in lines}):,} groups: {len(counts['keep']):,} videos to keep, "
        f"{len(counts['may go']):,} that may go ({freed / 1e6:,.1f} MB), {len(counts['look']):,} to look at first; "
        "nothing was deleted"
    )


def video_json(video: Video, facts: Facts) -> dict[str, Any]:
    """Describe a video with its facts, for pages and programs."""
    return asdict(facts) | {"video_id": video.video_id, "uri": video.uri, "remote": is_object(video.uri)}
