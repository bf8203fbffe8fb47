-- The database of orders. (Written so that PostgreSQL and SQLite both take it.)

CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    sku      TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity > 0),
    cents    BIGINT NOT NULL CHECK (cents > 0),
    status   TEXT NOT NULL CHECK (status IN ('PENDING', 'APPROVED', 'CANCELLED'))
);
