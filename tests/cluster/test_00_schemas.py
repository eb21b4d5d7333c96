"""The API server keeps every field of our models: a field that a schema lacks would be pruned in silence."""

from __future__ import annotations

import json
from typing import Any

import clara_chain as chain
import pytest
from clara_api.kinds import KINDS, Kind
from clara_install import kubectl
from conftest import RECHT

Schema = dict[str, Any]


def filled(schema: Schema, definitions: Schema) -> Any:
    """A value with every field there is. Field names are what is tested, so values need not be allowed ones."""
    if "$ref" in schema:
        return filled(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return filled(next(s for s in schema["anyOf"] if s.get("type") != "null"), definitions)
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {name: filled(s, definitions) for name, s in schema["properties"].items()}
        case "object":
            return {"key": filled(s, definitions) if isinstance(s := schema.get("additionalProperties"), dict) else "x"}
        case "array":
            return [filled(schema["items"], definitions)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
    return "x"


def whole(kind: Kind, **more: Any) -> str:
    """One object with everything its models know."""
    spec, status = (m.model_json_schema(by_alias=True) for m in (kind.spec, kind.status))
    body = {part: filled(s, s.get("$defs", {})) for part, s in (("spec", spec), ("status", status))}
    body["status"] |= more
    return json.dumps(chain.clara(kind.kind, "x", RECHT, body.pop("spec")) | body)


def said(manifest: str) -> str:
    """The API server's words; nothing is stored."""
    try:
        return kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=manifest)
    except RuntimeError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_no_field_of_a_model_is_unknown_to_the_api_server(clara: chain.Base, kind: Kind):
    assert "unknown field" not in said(whole(kind))
    assert 'unknown field "status.novel"' in said(whole(kind, novel=1)), "the check itself does not see unknown fields"
