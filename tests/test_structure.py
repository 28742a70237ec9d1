"""The shape of the package: imports point one way, files and functions stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gancomp
from gancomp.registry import (
    CHECKPOINTS,
    EXPORTERS,
    METHOD_OPTIONS,
    METHODS,
    METRICS,
    NETWORKS,
    READERS,
    SHRINKERS,
    TASKS,
    resolve,
)

ROOT = Path(gancomp.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
HEAVY = {"torch", "torchvision", "pytorch_fid", "scipy"}
MAX_FUNCTION, MAX_FILE = 60, 500
EDGES = {
    "errors",
    "seeding",
    "threads",
    "signals",
    "files",
    "locks",
    "memory",
    "launch",
    "own_code",
    "ranks",
    "paths",
    "config",
    "declare",
    "records",
    "registry",
    "settings",
    "sizes",
}  # what any component may use

# what commands share, by what it is for
SHARED = {"planning", "training", "scoring", "inference", "domains"}

# part of the package -> the parts (or modules) of the package that it may import
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "seeding": set(),
    "threads": {"errors"},
    "signals": set(),
    "console": {"errors", "flags"},
    "flags": {"errors", "options"},
    "presets": {"errors", "preset_parts", "registry"},
    "preset_parts": set(),
    "files": {"errors"},
    "locks": {"files"},
    "memory": set(),
    "namesakes": set(),
    "launch": set(),
    "ranks": {"errors"},
    "paths": {"errors"},
    "config": {"declare", "errors", "records", "registry", "settings"},
    "declare": {"errors"},
    "settings": {"declare", "launch", "registry", "settings", "sizes"},
    "records": {"errors"},
    "sizes": {"errors"},
    "pages": set(),
    "registry": {"errors"},
    "options": {"declare", "errors", "registry", "settings"},
    "code_files": {"errors"},
    "own_code": {"code_files", "errors", "paths", "registry"},
    "networks": {"declare", "errors", "networks", "own_code", "ranks", "settings.rules"},
    "weight_files": {"errors", "paths"},
    "losses": {"errors", "losses", "networks.winograd", "paths", "ranks", "weight_files"},
    "data": EDGES | {"data"},
    "metrics": EDGES | {"metrics", "networks.winograd", "networks.shapes", "weight_files"},
    "export": EDGES
    | {"export", "networks", "data.transforms", "metrics.latency", "pages"}
    | {"data.download", "data.registered", "namesakes"},
    "engine": EDGES | {"engine"},
    "shrink": EDGES
    | {"shrink", "networks", "tasks", "methods", "losses", "metrics.latency", "metrics.cost"}
    | {"engine.device", "engine.phases"},
    "tasks": EDGES | {"tasks", "networks", "losses", "engine.phases"},
    "methods": EDGES | {"methods", "preset_parts", "tasks", "networks", "losses", "engine.phases"},
    "inference": EDGES | {"inference", "data", "networks", "engine.run", "export", "metrics"},
    "scoring": EDGES | {"scoring", "inference", "data", "metrics", "engine", "networks", "console"},
    "domains": EDGES
    | {"domains", "scoring", "inference", "data", "networks", "tasks", "methods", "engine"}
    | {"export", "losses"},
    "planning": EDGES
    | {"planning", "domains", "inference", "data", "networks", "shrink", "engine", "export"}
    | {"methods.also", "presets", "preset_parts", "options"},
    "training": EDGES
    | {"__init__", "training", "planning", "domains", "scoring", "inference", "data", "networks"}
    | {"tasks", "methods", "engine", "metrics", "export", "losses", "console", "shrink"}
    | {"report.charts"},
    "sweeping": EDGES | {"sweeping", "options", "engine", "flags", "plugins", "__main__"},
    "recipes": EDGES
    | SHARED
    | {"__init__", "recipes", "data", "networks", "shrink", "tasks", "methods", "engine"}
    | {"metrics", "export", "losses", "presets", "preset_parts", "console", "flags", "options"}
    | {"pages", "sweeping"},
    "bench": EDGES
    | {
        "__init__",
        "bench",
        "recipes",
        "inference",
        "data",
        "networks",
        "shrink",
        "tasks",
        "methods",
        "engine",
    }
    | {"metrics", "export", "losses", "presets", "console", "commands"},
    "api": EDGES
    | SHARED
    | {"__init__", "api", "recipes", "data", "networks", "engine", "export", "console", "options"}
    | {"plugins", "report"},
    "report": EDGES
    | {"__init__", "report", "api", "pages", "recipes", "inference", "data", "domains", "networks"}
    | {"planning", "engine", "export", "console", "commands", "flags", "network_options"}
    | {"namesakes", "options"},
    "completion": {"data.registered", "presets", "registry"},
    "commands": {"completion", "declare", "flags", "options", "paths", "registry", "sizes"},
    "data_commands": {"commands", "completion", "console", "errors", "paths", "recipes"},
    "score_commands": {
        "commands",
        "completion",
        "console",
        "options",
        "paths",
        "recipes",
    }
    | {"network_options", "own_code", "registry", "scoring"},
    "shrink_commands": {
        "commands",
        "completion",
        "console",
        "declare",
        "errors",
        "options",
        "paths",
    }
    | {"network_options", "own_code", "recipes", "registry"},
    "sweep_commands": {"commands", "console", "errors", "paths", "recipes", "score_commands"}
    | {"sweeping"},
    "network_options": {"completion"},
    "page_commands": {
        "commands",
        "console",
        "network_options",
        "own_code",
        "paths",
        "recipes",
    },
    "deploy_commands": {"commands", "console", "network_options", "own_code", "paths", "recipes"},
    "cli": {
        "__init__",
        "bench",
        "commands",
        "completion",
        "console",
        "data_commands",
        "deploy_commands",
        "errors",
        "options",
        "report",
    }
    | {"network_options", "own_code", "paths", "recipes", "registry", "score_commands", "settings"}
    | {"page_commands", "shrink_commands", "sweep_commands"},
    "plugins": {"code_files", "errors", "options", "paths", "registry"},
    "__main__": {"cli", "commands", "console", "errors", "flags", "launch", "plugins", "signals"},
}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, *, lazy: bool) -> Iterator[str]:
    """Full names imported by `tree`, types-only imports left out; with `lazy`, inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports name the whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            continue
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imported(node, lazy=lazy)


MODULES = {module_name(file): ast.parse(file.read_text(), str(file)) for file in FILES}


def own(name: str) -> str | None:
    """`gancomp.data.layout.scan` -> `data.layout`; a name of the package itself -> `__init__`."""
    if name.split(".")[0] != "gancomp":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts) or "__init__"


def forbidden(module: str, tree: ast.AST) -> list[str]:
    """What `module` imports from parts of the package that it has no business with."""
    allowed = MAY_IMPORT[module.split(".")[0]]
    uses = {target for name in imported(tree, lazy=True) if (target := own(name))}
    return sorted(use for use in uses if not {use, use.split(".")[0]} & allowed)


def test_every_part_of_the_package_has_its_line_in_the_table() -> None:
    assert {module.split(".")[0] for module in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    assert forbidden(module, MODULES[module]) == []


def test_an_import_against_the_direction_is_noticed_even_inside_a_function() -> None:
    code = "def f():\n    from gancomp.planning.plan import make_plan\nimport gancomp.data.layout"
    assert forbidden("metrics.fid", ast.parse(code)) == ["data.layout", "planning.plan"]
    assert forbidden("tasks.base", ast.parse("import gancomp.engine.fit")) == ["engine.fit"]
    assert forbidden("tasks.base", ast.parse("import gancomp.engine.phases")) == []
    types_only = "if TYPE_CHECKING:\n    from gancomp.networks.base import TappedNetwork"
    assert forbidden("registry", ast.parse(types_only)) == []


def reachable(start: str) -> Iterator[tuple[str, str]]:
    """(importing module, full name) of all that importing `start` imports at once."""
    waiting, seen = [start], set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for name in imported(MODULES[module], lazy=False):
            yield module, name
            target = own(name)
            if target is not None:
                waiting.append(target)


@pytest.mark.parametrize(
    "start", ["__init__", "__main__", "cli", "options", "presets", "config", "registry", "console"]
)
def test_the_command_line_starts_without_the_heavy_libraries(start: str) -> None:
    heavy = [edge for edge in reachable(start) if edge[1].split(".")[0] in HEAVY]
    assert heavy == []


def test_the_walk_over_imports_reaches_what_it_should() -> None:
    assert ("options", "gancomp.errors.ConfigError") in set(reachable("cli"))
    assert any(name.split(".")[0] == "torch" for _, name in reachable("recipes.distill"))


def cycles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that can reach themselves."""

    def reaches_itself(start: str) -> bool:
        waiting, seen = list(graph[start]), set[str]()
        while waiting:
            module = waiting.pop()
            if module == start:
                return True
            if module not in seen:
                seen.add(module)
                waiting.extend(graph[module])
        return False

    return [module for module in graph if reaches_itself(module)]


def test_no_module_imports_itself_in_a_circle_not_even_lazily() -> None:
    graph = {
        module: {target for name in imported(tree, lazy=True) if (target := own(name))}
        for module, tree in MODULES.items()
    }
    assert cycles(graph) == []
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_every_file_says_first_why_it_exists_and_stays_short(file: Path) -> None:
    text = file.read_text()
    assert text.startswith('"""')
    assert text.splitlines()[0].strip('"').strip()
    assert len(text.splitlines()) <= MAX_FILE


@pytest.mark.parametrize("module", MODULES)
def test_functions_stay_short_and_nothing_is_left_unimplemented(module: str) -> None:
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{module}.{node.name} has {length} lines"
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node):
            assert module == "networks.base", "only the abstract base of the networks may"


@pytest.mark.parametrize(
    ("table", "name"),
    [
        pytest.param(table, name, id=f"{kind}-{name}")
        for kind, table in (
            ("network", NETWORKS),
            ("task", TASKS),
            ("reader", READERS),
            ("method", METHODS),
            ("exporter", EXPORTERS),
            ("checkpoint", CHECKPOINTS),
            ("metric", METRICS),
            ("shrinker", SHRINKERS),
            ("options", METHOD_OPTIONS),
        )
        for name in table
    ],
)
def test_every_line_of_the_registry_resolves_to_something_documented(
    table: dict[str, str], name: str
) -> None:
    thing = resolve(table, "registry", name)
    assert callable(thing)
    assert thing.__doc__
    assert thing.__module__ == table[name].partition(":")[0]


def test_readers_and_tasks_come_in_pairs() -> None:
    assert set(READERS) == set(TASKS)


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").exists()
