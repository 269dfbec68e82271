"""Commands that name, bring back and give up versions and tables, and those that keep a store small."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from quantstore.cli.arguments import parse_as_of
from quantstore.cli.output import stamp, text_table
from quantstore.cli.progress import progress_line
from quantstore.cli.running import opened, show


def delete(options: argparse.Namespace) -> int:
    """Delete rows that meet a condition."""
    with opened(options) as store, progress_line():
        result = store.delete(options.table, options.where, write_id=options.write_id, dry_run=options.dry_run)
    show(options, result, repr)
    return 0


def tag(options: argparse.Namespace) -> int:
    """Name a version, take a name away, or list the names."""
    with opened(options, read_only=options.name is None) as store:
        if options.name is None:
            tags = store.metadata_catalog.marks.tags()
            show(options, tags, _tags_page)
        elif options.delete:
            show(
                options, store.untag(options.name), lambda gone: f"tag {gone.name} (version {gone.version}) taken away"
            )
        else:
            named = store.tag(options.name, parse_as_of(options.version))
            show(options, named, lambda made: f"tag {made.name}: version {made.version}")
    return 0


def restore(options: argparse.Namespace) -> int:
    """Make a new version of a table that is as an old one was."""
    with opened(options) as store:
        store.table(options.table).restore(parse_as_of(options.version))
        _show_newest(options, store, options.table)
    return 0


def rename(options: argparse.Namespace) -> int:
    """Give a table another name."""
    with opened(options) as store:
        store.table(options.table).rename(options.new)
        _show_newest(options, store, options.new)
    return 0


def drop(options: argparse.Namespace) -> int:
    """Take a table away."""
    with opened(options) as store:
        version = store.table(options.table).drop()
    show(options, {"table": options.table, "version": version}, lambda _: f"{options.table} dropped, version {version}")
    return 0


def undrop(options: argparse.Namespace) -> int:
    """Bring a dropped table back."""
    with opened(options) as store:
        store.undrop(options.table)
        _show_newest(options, store, options.table)
    return 0


def compact(options: argparse.Namespace) -> int:
    """Merge small segments."""
    with opened(options) as store, progress_line():
        report = store.compact(options.table, tier=options.tier, dry_run=options.dry_run)
    show(options, report, repr)
    return 0


def expire(options: argparse.Namespace) -> int:
    """Give up old versions."""
    with opened(options) as store, progress_line():
        expired = store.expire(options.older_than, dry_run=options.dry_run)
    show(options, expired, repr)
    return 0


def publish(options: argparse.Namespace) -> int:
    """Publish the cold rows of tables."""
    with opened(options) as store, progress_line():
        published = store.publish(options.table)
    show(options, published, lambda found: "\n".join(map(repr, found)) or "nothing to publish")
    return 0


def maintain(options: argparse.Namespace) -> int:
    """Do all upkeep."""
    with opened(options) as store, progress_line():
        done = store.maintain(options.older_than, grace=options.grace)
    value = {"done": {name: repr(found) for name, found in done.done.items()}, "failed": _failures(done.failed)}
    show(options, value if options.json else done, repr)
    return 0 if done else 1


def _failures(failed: dict[str, Any]) -> dict[str, str]:
    return {name: str(error) for name, error in failed.items()}


def _show_newest(options: argparse.Namespace, store: Any, table: str) -> None:
    """Show what the newest version did."""
    change = store.metadata_catalog.changes()[0]
    facts = {name: value for name, value in asdict(change).items() if name != "lineage"}
    show(options, facts, lambda _: f"{table}: {change.operation}, version {change.version}")


def _tags_page(tags: Any) -> str:
    rows = [(one.name, str(one.version), stamp(one.created_ns), one.author) for one in tags]
    return text_table(("tag", "version", "created", "author"), rows, right=(1,)) if rows else "no tags"
