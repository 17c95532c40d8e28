"""One function: its role, log group, Function URL and, with SnapStart, its alias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from coachstream.infrastructure.backend import Backend
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.options import MEMORY_MB, TIMEOUT_S
from coachstream.infrastructure.permissions import Needs, statements
from coachstream.infrastructure.service import Service
from coachstream.infrastructure.target import ARCHITECTURE, EXEC_WRAPPER, PYTHON
from coachstream.settings import LogLevel

_RUNTIME = lambda_.Runtime(f"python{PYTHON}", lambda_.RuntimeFamily.PYTHON, supports_snap_start=True)
_ALIAS = "live"

EXEC_WRAPPER_VARIABLE = "AWS_LAMBDA_EXEC_WRAPPER"


class FunctionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a function.

    Attributes:
        code: the package; its handlers are under `coachstream.functions`.
        memory_mb: the memory, which also determines the CPU share; one vCPU at 1,769 MB.
        timeout_s: for a turn from its message to the stored reply.
        log_retention: how long its log is kept.
        keep_log: whether the log is kept when the stack is deleted.
        reserved_concurrency: guaranteed concurrency, and also the maximum: further streams are refused with
            429. None uses the account's unreserved concurrency.
        snap_start: publish a version with a SnapStart snapshot, and attach the URL to its alias.
    """

    code: lambda_.Code
    memory_mb: int = MEMORY_MB.default
    timeout_s: int = TIMEOUT_S.default
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    keep_log: bool = False
    reserved_concurrency: int | None = None
    snap_start: bool = False


class ServiceFunction(Construct):
    """A function of the package, which nothing invokes yet.

    Attributes:
        function: the function.
        role: its execution role.
        log_group: its log group, which also receives its metrics.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: str,
        description: str,
        service: Service,
        options: FunctionOptions,
        environment: Mapping[str, str],
        permissions: Sequence[iam.PolicyStatement],
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = logs.LogGroup(
            self,
            "Log",
            retention=options.log_retention,
            removal_policy=RemovalPolicy.RETAIN if options.keep_log else RemovalPolicy.DESTROY,
        )
        self.role = self._role(permissions)
        self.function = lambda_.Function(
            self,
            "Function",
            description=description,
            code=options.code,
            handler=handler,
            runtime=_RUNTIME,
            architecture=lambda_.Architecture.custom(ARCHITECTURE),
            memory_size=options.memory_mb,
            timeout=Duration.seconds(options.timeout_s),
            environment={**environment, EXEC_WRAPPER_VARIABLE: EXEC_WRAPPER},
            role=self.role,
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=_application_log_level(service.logs.level),
            tracing=lambda_.Tracing.ACTIVE,
            reserved_concurrent_executions=options.reserved_concurrency,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if options.snap_start else None,
        )
        self._wait_for_the_policy_alone()

    def _wait_for_the_policy_alone(self) -> None:
        """Remove CDK's redundant dependency on the role, to which cfn-lint objects (W3005)."""
        function = self.function.node.default_child
        assert isinstance(function, lambda_.CfnFunction)  # noqa: S101 (narrows the type)
        policy = self.role.node.find_child("DefaultPolicy").node.default_child
        assert isinstance(policy, iam.CfnPolicy)  # noqa: S101 (narrows the type)
        function.add_override("DependsOn", [Stack.of(self).get_logical_id(policy)])

    def _role(self, permissions: Sequence[iam.PolicyStatement]) -> iam.Role:
        """The role; Lambda's managed policy would allow writing to every log group of the account."""
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log = iam.PolicyStatement(
            sid="Log",
            actions=["logs:CreateLogStream", "logs:PutLogEvents"],
            resources=[self.log_group.log_group_arn],
        )
        for statement in (log, *permissions):
            role.add_to_policy(statement)
        return role


class StreamingFunction(ServiceFunction):
    """A function behind a Function URL that streams.

    Attributes:
        url: its Function URL; the alias's, if there is one.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: str,
        description: str,
        methods: Sequence[lambda_.HttpMethod],
        backend: Backend,
        service: Service,
        options: FunctionOptions,
        cors: Cors,
        needs: Needs,
    ) -> None:
        stack = Stack.of(scope)
        super().__init__(
            scope,
            construct_id,
            handler=handler,
            description=description,
            service=service,
            options=options,
            environment=service.environment(backend, region=stack.region, with_tickets=needs.tickets),
            permissions=statements(stack, backend, service, needs),
        )
        called = self._alias() if options.snap_start else self.function
        self.url = called.add_function_url(
            # The function verifies the token of every request itself, before anything else: Lambda's own
            # authorization supports AWS signatures only. CDK adds both permissions that public access then
            # needs (Lambda developer guide, "Control access to Lambda function URLs"):
            # lambda:InvokeFunctionUrl and, since October 2025, lambda:InvokeFunction for calls through the
            # URL.
            auth_type=lambda_.FunctionUrlAuthType.NONE,
            # For all three functions: their handlers stream, and a BUFFERED URL would return the prelude of
            # their responses as text instead of reading status and headers from it.
            invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM,
            cors=cors.options(methods),
        )

    def _alias(self) -> lambda_.Alias:
        """An alias of the newest version: only versions have snapshots. Older ones are billed, so they go."""
        return lambda_.Alias(self, "Live", alias_name=_ALIAS, version=self.function.current_version)


def _application_log_level(level: LogLevel) -> lambda_.ApplicationLogLevel:
    """The level that Lambda filters by; the function itself filters by its configured level.

    Never above INFO: lines without a level, such as metrics, count as INFO (Lambda developer guide,
    "Configuring JSON and plain text log formats").
    """
    return lambda_.ApplicationLogLevel.DEBUG if level is LogLevel.DEBUG else lambda_.ApplicationLogLevel.INFO
