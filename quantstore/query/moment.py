"""What callers mean by a version: its number, a tag, or an instant."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import TYPE_CHECKING, Any

from quantstore.catalog.marks import no_such_version, unknown_tag
from quantstore.core.names import check_name
from quantstore.errors import InvalidInputError
from quantstore.query.literals import instant_ns, is_bare_date

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog


def version_of(catalog: Catalog, when: Any, what: str) -> int:
    """Return the version that a number, a tag or an instant means.

    Args:
        catalog: Knows the versions and tags.
        when: A version's number, a tag, or an instant with a time of day (text, `datetime`, Timestamp; no zone: UTC).
        what: The parameter's name, for the error.

    Raises:
        NotFoundError: There is no such version or tag; the nearest tag is named.
        InvalidInputError: It is a bare date, or none of these.
    """
    if isinstance(when, Integral) and is_number(str(when)):  # True and False are no numbers
        number, newest = int(when), catalog.snapshot().version
        if not 0 <= number <= newest:
            raise no_such_version(number, newest)
        return number
    if is_bare_date(when):
        raise InvalidInputError(
            f"{what}={when!r} is a day, and the store changes within days; give a time of day and zone, such as "
            f"'{when}T16:00Z'."
        )
    if isinstance(when, str):
        if is_number(when):
            raise InvalidInputError(f"{what}={when!r} is text; pass a version as a number: {what}={int(when)}.")
        tags = {tag.name: tag.version for tag in catalog.marks.tags()}
        if when in tags:
            return _not_later(catalog, tags[when])
        if not is_instant(when) and not any(map(str.isdigit, when[:4])):
            raise unknown_tag(when, list(tags))
    return catalog.version_at(instant_ns(when, what))


def check_tag(name: str) -> str:
    """Return `name` if it can be a tag.

    Raises:
        InvalidInputError: It cannot be told from a version's number or an instant, or be read.
    """
    check_name(name, "tag")
    if name != name.strip():
        raise InvalidInputError(f"The tag name {name!r} begins or ends with a space; remove it.")
    if is_number(name) or is_instant(name):
        kind = "a version's number" if is_number(name) else "an instant"
        raise InvalidInputError(f"The tag name {name!r} reads as {kind}; choose another, such as 'paper-1'.")
    return name


def is_number(text: str) -> bool:
    """Whether a text reads as a whole number."""
    try:
        int(text)
    except ValueError:
        return False
    return True


def is_instant(text: str) -> bool:
    """Whether a text reads as a point in time."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of zones that mean nothing, and the like
            instant_ns(text, "")
    except InvalidInputError:
        return False
    return True


def _not_later(catalog: Catalog, version: int) -> int:
    newest = catalog.snapshot().version
    if version > newest:  # a tag of what came after the version that a store is looked at
        raise no_such_version(version, newest)
    return version
