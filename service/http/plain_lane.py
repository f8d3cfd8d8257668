"""The lane of plain requests: from bytes to the queue, and from the queue to bytes, with as little as possible between.

A request is plain if its connection is idle, its bytes come in one piece, and its head is known (`KnownHeads`). The
lane gathers the plain requests that one turn of the event loop reads. Those with one row for the same model version
become one ticket (`PlainGroup`): one entry in the queue, one deadline, one count, and answers that are cut from one
text. So a request costs little more than its JSON.

A plain request that needs more becomes a usual one, an `Exchange` with an `HttpPrediction`, and goes on from there: an
error, several rows, a version to load, a worker that died, a deadline, a client that hangs up or sends more bytes.
"""

from __future__ import annotations

import asyncio
import time

from service.admission import Admission
from service.batching.served_version import ServedVersion
from service.batching.version_choice import STICKY_HEADER
from service.errors import QueueFull
from service.http.exchange import Exchange
from service.http.known_heads import END, FoundHead, KnownHeads, PlainHead
from service.http.plain_group import PlainGroup, PlainGroupWithBodies
from service.http.plain_request import PlainConnection, PlainRequest
from service.http.predict_endpoint import HttpPrediction
from service.stream.frames import Buffer

_MOST_MEMBERS = 256  # below the number of rows from which a request counts as large in the queue

Groups = dict[tuple[PlainHead, ServedVersion], PlainGroup]


class PlainLane:
    """The lane of one API process, for all routes of predictions.

    Args:
        admission: admission of the API process.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._is_open = True
        self._heads = KnownHeads()
        self._known = self._heads.exact
        self._loop = asyncio.get_running_loop()
        self._arrived: list[PlainRequest] = []
        self._started = 0.0  # arrival of the first request of this turn, on `time.perf_counter`'s clock

    def close(self) -> None:
        """Leaves all later requests to the usual way."""
        self._is_open = False
        self._heads.clear()

    def place(self, connection: PlainConnection) -> PlainRequest:
        """Returns the place for the plain requests of a new connection."""
        return PlainRequest(connection)

    def take_rest(self, plain: PlainRequest, data: bytes) -> bool:
        """Takes a request whose first part was taken before, unless the request is still not whole."""
        return self.take(plain, data, may_wait=False)

    def take(self, plain: PlainRequest, data: bytes, *, may_wait: bool = True) -> bool:
        """Takes a plain request.

        Args:
            plain: place for the request, on an idle connection.
            data: bytes that the client has sent.
            may_wait: True if the rest of the body may come later.

        Returns:
            True if the request will be answered; False if the bytes have to be read in the usual way.
        """
        at = data.find(END) + len(END)
        found = self._known.get(data[:at])
        if found is None:
            found = self._heads.find(data[:at]) if self._is_open and at >= len(END) else None
            if found is None:
                return False
        if len(data) - at != found.length:
            if len(data) - at < found.length and may_wait:  # many clients send head and body separately
                plain.wait(data)
                return True
            return False
        if self._admission.needs_key and not self._has_key(found):
            return False
        is_first = not self._arrived
        if is_first:
            self._started = time.perf_counter()
        plain.take(found, data[at:], self._started)
        self._arrived.append(plain)
        if is_first:
            if self._admission.serves_one_client:
                self._submit_arrived()  # there is nothing to wait for
            else:
                self._loop.call_soon(self._submit_arrived)
        return True

    def learn(self, data: bytes, exchange: Exchange) -> None:
        """Learns the head of a request that the parser has read.

        Args:
            data: all bytes of the request, which came in one piece to an idle connection.
            exchange: the same request, complete.
        """
        prediction = exchange.context
        if self._is_open and isinstance(prediction, HttpPrediction) and not prediction.done:
            self._heads.learn(data, prediction)

    def _has_key(self, found: FoundHead) -> bool:
        """Returns False if the usual way has to refuse the request."""
        try:
            self._admission.check_key(found.values.get(b"authorization"), found.values.get(b"x-api-key"))
        except Exception:
            return False
        return True

    def _submit_arrived(self) -> None:
        """Reads the requests that this turn has brought, and submits their rows."""
        arrived, self._arrived = self._arrived, []
        find_loaded, find_split = self._admission.find_loaded, self._admission.find_split
        groups: Groups = {}
        versions: set[ServedVersion] = set()
        is_logged = self._admission.logs_predictions
        for plain in arrived:
            head, served = plain.head, None
            try:
                reference, rows, may_hold_booleans, plain.form = head.format.read(plain.body, head.named, head)
                served = find_loaded(reference) or find_split(reference, plain.values.get(STICKY_HEADER))
                if served is None or len(rows) != 1 or (plain.form is not None and not plain.form.is_plain):
                    head.endpoint.submit(
                        plain.leave(), reference, rows, may_hold_booleans=may_hold_booleans, served=served
                    )
                    continue
                head.format.check_form(served, plain.form)
                encoder = served.encoder
                if isinstance(rows, list):
                    data: Buffer = encoder.encode(rows, may_hold_booleans=may_hold_booleans)
                else:
                    data = encoder.encode_any(rows)
                if encoder.unknown.counts:
                    encoder.unknown.take()  # counted again there
                    head.endpoint.submit(
                        plain.leave(), reference, rows, may_hold_booleans=may_hold_booleans, served=served
                    )
                    continue
            except Exception as error:
                prediction = plain.leave()
                prediction.served = served
                prediction.fail(error)
                continue
            group = groups.get((head, served))
            if group is None:
                versions.add(served)
                keeps = served.shadow is not None and served.shadow.needs_cells
                kind = PlainGroupWithBodies if keeps else PlainGroup
                group = groups[head, served] = kind(self._admission, head, served, plain.started)
            group.add(plain, data)
            if is_logged:
                group.name(plain, reference)
            if len(group.members) == _MOST_MEMBERS:
                self._submit(groups.pop((head, served)))
        for group in groups.values():
            self._submit(group)
        for version in versions:
            self._admission.dispatch(version)

    def _submit(self, group: PlainGroup) -> None:
        """Submits a group; if the queue has no room for the whole group, its requests are admitted one by one."""
        try:
            self._admission.submit_group(group)
        except QueueFull:
            for prediction, data in group.apart():
                try:
                    self._admission.submit_row(prediction, group.version, data)
                except Exception as error:
                    prediction.fail(error)
