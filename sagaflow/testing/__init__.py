"""Testing sagas: `explore` runs yours through everything that can go wrong, `expect` plays one by hand.

    from sagaflow.testing import End, Service, expect, explore

Nothing here needs a server. See docs/testing.md. The conformance suites of the ports are in `store_contract`,
`transport_contract` and `transactions_contract`; what our own runs of the simulator are, in `simulate`.
"""

from sagaflow.testing.expecting import Asked as Asked
from sagaflow.testing.expecting import Expected as Expected
from sagaflow.testing.expecting import expect as expect
from sagaflow.testing.exploring.explore import CounterExample as CounterExample
from sagaflow.testing.exploring.explore import Exploration as Exploration
from sagaflow.testing.exploring.explore import explore as explore
from sagaflow.testing.exploring.history import End as End
from sagaflow.testing.exploring.services import Service as Service
