"""The documents name all that there is: fields of the result, ends, keys of policies, options.  No VM."""
import json
import os
import re

from lib import TOP, command, scratch, write_file


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


def manual(page, heading):
    """A section or subsection of a page, without the roff."""
    for part in re.split(r"^\.S[HS] ", read(f"docs/man/{page}"), flags=re.MULTILINE):
        if part.split("\n", 1)[0] == heading:
            return re.sub(r"\\f[A-Z]", "", part.replace("\\-", "-"))
    raise AssertionError(f"{page} has no section {heading}")


def test_each_end_and_its_status_is_in_the_tables():
    """The table of docs/result.md has the reasons of the schema, the manual each status that is dolania's own."""
    rows = re.findall(r"^\| `(\w+)` \| (guest|host) \| ([^|]+) \| ([^|]+) \|", read("docs/result.md"), flags=re.MULTILINE)
    reasons = SCHEMA["properties"]["end"]["properties"]["reason"]["enum"]
    assert [r[0] for r in rows] == reasons, rows
    told = set(re.findall(r"^\.B (\d+)$", manual("dolania.1", "EXIT STATUS"), flags=re.MULTILINE))
    assert told == {status for _, _, status, _ in rows if status.isdigit()}, told
    coded = dict(re.findall(r'\{ "(\w+)", (?:true|false), (\d+)', read("tools/libdolania/reason.c")))
    for reason, _, status, when in rows:
        assert not status.isdigit() or coded[reason] == status, (reason, status, coded)
        assert "reserved" not in when, reason


def test_the_manual_of_policies_has_each_key_and_each_word():
    shown = command("policy", "show", "standard").stdout
    for name, body in re.findall(r"^\[(\w+)\]\n(.*?)(?=^\[|\Z)", shown, flags=re.MULTILINE | re.DOTALL):
        page = manual("dolania-policy.5", f"[{name}]")
        for key in re.findall(r"^([a-z-]+) =", body, flags=re.MULTILINE):
            assert re.search(rf"^\.BI? {key}$", page, flags=re.MULTILINE), f"dolania-policy(5) lacks {key} under [{name}]"
    # The options that a policy speaks of are those that it takes, of all that the command line has.
    listed = {w for line in manual("dolania-policy.5", "[allow]").split("\n.B options\n")[1].split("\n.TP")[0].splitlines()
              if line.startswith(".BR append") for w in re.findall(r"[a-z-]+", line)}
    completion = command("completion", "fish").stdout
    known = set(re.findall(r"-n __dolania_before_script -l ([a-z-]+)", completion))
    taken = set()
    with scratch() as d:
        for word in known:
            path = write_file(d, "p.ini", f"[policy]\nlike = standard\n[allow]\noptions = {word}\n")
            if command("policy", "check", path).returncode == 0:
                taken.add(word)
    assert "env" in taken and "wall" not in taken and listed == taken, (listed, taken)


def test_the_manual_has_each_option_and_each_suffix():
    options = manual("dolania.1", "OPTIONS")
    for form, word in re.findall(r"-n __dolania_before_script -([ls]) ([a-z-]+)", command("completion", "fish").stdout):
        name = f"--{word}" if form == "l" else f"-{word}"
        assert re.search(rf"^\.BI?R? .*(?<![\w-]){name}(?![\w-])", options, flags=re.MULTILINE), f"dolania(1) lacks {name}"
    told = manual("dolania.1", "DESCRIPTION").split("the suffix decides")[1].split("and without")[0]
    suffixes = set(re.findall(r'has_suffix\([^,]+, "(\.\w+)"', read("tools/libdolania/script.c")))
    assert suffixes and suffixes == set(re.findall(r"\.[a-z]+", told)), (suffixes, told)


def test_the_readme_counts_hostile_guests_and_weakenings_as_their_page_does():
    page, text = read("docs/hostile.md"), " ".join(read("README.md").split())
    cases = int(re.search(r"`tests/hostile/cases/` has (\d+)", page)[1])
    weakenings = page.split("| control | weakening |")[1].split("\n\n")[0].count("\n| `")
    told, more = int(re.search(r"(\d+) weakenings of our own code", text)[1]), int(re.search(r"More than (\d+) hostile", text)[1])
    assert told == weakenings and more <= cases < more + 20, (told, weakenings, more, cases)
