"""What can be told of the tables at a pipeline's source, whatever the capture."""

from collections.abc import Sequence
from dataclasses import dataclass

from nms.common.change import Change, Shape
from nms.connectors.postgres.display import show_key, show_values
from nms.connectors.postgres.problems import NotAMessage
from nms.connectors.postgres.snapshot import Dataset


@dataclass(slots=True)
class ShapedEnd:
    """The source's end of an open pipeline, as far as the shapes of its changes tell; parents before children."""

    text_form: bool

    def all_shapes(self) -> Sequence[Shape]:
        """The shapes that changes have now, one a dataset."""
        return ()

    @property
    def names(self) -> Sequence[str]:
        """The datasets, by their names at the source."""
        return [shape.dataset for shape in self.all_shapes()]

    def shape(self, dataset: str) -> Shape:
        """The shape of a dataset's changes."""
        return next(shape for shape in self.all_shapes() if shape.dataset == dataset)

    def show_key(self, change: Change) -> str:
        """A change's key as a person reads it."""
        return show_key(change.shape, change.key, text_form=self.text_form)

    def show_values(self, change: Change) -> dict[str, str | None]:
        """A change's values as a person reads them."""
        return show_values(change, text_form=self.text_form)

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """Refused: a table has no messages to be read again."""
        raise NotAMessage(f"{dataset} is a table, {len(body)} bytes are no change of it", dataset=dataset)


@dataclass(slots=True)
class TableEnd(ShapedEnd):
    """The same of tables that are copied first."""

    datasets: list[Dataset]

    def all_shapes(self) -> Sequence[Shape]:
        """The shapes of the tables as the source has them now."""
        return [one.shape for one in self.datasets]

    def copied(self) -> tuple[int, int]:
        """Rows copied, and about how many there are."""
        return sum(one.rows for one in self.datasets), sum(max(one.rows, one.estimate) for one in self.datasets)
