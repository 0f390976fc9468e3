"""What was measured to have moved between machines: one reading a counter and bucket of time."""

from collections.abc import Iterable
from dataclasses import asdict

from sqlmodel import Session, col, select

from provisioners.leases.transfers import TransferReading
from thunderctl.store.database import Database
from thunderctl.store.tables import TransferTable


class Transfers(Database):
    def record_transfers(self, readings: Iterable[TransferReading]) -> None:
        """Commit what is news in these readings. A count never falls, and a price that was known stays."""
        given = tuple(readings)
        with self._read() as session:
            news = [one for one in given if _is_news(session, one)]
        if not news:
            return
        with self._write() as session:
            for one in news:
                if _is_news(session, one):
                    stored = session.get(TransferTable, (one.source, one.target, one.counter, one.at))
                    price = stored.usd_per_gb if stored and one.usd_per_gb is None else one.usd_per_gb
                    session.merge(TransferTable(**{**asdict(one), "usd_per_gb": price}))

    def transfers(self, deployment: str | None = None) -> tuple[TransferReading, ...]:
        """Every reading, oldest first; of one deployment if named."""
        query = select(TransferTable).order_by(col(TransferTable.at), col(TransferTable.counter))
        if deployment is not None:
            query = query.where(TransferTable.deployment == deployment)
        with self._read() as session:
            return tuple(TransferReading(**record.model_dump()) for record in session.exec(query))


def _is_news(session: Session, one: TransferReading) -> bool:
    """More bytes than the counter's last reading; the first of a counter that has counted something."""
    query = (
        select(TransferTable.bytes)
        .where(
            TransferTable.source == one.source,
            TransferTable.target == one.target,
            TransferTable.counter == one.counter,
        )
        .order_by(col(TransferTable.at).desc())
    )
    return one.bytes > (session.exec(query).first() or 0)
