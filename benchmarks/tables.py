"""Results as JSON lines, a Markdown table and plots."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from clients import FLOORS, RIVALS

Record = dict[str, Any]
COLOURS = {"engine": "#1b6ca8", "xnatctl": "#d9822b", "xnatctl-prearchive": "#e8b071", "xnatpy": "#7a5195",
           "curl-4": "#9e9e9e", "curl-16": "#5f5f5f"}  # fmt: skip
HEADER = (
    "client", "wall s", "to archived s", "client CPU s", "CPU s/GB", "server CPU s", "peak tree MB", "temp MB",
    "requests", "received MB", "beside best rival", "beside its command alone", "of lock bound",
)  # fmt: skip


def write_results(folder: Path, name: str, records: list[Record], about: dict[str, Any]) -> None:
    """Write ``NAME.jsonl``, ``NAME.md`` and ``NAME-*.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"about": about}), *(json.dumps(record) for record in records)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    text = [f"# {name}", "", _about(about), ""]
    for scenario, pace in _groups(records):
        text += _section(scenario, pace, [r for r in records if (r["scenario"], r["pace"]) == (scenario, pace)])
    (folder / f"{name}.md").write_text("\n".join(text) + "\n")
    _plot(folder, name, records)


def to_archived_s(record: Record) -> float:
    """Seconds until all sessions are archived: the client's own, and the closing it left to the benchmark."""
    return record["wall_s"] + record["closing_by_benchmark_s"]


def _about(about: dict[str, Any]) -> str:
    return " · ".join(f"{key.replace('_', ' ')}: {value}" for key, value in about.items())


def _groups(records: list[Record]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((record["scenario"], record["pace"]) for record in records))


def _section(scenario: str, pace: str, records: list[Record]) -> list[str]:
    merged = _merged(records)
    rivals = [(to_archived_s(r), r["wall_s"]) for r in merged if r["client"] in RIVALS and not r["failed"]]
    best = min(rivals, default=None)
    first = records[0]
    lines = [
        f"## {scenario}, instance/lock ms {pace}",
        "",
        f"{first['instances']} instances, {first['payload_mb']} MB; lock-bound optimum {first['lock_bound_s']} s",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + "---|" * len(HEADER),
    ]
    lines += [_row(record, best) for record in merged]
    lines += ["", *(_phases(r) for r in merged if r["client"] == "engine" and not r["failed"]), ""]
    return lines


def _row(record: Record, best: tuple[float, float] | None) -> str:
    if record["failed"]:
        return f"| {record['client']} | FAILED: {record['failed']} |" + " |" * (len(HEADER) - 2)
    gb = record["payload_mb"] / 1000
    send_s = record.get("send_s") or record["wall_s"]
    bound = f"{record['lock_bound_s'] / send_s:.2f}" if record["lock_bound_s"] else ""
    cells = (
        record["client"],
        f"{record['wall_s']:.2f}",
        f"{to_archived_s(record):.2f}",
        f"{record['client_cpu_s']:.2f}",
        f"{record['client_cpu_s'] / gb:.2f}",
        f"{record['server_cpu_s']:.2f}",
        f"{record['tree_rss_mb']:.0f}",
        f"{record['temp_mb']:.0f}",
        f"{record['requests']:.0f}",
        f"{record['received_mb']:.1f}",
        f"{best[0] / to_archived_s(record):.2f}×" if best else "",
        f"{best[1] / to_archived_s(record):.2f}×" if best else "",
        bound,
    )
    return "| " + " | ".join(cells) + " |"


def _phases(record: Record) -> str:
    if "send_s" not in record:
        return ""
    rate = record["payload_mb"] / record["send_s"]
    parts = (
        f"start and scan {record['scan_s']:.2f} s",
        f"to the first bundle {record['before_send_s']:.2f} s",
        f"sending {record['send_s']:.2f} s ({rate:.0f} MB/s, {record['bundles']:.0f} bundles)",
        f"closing {record['close_s']:.2f} s",
        f"resent {record['resent_mb']:.1f} MB",
    )
    return f"engine: {', '.join(parts)}; load before the run {record['load']}"


def _merged(records: list[Record]) -> list[Record]:
    """Return one record per client: medians of its rounds; one failed round fails all."""
    merged = []
    for client in dict.fromkeys(record["client"] for record in records):
        rounds = [record for record in records if record["client"] == client]
        failed = [record for record in rounds if record["failed"]]
        merged.append(
            failed[0] if failed else {key: _median([r[key] for r in rounds if key in r]) for key in rounds[0]}
        )
    return merged


def _median(values: list[Any]) -> Any:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return statistics.median(values) if numbers else values[0]


def _few(value: float, _: object) -> str:
    """Label of a tick between powers of ten: only 2 and 5 get one."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _plot(folder: Path, name: str, records: list[Record]) -> None:
    """One picture per scenario: seconds to archived, client CPU, memory; a group of bars for each pace."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot, ticker

    panels = (("until archived, s", to_archived_s), ("client CPU, s", lambda r: r["client_cpu_s"]),
              ("peak memory of the client, MB", lambda r: r["tree_rss_mb"]))  # fmt: skip
    for scenario in dict.fromkeys(record["scenario"] for record in records):
        mine = [record for record in records if record["scenario"] == scenario]
        paces = list(dict.fromkeys(record["pace"] for record in mine))
        clients = list(dict.fromkeys(record["client"] for record in mine))
        figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 4), layout="constrained")
        for axis, (title, value) in zip(axes, panels, strict=True):
            for place, client in enumerate(clients):
                merged = {
                    pace: _merged([r for r in mine if (r["client"], r["pace"]) == (client, pace)]) for pace in paces
                }
                good = [(i, m[0]) for i, m in enumerate(merged.values()) if m and not m[0]["failed"]]
                width = 0.8 / len(clients)
                axis.bar([i + place * width for i, _ in good], [value(r) for _, r in good], width,
                         label=client, color=COLOURS.get(client))  # fmt: skip
            axis.set_xticks([i + 0.4 for i in range(len(paces))], [f"{pace} ms" for pace in paces])
            axis.set_title(title)
            if axis.patches:
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter("{x:g}")
                axis.yaxis.set_minor_formatter(ticker.FuncFormatter(_few))
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(clients), fontsize="small")
        figure.suptitle(f"{scenario}: instance/lock service time; floors: {', '.join(FLOORS)}")
        figure.savefig(folder / f"{name}-{scenario}.png", dpi=110)
        pyplot.close(figure)
