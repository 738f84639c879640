"""Somebody who is signed in and may be where she is, with what she sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parley.console.officer.roles import RIGHTS, NothingThere, Right
from parley.model.refusals import BadInput
from parley.model.staff import Scope, StaffMember, StaffSession, SwitchName


@dataclass(frozen=True, slots=True)
class Visit:
    """`csrf` for the page's forms; `form` of a POST, checked; `path` the address and `place` the words in it."""

    session: StaffSession
    csrf: str = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    path: str
    place: Mapping[str, Any]
    end_cookie: str = field(repr=False)

    @property
    def staff(self) -> StaffMember:
        return self.session.staff

    def may(self, right: str) -> bool:
        """For templates: whether to show a button at all. The door asks again."""
        return Right(right) in RIGHTS[self.staff.role]

    def switch(self) -> SwitchName:
        """Which switch the form names. Raises NothingThere."""
        try:
            return SwitchName(Scope(self.text("scope", 20)), self.text("what", 64))
        except ValueError:
            raise NothingThere() from None

    def text(self, name: str, length_max: int) -> str:
        value = self.form.get(name, "")
        if len(value) > length_max:
            raise BadInput("body_wrong_shape", f"{name} is too long")
        return value
