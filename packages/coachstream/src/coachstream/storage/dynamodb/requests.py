"""Requests as values: the data to write, and its condition.

In an expression every attribute name is a placeholder of the same name: `#attributes.#title`. So no name can
clash with one of DynamoDB's 573 reserved words, and the names need not be listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from coachstream.storage.dynamodb.attribute_values import Item, to_item
from coachstream.storage.dynamodb.keys import ItemKey

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef

IS_THERE = "attribute_exists(#pk)"
IS_NOT_THERE = "attribute_not_exists(#pk)"

_NAME = re.compile(r"#(\w+)")


class Put(msgspec.Struct, frozen=True):
    """Write a whole item.

    `returns_existing`, here and below: a failed condition returns the existing item, which saves a read. Use
    it only for small items.
    """

    item: Item
    condition: str | None = None
    values: Item = {}
    returns_existing: bool = False


class Update(msgspec.Struct, frozen=True):
    """Change some attributes of an item, or create it."""

    key: ItemKey
    change: str
    condition: str | None = None
    values: Item = {}
    returns_existing: bool = False


class Delete(msgspec.Struct, frozen=True):
    """Delete an item; deleting one that does not exist succeeds."""

    key: ItemKey
    condition: str | None = None
    values: Item = {}


class ConditionCheck(msgspec.Struct, frozen=True):
    """Write nothing, but cancel the transaction if the condition does not hold."""

    key: ItemKey
    condition: str
    values: Item = {}


Write = Put | Update | Delete | ConditionCheck


def parameters_of(write: Write) -> dict[str, Any]:
    """The parameters of a request, without the table's name."""
    match write:
        case Put():
            what: dict[str, Any] = {"Item": to_item(write.item)}
            expressions: tuple[str | None, ...] = (write.condition,)
        case Update():
            what = {"Key": key_of(write.key), "UpdateExpression": write.change}
            expressions = (write.change, write.condition)
        case Delete() | ConditionCheck():
            what = {"Key": key_of(write.key)}
            expressions = (write.condition,)
    if write.condition is not None:
        what["ConditionExpression"] = write.condition
    if isinstance(write, Put | Update) and write.returns_existing:
        what["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return what | placeholders(*expressions, values=write.values)


def transaction_item(write: Write, table: str) -> TransactWriteItemTypeDef:
    """The request as an item of a transaction."""
    parameters: Any = {"TableName": table, **parameters_of(write)}
    match write:
        case Put():
            return {"Put": parameters}
        case Update():
            return {"Update": parameters}
        case Delete():
            return {"Delete": parameters}
        case ConditionCheck():
            return {"ConditionCheck": parameters}


def placeholders(*expressions: str | None, values: Item) -> dict[str, Any]:
    """The names and values of the placeholders in the expressions; DynamoDB rejects empty maps."""
    names = {name for expression in expressions if expression for name in _NAME.findall(expression)}
    substitutions: dict[str, Any] = {}
    if names:
        substitutions["ExpressionAttributeNames"] = {f"#{name}": name for name in sorted(names)}
    if values:
        substitutions["ExpressionAttributeValues"] = to_item(values)
    return substitutions


def key_of(key: ItemKey) -> dict[str, Any]:
    """The key as DynamoDB attribute values."""
    return to_item({"pk": key.pk, "sk": key.sk})


def item_of(key: ItemKey, values: Mapping[str, object]) -> Item:
    """An item with its key."""
    return {"pk": key.pk, "sk": key.sk, **values}
