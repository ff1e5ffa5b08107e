"""Tables, as Markdown."""

from dataclasses import dataclass, field


@dataclass
class Table:
    title: str
    head: list
    rows: list
    note: str = ""
    absent: dict = field(default_factory=dict)  # who is not in it, and why

    def markdown(self):
        lines = [f"### {self.title}", ""]
        lines.append("| " + " | ".join(self.head) + " |")
        lines.append("|---" + "|---:" * (len(self.head) - 1) + "|")
        lines += ["| " + " | ".join(map(text, row)) + " |" for row in self.rows]
        if self.note:
            lines += ["", self.note]
        if self.absent:
            lines += ["", "Not measured: " + "; ".join(f"{name} ({reason})" for name, reason in self.absent.items()) + "."]
        return "\n".join(lines) + "\n"


def text(figure):
    """A figure to three or four digits: more would be noise."""
    if figure is None:
        return "–"
    if not isinstance(figure, (int, float)):
        return str(figure)
    size = abs(figure)
    if size < 0.005:
        return "0"
    if size >= 1000:
        return f"{figure:,.0f}"
    if size >= 100 or figure == int(figure):
        return f"{figure:.0f}"
    return f"{figure:.1f}" if size >= 10 else f"{figure:.2f}"


def failed(name, result):
    """The row of who did not come through, or nothing."""
    if isinstance(result, dict) and "failed" in result:
        return [f"{name}: {result['failed']}".replace("|", "/").replace("\n", " ")]
    return None
