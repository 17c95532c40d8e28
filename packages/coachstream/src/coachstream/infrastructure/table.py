"""The table, as created by `coachstream table create`; it is kept when the stack is deleted."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from coachstream.storage.dynamodb.table import EXPIRY, INDEXES, KEYS


def new_table(scope: Construct, construct_id: str) -> dynamodb.Table:
    """Define a table with the store's keys and indexes, TTL, point-in-time recovery and on-demand billing."""
    partition_key, sort_key = map(_string, KEYS)
    table = dynamodb.Table(
        scope,
        construct_id,
        partition_key=partition_key,
        sort_key=sort_key,
        time_to_live_attribute=EXPIRY,
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        deletion_protection=True,
        removal_policy=RemovalPolicy.RETAIN,
    )
    for name, keys in INDEXES.items():
        partition_key, sort_key = map(_string, keys)
        table.add_global_secondary_index(
            index_name=name,
            partition_key=partition_key,
            sort_key=sort_key,
            projection_type=dynamodb.ProjectionType.ALL,
        )
    return table


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
