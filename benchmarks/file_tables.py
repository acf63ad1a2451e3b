"""Results of file benchmarks as JSON lines, Markdown tables and plots."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from file_clients import ENGINE, FLOOR, RIVAL
from file_runs import QUIET_LOAD

Record = dict[str, Any]
COLOURS = {ENGINE: "#1b6ca8", RIVAL: "#d9822b", FLOOR: "#9e9e9e"}
HEADER = (
    "client", "verified", "wall s", "MB/s", "client CPU s", "CPU s/GB", "server CPU s", "peak MB", "temp MB",
    "requests", "sent back MB", "engine is", "load",
)  # fmt: skip


def write_results(folder: Path, name: str, records: list[Record], about: dict[str, Any]) -> None:
    """Write ``NAME.jsonl``, ``NAME.md`` and ``NAME-SCENARIO.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"about": about}), *(json.dumps(record) for record in records)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    text = [f"# {name}", "", " · ".join(f"{key}: {value}" for key, value in about.items()), ""]
    for scenario in dict.fromkeys(record["scenario"] for record in records):
        mine = [record for record in records if record["scenario"] == scenario]
        text += _section(scenario, mine)
        _plot(folder / f"{name}-{_slug(scenario)}.png", scenario, mine)
    (folder / f"{name}.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _slug(scenario: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", scenario).strip("-")


def _section(scenario: str, records: list[Record]) -> list[str]:
    clients = list(dict.fromkeys(record["client"] for record in records))
    by_client = {client: [r for r in records if r["client"] == client] for client in clients}
    engine_s = _median(by_client.get("engine", []), "wall_s")
    text = [f"## {scenario}", "", f"{records[0]['payload_mb']} MB", ""]
    text += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    text += [_row(client, rounds, engine_s) for client, rounds in by_client.items()]
    notes = {client: rounds[0]["note"] for client, rounds in by_client.items() if rounds[0].get("note")}
    text += ["", *(_phases(client, rounds) for client, rounds in by_client.items() if "moved_s" in rounds[0])]
    return [*text, "", *(f"`{client}`: {note}" for client, note in notes.items()), ""]


def _row(client: str, rounds: list[Record], engine_s: float) -> str:
    failed = [record for record in rounds if record["failed"]]
    shown = client.replace("|", "\\|")
    if failed:
        return f"| {shown} | FAILED: {failed[0]['failed']} |" + " |" * (len(HEADER) - 2)
    first, wall_s = rounds[0], _median(rounds, "wall_s")
    gb = first["payload_mb"] / 1000
    about = "~" if first["scaled_from"] != 1 else ""
    cells = (
        shown,
        "yes" if first["verifies"] else "",
        about + _spread(rounds, "wall_s"),
        f"{first['payload_mb'] / wall_s:.0f}",
        about + _spread(rounds, "client_cpu_s"),
        f"{_median(rounds, 'client_cpu_s') / gb:.2f}",
        f"{_median(rounds, 'cpu_s'):.2f}",
        f"{max(record['tree_rss_mb'] for record in rounds):.0f}",
        f"{max(record['temp_mb'] for record in rounds):.0f}",
        f"{_median(rounds, 'requests'):.0f}",
        f"{_median(rounds, 'bytes_out') / 1e6:.1f}" if "bytes_out" in first else "",
        f"{wall_s / engine_s:.2f}× as fast" if engine_s and first["kind"] != ENGINE else "",
        _loads(rounds),
    )
    return "| " + " | ".join(cells) + " |"


def _phases(client: str, rounds: list[Record]) -> str:
    at_s = {key: _median(rounds, key) for key in ("started_s", "planned_s", "moving_s", "moved_s", "wall_s")}
    rate = rounds[0]["payload_mb"] / max(at_s["moved_s"] - at_s["moving_s"], 0.001)
    return (
        f"{client}: started after {at_s['started_s']:.2f} s, planned {at_s['planned_s']:.2f} s, moved from"
        f" {at_s['moving_s']:.2f} to {at_s['moved_s']:.2f} s ({rate:.1f} MB/s), ended {at_s['wall_s']:.2f} s"
    )


def _loads(rounds: list[Record]) -> str:
    """Machine load when runs began, where it was more than these runs make themselves."""
    return ", ".join(f"{record['load']:.1f}" + ("!" if record["load"] > QUIET_LOAD else "") for record in rounds)


def _median(rounds: list[Record], key: str) -> float:
    values = [record[key] for record in rounds if not record["failed"] and key in record]
    return statistics.median(values) if values else 0.0


def _spread(rounds: list[Record], key: str) -> str:
    values = [record[key] for record in rounds]
    middle = statistics.median(values)
    return f"{middle:.2f}" if len(values) == 1 else f"{middle:.2f} [{min(values):.2f}–{max(values):.2f}]"


def _plot(path: Path, scenario: str, records: list[Record]) -> None:
    """Wall, client CPU and memory of each client, medians with ranges."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    good = [record for record in records if not record["failed"]]
    clients = list(dict.fromkeys(record["client"] for record in good))[::-1]
    panels: tuple[tuple[str, Callable[[Record], float]], ...] = (
        ("wall, s", lambda r: r["wall_s"]),
        ("client CPU, s", lambda r: r["client_cpu_s"]),
        ("peak memory of the client, MB", lambda r: r["tree_rss_mb"]),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(15, 1.2 + 0.4 * len(clients)), layout="constrained")
    for axis, (title, value) in zip(axes, panels, strict=True):
        for place, client in enumerate(clients):
            rounds = [record for record in good if record["client"] == client]
            values = [value(record) for record in rounds]
            middle = statistics.median(values)
            spread = [[middle - min(values)], [max(values) - middle]]
            axis.barh(place, middle, xerr=spread, color=COLOURS[rounds[0]["kind"]], ecolor="#333333", capsize=2)
            axis.text(middle, place, f" {middle:.3g}", va="center", fontsize="small")
        axis.set_yticks(range(len(clients)), clients if axis is axes[0] else [""] * len(clients))
        axis.set_title(title)
        if clients:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
    figure.suptitle(f"{scenario}: {records[0]['payload_mb']} MB (blue: engine, orange: rivals, grey: floors)")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
