"""An exchange as a target: each change is an event, safe with the broker before the position is kept."""

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from nms.common import faults
from nms.common.change import Op
from nms.common.cloudevents import CONTENT_TYPE, Event, EventWriter
from nms.common.flow import Applied, Batch, ChangeRefused, OutletSpec, Store
from nms.connectors.amqp.config import Access
from nms.connectors.amqp.link import asking, connect, find_exchange, leave
from nms.connectors.amqp.problems import ERRORS, BrokerAway, EventTooLarge, ExchangeMissing, Unroutable, translate
from nms.connectors.amqp.window import Key, Window

EVENT_BYTES = 16 << 20
PUBLISH_SECONDS = 30.0


class ExchangeTarget:
    """Publishes over one channel: persistent, mandatory, confirmed, in order per key.

    A batch that could not be finished is sent again whole, with the same ids: at least once, told apart by id.
    """

    def __init__(self, access: Access, spec: OutletSpec, store: Store) -> None:
        self._access = access
        self._spec = spec
        self._store = store
        self._events = EventWriter(spec.source, spec.pipeline, spec.fields)
        self._addresses = {dataset: split_address(address) for dataset, address in spec.addresses.items()}
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchanges: dict[str, aio_pika.abc.AbstractExchange] = {}

    @classmethod
    async def open(cls, access: Access, spec: OutletSpec, store: Store) -> "ExchangeTarget":
        """Connect; raises a Problem, also when an exchange does not exist."""
        made = cls(access, spec, store)
        try:
            await made._start()
        except BaseException:
            await made.close()
            raise
        return made

    async def apply(self, batch: Batch) -> Applied:
        """Publish a batch and keep its position once all of it is confirmed; raises ChangeRefused or a Problem."""
        window = Window()
        count = 0
        try:
            async for events in self._events.events(batch):
                for event in events:
                    await self._send(window, event)
                count += len(events)
            await window.settle()
        finally:
            await window.drop()
        faults.point("outlet.before_save")
        await self._store.save(batch.position)
        return Applied(batch.position, changes=count, rows=count)

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        if self._connection is not None:
            await leave(self._connection)

    async def _start(self) -> None:
        self._connection = await connect(self._access, name=f"nms {self._spec.pipeline}")
        async with asking(self._access):
            self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            for name in {exchange for exchange, _ in self._addresses.values()}:
                await find_exchange(self._channel, name, at=self._access.system)
                self._exchanges[name] = await self._channel.get_exchange(name, ensure=False)

    async def _send(self, window: Window, event: Event) -> None:
        change = event.change
        if len(event.body) > EVENT_BYTES:
            text = f"an event of {change.shape.dataset} has {len(event.body)} bytes, {EVENT_BYTES} are sent"
            raise ChangeRefused(change, EventTooLarge(text, size=len(event.body), limit=EVENT_BYTES))
        exchange, key = self._addresses[change.shape.dataset]
        routing_key = key or f"{change.shape.dataset}.{change.op.value}"
        if change.op is Op.TRUNCATE:
            await window.settle()
        await window.send(_keys(event), len(event.body), lambda: self._publish(event, exchange, routing_key))
        if change.op is Op.TRUNCATE:
            await window.settle()

    async def _publish(self, event: Event, exchange: str, routing_key: str) -> None:
        message = aio_pika.Message(
            event.body,
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=event.id,
            type=event.change.op.value,
        )
        at = f"exchange {exchange} of {self._access.system}"
        try:
            await self._exchanges[exchange].publish(message, routing_key, mandatory=True, timeout=PUBLISH_SECONDS)
        except ChannelNotFoundEntity as error:
            raise ExchangeMissing(f"{at} is gone", exchange=exchange) from error
        except TimeoutError as error:
            text = f"{at}: no confirm within {PUBLISH_SECONDS:.0f} s (out of memory or disk space?)"
            raise BrokerAway(text) from error
        except ERRORS as error:
            problem = translate(error, at=at)
            if isinstance(problem, Unroutable):
                problem = Unroutable(f"{at}: no queue takes {routing_key}", exchange=exchange, routing_key=routing_key)
            raise problem from error


def split_address(address: str) -> tuple[str, str]:
    """Exchange and routing key of `EXCHANGE/ROUTING.KEY`; the key is empty where each event makes its own."""
    exchange, _, key = address.partition("/")
    return exchange, key


def _keys(event: Event) -> list[Key]:
    change = event.change
    if not change.shape.key or change.op is Op.TRUNCATE:
        return []
    dataset = change.shape.dataset
    old = [] if change.old_key is None else [(dataset, change.old_key)]
    return [(dataset, change.key), *old]
