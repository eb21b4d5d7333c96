"""Render the custom resource definitions from the pydantic models: `crds/*.yaml` and the chart's copy.

    python crds/render.py            write the files
    python crds/render.py --check    exit 1 and name the files when they differ from the models

What pydantic emits and a structural schema does not take is converted here: $ref is inlined, "or null" dropped, const becomes
enum, exclusive bounds become boolean, titles and additionalProperties beside properties vanish.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from clara_api.kinds import KINDS, Column, Kind, Rule  # noqa: E402
from clara_api.meta import GROUP, VERSION, Model  # noqa: E402
from clara_api.reasons import REASONS  # noqa: E402

TARGETS = (ROOT, ROOT.parent / "helm" / "clara" / "files" / "crds")
CONDITIONS_PAGE = ROOT.parent / "docs" / "conditions.md"
Schema = dict[str, Any]


def structural(model: type[Model]) -> Schema:
    """The OpenAPI v3 structural schema of a model, in its wire form."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: Schema, defs: dict[str, Schema]) -> Schema:  # noqa: PLR0912  # one branch per keyword
    if "$ref" in node:
        target = defs[node["$ref"].rsplit("/", 1)[1]]
        siblings = {k: v for k, v in node.items() if k != "$ref"}
        return _convert({**target, **siblings}, defs)
    if "allOf" in node and len(node["allOf"]) == 1:
        return _convert({**node["allOf"][0], **{k: v for k, v in node.items() if k != "allOf"}}, defs)
    if "anyOf" in node:
        return _any_of(node, defs)
    out: Schema = {k: v for k, v in node.items() if k in _KEPT or k.startswith("x-kubernetes-")}
    if "const" in node:
        out["enum"] = [node["const"]]
        out.setdefault("type", "string" if isinstance(node["const"], str) else "integer")
    if "enum" in out and "type" not in out:
        out["type"] = "integer" if all(isinstance(v, int) for v in out["enum"]) else "string"
    for bound, name in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in node:
            out[name], out[bound] = node[bound], True
    if "properties" in node:
        out["properties"] = {name: _convert(child, defs) for name, child in node["properties"].items()}
        if required := [r for r in node.get("required", []) if r in out["properties"]]:
            out["required"] = required
    elif node.get("type") == "object":
        _map_values(node, out, defs)
    if "items" in node:
        out["items"] = _convert(node["items"], defs)
    if "default" in node and node["default"] is not None:
        out["default"] = node["default"]
    if out.get("format") not in (None, "date-time", "int32", "int64", "double", "float"):
        del out["format"]
    return out


_KEPT = (
    "type", "description", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems",
    "minProperties", "maxProperties", "format",
)  # fmt: skip


def _map_values(node: Schema, out: Schema, defs: dict[str, Schema]) -> None:
    values = node.get("additionalProperties")
    if isinstance(values, dict) and values:
        out["additionalProperties"] = {"maxLength": 253, **_convert(values, defs)}
        out.setdefault("maxProperties", node.get("maxProperties", 64))
    else:
        out["x-kubernetes-preserve-unknown-fields"] = True


def _any_of(node: Schema, defs: dict[str, Schema]) -> Schema:
    options = [o for o in node["anyOf"] if o.get("type") != "null"]
    rest = {k: v for k, v in node.items() if k != "anyOf"}
    if len(options) == 1:
        return _convert({**options[0], **rest}, defs)
    types = {_convert(o, defs).get("type") for o in options}
    if types == {"integer", "string"}:
        merged = {k: v for k, v in rest.items() if k in ("description", "default") or k.startswith("x-kubernetes-")}
        return {**merged, "x-kubernetes-int-or-string": True}
    raise ValueError(f"a union of {sorted(map(str, types))} has no structural schema: {json.dumps(node)[:200]}")


def _default_objects(spec: Schema) -> None:
    """An object whose fields all have defaults defaults to {}, so that rules and `kubectl get -o yaml` see them."""
    for name, child in spec.get("properties", {}).items():
        if child.get("type") != "object" or "properties" not in child:
            continue
        _default_objects(child)
        if name not in spec.get("required", []) and name in _DEFAULTED and "required" not in child:
            child.setdefault("default", {})


_DEFAULTED = (  # optional objects that are never absent
    "hyperparameters",
    "dataPolicy",
    "validation",
    "queue",
    "checkpoints",
    "retry",
    "thresholds",
    "engine",
)


def definition(kind: Kind) -> Schema:
    """The CustomResourceDefinition of one kind."""
    spec, status = structural(kind.spec), structural(kind.status)
    _default_objects(spec)
    spec["description"] = (kind.spec.__doc__ or "").strip().splitlines()[0]
    status["default"] = {"observedGeneration": -1}
    root: Schema = {
        "type": "object",
        "description": (sys.modules[kind.spec.__module__].__doc__ or "").strip().split("\n\n")[0].replace("\n", " "),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", **_metadata(kind)},
            "spec": spec,
            "status": status,
        },
    }
    if rules := [_rule(r) for r in kind.rules]:
        root["x-kubernetes-validations"] = rules
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(c) for c in kind.columns],
        "schema": {"openAPIV3Schema": root},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    names: Schema = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.singular,
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    if kind.categories:
        names["categories"] = list(kind.categories)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "clara", "app.kubernetes.io/part-of": "clara"},
        },
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _metadata(kind: Kind) -> Schema:
    limit = 63 if kind.kind in ("ServingDeployment", "Engine") else 73 if kind.kind == "Adapter" else 63
    return {"properties": {"name": {"type": "string", "maxLength": limit}}}


def _rule(rule: Rule) -> Schema:
    return {"rule": rule.rule, "message": rule.message}


def _column(column: Column) -> Schema:
    out: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.priority:
        out["priority"] = column.priority
    return out


def conditions_page() -> str:
    """docs/conditions.md: every reason with the sentence that says when it is used."""
    lines = ["# Condition reasons", "", "Rendered from `crds/clara_api/reasons.py` by `make render`.", ""]
    lines += ["| Reason | When |", "|---|---|"]
    lines += [f"| `{name}` | {sentence} |" for name, sentence in sorted(REASONS.items())]
    return "\n".join(lines) + "\n"


def rendered() -> dict[Path, str]:
    """Every generated file and its text."""
    files: dict[Path, str] = {CONDITIONS_PAGE: conditions_page()}
    for kind in KINDS:
        text = (
            "# Rendered from crds/clara_api by crds/render.py: change the models, then 'make render'.\n"
            + yaml.safe_dump(definition(kind), sort_keys=False, allow_unicode=True, width=120)
        )
        for folder in TARGETS:
            files[folder / f"{GROUP}_{kind.plural}.yaml"] = text
    return files


def main() -> int:
    """Write the files, or with --check report drift."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="do not write; exit 1 when a file differs")
    check = parser.parse_args().check
    drifted = []
    for path, text in rendered().items():
        if path.exists() and path.read_text() == text:
            continue
        drifted.append(path.relative_to(ROOT.parent))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for path in drifted:
        print(f"{'differs from the models' if check else 'wrote'}: {path}")
    if check and drifted:
        print("run 'make render' and commit the result")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
