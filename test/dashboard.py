"""Draws the panels of monitoring/dashboard.json as an SVG, from the data that a Prometheus has; for the page, where there is no Grafana."""
import html
import math
import re

from monitoring import panels, typed

COLUMN, ROW, GAP = 46, 34, 8
COLORS = ("#3274d9", "#e0752d", "#299c46", "#a352cc", "#d44a3a", "#b7860b", "#14858c", "#7c7c7c")
UNITS = {"s": " s", "percentunit": " %"}


def number(value, unit):
    """A value as people read it."""
    if unit == "percentunit":
        value *= 100
    text = f"{value:,.0f}" if abs(value) >= 20 or value == round(value) else f"{value:.2g}"
    return text + UNITS.get(unit, "")


def text_at(x, y, text, size=11, color="#555", anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{html.escape(str(text))}</text>")


def legend(target, labels):
    """Grafana's legendFormat, filled in."""
    text = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{%s}}" % name, value)
    return re.sub(r"{{\w+}}", "", text).strip()            # a label that is empty is none


def series(prometheus, panel, begin, end):
    """The lines of a panel: a name, and points (time, value), without those that are no number."""
    for target in panel["targets"]:
        found = prometheus.ask("query_range", query=typed(target["expr"]), start=begin, end=end, step=1)["result"]
        for one in sorted(found, key=lambda one: legend(target, one["metric"])):
            points = [(time, float(value)) for time, value in one["values"]]
            yield legend(target, one["metric"]), [point for point in points if math.isfinite(point[1])]


def stat(panel, lines, x, y, width, height):
    """The last value, large; red from the threshold on."""
    values = [points[-1][1] for _, points in lines if points]
    value = values[0] if values else math.nan
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    color = next((step["color"] for step in reversed(steps) if step["value"] is None or value >= step["value"]), "green")
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{"#d44a3a" if color == "red" else "#299c46"}"/>'
    yield text_at(x + 8, y + 16, panel["title"], color="#fff")
    yield text_at(x + width / 2, y + height - 34, "–" if math.isnan(value) else number(value, panel["fieldConfig"]["defaults"]["unit"]), 34, "#fff", "middle", "bold")


def chart(panel, lines, begin, end, x, y, width, height):
    """Lines over time, with a scale and their names."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    left, top, right, bottom = x + 52, y + 30, x + width - 10, y + height - 56
    most = max([value for _, points in lines for _, value in points], default=0) or 1
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="#fff" stroke="#ddd"/>'
    yield text_at(x + 8, y + 18, panel["title"], 12, "#222", weight="bold")
    for part in range(4):
        level = bottom - (bottom - top) * part / 3
        yield f'<line x1="{left}" y1="{level:.1f}" x2="{right}" y2="{level:.1f}" stroke="#eee"/>'
        yield text_at(left - 6, level + 4, number(most * part / 3, unit), 10, anchor="end")
    for part in range(5):
        yield text_at(left + (right - left) * part / 4, bottom + 14, f"{(end - begin) * part / 4:.0f} s", 10, anchor="middle")
    columns = max(1, min(4, int((width - 20) / (20 + 6 * max([len(name) for name, _ in lines], default=1)))))
    for index, (name, points) in enumerate(lines):
        color = COLORS[index % len(COLORS)]
        way, last = [], None
        for time, value in points:
            near = last is not None and time - last < 3
            way.append(f"{'L' if near else 'M'}{left + (right - left) * (time - begin) / (end - begin):.1f} {bottom - (bottom - top) * value / most:.1f}")
            last = time
        yield f'<path d="{" ".join(way)}" fill="none" stroke="{color}" stroke-width="1.6"/>'
        across, down = x + 12 + index % columns * (width - 20) / columns, bottom + 31 + index // columns * 14
        yield f'<rect x="{across:.1f}" y="{down - 7:.1f}" width="10" height="3" fill="{color}"/>' + text_at(across + 14, down - 2, name, 10)


def draw(prometheus):
    """The dashboard over the time that Prometheus has run."""
    seen = prometheus.ask("query", query="min_over_time(timestamp(change_stream_events_total)[1h:1s])")["result"]
    begin = min(float(one["value"][1]) for one in seen)
    end = float(seen[0]["value"][0])
    drawn, height = [], 0
    for panel in panels():
        place = panel["gridPos"]
        box = place["x"] * COLUMN + GAP, place["y"] * ROW + GAP, place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        height = max(height, box[1] + box[3] + GAP)
        lines = list(series(prometheus, panel, begin, end))
        drawn += stat(panel, lines, *box) if panel["type"] == "stat" else chart(panel, lines, begin, end, *box)
    width = 24 * COLUMN + GAP
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif">',
                      f'<rect width="{width}" height="{height}" fill="#f4f5f5"/>', *drawn, "</svg>"]) + "\n"
