"""sagaflow: business transactions that span services, done completely or undone completely.

    from sagaflow import Coordinator, Participant, Saga, serve

Adapters are imported by name: `sagaflow.adapters.postgres`, `.rabbitmq`, `.sqlite`, `.inprocess`.
"""

from sagaflow.core.plan import Budget as Budget
from sagaflow.core.plan import OnStuck as OnStuck
from sagaflow.core.plan import Operation as Operation
from sagaflow.core.plan import Plan as Plan
from sagaflow.core.plan import StepKind as StepKind
from sagaflow.core.state import Cause as Cause
from sagaflow.core.state import SagaStatus as SagaStatus
from sagaflow.definitions.health import Health as Health
from sagaflow.definitions.health import Trouble as Trouble
from sagaflow.definitions.participant import ExternalStep as ExternalStep
from sagaflow.definitions.participant import Participant as Participant
from sagaflow.definitions.participant import ParticipantStep as ParticipantStep
from sagaflow.definitions.participant import StepContext as StepContext
from sagaflow.definitions.retention import Retention as Retention
from sagaflow.definitions.retry import Retry as Retry
from sagaflow.definitions.saga import Replies as Replies
from sagaflow.definitions.saga import Saga as Saga
from sagaflow.definitions.saga import SagaStep as SagaStep
from sagaflow.definitions.sensitive import Sensitive as Sensitive
from sagaflow.errors import ConflictError as ConflictError
from sagaflow.errors import DefinitionError as DefinitionError
from sagaflow.errors import NotPermitted as NotPermitted
from sagaflow.errors import NotPossible as NotPossible
from sagaflow.errors import PayloadError as PayloadError
from sagaflow.errors import PlanError as PlanError
from sagaflow.errors import RetryLater as RetryLater
from sagaflow.errors import SagaflowError as SagaflowError
from sagaflow.errors import SagaNotFound as SagaNotFound
from sagaflow.errors import SchemaError as SchemaError
from sagaflow.errors import StepRejected as StepRejected
from sagaflow.errors import Unavailable as Unavailable
from sagaflow.errors import UnsupportedPooling as UnsupportedPooling
from sagaflow.runners.client import SagaClient as SagaClient
from sagaflow.runners.coordinator import Coordinator as Coordinator
from sagaflow.runners.coordinator import Outcome as Outcome
from sagaflow.runners.coordinator import Run as Run
from sagaflow.runners.operator import Operator as Operator
from sagaflow.runners.readiness import UndoReady as UndoReady
from sagaflow.runners.repairs import Abandon as Abandon
from sagaflow.runners.repairs import Cancel as Cancel
from sagaflow.runners.repairs import GiveReply as GiveReply
from sagaflow.runners.repairs import Prospect as Prospect
from sagaflow.runners.repairs import Repaired as Repaired
from sagaflow.runners.repairs import RepairFilter as RepairFilter
from sagaflow.runners.repairs import RepairOutcome as RepairOutcome
from sagaflow.runners.repairs import RetryStep as RetryStep
from sagaflow.runners.repairs import SkipStep as SkipStep
from sagaflow.runners.reporting.reports import SagaReport as SagaReport
from sagaflow.runners.signals import until_stopped as until_stopped
from sagaflow.runners.worker import Worker as Worker
from sagaflow.runners.worker import serve as serve
