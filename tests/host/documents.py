"""The documents name all that there is: fields of the result, ends, keys of policies, options.  No VM."""
import json
import os
import re
import subprocess

from lib import TOP

DOLANIA = os.path.join(TOP, "build/bin/dolania")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


SCHEMA = json.loads(read("docs/result.schema.json"))


def names(node):
    """All names of properties and all words that a value may be, in a part of the schema."""
    if isinstance(node, list):
        return set().union(*map(names, node))
    if not isinstance(node, dict):
        return set()
    found = set(node.get("properties", {})) | {w for w in node.get("enum", ()) if isinstance(w, str)}
    if "$ref" in node:
        found |= names(SCHEMA["$defs"][node["$ref"].rsplit("/", 1)[1]])
    for key, value in node.items():
        if key == "properties":
            for part in value.values():
                found |= names(part)
        elif key == "required":
            found |= set(value)
        elif key != "enum":
            found |= names(value)
    return found


def sections(text):
    """Heading -> the words in its code spans, subsections with it."""
    found = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, body = part.split("\n", 1)
        found[heading.strip("`")] = {w for span in re.findall(r"`([^`\n]+)`", body) for w in re.findall(r"[\w-]+", span)}
    return found


def undocumented(schema, text):
    """What of the schema the page does not name, where it belongs."""
    page = sections(text)
    top = schema["properties"]
    wrong = [name for name in top if name not in page["Top level"]]
    for name, part in top.items():
        inner = names(part) - {"S0", "S1", "S2", "S3", "S4", "second VM", "utf-8"}
        if inner and name not in page:
            wrong.append(f"a section on {name}")
        wrong += [f"{name}: {word}" for word in sorted(inner) if word not in page.get(name, ())]
    return wrong


def test_every_field_of_the_result_is_described_where_it_belongs():
    wrong = undocumented(SCHEMA, read("docs/result.md"))
    assert not wrong, f"docs/result.md does not name: {', '.join(wrong)}"


def test_a_field_that_is_not_described_is_noticed():
    text = read("docs/result.md")
    assert undocumented(SCHEMA, text.replace("`to_guest_bytes`", "that")) == ["host: to_guest_bytes"]
    assert undocumented(SCHEMA, text.replace("| `inputs` |", "| |")) == ["inputs"]
    more = json.loads(json.dumps(SCHEMA))
    more["properties"]["end"]["properties"]["colour"] = {"type": "string"}
    assert undocumented(more, text) == ["end: colour"]
