"""Handles: what a run gives the script for an artifact. Its name is there at once, its content when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lineshaft.core.artifact import Artifact, digest_of
from lineshaft.core.step import is_pending
from lineshaft.core.table import ROW_ID, Table
from lineshaft.errors import LineshaftError, UsageError

if TYPE_CHECKING:
    from lineshaft.core.home import Home
    from lineshaft.core.task import Task
    from lineshaft.train.features import Features

Content = TypeVar("Content")


class DryRunEnd(LineshaftError):  # noqa: N818 - where a dry run has to stop is no fault
    """A dry run met bytes that only a real run would make."""

    exit_code = 0


@dataclass(frozen=True)
class Handle(Generic[Content]):
    """An artifact of a run.

    Attributes
    ----------
    artifact
        Its name.
    home
        Where its bytes are.
    open
        Makes the content of the stored payload.

    """

    artifact: Artifact
    home: Home = field(repr=False, compare=False)
    open: Callable[[Any], Content] = field(repr=False, compare=False)

    def load(self) -> Content:
        """Read, verify and decode the content."""
        if is_pending(self.artifact):
            maker = self.artifact.digest.partition(":")[2]
            raise DryRunEnd(f"the script looks into what step {maker} would make; a dry run ends here")
        return self.open(self.home.get(self.artifact))

    @property
    def digest(self) -> str:
        """The digest of its bytes."""
        return self.artifact.digest

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.artifact})"

    def _repr_html_(self) -> str:
        content = self.load()
        shown = getattr(content, "_repr_html_", None)
        return str(shown()) if shown is not None else repr(content)


@dataclass(frozen=True, repr=False)
class Rows(Handle[Table]):
    """The handle of a table, with what is known of its columns.

    Attributes
    ----------
    key, group
        The columns that name a row, and the one that keeps rows together.
    schema
        The schema that these rows have passed.

    """

    key: tuple[str, ...] = ()
    group: str | None = None
    schema: Artifact | None = None

    def __len__(self) -> int:
        return len(self.load()) if is_pending(self.artifact) else int(self.artifact.meta["rows"])

    def view(self, columns: list[str] | None) -> Artifact:
        """Name some columns of all rows by their content: a step that reads only these depends on nothing else.

        ``row_id`` is among them. None: all columns, which is the table itself.
        """
        if columns is None or is_pending(self.artifact):
            return self.artifact
        return Artifact("View", self._digest([ROW_ID, *columns]), 0)

    def chunk_views(self, columns: list[str]) -> list[Artifact]:
        """Name the given columns of every chunk by their content, without the rows' names."""
        return [Artifact("View", self._digest(columns, [chunk]), 0) for chunk in self.artifact.meta["chunks"]]

    def _digest(self, columns: list[str], chunks: list[dict[str, Any]] | None = None) -> str:
        parts = []
        for chunk in self.artifact.meta["chunks"] if chunks is None else chunks:
            for name in columns:
                if name not in chunk["columns"]:
                    held = ", ".join(key for key in chunk["columns"] if key != ROW_ID)
                    raise UsageError(f"no column {name!r}; the table has {held}")
                parts.append(f"{name}={chunk['columns'][name]}")
            parts.append(str(chunk["rows"]))
        return digest_of("\n".join(parts).encode())


@dataclass(frozen=True, repr=False)
class ForTask(Handle[Content]):
    """The handle of something made for a task: labels, a model.

    Attributes
    ----------
    task
        The task.

    """

    task: Task


@dataclass(frozen=True, repr=False)
class Trained(ForTask[Content]):
    """The handle of a model.

    Attributes
    ----------
    features
        The features function that it was trained with; a run computes its chunks once for all who need them.
    schema
        The schema that its training rows had passed; the server checks requests against it.
    taught
        The labels that it learnt from: their rows cannot judge it.

    """

    features: Features
    schema: Artifact | None = None
    taught: Artifact | None = None


@dataclass(frozen=True)
class Parts(Mapping[str, Rows]):
    """The named parts of a split table: ``raw["train"]``.

    Attributes
    ----------
    parts
        Name to rows.

    """

    parts: Mapping[str, Rows]

    def __getitem__(self, name: str) -> Rows:
        if name not in self.parts:
            raise UsageError(f"there is no part {name!r}; the split has {', '.join(self.parts)}")
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class Checked(Parts):
    """What passed a schema, part by part.

    Attributes
    ----------
    rejected
        The rows that did not pass, each with its ``reasons``.
    anomalies
        What was found, part by part.

    """

    rejected: Parts = field(default_factory=lambda: Parts({}))
    anomalies: Mapping[str, Handle[Any]] = field(default_factory=dict)


def one_table(rows: Rows, what: str) -> Rows:
    """Refuse the parts of a split where one of them is meant."""
    if isinstance(rows, Parts):
        example = next(iter(rows.parts), "train")
        raise UsageError(f"{what} takes one table, and this is a split into {', '.join(rows.parts)}: add [{example!r}]")
    return rows
