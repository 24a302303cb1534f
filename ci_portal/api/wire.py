"""Serializers that speak the contract's names: what they refuse, and what a write changed, in words for the history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar

from django.db import models
from rest_framework import serializers
from rest_framework.relations import PKOnlyObject

from ci_portal.api.columns import TextColumn
from ci_portal.api.texts import FreeText, Text
from ci_portal.api.times import UtcTime, legacy

#: So much of a value is repeated in the history.
SHOWN = 200


def sources(wire: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The `extra_kwargs` of a WIRE mapping (wire name → attribute). Given so, fields keep max_length and uniqueness validators."""
    return {name: {"source": attribute} for name, attribute in wire.items() if name != attribute}


class Grammar:
    """A validator from a function that raises ValueError. A value that the row already has passes: adopted rows may hold any."""

    requires_context = True

    def __init__(self, check: Callable[[str], None]) -> None:
        self.check = check

    def __call__(self, value: str, field: serializers.Field) -> None:
        """Validate. Raises ValidationError with the check's own sentence."""
        row = getattr(field.parent, "instance", None)
        if row is not None and getattr(row, str(field.source), None) == value:
            return
        try:
            self.check(value)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class WireSerializer(serializers.ModelSerializer):
    """A row under its wire names. After `save`, `changes` says in words what was written.

    Unknown fields are refused. So are read-only ones, unless they come back as they were read; PUT sends the whole row back, some
    of it stale by then, so there only `id` is compared.
    """

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: Text,
        TextColumn: Text,
        models.TextField: FreeText,
        models.DateTimeField: UtcTime,
    }
    #: wire name → function that raises ValueError for what the field can't hold.
    checks: ClassVar[dict[str, Callable[[str], None]]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.changes: list[str] = []

    @classmethod
    @cache
    def _shown_by(cls) -> list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]:
        """Of each field its wire name, how to get the value from a row, and how to show one that is not None.

        The same for every request: REST framework would build some twenty fields anew for each.
        """
        return [(str(field.field_name), getter(field), field.to_representation) for field in cls()._readable_fields]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """The row under its wire names, as REST framework does it, in a third of its time: a list has a thousand values."""
        return {name: None if (value := get(instance)) is None else show(value) for name, get, show in self._shown_by()}

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        """Build a field; texts are never null on the wire, though adopted columns may be."""
        field_class, options = super().build_standard_field(field_name, model_field)
        if issubclass(field_class, Text):
            options.pop("allow_null", None)
        return field_class, options

    def get_fields(self) -> dict[str, Any]:
        """Add `checks` to the validators that follow from the columns."""
        fields = super().get_fields()
        for name, check in self.checks.items():
            fields[name].validators.append(Grammar(check))
        return fields

    def to_internal_value(self, data: Any) -> Any:
        """Validate. Raises ValidationError that names every field to correct, unknown and read-only ones too."""
        errors: dict[str, Any] = self._refused(data)
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors = {**error.detail, **errors}  # type: ignore[dict-item]
        if errors:
            raise serializers.ValidationError(errors)
        return value

    def _refused(self, data: dict[str, Any]) -> dict[str, list[Any]]:
        errors: dict[str, list[Any]] = {}
        shown: dict[str, Any] | None = None
        for name, value in data.items():
            field = self.fields.get(name)
            if field is None:
                errors[name] = [serializers.ErrorDetail("is not a field of this table.", "unknown")]
            elif field.read_only and (name == "id" or self.instance is None or self.partial):
                shown = shown if shown is not None else self._shown()
                if name not in shown or value not in (shown[name], str(shown[name]), shown[name] or ""):
                    errors[name] = [serializers.ErrorDetail("is set by the portal and can't be written.", "read_only")]
        return errors

    def _shown(self) -> dict[str, Any]:
        return dict(self.to_representation(self.instance)) if self.instance is not None else {}

    def model(self) -> type[models.Model]:
        """The table's model."""
        found: type[models.Model] = self.Meta.model
        return found

    def _writable(self) -> dict[str, str]:
        """attribute → wire name of what a body may set in the row itself."""
        return {str(field.source): name for name, field in self.fields.items() if not field.read_only and not field.write_only}

    def create(self, validated_data: dict[str, Any]) -> Any:
        """Insert the row."""
        given = dict(validated_data)
        times = {attribute: given.pop(attribute) for attribute in list(given) if isinstance(given[attribute], datetime)}
        model = self.model()
        row = model._default_manager.create(**given)
        if times:  # their columns fill themselves in on insert
            model._default_manager.filter(pk=row.pk).update(**times)
        names = self._writable()
        self.changes += [f"{names[a]}: {shown(v)}" for a, v in validated_data.items() if a in names and v not in ("", None)]
        return row

    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        """Write what differs; PUT sets what it does not name back to its default, but for times and credentials."""
        wanted = validated_data if self.partial else {**self._defaults(), **validated_data}
        names = self._writable()
        changed = {a: v for a, v in wanted.items() if plain(v) != plain(instance.serializable_value(a))}
        self.guard(instance, set(changed))
        for attribute, value in changed.items():
            self.changes.append(f"{names[attribute]}: {shown(instance.serializable_value(attribute))} → {shown(value)}")
            setattr(instance, attribute, value)
        if changed:
            instance.save(update_fields=list(changed))
        return instance

    def _defaults(self) -> dict[str, Any]:
        columns: dict[str, Any] = {attribute: self.model()._meta.get_field(attribute) for attribute in self._writable()}
        return {
            attribute: column.get_default() for attribute, column in columns.items() if not isinstance(column, models.DateTimeField)
        }

    def guard(self, row: Any, changed: set[str]) -> None:
        """Refuse a change of these attributes by raising a Problem. Every change is allowed here."""


def getter(field: serializers.Field) -> Callable[[Any], Any]:
    """How to get the field's value from a row, None where there is none."""
    if type(field).get_attribute is serializers.Field.get_attribute and len(field.source_attrs) == 1:
        return attrgetter(*field.source_attrs)

    def related(row: Any) -> Any:
        found = field.get_attribute(row)
        return None if isinstance(found, PKOnlyObject) and found.pk is None else found

    return related


def plain(value: Any) -> Any:
    """The value as one that can be compared with what a row has: keys for rows, whole seconds for times, "" for NULL."""
    if isinstance(value, models.Model):
        return value.pk
    if isinstance(value, datetime):
        return legacy(value)
    return "" if value is None else value


def shown(value: Any) -> str:
    """The value as the history tells it."""
    text = str(plain(value))
    return "(empty)" if text == "" else text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
