-- The database of payments: what we believe that the bank has. (PostgreSQL and SQLite both take it.)

CREATE TABLE payments (
    order_id         TEXT PRIMARY KEY,
    authorization_id TEXT NOT NULL UNIQUE,
    cents            BIGINT NOT NULL CHECK (cents > 0),
    status           TEXT NOT NULL CHECK (status IN ('AUTHORIZED', 'CAPTURED', 'VOIDED'))
);
