"""A shop in three services, and one saga that spans them.

    orders       takes orders, and owns the saga that carries one through: orders/checkout.py (begin there)
    payments     talks to the card gateway, which belongs to another company and has its moods
    inventory    knows what is in stock

Each service has its own database (schema.sql), declares its own messages (messages.py), and says what it can
do and how that is undone (steps.py). They import nothing from each other: all that they share is the names
and the JSON of the messages.

`sagaflow demo` plays it in one process, over SQLite. `sagaflow demo --postgres URL --rabbitmq URL` plays the
same code as four processes over real servers.
"""
