"""The store for conversations and prompt context in the existing system's DynamoDB table."""

from coachstream.storage.dynamodb.errors import UnusableTable
from coachstream.storage.dynamodb.store import DynamoDbStore
from coachstream.storage.dynamodb.table import create_table

__all__ = ["DynamoDbStore", "UnusableTable", "create_table"]
