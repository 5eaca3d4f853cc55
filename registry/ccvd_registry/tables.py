"""The schema, as tables. Change it by appending a migration; a test compares the two."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import JSON, Column, DateTime, MetaData, String
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """SQLite keeps no time zone: dates are stored in UTC and come back aware."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        return None if value is None else value.replace(tzinfo=timezone.utc)


def now() -> datetime:
    return datetime.now(timezone.utc)


class Table(SQLModel):
    # Named constraints, because a later migration can only alter what has a name.
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class Base(Table, table=True):
    """A base model that something was learned on; the fingerprint is its identity."""

    id: int | None = Field(default=None, primary_key=True)
    name: str
    family: str
    fingerprint: str = Field(unique=True)
    location: str


class Task(Table, table=True):
    """One act of learning. It outlives its concept, so that neither an order nor a V<n> is given twice."""

    id: int | None = Field(default=None, primary_key=True)
    order: int = Field(unique=True)
    name: str
    kind: str
    base_id: int = Field(foreign_key="base.id")
    started: datetime = Field(sa_type=UtcDateTime)
    finished: datetime = Field(sa_type=UtcDateTime, default_factory=now)
    seed: int
    recipe: dict[str, Any] = Field(sa_type=JSON)
    how: dict[str, Any] = Field(sa_type=JSON, default_factory=dict)
    data: list[dict[str, str]] = Field(sa_type=JSON)
    loss_curve: list[float] = Field(sa_type=JSON)


class Concept(Table, table=True):
    """What a prompt can name. Unique whatever the case: text encoders lower-case their prompts."""

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_column=Column(String(collation="NOCASE"), unique=True, nullable=False))
    kind: str
    class_noun: str
    base_id: int = Field(foreign_key="base.id")
    task_id: int = Field(foreign_key="task.id", unique=True)
    created: datetime = Field(sa_type=UtcDateTime, default_factory=now)


class Part(Table):
    """One tensor file of a concept; it goes when the concept goes."""

    concept_id: int = Field(primary_key=True, foreign_key="concept.id", ondelete="CASCADE")
    digest: str
    bytes: int


class Adapter(Part, table=True):
    """The concept's adapter: how many sites of the base it sits at, and how many numbers it has."""

    sites: int
    parameters: int


class Embedding(Part, table=True):
    """The concept's layer-specific tokens."""


class Prototype(Part, table=True):
    """The concept's attributes: the text states of its tokens per layer, and its image embedding."""


class Generation(Table, table=True):
    """A generated clip. It keeps names and digests, not references: concepts may be removed later."""

    id: int | None = Field(default=None, primary_key=True)
    created: datetime = Field(sa_type=UtcDateTime, default_factory=now)
    prompt: str
    seed: int
    settings: dict[str, Any] = Field(sa_type=JSON)
    concepts: list[dict[str, str]] = Field(sa_type=JSON)
    base_id: int = Field(foreign_key="base.id")
    output: str


class Evaluation(Table, table=True):
    """What one evaluation found of a concept. `after` is the last task's order then: what had been learned by that time."""

    id: int | None = Field(default=None, primary_key=True)
    concept_id: int = Field(foreign_key="concept.id", ondelete="CASCADE", index=True)
    created: datetime = Field(sa_type=UtcDateTime, default_factory=now)
    after: int
    how: dict[str, Any] = Field(sa_type=JSON)
    scores: dict[str, Any] = Field(sa_type=JSON)
