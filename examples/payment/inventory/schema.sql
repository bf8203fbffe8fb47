-- The database of inventory. What was delivered is either available or held. (PostgreSQL and SQLite both take it.)

CREATE TABLE stock (
    sku       TEXT PRIMARY KEY,
    delivered BIGINT NOT NULL,
    available BIGINT NOT NULL CHECK (available >= 0),
    held      BIGINT NOT NULL CHECK (held >= 0)
);

CREATE TABLE reservations (
    reservation TEXT PRIMARY KEY,
    order_id    TEXT NOT NULL,
    sku         TEXT NOT NULL REFERENCES stock,
    quantity    BIGINT NOT NULL CHECK (quantity > 0),
    status      TEXT NOT NULL CHECK (status IN ('HELD', 'RELEASED'))
);
