"""Horizontal bars and lines as SVG, which is all that the page of figures needs."""
import html

WIDTH, LABELS, RIGHT, BAR, GAP, TOP = 760, 260, 70, 12, 10, 46
COLOURS = ("#336791", "#4f9d4f", "#c7803a", "#8a5fa8")
LETTERS = 'font-family="sans-serif" font-size="12"'


def svg(height, title, parts):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" {LETTERS}>',
                      f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
                      f'<text x="10" y="18" font-weight="bold">{html.escape(title)}</text>', *parts, "</svg>", ""])


def legend(series):
    """What the colours mean, below the title."""
    parts, x = [], 10
    for number, name in enumerate(series):
        parts.append(f'<rect x="{x}" y="27" width="10" height="10" fill="{COLOURS[number]}"/><text x="{x + 14}" y="36">{html.escape(name)}</text>')
        x += 34 + 7 * len(name)
    return parts


def bars(title, series, rows):
    """A group of bars for each row: its name, and a value or None for each of the series."""
    most = max(value for _, values in rows for value in values if value is not None)
    parts, y = legend(series), TOP + 6
    for name, values in rows:
        parts.append(f'<text x="{LABELS - 8}" y="{y + BAR * len(series) / 2 + 4:.0f}" text-anchor="end">{html.escape(name)}</text>')
        for number, value in enumerate(values):
            if value is not None:
                width = value / most * (WIDTH - LABELS - RIGHT)
                parts.append(f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{COLOURS[number]}"/>'
                             f'<text x="{LABELS + width + 5:.1f}" y="{y + BAR - 2}" font-size="10">{value:.3g}</text>')
            y += BAR
        y += GAP
    return svg(y + 6, title, parts)


def lines(title, across, series):
    """Lines over whole numbers: of each series its name and its (x, y)."""
    height, left, bottom = 300, 60, 40
    most_x = max(x for _, points in series for x, _ in points)
    most_y = max(y for _, points in series for _, y in points) * 1.1

    def place(x, y):
        return left + x / most_x * (WIDTH - left - RIGHT), height - bottom - y / most_y * (height - bottom - TOP)

    parts = legend([name for name, _ in series])
    for part in range(5):
        value = most_y * part / 4
        x, y = place(0, value)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
                     f'<text x="{x - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for x in sorted({x for _, points in series for x, _ in points}):
        parts.append(f'<text x="{place(x, 0)[0]:.1f}" y="{height - bottom + 16}" text-anchor="middle">{x}</text>')
    parts.append(f'<text x="{WIDTH / 2:.0f}" y="{height - 8}" text-anchor="middle">{html.escape(across)}</text>')
    for number, (_, points) in enumerate(series):
        places = [place(x, y) for x, y in points]
        parts.append(f'<polyline fill="none" stroke="{COLOURS[number]}" stroke-width="2" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[number]}"/>' for x, y in places]
    return svg(height, title, parts)
